"""Purchase histories: days, not orders; the first day aside; what cost nothing; what was bought after the date."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from tests.builders import TIERS, days_before, event, frame
from transforms.contracts import silver
from transforms.orders import build_order_lines, build_orders
from transforms.values.purchases import HISTORY, purchase_histories, split_histories

D = date(2026, 6, 30)
NOTHING = (0, 0, 0, 0, Decimal(0), 0, Decimal(0))

Order = tuple[str | None, int, Any, bool]  # customer, days ago, net amount, is a purchase


def orders(spark: SparkSession, rows: list[Order]) -> DataFrame:
    schema = "customer_id string, order_date date, net_amount decimal(18,2), is_purchase boolean"
    dated = [(customer, days_before(days, D), Decimal(str(net)), counts) for customer, days, net, counts in rows]
    return spark.createDataFrame(dated, schema)


def found(histories: DataFrame) -> dict[str, tuple[Any, ...]]:
    return {row.customer_id: tuple(row[name] for name in HISTORY) for row in histories.collect()}


def test_histories(spark: SparkSession) -> None:
    rows: list[Order] = [
        ("once", 50, 20, True),
        ("today", 0, 20, True),
        # two orders on the first day are one purchase, and neither is a repeat
        ("same day", 50, 20, True),
        ("same day", 50, 30, True),
        # three days: 50, 40 and 10 days ago; the second one in two orders
        ("thrice", 50, 100, True),
        ("thrice", 40, 20, True),
        ("thrice", 40, 4, True),
        ("thrice", 10, 6, True),
        ("gave back", 50, 20, True),
        ("gave back", 40, 0, False),  # wholly returned: no purchase
        ("gave all back", 40, 0, False),
        # zero_value_orders: count; free days are purchase days, but no order values
        ("free at first", 50, 0, True),
        ("free at first", 30, 12, True),
        ("free later", 50, 12, True),
        ("free later", 30, 0, True),
        ("free later", 20, 5, True),
        ("free and paid", 50, 7, True),
        ("free and paid", 30, 0, True),
        ("free and paid", 30, 3, True),
        (None, 30, 99, True),  # a guest
        ("tomorrow", -1, 20, True),
        ("also tomorrow", 5, 20, True),
        ("also tomorrow", -1, 30, True),
    ]
    assert found(purchase_histories(orders(spark, rows), D)) == {
        "once": (0, 0, 50, 1, 20, 0, 0),
        "today": (0, 0, 0, 1, 20, 0, 0),
        "same day": (0, 0, 50, 1, 50, 0, 0),
        "thrice": (2, 40, 50, 3, 130, 2, 30),
        "gave back": (0, 0, 50, 1, 20, 0, 0),
        "free at first": (1, 20, 50, 1, 12, 1, 12),
        "free later": (2, 30, 50, 2, 17, 1, 5),
        "free and paid": (1, 20, 50, 2, 10, 1, 3),
        "also tomorrow": (0, 0, 5, 1, 20, 0, 0),
    }


def test_histories_of_two_dates(spark: SparkSession) -> None:
    """Calibrated up to 30 days ago: what was bought on that very day belongs before it."""
    rows: list[Order] = [
        ("before", 50, 10, True),
        ("both", 50, 10, True),
        ("both", 30, 20, True),
        ("both", 29, 40, True),
        ("both", 29, 5, True),
        ("both", 1, 0, True),
        ("after", 29, 10, True),
        ("after", 3, 7, True),
    ]
    split = split_histories(orders(spark, rows), days_before(30, D), D)
    assert found(split) == {
        "before": (0, 0, 50, 1, 10, 0, 0),
        "both": (3, 49, 50, 3, 75, 2, 65),
        "after": (1, 26, 29, 2, 17, 1, 7),
    }
    names = [*[f"calibration_{name}" for name in HISTORY], "holdout_count", "holdout_paid_count", "holdout_amount"]
    assert {row.customer_id: tuple(row[name] for name in names) for row in split.collect()} == {
        "before": (0, 0, 20, 1, 10, 0, 0, 0, 0, 0),
        "both": (1, 20, 20, 2, 30, 1, 20, 2, 1, 45),
        "after": (None, None, None, 0, 0, 0, 0, 2, 2, 17),
    }


def test_any_split_of_the_orders_gives_the_same_history(spark: SparkSession) -> None:
    """40 customers who bought the same on the same days, in orders cut and ordered by chance."""
    chance = random.Random(7)
    days = {ago: [chance.randint(1, 900) for _ in range(6)] for ago in (200, 120, 119, 40, 3)}
    rows: list[Order] = []
    for number in range(40):
        for ago, cents in days.items():
            cuts = sorted({0, 6, *chance.sample(range(1, 6), chance.randint(0, 5))})
            parts = [sum(cents[low:high]) for low, high in zip(cuts, cuts[1:], strict=False)]
            rows += [(f"c{number}", ago, Decimal(part) / 100, True) for part in parts]
    chance.shuffle(rows)
    histories = found(purchase_histories(orders(spark, rows).repartition(7), D))
    total, first = (Decimal(sum(sums)) / 100 for sums in (map(sum, days.values()), [sum(days[200])]))
    assert set(histories.values()) == {(4, 197, 200, 5, total, 4, total - first)}
    assert len(histories) == 40


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        (-3, (1, 10, 17, 2, 300, 1, 200)),  # before the returns
        (0, (1, 10, 20, 2, 250, 1, 150)),  # half of the second order came back, on this day
        (1, (0, 0, 21, 1, 100, 0, 0)),  # all of it, on the next
    ],
)
def test_returns_count_from_the_day_they_happen(
    spark: SparkSession, as_of: int, expected: tuple[int | Decimal, ...]
) -> None:
    day = D + timedelta(days=as_of)
    events = [
        event("first", event_date=days_before(20, D)),
        event("second", event_date=days_before(10, D), amount=200, quantity=4),
        event("half", "return", event_date=D, order_id="store_pos:second", amount=50, quantity=1),
        event("rest", "return", event_date=D + timedelta(days=1), order_id="store_pos:second", amount=150, quantity=3),
    ]
    lines = build_order_lines(frame(spark, silver.EVENTS, events), day, TIERS, "exclude")
    named = lines.withColumnRenamed("lead_identifier", "customer_id")
    by_order = build_orders(lines).withColumnRenamed("lead_identifier", "customer_id")
    histories = purchase_histories(named, day)
    assert found(histories) == {"M1": expected}
    if as_of == 0:
        assert found(purchase_histories(by_order, day)) == {"M1": expected}  # lines or orders, it is the same
