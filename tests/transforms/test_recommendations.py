"""Recommendations: what is bought together and again, whose list it comes to in which order, and who gets none."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests.builders import DAY, at, days_before, event, frame
from transforms.contracts import gold, silver
from transforms.recommendations.backtest import count_hits, hit_rates
from transforms.recommendations.co_purchase import best_neighbours, co_purchases, count_pairs
from transforms.recommendations.finance import recommend_finance
from transforms.recommendations.goods import recommend_goods
from transforms.recommendations.lists import AGAIN, CATEGORY, POPULAR, TOGETHER, Owned, popular_goods, ranked_goods
from transforms.recommendations.products import known_products
from transforms.recommendations.purchases import bought_products, product_categories, purchases_of
from transforms.recommendations.rules import RecommendationRules, check_recommendations
from transforms.recommendations.shelf import Shelf, shelf_of
from transforms.recommendations.stock import with_availability

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "conf/recommendations.yaml").read_text(encoding="utf-8"))


def rules(**changed: Any) -> RecommendationRules:
    """The shipped rules, sections changed key by key."""
    section = dict(SHIPPED["recommendations"])
    for name, value in changed.items():
        section[name] = {**section[name], **value} if isinstance(value, dict) else value
    return RecommendationRules(**section)


SMALL = rules(
    co_purchase={"least_baskets": 2, "damping": 1, "most_basket_products": 4, "neighbours": 3, "seeds": 2},
    repeatable={"least_buyers": 3, "least_share": 0.5},
)


def lines(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    """Order lines of (customer, order, product, days ago) and, where it matters, category and pieces returned."""
    full = [
        (who, order, what, days_before(ago), *(*more, *(None, 0)[len(more) :])) for who, order, what, ago, *more in rows
    ]
    names = "customer_id string, order_id string, product_id string, order_date date, category string, returned int"
    told = spark.createDataFrame(full, names)
    return told.withColumns({"is_purchase": F.lit(True), "quantity": F.lit(1), "returned_quantity": F.col("returned")})


# -- What is bought together and again --------------------------------------------------------------------------------


def test_what_is_bought_together_and_again(spark: SparkSession) -> None:
    rows = [
        ("C1", "o1", "bread", 1, "food"), ("C1", "o1", "butter", 1, "food"),
        ("C1", "o1", "butter", 1, "food"),                      # two lines of a product are one of a basket
        ("C1", "o2", "bread", 9, "food"), ("C1", "o2", "butter", 9, "food"),
        ("C2", "o3", "bread", 2, "food"), ("C2", "o3", "butter", 2, "food"), ("C2", "o3", "sofa", 2, "home"),
        ("C2", "o4", "bread", 4, "food"),
        ("C3", "o5", "bread", 3, "food"), ("C3", "o5", "sofa", 3, "home", 1),   # the sofa came back
        ("C3", "o6", "sofa", 5, "home"), ("C4", "o7", "sofa", 5, "home"),
        ("C4", "o8", "lamp", 5, "home"),                        # one buyer: its category decides
        *[("C5", "o9", name, 6, "food") for name in ("bread", "butter", "jam", "tea", "oil")],  # a basket too large
        (None, "o10", "bread", 1, "food"), (None, "o10", "butter", 1, "food"),  # a guest
        ("C1", "o11", "sofa", 365, "home"),                     # (D - 365, D] begins a day later
    ]  # fmt: skip
    purchases = purchases_of(lines(spark, rows), DAY, 365)
    known = known_products(
        bought_products(purchases, DAY), product_categories(purchases), SMALL.repeatable
    ).localCheckpoint()
    pairs = co_purchases(count_pairs(purchases, known, SMALL.co_purchase), known, SMALL.co_purchase)
    found = {(row.product_id, row.neighbour_id): (row.together, row.similarity) for row in pairs.collect()}
    # bread is in o1 to o5, butter in o1 to o3; the sofa went with bread and butter once, which is too few
    assert found == {("bread", "butter"): (3, Decimal("0.5")), ("butter", "bread"): (3, Decimal("0.75"))}

    products = {row.product_id: row for row in known.collect()}
    # Of four buyers of bread (C1, C2, C3, C5) two bought it on two days; of three of butter one; nobody two sofas.
    told = {name: (row.buyers, row.repeat_share, row.is_repeatable, row.place) for name, row in products.items()}
    food = Decimal(3) / 10  # buyers of bread 4, butter 3, jam, tea, oil 1 each; three of these ten pairs came again
    assert told == {
        "bread": (4, Decimal("0.5"), True, 1),
        "butter": (3, Decimal("0.333333"), False, 2),
        "sofa": (3, Decimal(0), False, 3),
        "jam": (1, food, False, 4),  # of one buyer each: by name
        "lamp": (1, Decimal(0), False, 5),
        "oil": (1, food, False, 6),
        "tea": (1, food, False, 7),
    }
    assert {row.category for row in products.values()} == {"food", "home"}


def some_lines(seed: int = 5) -> list[tuple[Any, ...]]:
    """Baskets of one to six of twelve products, low numbers more often."""
    chance = random.Random(seed)
    rows = []
    for order in range(150):
        who = f"C{chance.randrange(30):02d}"
        for _ in range(chance.randint(1, 6)):
            product = f"P{int(12 * chance.random() ** 2):02d}"
            rows.append((who, f"o{order}", product, order // 2, f"G{int(product[1:]) % 3}"))
    return rows


def learnt(spark: SparkSession, rows: list[tuple[Any, ...]], parts: int) -> tuple[pd.DataFrame, DataFrame, Shelf]:
    """Pairs, bought products and the shelf of some lines."""
    purchases = purchases_of(lines(spark, rows).repartition(parts), DAY, 365)
    bought = bought_products(purchases, DAY).localCheckpoint()
    products = (
        known_products(bought, product_categories(purchases), SMALL.repeatable)
        .withColumn("is_available", F.col("product_id") != "P01")
        .localCheckpoint()
    )
    counted = count_pairs(purchases, products, SMALL.co_purchase)
    pairs = co_purchases(counted, products, SMALL.co_purchase).localCheckpoint()
    neighbours = best_neighbours(pairs, products.where("is_available"), SMALL.co_purchase)
    return pairs.toPandas(), bought, shelf_of(products.toArrow(), neighbours.toArrow())


def test_brute_force_agrees_and_order_means_nothing(spark: SparkSession) -> None:
    rows = some_lines()
    pairs, bought, shelf = learnt(spark, rows, parts=1)
    items_told = pd.DataFrame(rows, columns=["who", "basket", "product", "ago", "category"])
    expected = duckdb.sql(
        """
        with items as (select distinct basket, product from items_told),
        small as (select * from items where basket in (select basket from items group by 1 having count(*) <= 4)),
        held as (select product, count(*) as baskets from small group by 1)
        select a.product, b.product, count(*), round(count(*) / (any_value(held.baskets) + 1), 6)
        from small a join small b on a.basket = b.basket and a.product <> b.product
        join held on held.product = a.product
        group by 1, 2 having count(*) >= 2
        """
    ).fetchall()
    found = {(a, b, n, float(s)) for a, b, n, s in pairs.itertuples(index=False)}
    assert found == set(expected)
    assert len(found) > 30 and len(items_told) > 400

    asked = ("customer_id", "customer_id <> 'C00' as consent_personalised")
    tags = ("'G2' as preferred_category", "string(null) as top_viewed_category_30d")
    customers = bought.select("customer_id").distinct().selectExpr(*asked, *tags)
    listed = recommend_goods(customers, bought, shelf, DAY, SMALL).toPandas()
    assert list(listed.columns) == gold.RECOMMENDATIONS.column_names
    assert set(listed["customer_id"]) == {row[0] for row in rows} - {"C00"}  # who did not consent gets nothing
    assert not listed.duplicated(["customer_id", "rank"]).any()
    assert not listed.duplicated(["customer_id", "product_id"]).any()
    assert "P01" not in set(listed["product_id"])  # out of stock
    for _, of_one in listed.groupby("customer_id"):
        assert list(of_one.sort_values("rank")["rank"]) == list(range(1, len(of_one) + 1))
    own = {(row.customer_id, row.product_id) for row in bought.collect()}
    is_own = [pair in own for pair in zip(listed["customer_id"], listed["product_id"], strict=True)]
    assert is_own == list(listed["reason"] == "buy_again")
    of_category = listed[listed["reason"] == "preferred_category:G2"]
    assert set(of_category["category"]) == {"G2"}

    shuffled = random.Random(1).sample(rows, len(rows))
    pairs_again, bought_again, shelf_again = learnt(spark, shuffled, parts=5)
    by = ["product_id", "neighbour_id"]
    assert pairs.sort_values(by, ignore_index=True).equals(pairs_again.sort_values(by, ignore_index=True))
    again = recommend_goods(customers.repartition(3), bought_again, shelf_again, DAY, SMALL).toPandas()
    by = ["customer_id", "rank"]
    assert listed.sort_values(by, ignore_index=True).equals(again.sort_values(by, ignore_index=True))


# -- Lists, without Spark ---------------------------------------------------------------------------------------------

PRODUCTS = [
    # product, category, share that buys it again, is repeatable, is available, place by buyers
    ("bread", "food", 0.6, True, True, 1),
    ("butter", "food", 0.5, True, True, 2),
    ("candle", "home", 0.0, False, True, 3),
    ("desk", "home", 0.0, False, True, 4),
    ("eggs", "food", 0.6, True, False, 5),  # out of stock
    ("fridge", "home", 0.0, False, True, 6),
    ("glue", None, 0.1, False, True, 7),
]
NEIGHBOURS = [
    # of, neighbour, millionths: eggs are out of stock, so that they are nobody's neighbour
    ("bread", "butter", 500_000), ("bread", "candle", 200_000),
    ("desk", "candle", 300_000), ("desk", "glue", 500_000), ("desk", "bread", 100_000),
    ("eggs", "glue", 500_000),
]  # fmt: skip


def table(rows: list[tuple[Any, ...]], *names: str) -> pa.Table:
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


PRODUCT_ROWS = table(PRODUCTS, "product_id", "category", "repeat_share", "is_repeatable", "is_available", "place")
PRODUCT_ROWS = PRODUCT_ROWS.set_column(2, "repeat_share", PRODUCT_ROWS["repeat_share"].cast(pa.decimal128(9, 6)))
NEIGHBOUR_ROWS = table(NEIGHBOURS, "product_id", "neighbour_id", "millionths")
SHELF = shelf_of(PRODUCT_ROWS, NEIGHBOUR_ROWS)
CODE = {row[0]: place for place, row in enumerate(PRODUCTS)}  # they are in the order of their names


def owned(*rows: tuple[int, str, int, int]) -> Owned:
    """Products of (customer, product, days on which it was bought, days ago)."""
    columns = zip(*[(who, CODE[what], days, ago) for who, what, days, ago in rows], strict=True)
    return Owned(*[np.array(column, dtype=np.int64) for column in columns])


def told(listed: Any, customer: int = 0) -> list[tuple[str, int]]:
    """(product, source) of a customer's list, in order of rank."""
    mine = listed.customer == customer
    assert list(listed.rank[mine]) == list(range(1, mine.sum() + 1))
    return [(PRODUCTS[code][0], source) for code, source in zip(listed.code[mine], listed.source[mine], strict=True)]


