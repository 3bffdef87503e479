"""A customer's list of goods: what they buy again, what goes with what they bought, their categories, best sellers.

The sources take turns: the best of each, then the second of each, and so on, each for as many places as it has; after
that their rest, by turns too, and at last the chain's best sellers. What a customer bought in the window comes as
`buy_again` or not at all: the same thing once more is no news, and what is not bought again is done with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import gold
from transforms.recommendations.rules import RecommendationRules

_ITEMS = "array<struct<product_id:string,reason:string>>"
_IDS = "array<string>"


@dataclass(frozen=True)
class Assortment:
    """What the purchases of a window taught.

    Attributes:
        bought: `bought_products`.
        products: `known_products`.
        available: those of them that may be recommended.
        neighbours: `best_neighbours`.
    """

    bought: DataFrame
    products: DataFrame
    available: DataFrame
    neighbours: DataFrame


def recommend_goods(
    customers: DataFrame, assortment: Assortment, as_of: date, rules: RecommendationRules, tags: Sequence[str]
) -> DataFrame:
    """Ranked goods of each customer of whom something is known, in the columns of gold.recommendations.

    Args:
        customers: those who may be given a list of their own: customer_id, and columns `tags` that name categories.
    """
    lists = goods_lists(customers, assortment, rules, tags)
    ranked = lists.select("customer_id", F.posexplode("items").alias("place", "item"))
    categories = assortment.products.select("product_id", "category")
    placed = ranked.select("customer_id", (F.col("place") + 1).alias("rank"), "item.*")
    named = placed.join(F.broadcast(categories), "product_id", "left")
    dated = named.withColumns({"run_date": F.lit(as_of), "kind": F.lit("goods")})
    return dated.select(*gold.RECOMMENDATIONS.column_names)


def goods_lists(
    customers: DataFrame, assortment: Assortment, rules: RecommendationRules, tags: Sequence[str]
) -> DataFrame:
    """One row per customer with a purchase in the window or a category, key customer_id.

    Returns:
        customer_id; items (product_id, reason), the best first; popular: the product_ids of the best sellers alone, less
        what was bought and is not bought again, as many; own: product_ids bought in the window.
    """
    personal = assortment.bought.join(customers.select("customer_id"), "customer_id", "left_semi")
    owned = _owned(personal, assortment, rules)
    known = customers.join(owned, "customer_id", "left")
    known = known.join(_bought_together(owned, assortment.neighbours, rules), "customer_id", "left")
    best = _category_best(assortment.available, rules.preferred_category.most)
    for place, tag in enumerate(tags):
        again = F.lit(False)
        for earlier in tags[:place]:
            again = again | F.coalesce(F.col(earlier) == F.col(tag), F.lit(False))
        wanted = F.broadcast(best.select(F.col("category").alias("_category"), F.col("best").alias(f"best_of_{tag}")))
        known = known.join(wanted, (F.col(tag) == F.col("_category")) & ~again, "left").drop("_category")
    has_basis = F.col("own").isNotNull()
    for tag in tags:
        has_basis = has_basis | F.col(f"best_of_{tag}").isNotNull()
    best_sellers = F.broadcast(_best_sellers(assortment.available, rules.best_sellers))
    return _listed(known.where(has_basis).crossJoin(best_sellers), rules, tags)


def _owned(bought: DataFrame, assortment: Assortment, rules: RecommendationRules) -> DataFrame:
    """A customer's own products: own (all), done_with (not bought again), seeds (the newest), buy_again (the likeliest).

    Likeliest: days on which the customer bought it × the share of its buyers who buy it again; of equals what was
    bought last, then the smaller product_id. Newest: bought last, then on most days, then the smaller product_id.
    """
    facts = assortment.products.select("product_id", "repeat_share", "is_repeatable")
    there = assortment.available.select("product_id", F.lit(True).alias("is_available"))
    told = bought.join(F.broadcast(facts), "product_id").join(F.broadcast(there), "product_id", "left")
    likely = F.struct(
        (-F.col("day_count") * F.col("repeat_share")).alias("score"), F.col("days_ago"), F.col("product_id")
    )
    newest = F.struct(F.col("days_ago"), (-F.col("day_count")).alias("days"), F.col("product_id"))
    comes_again = F.col("is_repeatable") & F.col("is_available")
    return told.groupBy("customer_id").agg(
        F.collect_list("product_id").alias("own"),
        F.collect_list(F.when(~F.col("is_repeatable"), F.col("product_id"))).alias("done_with"),
        F.slice(F.array_sort(F.collect_list(newest)), 1, rules.co_purchase.seeds)["product_id"].alias("seeds"),
        F.slice(F.array_sort(F.collect_list(F.when(comes_again, likely))), 1, rules.rank_count)["product_id"].alias(
            "buy_again"
        ),
    )


def _bought_together(owned: DataFrame, neighbours: DataFrame, rules: RecommendationRules) -> DataFrame:
    """customer_id, `together`: what goes best with the seeds and is not the customer's own, as items.

    Score: sum of the similarities to the seeds; of equals the smaller product_id. The reason names the seed with the
    greatest similarity, of equals the newest.
    """
    seeds = owned.select("customer_id", F.posexplode("seeds").alias("seed_place", "product_id"))
    found = seeds.join(F.broadcast(neighbours), "product_id")
    near = found.select("customer_id", "seed_place", F.col("product_id").alias("seed"), F.explode("neighbours").alias("n"))
    scored = near.groupBy("customer_id", F.col("n.neighbour_id").alias("product_id")).agg(
        F.sum("n.millionths").alias("score"),
        F.max(F.struct("n.millionths", -F.col("seed_place"), "seed"))["seed"].alias("seed"),
    )
    candidate = F.struct((-F.col("score")).alias("score"), F.col("product_id"), F.col("seed"))
    gathered = scored.groupBy("customer_id").agg(F.collect_list(candidate).alias("candidates"))
    with_own = gathered.join(owned.select("customer_id", F.col("own").alias("_own")), "customer_id")
    news = F.filter("candidates", lambda item: ~F.array_contains("_own", item["product_id"]))
    best = F.slice(F.array_sort(news), 1, rules.rank_count)
    items = F.transform(best, lambda item: _item(item["product_id"], F.concat(F.lit("bought_together:"), item["seed"])))
    return with_own.select("customer_id", items.alias("together"))


def _category_best(available: DataFrame, most: int) -> DataFrame:
    """category, `best`: product_ids of its best sellers in order."""
    kept = available.where(F.col("category").isNotNull())
    by_place = F.array_sort(F.collect_list(F.struct("category_place", "product_id")))["product_id"]
    return kept.groupBy("category").agg(F.slice(by_place, 1, most).alias("best"))


def _best_sellers(available: DataFrame, most: int) -> DataFrame:
    """One row, `best_sellers`: product_ids of the chain's best sellers in order."""
    best = available.orderBy("place").limit(most)
    return best.agg(F.array_sort(F.collect_list(F.struct("place", "product_id")))["product_id"].alias("best_sellers"))


