"""Who is in which segment, who moved, which segments overlap, and how unevenly money is spread over customers."""

from __future__ import annotations

from transforms.segments.concentration import concentration
from transforms.segments.explain import rule_outcomes
from transforms.segments.facts import FACTS, NewProductRules, segment_facts
from transforms.segments.flows import flow_dates, segment_flows
from transforms.segments.history import change_history
from transforms.segments.matrix import ActivityTiers, value_activity_matrix
from transforms.segments.membership import (
    CATCH_ALL,
    READ_TAGS,
    Segment,
    SegmentRules,
    build_segments,
    check_columns,
    summarise_segments,
)
from transforms.segments.overlaps import segment_overlaps

__all__ = [
    "CATCH_ALL",
    "FACTS",
    "READ_TAGS",
    "ActivityTiers",
    "NewProductRules",
    "Segment",
    "SegmentRules",
    "build_segments",
    "change_history",
    "check_columns",
    "concentration",
    "flow_dates",
    "rule_outcomes",
    "segment_facts",
    "segment_flows",
    "segment_overlaps",
    "summarise_segments",
    "value_activity_matrix",
]
