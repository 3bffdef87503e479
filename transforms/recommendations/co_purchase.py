"""What is bought together, from baskets (orders): the chance that a basket with one product holds another.

The confidence of the rule a → b (Agrawal, Imielinski, Swami 1993), damped, as similarity for item-based lists as in
Deshpande & Karypis 2004, "Item-based top-N recommendation algorithms" (their conditional probability-based similarity).
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.recommendations.products import ratio
from transforms.recommendations.rules import CoPurchaseRules


def co_purchases(purchases: DataFrame, rules: CoPurchaseRules) -> DataFrame:
    """Pairs of products in enough baskets, both ways; key (product_id, neighbour_id).

    Args:
        purchases: rows of `purchases_of`. A basket is an order's distinct products; baskets of more than
            `most_basket_products` are left out, also of how many hold a product.

    Returns:
        product_id, neighbour_id, together (baskets that hold both), similarity: together / (baskets that hold
        product_id + damping), exact to six decimals.
    """
    items = _basket_items(purchases, rules.most_basket_products)
    by_name = Window.orderBy("product_id")
    held = items.groupBy("product_id").agg(F.count("*").alias("baskets")).where(F.col("baskets") >= rules.least_baskets)
    held = held.withColumn("code", F.row_number().over(by_name).cast("bigint"))  # products only: one partition is cheap
    pairs = _pairs_counted(items.join(F.broadcast(held.select("product_id", "code")), "product_id"))
    both = pairs.where(F.col("together") >= rules.least_baskets).select(
        F.explode(_both_ways()).alias("way"), "together"
    )
    of_product = held.select(F.col("code").alias("from"), "product_id", "baskets")
    of_neighbour = held.select(F.col("code").alias("to"), F.col("product_id").alias("neighbour_id"))
    told = both.select("way.*", "together").join(F.broadcast(of_product), "from").join(F.broadcast(of_neighbour), "to")
    similarity = ratio(F.col("together"), F.col("baskets") + rules.damping)
    return told.select("product_id", "neighbour_id", "together", similarity.alias("similarity"))


def _basket_items(purchases: DataFrame, most: int) -> DataFrame:
    """(order_id, product_id), key both, of baskets of at most `most` products."""
    baskets = purchases.groupBy("order_id").agg(F.collect_set("product_id").alias("basket"))
    return baskets.where(F.size("basket") <= most).select("order_id", F.explode("basket").alias("product_id"))


def _pairs_counted(coded: DataFrame) -> DataFrame:
    """pair, together: baskets that hold both; a pair is the smaller code × 2³² + the greater one.

    Counting 18 million pairs of names took four times as long as of whole numbers.
    """
    baskets = coded.groupBy("order_id").agg(F.sort_array(F.collect_list("code")).alias("basket"))
    placed = baskets.select(F.posexplode("basket").alias("place", "code"), "basket")
    others = F.expr("slice(basket, place + 2, size(basket))")
    pairs = placed.select("code", F.explode(others).alias("other"))
    pair = F.shiftleft("code", 32) + F.col("other")
    return pairs.groupBy(pair.alias("pair")).agg(F.count("*").alias("together"))


def _both_ways() -> Column:
    first, second = F.shiftright("pair", 32), F.col("pair") % (1 << 32)
    ways = ((first, second), (second, first))
    return F.array(*[F.struct(one.alias("from"), other.alias("to")) for one, other in ways])


def best_neighbours(pairs: DataFrame, available: DataFrame, rules: CoPurchaseRules) -> DataFrame:
    """For each product its likeliest available neighbours; key (product_id, neighbour_id), with `millionths`.

    Args:
        pairs: rows of `co_purchases`.
        available: product_id of what may be recommended.

    Equal similarities: the pair in more baskets first, then the smaller neighbour_id. `millionths` is the similarity as
    a whole number, so that sums of it are exact.
    """
    open_to = available.select(F.col("product_id").alias("neighbour_id"))
    likeliest = Window.partitionBy("product_id").orderBy(F.desc("similarity"), F.desc("together"), "neighbour_id")
    kept = pairs.join(F.broadcast(open_to), "neighbour_id", "left_semi")
    best = kept.withColumn("place", F.row_number().over(likeliest)).where(F.col("place") <= rules.neighbours)
    millionths = (F.col("similarity") * 1_000_000).cast("bigint").alias("millionths")
    return best.select("product_id", "neighbour_id", millionths)
