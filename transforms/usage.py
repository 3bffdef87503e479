"""Which segments, value rules and tables read which tags: a tag that drives nothing is a candidate for pruning."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.expressions import columns_in
from transforms.segments import READ_TAGS, SegmentRules
from transforms.values.rules import ValueRules


def tag_users(tags: Iterable[str], segments: SegmentRules, value: ValueRules) -> dict[str, list[str]]:
    """Tag to the segments and value rules that read it, by name, and tables; tags that nothing reads have none."""
    readers = {f"table:{table}": sorted(read) for table, read in READ_TAGS.items()}
    readers |= {f"segment:{segment.code}": sorted(columns_in(segment.when)) for segment in segments.all}
    readers |= {f"value:{name}": list(read) for name, read in value.tags_read().items()}
    users: dict[str, list[str]] = {tag: [] for tag in tags}
    for reader, columns in readers.items():
        for column in columns:
            if column in users:
                users[column].append(reader)
    return users
