"""KPIs: rules (what conf/kpis.yaml says) -> frames (what they read) -> measures (what is summed) -> report."""

from __future__ import annotations

from transforms.kpis.catalogue import catalogue_rows
from transforms.kpis.report import report_kpis
from transforms.kpis.rules import Kpi, KpiRules, RestateRules, check_bands, check_columns

__all__ = [
    "Kpi",
    "KpiRules",
    "RestateRules",
    "catalogue_rows",
    "check_bands",
    "check_columns",
    "report_kpis",
]
