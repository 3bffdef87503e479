"""Cohorts against DuckDB's own SQL over random customers, and a story by hand."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from tests.brute_force import by_duckdb
from transforms.cohorts import CohortRules, retention_cohorts
from transforms.contracts import conform, gold

ORDERS = "customer_id string, order_date date, channel string, is_purchase boolean"
ACTIVITY = "customer_id string, event_date date, channel string, event_type string"
SEGMENTS = "customer_id string, segment string"


def frame(spark: SparkSession, columns: str, rows: list[tuple[Any, ...]]) -> DataFrame:
    return spark.createDataFrame(rows, columns)


def test_brute_force_agrees(spark: SparkSession) -> None:
    """Sixty customers over ten months; orders given back and after the run date, several channels on one day."""
    chance = random.Random(3)
    as_of, start = date(2026, 6, 17), date(2025, 9, 3)
    orders: list[tuple[Any, ...]] = []
    activity: list[tuple[Any, ...]] = []
    for _ in range(500):
        number = chance.randrange(60)
        who, began = f"c{number}", start + timedelta(days=5 * number)
        day = began + timedelta(days=chance.choice([0, 3, chance.randint(0, 60)]))
        channel = chance.choice(["store_pos", "app", "ecommerce"])
        kind = chance.choice(["order", "order", "return", "cancel", "view"])
        activity.append((who, day, channel, kind))
        if kind == "order":
            orders.append((who, day, channel, chance.random() < 0.8))
    segments = [(f"c{n}", chance.choice(["active", "lost"])) for n in range(50)]  # ten are in none that is known
    made = retention_cohorts(
        frame(spark, ORDERS, orders).repartition(3),
        frame(spark, ACTIVITY, activity).repartition(5, "channel"),
        frame(spark, SEGMENTS, segments),
        as_of,
        CohortRules(months=9),
    )
    found = conform(made, gold.RETENTION_COHORTS).collect()
    expected = by_duckdb(
        """
        with days as (
            select 'cleaned' as mode, customer_id as c, order_date as day, channel from bought where is_purchase
            union all
            select 'with_cancellations', customer_id, event_date, channel from did where event_type <> 'view'),
        seen as (select * from days where day <= date '2026-06-17'),
        firsts as (
            select mode, c, date_trunc('month', min(day)) as cohort, arg_min(channel, (day, channel)) as channel
            from seen group by all),
        scoped as (
            select mode, c, cohort, 'chain' as scope, 'all' as scope_value from firsts
            union all select mode, c, cohort, 'channel', channel from firsts
            union all select mode, f.c, cohort, 'segment', coalesce(segment, 'unknown')
                      from firsts f left join members m on m.customer_id = f.c),
        sized as (select mode, scope, scope_value, cohort, count(*) as size
                  from scoped where cohort >= date '2025-10-01' group by all),
        grid as (select *, unnest(generate_series(cohort, timestamp '2026-06-01', interval 1 month)) as month
                 from sized)
        select mode, scope, scope_value, strftime(cohort, '%Y-%m'), date_diff('month', cohort, month), size,
               (select count(*) from scoped s where s.mode = g.mode and s.scope = g.scope
                and s.scope_value = g.scope_value and s.cohort = g.cohort and exists (
                    select 1 from seen where seen.mode = s.mode and seen.c = s.c
                    and date_trunc('month', day) = g.month)) as active,
               month < date '2026-06-01'
        from grid g
        """,
        bought=(ORDERS, orders),
        did=(ACTIVITY, activity),
        members=(SEGMENTS, segments),
    )
    told = {(*row[1:6], row.cohort_customers, row.customers, row.is_complete) for row in found}
    assert told == set(expected)
    assert len(found) == len(expected) > 300
    assert any(row.customers == 0 for row in found)
    assert {row.rate for row in found if row.month_number == 0} == {Decimal(1)}
    assert all(abs(row.rate * row.cohort_customers - row.customers) <= Decimal("0.0001") for row in found)


def test_what_came_back_later_counts_only_with_cancellations(spark: SparkSession) -> None:
    """Two months, told on the last day of the second one."""
    january, february = date(2026, 1, 20), date(2026, 2, 5)
    orders = [
        ("stays", january, "app", True), ("stays", february, "store_pos", True),
        ("gave all back", january, "app", False), ("gave all back", february, "app", True),
        ("only gave back", january, "app", False),
    ]  # fmt: skip
    activity = [
        *[(who, day, channel, "order") for who, day, channel, _ in orders],
        ("only gave back", february, "service", "return"),
        ("only gave back", february, "app", "visit"),
        ("looks around", february, "app", "view"),
    ]
    made = retention_cohorts(
        frame(spark, ORDERS, orders),
        frame(spark, ACTIVITY, activity),
        frame(spark, SEGMENTS, [("stays", "active")]),
        date(2026, 2, 28),
        CohortRules(months=2),
    )
    rows = made.where("scope = 'chain'").collect()
    found = {(row.mode, row.cohort_month, row.month_number): (row.customers, row.is_complete) for row in rows}
    assert found == {
        ("cleaned", "2026-01", 0): (1, True),
        ("cleaned", "2026-01", 1): (1, True),
        ("cleaned", "2026-02", 0): (1, True),  # who gave the first order back begins with the second
        ("with_cancellations", "2026-01", 0): (3, True),
        ("with_cancellations", "2026-01", 1): (3, True),  # a return is activity of its own month
    }
