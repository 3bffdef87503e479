"""Purchase histories: how often, how long and for how much a customer bought, as of a date.

As in Fader & Hardie: purchases on one day are one, and the first day is not counted. An order counts while it is a
purchase (silver.orders.is_purchase): not when all of it came back. A day that cost nothing (`zero_value_orders: count`)
is a purchase day, but says nothing of order values.
"""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY

HISTORY = (
    "frequency",
    "recency_days",
    "age_days",
    "paid_count",
    "paid_amount",
    "repeat_paid_count",
    "repeat_amount",
)


def purchase_histories(orders: DataFrame, as_of: date) -> DataFrame:
    """Every buyer's history as of a date; key customer_id. Customers who had not bought yet have no row.

    Args:
        orders: silver.orders or silver.order_lines as of `as_of`: customer_id (null for guests), order_date,
            net_amount, is_purchase.

    Returns:
        customer_id; frequency (purchase days less the first); recency_days (first to last purchase day); age_days
        (first purchase day to `as_of`); paid_count, paid_amount (purchase days that cost something, and what they
        cost); repeat_paid_count, repeat_amount (the same without the first purchase day). Mean order value in the
        sense of Gamma-Gamma is repeat_amount / repeat_paid_count.
    """
    days = _purchase_days(orders, as_of)
    return days.groupBy("customer_id").agg(*_history(as_of, ""))


def split_histories(orders: DataFrame, calibration_end: date, as_of: date) -> DataFrame:
    """Histories as of a date, beside those of an earlier date and what was bought in between; key customer_id.

    Added to the columns of `purchase_histories`: the same as of `calibration_end`, their names beginning with
    `calibration_` (frequency is null for who had not bought by then), and holdout_count, holdout_paid_count,
    holdout_amount: purchase days after `calibration_end`, those that cost something, and what they cost. Both are seen
    with the returns known on `as_of`.
    """
    days = _purchase_days(orders, as_of)
    is_later = F.col("purchase_date") > F.lit(calibration_end)
    is_paid = F.col("net_amount") > 0
    return days.groupBy("customer_id").agg(
        *_history(as_of, ""),
        *_history(calibration_end, "calibration_"),
        F.count_if(is_later).alias("holdout_count"),
        F.count_if(is_later & is_paid).alias("holdout_paid_count"),
        _money(F.sum(F.when(is_later, F.col("net_amount")))).alias("holdout_amount"),
    )


def _purchase_days(orders: DataFrame, as_of: date) -> DataFrame:
    """(customer_id, purchase_date, net_amount), key the first two; shuffled by customer once for all that follows."""
    counts = F.col("is_purchase") & F.col("customer_id").isNotNull() & (F.col("order_date") <= F.lit(as_of))
    bought = orders.where(counts).select("customer_id", F.col("order_date").alias("purchase_date"), "net_amount")
    by_day = bought.repartition("customer_id").groupBy("customer_id", "purchase_date")
    return by_day.agg(F.sum("net_amount").alias("net_amount"))


def _history(as_of: date, prefix: str) -> list[Column]:
    """Aggregates of a customer's purchase days up to a date."""
    day, amount = F.col("purchase_date"), F.col("net_amount")
    is_known = day <= F.lit(as_of)
    is_paid = is_known & (amount > 0)
    first = F.min(F.when(is_known, F.struct(day, amount)))
    first_date, first_amount = first["purchase_date"], first["net_amount"]
    paid_amount = F.sum(F.when(is_known, amount))
    measures = {
        "frequency": F.nullif(F.count_if(is_known), F.lit(0)) - 1,
        "recency_days": F.datediff(F.max(F.when(is_known, day)), first_date),
        "age_days": F.datediff(F.lit(as_of), first_date),
        "paid_count": F.count_if(is_paid),
        "paid_amount": _money(paid_amount),
        "repeat_paid_count": F.count_if(is_paid) - F.when(first_amount > 0, 1).otherwise(0),
        "repeat_amount": _money(paid_amount - first_amount),
    }
    return [measures[name].alias(f"{prefix}{name}") for name in HISTORY]


def _money(amount: Column) -> Column:
    return F.coalesce(amount, F.lit(0)).cast(MONEY)
