"""Exact quantiles of values that nearly every customer has for himself, without one task that sorts them all."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F


def quantile_cuts(histogram: DataFrame, key: Sequence[str], shares: Sequence[Fraction]) -> DataFrame:
    """Cut j is the smallest observed value whose cumulative share is at least the j-th one (SQL percentile_disc).

    Args:
        histogram: `key`, value and customers, how many have it; one row for each value. `key` may be empty.
        shares: above 0, at most 1.

    Returns:
        `key`, cut (from 1), value, customers_below (with the value or less) and all_customers.

    Compared as whole numbers, customers so far × denominator ≥ numerator × customers, so that no rounding moves a cut.
    Some 3,000 ranges of values are put in order first, and then only the values of those few in which a cut lies.
    """
    by = [*key, "one"]
    ranged = histogram.withColumns({"one": F.lit(1), "range": _range(F.col("value"))})
    ranges = ranged.groupBy(*by, "range").agg(F.sum("customers").alias("customers"))
    group = Window.partitionBy(*by)
    up_to_range = group.orderBy("range").rowsBetween(Window.unboundedPreceding, 0)
    counted = ranges.select(
        "*",
        F.sum("customers").over(up_to_range).alias("customers_below"),
        F.sum("customers").over(group).alias("all_customers"),
    )
    asked = counted.select("*", F.inline(F.array(*[_share(cut, share) for cut, share in enumerate(shares, start=1)])))
    before = (F.col("customers_below") - F.col("customers")).alias("before")
    holding = asked.where(_is_first_to_reach()).select(*by, "range", "cut", "top", "bottom", "all_customers", before)
    inside = ranged.join(F.broadcast(holding), [*by, "range"])
    up_to_value = Window.partitionBy(*by, "cut").orderBy("value").rowsBetween(Window.unboundedPreceding, 0)
    found = inside.withColumn("customers_below", F.col("before") + F.sum("customers").over(up_to_value))
    return found.where(_is_first_to_reach()).select(*key, "cut", "value", "customers_below", "all_customers")


def ranked_values(histogram: DataFrame) -> DataFrame:
    """How many customers have more than each value, exactly.

    Args:
        histogram: value and customers, how many have it; one row for each value.

    Returns:
        The rows with `above`, the customers with a greater value, and `everybody`, the number of customers.

    Ranges of values are put in order first, some 3,000 rows, and then the values inside each range.
    """
    ranged = histogram.withColumns({"one": F.lit(1), "range": _range(F.col("value"))})
    ranges = ranged.groupBy("one", "range").agg(F.sum("customers").alias("in_range"))
    everybody = Window.partitionBy("one")
    greater = everybody.orderBy(F.desc("range")).rowsBetween(Window.unboundedPreceding, -1)
    placed = ranges.select(
        "range",
        F.coalesce(F.sum("in_range").over(greater), F.lit(0)).alias("above_range"),
        F.sum("in_range").over(everybody).alias("everybody"),
    )
    inside = Window.partitionBy("range").orderBy(F.desc("value")).rowsBetween(Window.unboundedPreceding, -1)
    more = F.coalesce(F.sum("customers").over(inside), F.lit(0))
    counted = ranged.withColumn("above_inside", more).join(F.broadcast(placed), "range")
    above = (F.col("above_range") + F.col("above_inside")).alias("above")
    return counted.select("value", "customers", above, "everybody")


def _range(value: Column) -> Column:
    """A number that never falls where the value rises, with 100 steps for each factor of e."""
    number = value.cast("double")
    return F.signum(number) * F.floor(F.log1p(F.abs(number)) * 100)


def _share(cut: int, share: Fraction) -> Column:
    parts = {"cut": F.lit(cut), "top": F.lit(share.numerator), "bottom": F.lit(share.denominator)}
    return F.struct(*[part.alias(name) for name, part in parts.items()])


def _is_first_to_reach() -> Column:
    wanted = F.col("top") * F.col("all_customers")
    before = F.col("customers_below") - F.col("customers")
    return (F.col("customers_below") * F.col("bottom") >= wanted) & (before * F.col("bottom") < wanted)
