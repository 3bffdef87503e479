"""The offline test: lists made of what was known some weeks ago, held against what was bought since.

Judged is who bought in the window before the split and in the holdout after it. A hit: at least one of the first ten
is among the holdout's products. Popularity is the usual baseline: the chain's best sellers, under the same rule on what
was bought before. Lists are made without categories, which are tags of tonight, and for customers who did not consent to
lists too: nobody sees them, and only the two shares are kept.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.recommendations.co_purchase import best_neighbours, co_purchases
from transforms.recommendations.goods import Assortment, goods_lists
from transforms.recommendations.products import known_products
from transforms.recommendations.purchases import bought_products, purchases_of
from transforms.recommendations.rules import RecommendationRules

HIT_PLACES = 10
_BEST_SELLERS = 1_000  # of which even customers who bought most best sellers lack ten


def assortment_of(purchases: DataFrame, as_of: date, rules: RecommendationRules) -> Assortment:
    """What the purchases of the window teach when everything is in stock."""
    bought = bought_products(purchases, as_of)
    products = known_products(bought, rules.repeatable)
    neighbours = best_neighbours(co_purchases(purchases, rules.co_purchase), products, rules.co_purchase)
    return Assortment(bought, products, products, neighbours)


def hits(lines: DataFrame, assortment: Assortment, split: date, rules: RecommendationRules) -> DataFrame:
    """One row: customers judged, and the hits of our lists and of popularity among them.

    Args:
        lines: as for `purchases_of`, up to the end of the holdout at least.
        assortment: what was known on `split`.

    Returns:
        customers, hits, popular_hits: of all products that were bought in the holdout.
        news_customers, news_hits, news_popular_hits: of products only that the customer had not bought in the window,
        with lists of such products only; judged is who bought one.
    """
    rules = rules.model_copy(update={"best_sellers": _BEST_SELLERS, "rank_count": HIT_PLACES})
    end = split + timedelta(days=rules.test.holdout_days)
    later = purchases_of(lines, end, rules.test.holdout_days)
    foreseen = later.groupBy("customer_id").agg(F.collect_set("product_id").alias("foreseen"))
    lists = goods_lists(foreseen.select("customer_id"), assortment, rules, ())
    nothing_again = assortment.products.withColumn("is_repeatable", F.lit(False))
    news = goods_lists(foreseen.select("customer_id"), replace(assortment, products=nothing_again), rules, ())
    names = {"items": "news_items", "popular": "news_popular"}
    joined = foreseen.join(lists, "customer_id").join(news.drop("own").withColumnsRenamed(names), "customer_id")
    told = joined.withColumn("unseen", F.array_except("foreseen", "own"))
    buys_news = F.size("unseen") > 0
    return told.agg(
        F.count("*").alias("customers"),
        F.count_if(_is_hit(F.col("items")["product_id"], "foreseen")).alias("hits"),
        F.count_if(_is_hit(F.col("popular"), "foreseen")).alias("popular_hits"),
        F.count_if(buys_news).alias("news_customers"),
        F.count_if(_is_hit(F.col("news_items")["product_id"], "unseen")).alias("news_hits"),
        F.count_if(_is_hit(F.col("news_popular"), "unseen")).alias("news_popular_hits"),
    )


def _is_hit(listed: Column, bought: str) -> Column:
    return F.arrays_overlap(listed, F.col(bought))
