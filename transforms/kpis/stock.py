"""Stock levels and the days on which they stood."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

STANDS_DAYS = 35  # a level stands until the next one, and not longer: a store that closed reports no more


def stock_levels(events: DataFrame, as_of: date) -> DataFrame:
    """Levels of stock up to a date with the days on which they stood: [held_from_date, held_until_date).

    Args:
        events: silver.events known; `stock` events count. cost_amount is the value of what is held.

    One row per store, category, product and date; of several records of a date the last counts, by event_at,
    arrival_date and event_id. Summed over days and divided by the cost of sales these are the days of turnover.
    """
    held = events.where((F.col("event_type") == "stock") & (F.col("event_date") <= F.lit(as_of)))
    place = ("store_id", "category", "product_id")
    newest = F.max(F.struct("event_at", "arrival_date", "event_id", "quantity", "cost_amount")).alias("newest")
    daily = held.groupBy(*place, F.col("event_date").alias("held_from_date")).agg(newest)
    following = F.lead("held_from_date").over(Window.partitionBy(*place).orderBy("held_from_date"))
    until = F.least(following, F.date_add("held_from_date", STANDS_DAYS)).alias("held_until_date")
    return daily.select(*place, "held_from_date", until, "newest.quantity", "newest.cost_amount")
