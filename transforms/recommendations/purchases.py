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
        customer_id, product_id, day_count (days on which it was bought), days_ago (from the last of them), category
        (of the last line; of several the greatest by name).
    """
    by_day = purchases.repartition("customer_id").groupBy("customer_id", "product_id", "order_date")
    days = by_day.agg(F.max("category").alias("category"))
    newest = F.max(F.struct("order_date", "category"))
    bought = days.groupBy("customer_id", "product_id").agg(F.count("*").alias("day_count"), newest.alias("newest"))
    days_ago = F.datediff(F.lit(as_of), F.col("newest.order_date"))
    category = F.col("newest.category")
    return bought.select(
        "customer_id", "product_id", "day_count", days_ago.alias("days_ago"), category.alias("category")
    )


def in_window(column: str, as_of: date, days: int) -> Column:
    """Whether a date is in (as_of - days, as_of]."""
    return (F.col(column) > F.lit(as_of - timedelta(days=days))) & (F.col(column) <= F.lit(as_of))
