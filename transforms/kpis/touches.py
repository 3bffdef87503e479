"""Touches of customers: how long each had not bought, and how soon they answered and bought."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_ANSWERS = ("visit", "open")


def touches(activity: DataFrame, orders: DataFrame, since: date, as_of: date) -> DataFrame:
    """Touches of the dates in (since, as_of], key (customer_id, touched_date, campaign_id).

    Args:
        activity, orders: silver.activity and silver.orders with `customer_id`, as known; of dates up to `as_of`.

    Added: asleep_days from the last purchase before the touch's date (null: never bought), days_to_purchase to the
    first purchase on or after it, days_to_answer to the first visit, opening or purchase. Whole days: what happened on
    the day of the touch counts as an answer to it.
    """
    recent = activity.where(F.col("customer_id").isNotNull() & (F.col("event_date") > F.lit(since)))
    known = recent.where(F.col("event_date") <= F.lit(as_of))
    sent = known.where("event_type = 'touch'").select(
        "customer_id", F.col("event_date").alias("touched_date"), "campaign_id"
    )
    bought = orders.where(
        F.col("is_purchase") & F.col("customer_id").isNotNull() & (F.col("order_date") <= F.lit(as_of))
    )
    happened = bought.select("customer_id", F.col("order_date").alias("date"), F.lit(True).alias("is_purchase"))
    answered = known.where(F.col("event_type").isin(*_ANSWERS)).select(
        "customer_id", F.col("event_date").alias("date"), F.lit(False).alias("is_purchase")
    )
    stories = happened.unionByName(answered).groupBy("customer_id").agg(
        F.collect_set(F.when(F.col("is_purchase"), F.col("date"))).alias("bought"),
        F.collect_set("date").alias("answered"),
    )  # fmt: skip
    last = F.array_max(F.filter("bought", lambda day: day < F.col("touched_date")))
    return (
        sent.distinct()
        .join(stories, "customer_id", "left")
        .select(
            "customer_id",
            "touched_date",
            "campaign_id",
            F.datediff("touched_date", last).alias("asleep_days"),
            _days_to_first("answered").alias("days_to_answer"),
            _days_to_first("bought").alias("days_to_purchase"),
        )
    )


def _days_to_first(dates: str) -> Column:
    """Days from the touch to the first of the dates on or after it; null without one."""
    first = F.array_min(F.filter(dates, lambda day: day >= F.col("touched_date")))
    return F.datediff(first, F.col("touched_date"))
