"""Who bought what: the purchases of a window, and each customer's products in it."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def purchases_of(lines: DataFrame, as_of: date, window_days: int) -> DataFrame:
    """Lines of products that a customer bought and kept in the window; several rows where a product is on two lines.

    Args:
        lines: customer_id (null for guests), order_id, product_id, category, order_date, is_purchase, quantity,
            returned_quantity.

    Returns:
        customer_id, order_id, product_id, category, order_date.
    """
    is_kept = F.col("is_purchase") & (F.col("quantity") > F.col("returned_quantity"))
    is_named = F.col("customer_id").isNotNull() & F.col("product_id").isNotNull()
    kept = lines.where(is_kept & is_named & in_window("order_date", as_of, window_days))
    return kept.select("customer_id", "order_id", "product_id", "category", "order_date")


def bought_products(purchases: DataFrame, as_of: date) -> DataFrame:
    """A customer's products; key (customer_id, product_id), shuffled by customer once for all that follows.

    Returns:
        customer_id, product_id, day_count (days on which it was bought), days_ago (from the last of them).
    """
    days = purchases.select("customer_id", "product_id", "order_date").repartition("customer_id").distinct()
    days_ago = F.datediff(F.lit(as_of), F.max("order_date")).alias("days_ago")
    return days.groupBy("customer_id", "product_id").agg(F.count("*").alias("day_count"), days_ago)


def product_categories(purchases: DataFrame) -> DataFrame:
    """product_id, category of its newest line (of several the greatest by name); key product_id.

    Dates are compared before names: the greatest of a text makes Spark sort all lines.
    """
    newest = purchases.groupBy("product_id", "category").agg(F.max("order_date").alias("newest"))
    last = F.max(F.struct("newest", "category"))["category"]
    return newest.groupBy("product_id").agg(last.alias("category"))


def in_window(column: str, as_of: date, days: int) -> Column:
    """Whether a date is in (as_of - days, as_of]."""
    return (F.col(column) > F.lit(as_of - timedelta(days=days))) & (F.col(column) <= F.lit(as_of))
