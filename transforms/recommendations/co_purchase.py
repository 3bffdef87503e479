"""What is bought together, from baskets (orders): the chance that a basket with one product holds another.

The confidence of the rule a → b (Agrawal, Imielinski, Swami 1993), damped, as similarity for item-based lists as in
Deshpande & Karypis 2004, "Item-based top-N recommendation algorithms" (their conditional probability-based similarity).
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
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
    products = F.array_sort(F.collect_set("product_id"))
    baskets = purchases.groupBy("order_id").agg(products.alias("basket"))
    baskets = baskets.where(F.size("basket") <= rules.most_basket_products)
    exploded = baskets.select(F.posexplode("basket").alias("place", "product_id"), "basket")
    held = exploded.groupBy("product_id").agg(F.count("*").alias("baskets"))
    others = F.expr("slice(basket, place + 2, size(basket))")  # each pair once: the basket is sorted
    pairs = exploded.select("product_id", F.explode(others).alias("neighbour_id"))
    counted = pairs.groupBy("product_id", "neighbour_id").agg(F.count("*").alias("together"))
    enough = counted.where(F.col("together") >= rules.least_baskets)
    ways = F.array(
        F.struct("product_id", "neighbour_id"),
        F.struct(F.col("neighbour_id").alias("product_id"), F.col("product_id").alias("neighbour_id")),
    )
    both = enough.select(F.explode(ways).alias("way"), "together").select("way.*", "together")
    similarity = ratio(F.col("together"), F.col("baskets") + rules.damping)
    told = both.join(F.broadcast(held), "product_id")
    return told.select("product_id", "neighbour_id", "together", similarity.alias("similarity"))


def best_neighbours(pairs: DataFrame, available: DataFrame, rules: CoPurchaseRules) -> DataFrame:
    """For each product its likeliest available neighbours: product_id, `neighbours` (neighbour_id, millionths).

    Args:
        pairs: rows of `co_purchases`.
        available: product_id of what may be recommended.

    Equal similarities: the pair in more baskets first, then the smaller neighbour_id. `millionths` is the similarity as a
    whole number: sums of these are exact, and ten times faster than sums of wide decimals.
    """
    open_to = available.select(F.col("product_id").alias("neighbour_id"))
    likeliest = Window.partitionBy("product_id").orderBy(F.desc("similarity"), F.desc("together"), "neighbour_id")
    kept = pairs.join(F.broadcast(open_to), "neighbour_id", "left_semi")
    best = kept.withColumn("place", F.row_number().over(likeliest)).where(F.col("place") <= rules.neighbours)
    millionths = (F.col("similarity") * 1_000_000).cast("bigint").alias("millionths")
    return best.groupBy("product_id").agg(F.collect_list(F.struct("neighbour_id", millionths)).alias("neighbours"))
