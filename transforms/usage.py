"""Which segments and value rules read which tags: a tag that drives nothing is a candidate for pruning."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.expressions import columns_in
from transforms.segments import SegmentRules
from transforms.values.rules import ValueRules


def tag_users(tags: Iterable[str], segments: SegmentRules, value: ValueRules) -> dict[str, list[str]]:
    """Tag to the segments and value rules that read it, by name; tags that nothing reads have an empty list."""
    readers = {f"segment:{segment.code}": sorted(columns_in(segment.when)) for segment in segments.all}
    readers |= {f"value:{name}": read for name, read in value.tags_read().items()}
    users: dict[str, list[str]] = {tag: [] for tag in tags}
    for reader, columns in readers.items():
        for column in columns:
            if column in users:
                users[column].append(reader)
    return users