NO_CATEGORY = np.array([-1, -1])
HOME = np.array([1, -1])


def test_sources_take_turns_and_best_sellers_fill() -> None:
    mine = owned((0, "bread", 3, 20), (0, "desk", 1, 2), (0, "butter", 2, 1), (1, "eggs", 1, 1))
    both = ranked_goods(2, mine, [HOME, HOME], SHELF, rules())
    # bread: 3 days × 0.6, butter: 2 × 0.5. Of the neighbours of butter, desk and bread butter and bread are own;
    # candle has 0.3 + 0.2 and glue 0.5: as good, so the smaller name; desk is done with. The category comes once,
    # though two tags name it, and without candle, which is listed already.
    assert told(both) == [
        ("bread", AGAIN), ("candle", TOGETHER), ("fridge", CATEGORY),
        ("butter", AGAIN), ("glue", TOGETHER),
    ]  # fmt: skip
    with_seed = (both.customer == 0) & (both.source == TOGETHER)
    codes = zip(both.code[with_seed], both.basis[with_seed], strict=True)
    seeds = {PRODUCTS[code][0]: PRODUCTS[seed][0] for code, seed in codes}
    assert seeds == {"candle": "desk", "glue": "desk"}  # of candle the seed with the greater part
    # Eggs are bought again, but there are none; they still say what goes with them.
    assert told(both, 1) == [
        ("glue", TOGETHER),
        *[(name, POPULAR) for name in ("bread", "butter", "candle", "desk", "fridge")],
    ]


