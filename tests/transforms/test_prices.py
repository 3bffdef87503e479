"""Prices by segment against DuckDB's own SQL over random lines, and products of which each shows one thing."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.brute_force import by_duckdb
from tests.builders import DAY, days_before
from transforms.contracts import conform, gold
from transforms.prices import PriceRules, check_segments, price_fairness

LINES = (
    "customer_id string, product_id string, order_date date, quantity decimal(18,3), gross_amount decimal(18,2), "
    "is_purchase boolean"
)
SEGMENTS = "customer_id string, segment string"


def rules(**said: Any) -> PriceRules:
    shipped = {"window_days": 30, "tolerance": 0.1, "least_pieces": 4, "least_customers": 2}
    named = {"loyal_segments": ["vip", "active"], "new_segments": ["new", "newest"]}
    return PriceRules.model_validate({**shipped, **named, **said})


def test_brute_force_agrees(spark: SparkSession) -> None:
    """900 lines of twelve products by forty customers and some guests; prices move by a third."""
    chance = random.Random(17)
    rows: list[tuple[Any, ...]] = []
    for _ in range(900):
        who = None if chance.random() < 0.05 else f"c{chance.randrange(40)}"
        pieces = Decimal(chance.choice([0, 500, 1000, 1000, 1000, 2000, 3000])).scaleb(-3)
        cents = int(pieces * chance.randint(800, 1200)) if chance.random() < 0.97 else 0
        product = chance.choice([None, *[f"P{n}" for n in range(12)]])
        day = days_before(chance.choice([-1, 0, 29, 30, chance.randint(0, 60)]))
        rows.append((who, product, day, pieces, Decimal(cents).scaleb(-2), chance.random() < 0.95))
    members = [(f"c{n}", ["vip", "active", "new", "newest", "other"][n % 5]) for n in range(38)]  # two are in none
    made = price_fairness(
        spark.createDataFrame(rows, LINES).repartition(5, "quantity"),
        spark.createDataFrame(members, SEGMENTS),
        DAY,
        rules(),
    )
    found = {(row.product_id, row.segment): row for row in conform(made, gold.PRICE_FAIRNESS).collect()}
    expected = by_duckdb(
        """
        with counted as (
            select product_id, coalesce(segment, 'unknown') as segment, customer_id as c,
                   cast(quantity * 1000 as hugeint) as milli, cast(gross_amount * 100 as hugeint) as cents,
                   gross_amount / quantity as price
            from sold left join segments using (customer_id)
            where is_purchase and quantity > 0 and gross_amount > 0
            and customer_id is not null and product_id is not null
            and order_date between date '2026-06-01' and date '2026-06-30'),
        mine as (select product_id, segment, count(distinct c) as n, sum(milli) as milli, sum(cents) as cents,
                 min(price) as low, max(price) as high from counted group by 1, 2),
        them as (
            select m.product_id, m.segment, whose, count(distinct c) as n, sum(k.milli) as milli, sum(k.cents) as cents
            from mine m, (values ('others'), ('new'), ('product')) w(whose), counted k
            where k.product_id = m.product_id and case whose when 'others' then k.segment <> m.segment
                  when 'new' then k.segment in ('new', 'newest') else true end
            group by all),
        more as (
            select m.product_id, m.segment, whose, t.cents * 10.0 / t.milli as mean,
                   m.n >= 2 and t.n >= 2 and m.milli >= 4000 and t.milli >= 4000
                   and m.cents * t.milli * 10 > 11 * t.cents * m.milli as pays_more
            from mine m join them t using (product_id, segment))
        select m.*, (m.cents * 10.0 / m.milli) as mean, p.mean, o.mean, coalesce(o.pays_more, false), w.mean,
               coalesce(w.pays_more, false) and m.segment in ('vip', 'active')
        from mine m join more p on p.product_id = m.product_id and p.segment = m.segment and p.whose = 'product'
        left join more o on o.product_id = m.product_id and o.segment = m.segment and o.whose = 'others'
        left join more w on w.product_id = m.product_id and w.segment = m.segment and w.whose = 'new'
        """,
        sold=(LINES, rows),
        segments=(SEGMENTS, members),
    )
    assert len(found) == len(expected) > 50
    for product, segment, n, milli, _, low, high, mean, whole, others, unfair, new, penalty in expected:
        row = found[product, segment]
        assert (row.customers, row.pieces * 1000) == (n, milli)
        told = (row.mean_price, row.min_price, row.max_price, row.product_mean_price)
        assert [float(price) for price in told] == pytest.approx([mean, low, high, whole], abs=0.00501)
        for price, theirs in ((row.others_mean_price, others), (row.new_mean_price, new)):
            assert price is None if theirs is None else float(price) == pytest.approx(theirs, abs=0.00501)
        assert float(row.price_ratio) == pytest.approx(mean / whole, abs=1e-6)
        assert (row.is_unfair, row.is_loyalty_penalty) == (unfair, penalty), (product, segment)
    assert any(row.is_unfair for row in found.values())
    assert any(row.is_loyalty_penalty for row in found.values())


def test_each_condition_can_fail(spark: SparkSession) -> None:
    """(product, segment, customers, pieces of each, price); two customers and four pieces are enough volume."""
    told = [
        ("dear", "vip", 2, 2, 111), ("dear", "new", 2, 2, 100),
        ("a tenth", "vip", 2, 2, 110), ("a tenth", "new", 2, 2, 100),  # exactly the tolerance
        ("one buyer", "vip", 1, 9, 200), ("one buyer", "new", 2, 2, 100),
        ("few pieces", "vip", 3, 1, 200), ("few pieces", "new", 2, 2, 100),
        ("few others", "vip", 2, 2, 200), ("few others", "new", 1, 9, 100),
        ("new pay more", "vip", 2, 2, 100), ("new pay more", "new", 2, 2, 200),
        ("no new ones", "vip", 2, 2, 200), ("no new ones", "lost", 2, 2, 100),
        ("others cheap", "vip", 2, 2, 120), ("others cheap", "new", 2, 2, 119), ("others cheap", "lost", 9, 9, 50),
        ("given away", "vip", 2, 2, 100), ("given away", "new", 2, 2, 0),
    ]  # fmt: skip
    rows = [
        (f"{segment}{n}", product, DAY, Decimal(pieces), Decimal(pieces * price), True)
        for product, segment, people, pieces, price in told
        for n in range(people)
    ]
    members = [(f"{segment}{n}", segment) for segment in ("vip", "new", "lost") for n in range(9)]
    made = price_fairness(
        spark.createDataFrame(rows, LINES), spark.createDataFrame(members, SEGMENTS), DAY, rules()
    ).collect()
    assert {(row.product_id, row.segment) for row in made if row.is_unfair} == {
        ("dear", "vip"), ("new pay more", "new"), ("no new ones", "vip"),
        ("others cheap", "vip"), ("others cheap", "new"),
    }  # fmt: skip
    assert {(row.product_id, row.segment) for row in made if row.is_loyalty_penalty} == {("dear", "vip")}
    (free,) = [row for row in made if row.product_id == "given away"]  # what cost nothing is no price
    assert (free.segment, free.price_ratio, free.others_mean_price) == ("vip", 1, None)


def test_a_segment_that_is_not_declared_is_told() -> None:
    assert check_segments(rules(), ["vip", "active", "new", "newest"]) == []
    (problem,) = check_segments(rules(), ["vip", "active", "new", "new_customer"])
    assert problem.startswith("prices.new_segments: segment 'newest' is not a primary one")
