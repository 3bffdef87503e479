"""A customer's measures against their definitions: edges of windows, ties, zero and negative money."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.tag_definitions import D, Row, ago, every_measure, expected_value, rounded
from transforms.tags.kernel import measure
from transforms.tags.streams import conditions
from transforms.tags.timelines import _packed

RULES = every_measure()  # windows of 3 and 10 days and for ever
EPOCH = date(1970, 1, 1)
EDGES = [-1, 0, 1, 2, 3, 4, 9, 10, 11, 30]  # days ago: D, the first and the last day of each window, and beside them
CATEGORIES = [None, "a", "b", "é", "中"]
MONEY = [None, "0.00", "0.01", "-0.01", "2.50", "-2.50", "99999999.99"]

a_row = st.builds(
    lambda days_ago, kind, category, hour, events, money: {
        "customer_id": "C1", "event_type": kind, "event_date": ago(days_ago), "counts_on_date": ago(days_ago),
        "category": category, "event_hour": hour, "event_count": events, "net_amount": money and Decimal(money),
    },  # fmt: skip
    st.sampled_from(EDGES), st.sampled_from(["view", "view", "visit"]), st.sampled_from(CATEGORIES),
    st.sampled_from([None, 0, 8, 23]), st.sampled_from([1, 2]), st.sampled_from(MONEY),
)  # fmt: skip


@given(st.lists(a_row, min_size=1, max_size=8), st.lists(a_row, max_size=3))
def test_measures_are_their_definitions(mine: list[Row], neighbours: list[Row]):
    found = measured_by_kernel([("C1", row) for row in mine] + [("C2", row) for row in neighbours])
    for name, tag in RULES.tags.items():
        by_definition = expected_value(tag.parsed.name, mine, tag.window, tag.null_policy)
        assert value_of(found, name) == by_definition, name


@given(st.sampled_from(EDGES), st.sampled_from(MONEY[1:]), st.integers(1, 6))
def test_equal_rows_are_all_counted(days_ago: int, money: str, times: int):
    row = {
        "customer_id": "C1", "event_type": "view", "event_date": ago(days_ago), "counts_on_date": ago(days_ago),
        "category": "a", "event_hour": 8, "event_count": 1, "net_amount": Decimal(money),
    }  # fmt: skip
    found = measured_by_kernel([("C1", row)] * times)
    inside = times if 0 <= days_ago < 10 else 0
    assert (found["count_10_clear.value"], found["sum_10_clear.value"]) == (inside, inside * Decimal(money))
    assert found["top_10_clear.value"] == ("a" if inside else None)


def measured_by_kernel(rows: list[tuple[str, Row]]) -> dict[str, Any]:
    """C1's columns of the kernel, over rows as Spark hands them on: by customer and day, in any order of a day."""
    rows = sorted(rows, key=lambda owned: (owned[0], owned[1]["counts_on_date"]))
    columns = {
        "customer_id": pa.array([owner for owner, _ in rows], pa.string()),
        "day": pa.array([(row["counts_on_date"] - EPOCH).days for _, row in rows], pa.int32()),
        "holds_0": pa.array([held(row) for _, row in rows], pa.int64()),
        "category": pa.array([row["category"] for _, row in rows], pa.string()),
        "event_count": pa.array([row["event_count"] for _, row in rows], pa.int64()),
        "event_hour": pa.array([row["event_hour"] for _, row in rows], pa.int64()),
        "net_amount": pa.array([cents(row["net_amount"]) for _, row in rows], pa.int64()),
    }
    timelines = _packed(iter([pa.RecordBatch.from_pydict(columns)]), ["category"])
    found = [row for batch in measure(timelines, D, RULES) for row in batch.to_pylist()]
    return next(row for row in found if row["customer_id"] == "C1")


def held(row: Row) -> int:
    """Bits of the conditions of RULES: views, and where a column is measured those on which it is known."""
    told = {
        place: row["event_type"] == "view"
        and all(row[column] is not None for column in ("net_amount", "category") if column in sql)
        for place, sql in enumerate(conditions(RULES))
    }
    return sum(1 << place for place, holds in told.items() if holds)


def cents(money: Decimal | None) -> int | None:
    return None if money is None else int(money * 100)


def value_of(found: dict[str, Any], name: str) -> Any:
    """A tag's value; the quotients are Spark's, here Python's."""
    if f"{name}.value" in found:
        return found[f"{name}.value"]
    over, under = ("sum", "count") if name.startswith("avg") else ("days", "count")
    parts = [found[f"{name}.{part}"] for part in (over, under)]
    if not parts[1]:
        return None
    return rounded(Decimal(parts[0]) / parts[1], "0.01" if over == "sum" else "0.000001")
