"""Cohorts: of the customers who first bought in a month, how many came back in each month after it."""

from __future__ import annotations

from datetime import date, timedelta

from pydantic import BaseModel, ConfigDict, Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import RATIO, gold
from transforms.contracts.gold.trade import UNKNOWN
from transforms.orders import RETURN_TYPES

CLEANED, WITH_CANCELLATIONS = "cleaned", "with_cancellations"
_GROUP = ("mode", "scope", "scope_value", "cohort")


class CohortRules(BaseModel):
    """Which cohorts are told of (section `cohorts`): those of the last `months` months, the run date's among them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    months: int = Field(ge=1, le=600)


def retention_cohorts(
    orders: DataFrame, activity: DataFrame, segments: DataFrame, as_of: date, rules: CohortRules
) -> DataFrame:
    """Customers by month of first purchase and months since, in the columns of gold.retention_cohorts.

    Args:
        orders: silver.orders with customer_id; no guests.
        activity: silver.activity with customer_id, likewise.
        segments: (customer_id, segment), key customer_id: primary segments of `as_of`.

    In mode `cleaned` a customer is active in the months of orders that still count as purchases; in mode
    `with_cancellations` in the months of any order, return or cancellation, each by its own date. The cohort is the
    first such month, the channel that of the first such date; of several channels on it, the first by name.
    Every cohort has a row for each month up to that of `as_of`, also where nobody came back, so that its rows start
    with rate 1 and the months of a cohort are never missing.
    """
    customers = _days(orders, activity, as_of).groupBy("mode", "customer_id").agg(
        F.min(F.struct("date", "channel")).alias("first"), F.collect_set(_month(F.col("date"))).alias("months")
    )  # fmt: skip
    placed = _placed(customers.join(segments, "customer_id", "left"))
    recent = placed.where(F.col("cohort") > _month(F.lit(as_of)) - rules.months)
    active = recent.select(*_GROUP, F.explode("months").alias("month"))
    return _triangle(active.groupBy(*_GROUP, "month").agg(F.count("*").alias("customers")), as_of)


def _days(orders: DataFrame, activity: DataFrame, as_of: date) -> DataFrame:
    """(mode, customer_id, date, channel): what makes a customer active; rows repeat."""
    kept = orders.where("is_purchase").select(F.lit(CLEANED).alias("mode"), "customer_id", "order_date", "channel")
    bought = activity.where(F.col("event_type").isin("order", *RETURN_TYPES))
    seen = bought.select(F.lit(WITH_CANCELLATIONS).alias("mode"), "customer_id", "event_date", "channel")
    return kept.withColumnRenamed("order_date", "date").union(seen).where(F.col("date") <= F.lit(as_of))


def _placed(customers: DataFrame) -> DataFrame:
    """Each customer once per scope, with the cohort."""
    values = {"chain": F.lit("all"), "channel": F.col("first.channel"), "segment": F.col("segment")}
    scopes = [
        F.struct(F.lit(scope).alias("scope"), F.coalesce(value, F.lit(UNKNOWN)).alias("scope_value"))
        for scope, value in values.items()
    ]
    return customers.select("mode", _month(F.col("first.date")).alias("cohort"), "months", F.inline(F.array(*scopes)))


def _triangle(counted: DataFrame, as_of: date) -> DataFrame:
    """A row for every month of every cohort, 0 customers where none were counted."""
    by_month = F.map_from_entries(F.collect_list(F.struct("month", "customers")))
    cohorts = counted.groupBy(*_GROUP).agg(by_month.alias("by_month"))
    last = _month(F.lit(as_of))
    rows = cohorts.select("*", F.explode(F.sequence("cohort", last)).alias("month"))
    customers = F.coalesce(F.try_element_at("by_month", F.col("month")), F.lit(0)).cast("bigint")
    first = F.try_element_at("by_month", F.col("cohort"))
    is_month_over = (as_of + timedelta(days=1)).day == 1
    return rows.select(
        F.lit(as_of).alias("run_date"),
        "mode",
        "scope",
        "scope_value",
        F.concat_ws("-", (F.col("cohort") / 12).cast("int"), F.lpad((F.col("cohort") % 12 + 1).cast("string"), 2, "0"))
        .alias("cohort_month"),
        (F.col("month") - F.col("cohort")).alias("month_number"),
        first.alias("cohort_customers"),
        customers.alias("customers"),
        (customers.cast("decimal(18,0)") / first.cast("decimal(18,0)")).cast(RATIO).alias("rate"),
        ((F.col("month") < last) | F.lit(is_month_over)).alias("is_complete"),
    ).select(*gold.RETENTION_COHORTS.column_names)  # fmt: skip


def _month(day: Column) -> Column:
    """Months since year 0: their difference is the number of months between."""
    return F.year(day) * 12 + F.month(day) - 1
