"""Touches of customers: how long each had not bought, and how soon they answered and bought."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame, Window, WindowSpec
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
    nothing = F.lit(None).cast("date")
    happened = bought.select("customer_id", F.col("order_date").alias("date"), F.col("order_date").alias("bought"))
    answered = known.where(F.col("event_type").isin(*_ANSWERS)).select(
        "customer_id", F.col("event_date").alias("date"), nothing.alias("bought")
    )
    stories = sent.distinct().unionByName(happened.unionByName(answered), allowMissingColumns=True)
    return _told(stories.withColumn("date", F.coalesce("touched_date", "date")))


def _told(stories: DataFrame) -> DataFrame:
    """What came before and after each touch of the stories, by looking along the dates and back.

    Dates gathered in arrays would be searched by interpreted steps, and gathering sorts the rows as well.
    """
    is_touch = F.col("touched_date").isNotNull()
    customer = Window.partitionBy("customer_id")
    onwards = customer.orderBy("date", F.desc(is_touch))  # what happens on the day of the touch is not before it
    backwards = customer.orderBy(F.desc("date"), is_touch)

    def nearest(date: Column, along: WindowSpec) -> Column:
        return F.last(date, True).over(along.rowsBetween(Window.unboundedPreceding, Window.currentRow))

    answer = F.when(~is_touch, F.col("date"))
    seen = stories.select(
        "customer_id",
        "touched_date",
        "campaign_id",
        F.datediff("date", nearest(F.col("bought"), onwards)).alias("asleep_days"),
        F.datediff(nearest(answer, backwards), "date").alias("days_to_answer"),
        F.datediff(nearest(F.col("bought"), backwards), "date").alias("days_to_purchase"),
    )
    return seen.where("touched_date is not null")
