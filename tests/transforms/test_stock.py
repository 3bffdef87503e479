"""Days of stock against a reckoning day by day, whatever counts and sales there are; and a story by hand."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import Row, SparkSession

from tests.builders import DAY, at, days_before, event, frame
from transforms.contracts import conform, gold, silver
from transforms.stock import TurnoverRules, inventory_turnover

LINES = (
    "store_id string, category string, order_date date, quantity decimal(18,3), returned_quantity decimal(18,3), "
    "cost_amount decimal(18,2)"
)
RULES = TurnoverRules.model_validate(
    {"period_days": 10, "carry_days": 7, "band": [5, 20], "category_bands": {"food": [1, 4]}}
)
Count = tuple[int, int, int, int | None, int]  # days ago, hour, arrived days later, value in cents, product (0: none)
Sale = tuple[int, int, int, int]  # days ago, pieces, of them given back, cost in cents

COUNTS = st.tuples(
    st.integers(0, 20), st.integers(0, 2), st.integers(0, 1), st.none() | st.integers(0, 90_000), st.integers(0, 2)
)
SALES = st.tuples(st.integers(0, 12), st.integers(1, 3), st.integers(0, 3), st.integers(0, 20_000))
STORE = st.tuples(st.lists(COUNTS, max_size=8), st.lists(SALES, max_size=4))


def cents(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / value.denominator).quantize(Decimal("0.01"), ROUND_HALF_UP)


def stock_by_days(counts: list[Count]) -> tuple[Decimal, int] | None:
    """(mean value, most days known), each product by itself, looking at every day of the period; None: never known."""
    means, known = [], []
    for product in {count[4] for count in counts}:
        said = [(n, c) for n, c in enumerate(counts) if c[4] == product and c[3] is not None]
        days = []
        for ago in range(RULES.period_days):
            newest = [(-c[0], c[1], c[2], n, c[3]) for n, c in said if ago <= c[0] < ago + RULES.carry_days]
            if newest:
                days.append(max(newest)[-1])
        if days:
            means.append(Fraction(sum(days), 100 * len(days)))
            known.append(len(days))
    return (cents(sum(means, Fraction(0))), max(known)) if known else None


def turned(spark: SparkSession, stores: dict[str, tuple[list[Count], list[Sale]]]) -> dict[str, Row]:
    events, lines = [], []
    for store, (counts, sales) in stores.items():
        for n, (ago, hour, later, value, product) in enumerate(counts):
            day = days_before(ago)
            said: dict[str, Any] = {"product_id": f"P{product}" if product else None, "category": "food"}
            said["cost_amount"] = None if value is None else Decimal(value) / 100
            events.append(
                event(f"{store}-{n}", "stock", identifiers={}, store_id=store, event_at=at(day, hour),
                      arrival_date=day + timedelta(days=later), **said)
            )  # fmt: skip
        lines += [
            (store, "food", days_before(ago), Decimal(pieces), Decimal(min(back, pieces)), Decimal(cost) / 100)
            for ago, pieces, back, cost in sales
        ]
    made = inventory_turnover(
        frame(spark, silver.EVENTS, events).repartition(3), spark.createDataFrame(lines, LINES), DAY, RULES
    )
    found = conform(made, gold.INVENTORY_TURNOVER).collect()
    assert len({row.store_id for row in found}) == len(found)
    return {row.store_id: row for row in found}


@settings(max_examples=3)
@given(st.lists(STORE, min_size=60, max_size=60))
def test_every_day_has_its_newest_count(spark: SparkSession, cases: list[tuple[list[Count], list[Sale]]]) -> None:
    """Counts of one date are ordered by hour, arrival and event_id; one without a value says nothing."""
    stores = {f"S{n:02d}": case for n, case in enumerate(cases)}
    found = turned(spark, stores)
    for store, (counts, sales) in stores.items():
        stock = stock_by_days(counts)
        assert (store in found) == (stock is not None)
        if stock is None:
            continue
        row = found[store]
        assert (row.stock_value, row.stock_days) == stock
        kept = [(Fraction(max(pieces - back, 0), pieces), paid) for ago, pieces, back, paid in sales if ago < 10]
        cost = sum((cents(share * paid / 100) for share, paid in kept), Decimal(0))
        assert row.cost_of_sales == cost
        days = row.stock_value * 10 / cost if cost else None
        assert row.days == (days and days.quantize(Decimal("0.000001"), ROUND_HALF_UP))
        assert row.is_slow_mover == (days > 4 if days is not None else row.stock_value > 0)
        assert row.status == ("unsold" if days is None else "below" if days < 1 else "above" if days > 4 else "within")


def test_a_count_stands_until_the_next_one(spark: SparkSession) -> None:
    """Ten days: 100 for three of them, then 50; four are sold a day at 2, and one comes back."""
    first_day = date(2026, 6, 21)  # the first day of the period
    told = [("S1", date(2026, 6, 20), 100), ("S1", date(2026, 6, 24), 50), ("S2", DAY, 7), ("S3", date(2026, 6, 14), 7)]
    shoes: dict[str, Any] = {"identifiers": {}, "category": "shoes"}
    events = [
        event(f"{store}-{day}", "stock", store_id=store, event_date=day, cost_amount=cost, **shoes)
        for store, day, cost in told
    ]
    lines = [("S1", "shoes", first_day + timedelta(days=n), Decimal(4), Decimal(0), Decimal(8)) for n in range(9)]
    lines += [
        ("S1", "shoes", DAY, Decimal(4), Decimal(1), Decimal(8)),
        ("S1", "shoes", date(2026, 6, 20), Decimal(9), Decimal(0), Decimal(99)),  # before the period
        ("S1", "kids", DAY, Decimal(1), Decimal(0), Decimal(9)),  # not counted in S1
        (None, "shoes", DAY, Decimal(1), Decimal(0), Decimal(9)),  # sold on the web
    ]
    made = inventory_turnover(frame(spark, silver.EVENTS, events), spark.createDataFrame(lines, LINES), DAY, RULES)
    found = {row.store_id: row for row in made.collect()}
    one, two = found.pop("S1"), found.pop("S2")
    assert not found  # S3 was counted seven days before the period began, and a count stands for seven
    # 100 on 21, 22 and 23 June, 50 on the seven days from the 24th: 650 in ten days. Sold: 10 x 8 less one piece of 2.
    assert (one.stock_value, one.cost_of_sales, one.stock_days) == (Decimal(65), Decimal(78), 10)
    assert one.days == Decimal("8.333333")  # 65 / 78 x 10
    assert (one.status, one.is_slow_mover, one.benchmark_low, one.benchmark_high) == ("within", False, 5, 20)
    assert (two.stock_value, two.stock_days, two.days, two.status) == (Decimal(7), 1, None, "unsold")
    assert two.is_slow_mover
