"""All that the formulas read: counts, sums, sums of squares and of products, exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def sums(outcomes: DataFrame, metrics: Iterable[str]) -> DataFrame:
    """One row per experiment, segment and variant: `customers`, `complete`, and of each metric its sums.

    Args:
        outcomes: one row per customer (or day), see `outcomes.outcomes`.

    `y_… x_… yy_… xx_… xy_…` are sums of values and of products of two decimals each, so that no order of adding
    changes them; `some_…` counts those whose value is not 0.
    """
    columns = []
    for code in metrics:
        y, x = F.col(f"y_{code}"), F.col(f"x_{code}")
        columns += [
            F.sum(y).alias(f"y_{code}"),
            F.sum(x).alias(f"x_{code}"),
            F.sum(y * y).alias(f"yy_{code}"),
            F.sum(x * x).alias(f"xx_{code}"),
            F.sum(x * y).alias(f"xy_{code}"),
            F.count_if(y != 0).alias(f"some_{code}"),
        ]
    placed = outcomes.withColumn("segment", F.explode("segments"))
    return placed.groupBy("experiment_id", "segment", "variant").agg(
        F.count("*").alias("customers"), F.count_if("is_complete").alias("complete"), *columns
    )


@dataclass(frozen=True)
class Sample:
    """What a test of means needs to know of a variant: how many, their mean, and their variance (n − 1)."""

    customers: int
    mean: float
    variance: float


@dataclass(frozen=True)
class Moments:
    """The sums of one metric in one variant: y after assignment, x before it; `some` have a y other than 0."""

    customers: int
    some: int
    y: Decimal | Fraction
    yy: Decimal | Fraction
    x: Decimal | Fraction = Decimal(0)
    xx: Decimal | Fraction = Decimal(0)
    xy: Decimal | Fraction = Decimal(0)

    @staticmethod
    def of(row: Mapping[str, Any], metric: str) -> Moments:
        """Those of a row of `sums`."""
        named = {name: row[f"{name}_{metric}"] for name in ("some", "y", "yy", "x", "xx", "xy")}
        return Moments(row["customers"], **named)

    @property
    def sample(self) -> Sample:
        """Size, mean and variance of y."""
        mean = float(Fraction(self.y) / self.customers)
        return Sample(self.customers, mean, self.within(self.yy, self.y, self.y) / max(self.customers - 1, 1))

    @property
    def x_mean(self) -> float:
        """Mean of x."""
        return float(Fraction(self.x) / self.customers)

    def within(self, product: Decimal | Fraction, one: Decimal | Fraction, other: Decimal | Fraction) -> float:
        """Σ(a − ā)(b − b̄) from Σab, Σa and Σb, in fractions: in floats large means would eat small differences."""
        return float(Fraction(product) - Fraction(one) * Fraction(other) / self.customers)
