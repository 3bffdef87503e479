"""Value tiers: who is worth how much compared with everybody else, by lifetime value of a year."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.values.rules import ValueTier

_DIGITS = 3
_FIRST = Window.unboundedPreceding


def with_value_tiers(values: DataFrame, tiers: Sequence[ValueTier]) -> DataFrame:
    """The frame with `value_tier`; null without a value. `values` is read three times: settle it first.

    Args:
        values: key customer_id, with clv_365d (not negative).
        tiers: from the best; `top` rises to 1.

    A customer's tier is the first whose `top` is at least the share of valued customers that are worth as much or
    more. Equal values have equal tiers, and no tier with those above it holds more than its share. It is the rule of
    RFM's quantile cuts: above the smallest value whose cumulative share is at least 1 - top (percentile_disc).
    """
    cuts = F.broadcast(_cuts(values, [1 - tier.top for tier in tiers[:-1]]))
    tiers_missed = F.size(F.filter("_cuts", lambda cut: cut >= F.col("clv_365d")))
    named = F.element_at(F.array(*[F.lit(tier.name) for tier in tiers]), tiers_missed + 1)
    placed = values.crossJoin(cuts).withColumn("value_tier", F.when(F.col("clv_365d").isNotNull(), named))
    return placed.drop("_cuts")


def _cuts(values: DataFrame, shares: Sequence[Decimal]) -> DataFrame:
    """One row, `_cuts`: for each share the smallest value up to which at least that share of the values lies.

    Values are counted by their first digits, then those that begin like a cut one by one: no more than a few
    thousand counts are sorted, whatever the number of customers.
    """
    valued = values.where("clv_365d is not null").select(F.col("clv_365d").alias("value"), _coarse().alias("coarse"))
    coarse = valued.groupBy("coarse").agg(F.count("*").alias("customers"))
    counted = coarse.select(
        "coarse",
        F.coalesce(F.sum("customers").over(Window.orderBy("coarse").rowsBetween(_FIRST, -1)), F.lit(0)).alias("before"),
        F.sum("customers").over(Window.orderBy("coarse").rowsBetween(_FIRST, 0)).alias("upto"),
        F.sum("customers").over(Window.partitionBy()).alias("all"),
    )
    asked = F.posexplode(F.array(*[F.lit(share) for share in shares])).alias("cut", "share")
    reached = counted.select("*", asked).withColumn("wanted", F.col("share") * F.col("all"))
    places = reached.where("before < wanted and upto >= wanted").select("cut", "coarse", "before", "wanted")
    fine = valued.join(F.broadcast(places), "coarse").groupBy("cut", "before", "wanted", "value").count()
    so_far = F.sum("count").over(Window.partitionBy("cut").orderBy("value").rowsBetween(_FIRST, 0))
    enough = fine.withColumn("upto", F.col("before") + so_far).where("upto >= wanted")
    found = enough.groupBy("cut").agg(F.min("value").alias("value"))
    in_order = F.sort_array(F.collect_list(F.struct("cut", "value")))
    return found.agg(F.transform(in_order, lambda cut: cut["value"]).alias("_cuts"))


def _coarse() -> Column:
    """The value in cents, its digits after the third set to 0."""
    cents = (F.col("clv_365d") * 100).cast("bigint")
    step = F.rpad(F.lit("1"), F.greatest(F.length(cents.cast("string")) - _DIGITS, F.lit(0)) + 1, "0").cast("bigint")
    return cents - cents % step
