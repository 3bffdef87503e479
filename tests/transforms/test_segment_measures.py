"""Facts, overlaps, Pareto and the matrix, each against DuckDB's own SQL over the same small tables."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from tests.builders import DAY, days_before, frame, identity
from transforms.contracts import MONEY, QUANTITY, conform, gold, silver
from transforms.segments import (
    ActivityTiers,
    NewProductRules,
    SegmentRules,
    concentration,
    segment_facts,
    segment_overlaps,
    value_activity_matrix,
)

NEW = NewProductRules(on_sale_days=30, window_days=365)
ACTIVITY = ActivityTiers.model_validate(
    {
        "tiers": [
            {"name": "active", "label": "活跃", "description": "d", "up_to_days": 30},
            {"name": "quiet", "label": "沉寂", "description": "d", "up_to_days": 90},
            {"name": "gone", "label": "离开", "description": "d"},
        ]
    }
)
COUNTED = "customer_id string, net_amount decimal(18,2)"
AMOUNTS = "customer_id string, net_amount decimal(18,2), profit_amount decimal(18,2)"


def asked(sql: str, **tables: tuple[str, Iterable[Sequence[Any]]]) -> list[tuple[Any, ...]]:
    """What DuckDB answers over tables given as (columns, rows)."""
    connection = duckdb.connect()
    for name, (columns, rows) in tables.items():
        connection.execute(f"create table {name} ({columns})")
        connection.executemany(f"insert into {name} values ({', '.join('?' * (columns.count(',') + 1))})", list(rows))
    return connection.execute(sql).fetchall()


def test_pareto_and_gini_are_those_of_the_sorted_customers(spark: SparkSession) -> None:
    """333 buyers, many with equal amounts and some with losses, and 50 who bought nothing or gave back more."""
    random_ = random.Random(5)
    rows = []
    for n in range(333):
        net = Decimal(random_.choice([10, 10, 20, 35, 500, random_.randint(1, 90_000)])).scaleb(-1)
        rows.append((f"c{n}", net, net - Decimal(random_.randint(0, 3_000)).scaleb(-2)))
    rows += [(f"none{n}", Decimal(-n), Decimal(-n)) for n in range(50)] + [("unknown", None, None)]
    found = conform(concentration(spark.createDataFrame(rows, AMOUNTS), DAY), gold.PARETO).collect()
    expected = asked(
        """
        with buyers as (select * from facts where net > 0),
        placed as (select *, row_number() over (order by net desc) as by_net,
                   row_number() over (order by profit desc) as by_profit, count(*) over () as n from buyers)
        select x, cast(round(sum(net) filter (by_net <= x * n // 100) / sum(net), 6) as double),
               cast(round(sum(profit) filter (by_profit <= x * n // 100) / sum(profit), 6) as double),
               (select sum(abs(a.net - b.net)) / (2 * any_value(t.n) * any_value(t.total))
                from buyers a, buyers b, (select count(*) as n, sum(net) as total from buyers) t),
               (select sum(abs(a.profit - b.profit)) / (2 * any_value(t.n) * any_value(t.total))
                from buyers a, buyers b, (select count(*) as n, sum(profit) as total from buyers) t)
        from placed, range(1, 101) percents(x) group by x
        """,
        facts=(
            "customer_id varchar, net double, profit double",
            [(c, n and float(n), p and float(p)) for c, n, p in rows],
        ),
    )
    mine = {row.top_percent: row for row in found}
    assert sorted(mine) == list(range(1, 101))
    for x, amount, profit, gini, profit_gini in expected:
        told = (mine[x].amount_share, mine[x].profit_share, mine[x].gini, mine[x].profit_gini)
        assert [float(value) for value in told] == pytest.approx([amount, profit, gini, profit_gini], abs=2e-6), x
    assert mine[100].amount_share == mine[100].profit_share == 1
    assert max(row.profit_share for row in found) > 1  # losses come last


def test_one_customer_and_no_profit(spark: SparkSession) -> None:
    one = spark.createDataFrame([("a", Decimal(5), Decimal(-5))], AMOUNTS)
    rows = {row.top_percent: row for row in concentration(one, DAY).collect()}
    assert (rows[99].amount_share, rows[100].amount_share) == (0, 1)  # 99 % of one customer is nobody
    assert (rows[100].gini, rows[100].profit_share, rows[100].profit_gini) == (0, None, None)


def test_overlaps_are_the_customers_of_both(spark: SparkSession) -> None:
    random_ = random.Random(6)
    codes = [f"s{n}" for n in range(9)] + ["empty"]
    entries = [{"code": code, "label": code, "description": "", "when": "true"} for code in codes]
    other = {"code": "other", "label": "其他", "description": "", "when": "true"}
    rules = SegmentRules.model_validate({"primary": [other], "secondary": entries})
    rows = [(f"c{n}", code) for n in range(200) for code in codes[:-1] if random_.random() < 0.25]
    members = spark.createDataFrame(rows, "customer_id string, segment string")
    found = conform(segment_overlaps(members, DAY, rules), gold.SEGMENT_OVERLAPS).collect()
    expected = asked(
        """
        with sizes as (select segment, count(*) as n from members group by segment),
        pairs as (select a.segment as a, b.segment as b, count(*) as n from members a join members b
                 on a.customer_id = b.customer_id and a.segment < b.segment group by all)
        select p.a, p.b, p.n, round(p.n / (x.n + y.n - p.n), 6)
        from pairs p join sizes x on x.segment = p.a join sizes y on y.segment = p.b
        """,
        members=("customer_id varchar, segment varchar", rows),
    )
    assert len(expected) == 36
    assert sorted((r.segment_a, r.segment_b, r.customers, float(r.jaccard)) for r in found) == sorted(expected)


def test_matrix_cells_sum_to_everybody(spark: SparkSession) -> None:
    """On each side of every border; who has no value, never did anything, or has a tier that no longer is."""
    people = [("gold", 0), ("gold", 30), ("gold", 31), ("low", 90), ("low", 91), (None, None), (None, 3), ("old", 5)]
    told = [(tier, None if days is None else days_before(days)) for tier, days in people]
    portraits = spark.createDataFrame(told, "value_tier string, last_active_date date")
    matrix = value_activity_matrix(portraits, DAY, ["gold", "low"], ACTIVITY)
    cells = {
        (r.value_tier, r.activity_tier): r.customers for r in conform(matrix, gold.VALUE_ACTIVITY_MATRIX).collect()
    }
    some = {("gold", "active"): 2, ("gold", "quiet"): 1, ("low", "quiet"): 1, ("low", "gone"): 1,
            ("none", "none"): 1, ("none", "active"): 1, ("old", "active"): 1}  # fmt: skip
    declared = [(value, tier) for value in ("gold", "low", "none") for tier in ("active", "quiet", "gone", "none")]
    assert cells == {**dict.fromkeys(declared, 0), **some}
    assert sum(cells.values()) == len(people)


def test_activity_tiers_that_cannot_work_are_refused() -> None:
    tier = {"name": "a", "label": "一", "description": ""}
    refusals = [
        ([{**tier, "up_to_days": 3}], "the last tier has none"),
        ([tier, {**tier, "name": "b"}], "must rise"),
        ([{**tier, "up_to_days": 9}, {**tier, "name": "b", "up_to_days": 9}, {**tier, "name": "c"}], "must rise"),
        ([{**tier, "up_to_days": 3}, tier], "a is declared twice"),
        ([{**tier, "name": "none"}], "never did anything"),
        ([], "at least 1 item"),
    ]
    for tiers, message in refusals:
        with pytest.raises(ValidationError, match=message):
            ActivityTiers.model_validate({"tiers": tiers})


def line(number: int, member: str, product: str | None, days: int, **said: Any) -> dict[str, Any]:
    """An order line of one piece for 10.00 that cost 4.00 and was kept."""
    usual = {
        "event_id": f"e{number}",
        "order_id": f"o{number}",
        "lead_identifier_type": "member",
        "lead_identifier": member,
        "order_date": days_before(days),
        "product_id": product,
        "quantity": 1,
        "returned_quantity": 0,
        "cost_amount": 4,
        "is_purchase": True,
    }
    row = {**usual, **said}
    kinds = {column.name: column.type for column in silver.ORDER_LINES.columns}
    return {n: Decimal(v) if kinds[n] in (MONEY, QUANTITY) and v is not None else v for n, v in row.items()}


def test_products_are_new_in_their_first_30_days(spark: SparkSession) -> None:
    """All that is known begins 500 days ago; N was first bought 200 days ago, by a guest."""
    bought = [
        line(1, "guest", "OLD", 500),
        line(2, "guest", "EARLY", 471),  # in the first 30 days of all: not known to be new
        line(3, "M1", "EARLY", 460, is_purchase=True),
        line(4, "guest", "N", 200),
        line(5, "M1", "N", 171),  # its 30th day on sale
        line(6, "M1", "N", 170),  # its 31st
        line(7, "M2", "N", 200),
        line(8, "M2", "N", 200, is_purchase=False),  # brought back
        line(9, "M2", None, 100),  # of no known product
        line(10, "M2", "OLD", 364),
        line(11, "M2", "OLD", 365),  # just outside the window
        line(12, "phone of M2", "LATE", 470),  # a launch, but outside the window
        line(13, "phone of M2", "LATE2", 364, quantity=4, returned_quantity=1, cost_amount=10),
    ]
    owners = [
        identity("member", "M1", "C1"), identity("member", "M2", "C2"), identity("member", "phone of M2", "C2"),
        identity("member", "guest", None),
    ]  # fmt: skip
    counted = spark.createDataFrame([("C1", Decimal(30)), ("C2", Decimal(7)), ("C3", None)], COUNTED)
    silver_frames = frame(spark, silver.ORDER_LINES, bought), frame(spark, silver.IDENTITIES, owners)
    facts = segment_facts(*silver_frames, counted, DAY, NEW)
    found = {row.customer_id: row for row in facts.collect()}
    assert set(found) == {"C1", "C2", "C3"}
    assert (found["C1"].new_product_line_count, found["C1"].new_product_share) == (1, Decimal("0.500000"))
    assert (found["C2"].new_product_line_count, found["C2"].new_product_share) == (2, Decimal("0.666667"))
    assert found["C3"].new_product_share is None
    assert found["C1"].profit_amount == 30 - 3 * 4
    assert found["C2"].profit_amount == 7 - (6 * 4) - Decimal("7.5")  # of four pieces three were kept


def test_top_percents_are_never_more_than_their_share(spark: SparkSession) -> None:
    """101 buyers: 20 have most, then two share a place: 22 of 101 are more than 20 %, so both are outside."""
    amounts = [*range(1000, 980, -1), 900, 900, *range(100, 21, -1)]
    rows = [(f"c{n}", Decimal(amount)) for n, amount in enumerate(amounts)] + [("returned", Decimal(-5))]
    empty = frame(spark, silver.ORDER_LINES, []), frame(spark, silver.IDENTITIES, [])
    facts = segment_facts(*empty, spark.createDataFrame(rows, COUNTED), DAY, NEW)
    found = {row.customer_id: row.amount_top_percent for row in facts.collect()}
    as_much = {f"c{n}": sum(other >= amount for other in amounts) for n, amount in enumerate(amounts)}
    expected = {customer: -(-100 * count // len(amounts)) for customer, count in as_much.items()}
    assert found == {**expected, "returned": None}
    best_fifth = {customer for customer, percent in found.items() if percent and percent <= 20}
    assert best_fifth == {f"c{n}" for n in range(20)}
    assert found["c20"] == found["c21"] == 22
