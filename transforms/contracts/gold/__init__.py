"""Gold: what BI and marketing read, one slice per run date."""

from __future__ import annotations

from transforms.contracts.gold.break_points import BREAK_POINTS
from transforms.contracts.gold.campaigns import (
    CAMPAIGN_RESULTS,
    CAMPAIGN_REVIEWS,
    FUNNELS,
    PAGE_HEAT,
    PATH_FLOWS,
)
from transforms.contracts.gold.contacts import CONTACT_PLAN, CONTACT_SUMMARY, EXPERIMENT_ASSIGNMENTS, RECOMMENDATIONS
from transforms.contracts.gold.experiments import EXPERIMENT_RESULTS
from transforms.contracts.gold.kpis import KPI_CATALOGUE, KPI_VALUES
from transforms.contracts.gold.placing import CUSTOMER_ID, CUSTOMER_SLICE_DAYS, RUN_DATE
from transforms.contracts.gold.portrait import (
    CLUSTER_CENTRES,
    CUSTOMER_VALUES,
    IDENTITY_QUALITY,
    MODEL_CHECKS,
    RFM_SCORES,
    RFM_THRESHOLDS,
    TAG_CATALOGUE,
    TAG_HEALTH,
    customer_tags_table,
)
from transforms.contracts.gold.segments import (
    PARETO,
    SEGMENT_FLOWS,
    SEGMENT_HISTORY,
    SEGMENT_MEMBERS,
    SEGMENT_OVERLAPS,
    SEGMENT_SUMMARY,
    VALUE_ACTIVITY_MATRIX,
)

TABLES = (
    IDENTITY_QUALITY,
    TAG_CATALOGUE,
    TAG_HEALTH,
    RFM_SCORES,
    RFM_THRESHOLDS,
    CUSTOMER_VALUES,
    MODEL_CHECKS,
    CLUSTER_CENTRES,
    SEGMENT_MEMBERS,
    SEGMENT_SUMMARY,
    SEGMENT_HISTORY,
    SEGMENT_FLOWS,
    SEGMENT_OVERLAPS,
    PARETO,
    VALUE_ACTIVITY_MATRIX,
    RECOMMENDATIONS,
    CONTACT_PLAN,
    CONTACT_SUMMARY,
    EXPERIMENT_ASSIGNMENTS,
    EXPERIMENT_RESULTS,
    KPI_CATALOGUE,
    KPI_VALUES,
    CAMPAIGN_RESULTS,
    CAMPAIGN_REVIEWS,
    FUNNELS,
    PATH_FLOWS,
    PAGE_HEAT,
    BREAK_POINTS,
)

__all__ = [
    "BREAK_POINTS",
    "CAMPAIGN_RESULTS",
    "CAMPAIGN_REVIEWS",
    "CLUSTER_CENTRES",
    "CONTACT_PLAN",
    "CONTACT_SUMMARY",
    "CUSTOMER_ID",
    "CUSTOMER_SLICE_DAYS",
    "CUSTOMER_VALUES",
    "EXPERIMENT_ASSIGNMENTS",
    "EXPERIMENT_RESULTS",
    "FUNNELS",
    "IDENTITY_QUALITY",
    "KPI_CATALOGUE",
    "KPI_VALUES",
    "MODEL_CHECKS",
    "PAGE_HEAT",
    "PARETO",
    "PATH_FLOWS",
    "RECOMMENDATIONS",
    "RFM_SCORES",
    "RFM_THRESHOLDS",
    "RUN_DATE",
    "SEGMENT_FLOWS",
    "SEGMENT_HISTORY",
    "SEGMENT_MEMBERS",
    "SEGMENT_OVERLAPS",
    "SEGMENT_SUMMARY",
    "TABLES",
    "TAG_CATALOGUE",
    "TAG_HEALTH",
    "VALUE_ACTIVITY_MATRIX",
    "customer_tags_table",
]
