"""What reads which tags: segments, value rules, strategies, tables. A tag that drives nothing may be pruned."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.contacts.plan import PLANNED_BY
from transforms.contacts.rules import Strategies, columns_read
from transforms.expressions import columns_in
from transforms.segments import READ_TAGS, SegmentRules
from transforms.values.rules import ValueRules


def tag_users(
    tags: Iterable[str], segments: SegmentRules, value: ValueRules, strategies: Strategies
) -> dict[str, list[str]]:
    """Tag to the segments, value rules, strategies and tables that read it; tags that nothing reads have none."""
    readers = {f"table:{table}": sorted(read) for table, read in READ_TAGS.items()}
    readers |= {f"segment:{segment.code}": sorted(columns_in(segment.when)) for segment in segments.all}
    readers |= {f"value:{name}": list(read) for name, read in value.tags_read().items()}
    readers |= {f"strategy:{code}": sorted(columns_read({code: strategy})) for code, strategy in strategies.items()}
    readers |= {"table:gold.contact_plan": sorted(PLANNED_BY)}
    users: dict[str, list[str]] = {tag: [] for tag in tags}
    for reader, columns in readers.items():
        for column in columns:
            if column in users:
                users[column].append(reader)
    return users