def _listed(known: DataFrame, rules: RecommendationRules, tags: Sequence[str]) -> DataFrame:
    """The sources of each customer as one list."""
    own, together = _or_none("own", _IDS), _or_none("together", _ITEMS)
    again = F.transform(_or_none("buy_again", _IDS), lambda product: _item(product, F.lit("buy_again")))
    taken = F.concat(own, together["product_id"])
    sources = [_in_turn(again, 0, rules.places.buy_again), _in_turn(together, 1, rules.places.bought_together)]
    for number, tag in enumerate(tags, start=2):
        reason = F.concat(F.lit("preferred_category:"), F.col(tag))
        news = F.array_except(_or_none(f"best_of_{tag}", _IDS), taken)
        items = F.transform(news, lambda product, reason=reason: _item(product, reason))
        sources.append(_in_turn(items, number, rules.places.preferred_category))
    by_turn = F.transform(F.array_sort(F.concat(*sources)), lambda turn: turn["item"])
    known = known.withColumn("by_turn", F.slice(by_turn, 1, rules.rank_count))
    rest = F.array_except("best_sellers", F.concat(own, F.col("by_turn")["product_id"]))
    fill = F.transform(F.slice(rest, 1, rules.rank_count), lambda product: _item(product, F.lit("popular")))
    popular = F.array_except("best_sellers", _or_none("done_with", _IDS))
    return known.select(
        "customer_id",
        F.slice(F.concat("by_turn", fill), 1, rules.rank_count).alias("items"),
        F.slice(popular, 1, rules.rank_count).alias("popular"),
        own.alias("own"),
    )


def _in_turn(items: Column, source: int, places: int) -> Column:
    """The items with what orders them among those of other sources: within its places, turn, source."""

    def turn(item: Column, place: Column) -> Column:
        return F.struct(
            (place >= places).alias("is_rest"), place.alias("turn"), F.lit(source).alias("source"), item.alias("item")
        )

    return F.transform(items, turn)


def _item(product_id: Column, reason: Column) -> Column:
    return F.struct(product_id.alias("product_id"), reason.alias("reason"))


def _or_none(name: str, kind: str) -> Column:
    return F.coalesce(F.col(name), F.array().cast(kind))
