"""What is known of products: how many bought them, and whether people buy them again."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.recommendations.rules import RepeatableRules

SHARE = "decimal(9,6)"


def known_products(bought: DataFrame, categories: DataFrame, rules: RepeatableRules) -> DataFrame:
    """One row per product, key product_id: category, buyers, repeat_share, is_repeatable, place.

    Args:
        bought: rows of `bought_products`.
        categories: rows of `product_categories`.

    `repeat_share` is the share of a product's buyers who bought it on two days or more; of a product with fewer buyers
    than the rules ask for, that of all buyers of its category's products (products without one are a category of their
    own here). Places are by buyers, the smaller product_id first among equals.
    """
    repeaters = F.count_if(F.col("day_count") > 1).alias("repeaters")
    counted = bought.groupBy("product_id").agg(F.count("*").alias("buyers"), repeaters)
    counted = counted.join(F.broadcast(categories), "product_id")
    in_category = Window.partitionBy("category")
    own, all_buyers = F.col("buyers"), F.sum("buyers").over(in_category)
    judged_alone = own >= rules.least_buyers
    share = F.when(judged_alone, ratio(F.col("repeaters"), own)).otherwise(
        ratio(F.sum("repeaters").over(in_category), all_buyers)
    )
    best = (F.desc("buyers"), F.asc("product_id"))
    judged = counted.withColumn("repeat_share", share)
    return judged.select(
        "product_id",
        "category",
        "buyers",
        "repeat_share",
        (F.col("repeat_share") >= F.lit(rules.least_share)).alias("is_repeatable"),
        F.row_number().over(Window.orderBy(*best)).alias("place"),  # products only: one partition is cheap
    )


def ratio(part: Column, whole: Column) -> Column:
    """One whole number by another, exact to six decimals."""
    return (part.cast("decimal(18,0)") / whole.cast("decimal(18,0)")).cast(SHARE)
