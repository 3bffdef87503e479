"""What the measures of tags mean, in plain Python: one customer's partials in, the value by definition out."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from transforms.tags import TagRules

D = date(2024, 6, 30)
Row = dict[str, Any]


def ago(days: int) -> date:
    return D - timedelta(days)


def tag(measure: str = "count", **keys: Any) -> dict[str, Any]:
    return {"label": "标签", "description": "A tag.", "type": "behaviour", "measure": measure} | keys


def rules_of(**tags: dict[str, Any]) -> TagRules:
    return TagRules.model_validate({"tags": tags})


def every_measure() -> TagRules:
    """Each measure over activity, in windows of 3 and 10 days with both null policies, and for ever."""
    measures = (
        "count", "sum(net_amount)", "avg(net_amount)", "min(net_amount)", "max(net_amount)", "count_distinct(category)",
        "top(category, net_amount)", "first(category)", "last(category)", "days_since", "interval_mean", "interval_max",
    )  # fmt: skip
    return rules_of(
        **{
            f"{measure.split('(')[0]}_{window}_{policy}": tag(
                measure, window=window, null_policy=policy, where="event_type = 'view'"
            )
            for measure in measures
            for window in (3, 10, "lifetime")
            for policy in (("clear",) if window == "lifetime" else ("clear", "keep_last"))
        }
    )


def expected_value(measure: str, rows: list[Row], window: int | str, policy: str) -> Any:
    """A measure by definition: over the window at D, or with keep_last at the latest day on which it held a row."""
    column = "net_amount" if measure in ("sum", "avg", "min", "max") else "category"
    needs = None if measure in ("count", "days_since", "interval_mean", "interval_max") else column
    qualifying = [
        row
        for row in rows
        if row["event_date"] <= D and row["counts_on_date"] <= D and row["event_type"] == "view"
        and (needs is None or row[needs] is not None)
    ]  # fmt: skip
    days = [D]
    if policy == "keep_last" and window != "lifetime":
        days += [ago(n) for n in range(1, 40)]
    for day in days:
        begins_after = date.min if window == "lifetime" else day - timedelta(int(window))
        inside = [row for row in qualifying if begins_after < row["counts_on_date"] <= day]
        if inside:
            return measured(measure, inside, needs, day)
    return 0 if measure in ("count", "sum", "count_distinct") else None


def measured(measure: str, rows: list[Row], column: str | None, day: date) -> Any:
    """A measure over the rows of a window that ends on `day` and is not empty."""
    values = [row[column] for row in rows] if column else []
    dates = sorted({row["counts_on_date"] for row in rows})
    gaps = [(later - earlier).days for earlier, later in zip(dates, dates[1:], strict=False)]
    match measure:
        case "count":
            return sum(row["event_count"] for row in rows)
        case "sum":
            return sum(values)
        case "avg":
            return rounded(Decimal(sum(values)) / sum(row["event_count"] for row in rows), "0.01")
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "count_distinct":
            return len(set(values))
        case "top":
            totals: dict[str, Decimal] = defaultdict(Decimal)
            latest: dict[str, date] = {}
            for row in rows:
                totals[row["category"]] += row["net_amount"] or 0
                latest[row["category"]] = max(latest.get(row["category"], date.min), row["counts_on_date"])
            return min(totals, key=lambda v: (-totals[v], -latest[v].toordinal(), v))
        case "first":
            return min(rows, key=lambda r: (r["counts_on_date"], hour_or(r, 24), r["category"]))["category"]
        case "last":
            return min(rows, key=lambda r: (-r["counts_on_date"].toordinal(), -hour_or(r, -1), r["category"]))[
                "category"
            ]
        case "days_since":
            return (day - dates[-1]).days
        case "interval_mean":
            return ratio(sum(gaps), len(gaps)) if gaps else None
        case "interval_max":
            return max(gaps) if gaps else None
    raise AssertionError(measure)


def hour_or(row: Row, unknown: int) -> int:
    return unknown if row["event_hour"] is None else row["event_hour"]


def ratio(numerator: int, denominator: int) -> Decimal:
    return rounded(Decimal(numerator) / denominator, "0.000001")


def rounded(value: Decimal, to: str) -> Decimal:
    return value.quantize(Decimal(to), ROUND_HALF_UP)