def test_places_come_before_the_rest() -> None:
    mine = owned((0, "bread", 3, 20), (0, "butter", 2, 1), (0, "desk", 1, 2))
    one_each = rules(places={"buy_again": 1, "bought_together": 2, "preferred_category": 0}, rank_count=4)
    assert told(ranked_goods(1, mine, [HOME[:1]], SHELF, one_each)) == [
        ("bread", AGAIN), ("candle", TOGETHER), ("glue", TOGETHER),
        ("fridge", CATEGORY),  # the rest by turns: the first of the category, then the second to be bought again
    ]  # fmt: skip


def test_only_what_is_bought_again_comes_again() -> None:
    mine = owned((0, "fridge", 1, 0), (0, "butter", 1, 0), (1, "candle", 4, 90))
    listed = ranked_goods(2, mine, [NO_CATEGORY], SHELF, rules())
    assert told(listed)[0] == ("butter", AGAIN)  # even if bought today
    assert "fridge" not in dict(told(listed))
    assert "candle" not in dict(told(listed, 1))  # bought on four days, but by nobody else twice
    baseline = popular_goods(mine, SHELF, rules())
    assert [name for name, _ in told(baseline)] == ["bread", "butter", "candle", "desk", "glue"]
    news = popular_goods(mine, SHELF.nothing_again(), rules())
    assert [name for name, _ in told(news)] == ["bread", "candle", "desk", "glue"]


