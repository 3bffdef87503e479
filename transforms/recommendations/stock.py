"""What is out of stock, by the newest record of each store."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.recommendations.purchases import in_window


def with_availability(products: DataFrame, events: DataFrame, as_of: date, stock_days: int) -> DataFrame:
    """The products with `is_available`: whether some store still holds it, or nothing is known of it.

    Args:
        products: product_id, category; small enough to be broadcast.
        events: silver.events known on `as_of`. A `stock` event without a product speaks of its category.
        stock_days: a store's newest record counts when it is of the last so many days; others say nothing.

    Of a store's records the newest counts: by event_at, then arrival_date, then event_id. A product of which there are
    records is judged by these, another one by its category's.
    """
    recent = events.where((F.col("event_type") == "stock") & in_window("event_date", as_of, stock_days))
    by_store = recent.groupBy("product_id", F.when(F.col("product_id").isNull(), F.col("category")).alias("category"),
                              "store_id")  # fmt: skip
    newest = F.max(F.struct("event_at", "arrival_date", "event_id", "quantity"))["quantity"]
    held = by_store.agg(F.coalesce(newest, F.lit(0)).alias("held"))
    totals = held.groupBy("product_id", "category").agg((F.sum("held") > 0).alias("is_held"))
    own = totals.where("product_id is not null").select("product_id", F.col("is_held").alias("own"))
    of_category = totals.where("product_id is null and category is not null")
    of_category = of_category.select("category", F.col("is_held").alias("of_category"))
    judged = products.join(F.broadcast(own), "product_id", "left").join(F.broadcast(of_category), "category", "left")
    is_available = F.coalesce("own", "of_category", F.lit(True))
    return judged.select(*products.columns, is_available.alias("is_available"))
