"""Which segments and tables read which tags: a tag that drives nothing is a candidate for pruning."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.expressions import columns_in
from transforms.segments import SUMMED_TAGS, SegmentRules


def tag_users(tags: Iterable[str], segments: SegmentRules) -> dict[str, list[str]]:
    """Tag to the segments whose rules read it, by name, and tables; tags that nothing reads have an empty list."""
    users: dict[str, list[str]] = {tag: [] for tag in tags}
    for column in SUMMED_TAGS:
        if column in users:
            users[column].append("table:gold.segment_summary")
    for segment in segments.all:
        for column in sorted(columns_in(segment.when)):
            if column in users:
                users[column].append(f"segment:{segment.code}")
    return users
