"""Which rules and tables read which tags: a tag that drives nothing is a candidate for pruning."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.expressions import columns_in
from transforms.recommendations.rules import RecommendationRules
from transforms.segments import SUMMED_TAGS, SegmentRules
from transforms.values.rules import ValueRules


def tag_users(
    tags: Iterable[str], segments: SegmentRules, value: ValueRules, recommendations: RecommendationRules
) -> dict[str, list[str]]:
    """Tag to the segments, value rules and recommendations that read it, by name, and tables; or to none."""
    readers = {"table:gold.segment_summary": sorted(SUMMED_TAGS)}
    readers |= {f"segment:{segment.code}": sorted(columns_in(segment.when)) for segment in segments.all}
    readers |= {f"value:{name}": list(read) for name, read in value.tags_read().items()}
    readers |= {"recommendations:preferred_category": list(recommendations.preferred_category.tags)}
    readers |= {
        f"recommendations:{product.code}": sorted(columns_in(product.when)) for product in recommendations.finance
    }
    users: dict[str, list[str]] = {tag: [] for tag in tags}
    for reader, columns in readers.items():
        for column in columns:
            if column in users:
                users[column].append(reader)
    return users