def test_who_is_known_by_nothing_gets_nothing() -> None:
    nobody = Owned(*[np.zeros(0, dtype=np.int64)] * 4)
    listed = ranked_goods(2, nobody, [np.array([0, -1])], SHELF, rules(rank_count=3))
    assert told(listed, 0) == [("bread", CATEGORY), ("butter", CATEGORY), ("candle", POPULAR)]  # eggs are gone
    assert told(listed, 1) == []
    nothing_sold = shelf_of(PRODUCT_ROWS.slice(0, 0), NEIGHBOUR_ROWS.slice(0, 0))
    assert told(ranked_goods(2, nobody, [NO_CATEGORY], nothing_sold, rules())) == []


def test_lists_do_not_depend_on_the_order_or_company_of_rows() -> None:
    chance = np.random.default_rng(3)
    rows = [(who, what, int(chance.integers(1, 4)), int(chance.integers(0, 9)))
            for who in range(40) for what in CODE if chance.random() < 0.4]  # fmt: skip
    categories = [chance.integers(-1, 2, 40), chance.integers(-1, 2, 40)]
    together = ranked_goods(40, owned(*rows), categories, SHELF, rules())
    order = chance.permutation(len(rows))
    shuffled = owned(*[rows[place] for place in order])
    again = ranked_goods(40, shuffled, categories, SHELF, rules())
    assert all(np.array_equal(getattr(together, name), getattr(again, name)) for name in ("customer", "code", "basis"))
    for who in range(40):
        own = [(0, *row[1:]) for row in rows if row[0] == who]
        alone_of = owned(*own) if own else Owned(*[np.zeros(0, dtype=np.int64)] * 4)
        alone = ranked_goods(1, alone_of, [category[[who]] for category in categories], SHELF, rules())
        assert told(alone) == told(together, who)


# -- Stock, finance, the offline test ---------------------------------------------------------------------------------


def test_out_of_stock_by_the_newest_record_of_each_store(spark: SparkSession) -> None:
    def record(number: int, store: str, pieces: float, day: date = DAY, **said: Any) -> dict[str, Any]:
        return event(f"s{number}", "stock", identifiers={}, store_id=store, quantity=pieces, event_date=day, **said)

    events = frame(
        spark,
        silver.EVENTS,
        [
            record(1, "S1", 5, days_before(3), product_id="gone"), record(2, "S1", 0, product_id="gone"),
            record(3, "S1", 0, product_id="elsewhere"), record(4, "S2", 2, product_id="elsewhere"),
            record(5, "S1", 0, event_at=at(DAY, 9), product_id="refilled"),
            record(6, "S1", 7, event_at=at(DAY, 18), product_id="refilled"),
            record(7, "S1", 0, days_before(30), product_id="old_record"),  # says nothing any more
            record(8, "S1", 0, days_before(29), product_id="last_day"),
            record(9, "S1", 0, category="shoes"), record(10, "S1", 3, category="food"),
            record(11, "S1", 4, product_id="boot", category="shoes"),  # a record of its own goes before its category's
            event("e1", "order", quantity=0, product_id="no_record"),
        ],
    )  # fmt: skip
    kinds = {"boot": "shoes", "sandal": "shoes", "bread": "food"}
    names = ("gone", "elsewhere", "refilled", "old_record", "last_day", "no_record", *kinds)
    products = spark.createDataFrame(
        [(n, kinds.get(n), 1) for n in names], "product_id string, category string, place int"
    )
    found = with_availability(products, events, DAY, stock_days=30).collect()
    assert {row.product_id for row in found} == set(names)
    assert {row.product_id for row in found if not row.is_available} == {"gone", "last_day", "sandal"}


