"""The KPI catalogue: every declaration in words."""

from __future__ import annotations

from transforms.kpis.frames import FRAMES
from transforms.kpis.periods import USUAL_DAYS
from transforms.kpis.rules import Benchmark, Kpi, KpiRules, Measure, Rows


def catalogue_rows(rules: KpiRules) -> list[tuple]:
    """One tuple per KPI in the order of the columns of gold.kpi_catalogue."""
    return [
        (
            code,
            kpi.label,
            kpi.description,
            numerator_in_words(kpi),
            measure_in_words(kpi.denominator) if kpi.denominator else None,
            kpi.period_days or USUAL_DAYS,
            list(kpi.reported_by),
            kpi.direction,
            kpi.unit,
            _bands_in_words(kpi.benchmark),
            kpi.is_additive,
        )
        for code, kpi in rules.kpis.items()
    ]


def numerator_in_words(kpi: Kpi) -> str:
    """How the numerator is measured, with what is taken off it."""
    text = measure_in_words(kpi.numerator)
    return f"{text}; less {measure_in_words(kpi.less)}" if kpi.less else text


def measure_in_words(measure: Measure) -> str:
    """What is measured, over which rows and under which conditions."""
    parts = [f"{measure.measure} from {rows_in_words(measure)}"]
    parts += [f"also in {rows_in_words(rows)}" for rows in measure.also]
    parts += [f"not in {rows_in_words(rows)}" for rows in measure.unless]
    return "; ".join([*parts, *(["of the whole chain"] if measure.at else [])])


def rows_in_words(rows: Rows) -> str:
    """Which rows, of which dates."""
    text = f"{rows.frame} where {rows.where}" if rows.where else str(rows.frame)
    if FRAMES[rows.frame].date:
        text += f", {_window_in_words(rows)}"
    if rows.total:
        text += f", {rows.total} in all above {rows.above}"
    return text + (f", at least {rows.at_least}" if rows.at_least > 1 else "")


def _window_in_words(rows: Rows) -> str:
    if rows.window_days is None:
        return "in the period"
    if rows.window_days == "previous":
        return "in the period before"
    until = " before the period" if rows.ends == "period_start" else ""
    if rows.window_days == "lifetime":
        return f"ever{until}"
    return f"{rows.window_days} days{until}" if until else f"last {rows.window_days} days"


def _bands_in_words(benchmark: Benchmark | None) -> str | None:
    if benchmark is None:
        return None
    named = {"default": benchmark.default, **benchmark.category, **benchmark.store_type}
    return "; ".join(f"{name} {band[0]} to {band[1]}" for name, band in named.items() if band)
