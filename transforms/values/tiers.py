"""Value tiers: who is worth how much compared with everybody else, by lifetime value of a year."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.quantiles import quantile_cuts
from transforms.values.rules import ValueTier


def with_value_tiers(values: DataFrame, tiers: Sequence[ValueTier]) -> DataFrame:
    """The frame with `value_tier`; null without a value. `values` is read three times: settle it first.

    Args:
        values: key customer_id, with clv_365d (not negative).
        tiers: from the best; `top` rises to 1.

    A customer's tier is the first whose `top` is at least the share of valued customers that are worth as much or
    more. Equal values have equal tiers, and no tier with those above it holds more than its share. It is the rule of
    RFM's quantile cuts: above the smallest value whose cumulative share is at least 1 - top (percentile_disc).
    """
    cuts = F.broadcast(_cuts(values, [1 - Fraction(tier.top) for tier in tiers[:-1]]))
    tiers_missed = F.size(F.filter("_cuts", lambda cut: cut >= F.col("clv_365d")))
    named = F.element_at(F.array(*[F.lit(tier.name) for tier in tiers]), tiers_missed + 1)
    placed = values.crossJoin(cuts).withColumn("value_tier", F.when(F.col("clv_365d").isNotNull(), named))
    return placed.drop("_cuts")


def _cuts(values: DataFrame, shares: Sequence[Fraction]) -> DataFrame:
    """One row, `_cuts`: the cuts of these shares, ascending; empty where nobody has a value."""
    valued = values.where("clv_365d is not null").groupBy(F.col("clv_365d").alias("value"))
    found = quantile_cuts(valued.agg(F.count("*").alias("customers")), [], shares)
    in_order = F.sort_array(F.collect_list(F.struct("cut", "value")))
    return found.agg(F.transform(in_order, lambda cut: cut["value"]).alias("_cuts"))