def test_finance_products_by_eligibility(spark: SparkSession) -> None:
    names = "customer_id string, consent_personalised boolean, consent_finance boolean, is_minor boolean, "
    names += "needs_human_review boolean, asset_amount int, age_band string"
    rows = [
        ("both", True, True, False, False, 900, "30-39"),
        ("second only", True, True, None, None, 10, "30-39"),  # age not known, nothing to review
        ("fits none", True, True, False, False, None, None),
        ("no finance", True, False, False, False, 900, "30-39"),
        ("never asked", True, None, False, False, 900, "30-39"),
        ("not personalised", False, True, False, False, 900, "30-39"),
        ("minor", True, True, True, False, 900, "30-39"),
        ("to be reviewed", True, True, False, True, 900, "30-39"),
    ]
    offered = rules(
        finance=[
            {"code": "deposit", "label": "存单", "description": "Deposit.", "when": "asset_amount > 500"},
            {
                "code": "card",
                "label": "卡",
                "description": "Card.",
                "when": "age_band = '30-39' and as_of > registered",
            },
        ]
    ).finance
    portraits = spark.createDataFrame(rows, names).withColumn("registered", F.lit(days_before(1)))
    listed = recommend_finance(portraits, DAY, offered)
    assert listed.columns == gold.RECOMMENDATIONS.column_names
    found = {(row.customer_id, row["rank"], row.product_id, row.kind, row.category) for row in listed.collect()}
    assert found == {
        ("both", 1, "deposit", "finance", None),
        ("both", 2, "card", "finance", None),
        ("second only", 1, "card", "finance", None),
    }
    assert recommend_finance(portraits, DAY, ()).isEmpty()


def test_hit_rates_by_hand(spark: SparkSession) -> None:
    few = SMALL.model_copy(update={"test": SMALL.test.model_copy(update={"holdout_days": 10, "least_customers": 3})})
    split = days_before(10)
    rows = [
        # Before the split: bread with butter twice; bread is bought again, and so are six best sellers by nobody.
        ("C1", "o1", "bread", 40), ("C1", "o1", "butter", 40), ("C2", "o2", "bread", 30), ("C2", "o2", "butter", 30),
        ("C1", "o3", "bread", 20), ("C3", "o4", "bread", 20), ("C3", "o5", "bread", 15), ("C4", "o6", "tea", 12),
        # After it
        ("C1", "h1", "bread", 5),                              # bought again: a hit of ours and of popularity
        ("C2", "h2", "candle", 3),                             # a product that nobody knew: a miss, and new to C2
        ("C3", "h3", "butter", 9),                             # goes with bread: a hit, also among what is new to C3
        ("C4", "h4", "butter", 10),                            # the day of the split: not in the holdout
        ("C5", "h5", "bread", 1),                              # not known before: not judged
    ]  # fmt: skip
    known = lines(spark, rows)
    purchases = purchases_of(known, split, 365)
    bought = bought_products(purchases, split).localCheckpoint()
    products = (
        known_products(bought, product_categories(purchases), few.repeatable)
        .withColumn("is_available", F.lit(True))
        .localCheckpoint()
    )
    pairs = co_purchases(count_pairs(purchases, products, few.co_purchase), products, few.co_purchase)
    shelf = shelf_of(products.toArrow(), best_neighbours(pairs, products, few.co_purchase).toArrow())
    counted = {row["bin"]: row.asDict() for row in count_hits(known, bought, shelf, split, few).collect()}
    assert counted == {
        "hit_rate_at_10": {"bin": "hit_rate_at_10", "customers": 3, "hits": 2, "popular_hits": 2},
        "hit_rate_at_10_new": {"bin": "hit_rate_at_10_new", "customers": 2, "hits": 1, "popular_hits": 1},
    }
    rate, of_new = hit_rates(counted, few)
    assert (rate["actual"], rate["expected"], rate["is_passed"]) == (0.666667, 0.666667, False)  # no better
    assert of_new["is_passed"] is None  # too few to say
    assert [check["customers"] for check in hit_rates({}, few)] == [0, 0]


def test_rules_name_what_is_wrong() -> None:
    product = {"code": "loan", "label": "贷", "description": "Loan.", "when": "loan_demand > 1"}
    wrong = rules(finance=[product], preferred_category={"tags": ["prefered_category"]})
    assert check_recommendations(wrong, ["loan_demand_score"], ["preferred_category"]) == [
        "finance.loan: 'loan_demand' is not a column here; nearest: loan_demand_score",
        "preferred_category.tags: 'prefered_category' is not a tag; nearest: preferred_category",
    ]
    with pytest.raises(ValidationError, match="finance product loan is declared twice"):
        rules(finance=[product, product])
