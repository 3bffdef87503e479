"""Experiments of the calendar: kinds of days are compared, such as weekends with the other days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY
from transforms.experiments.assigned import ALL
from transforms.experiments.designs import window_of
from transforms.experiments.outcomes import measured
from transforms.experiments.rules import ExperimentRules


def calendar_outcomes(activity: DataFrame, rules: ExperimentRules, as_of: date) -> DataFrame | None:
    """One row per experiment and day, in the columns of `outcomes.outcomes`; None where no calendar is declared.

    A day's value is the metric's sum over everybody, guests included; days on which nothing happened are not there. The
    days are those of the window up to `as_of`, or from the declared start on. Nobody draws days, and neighbours are
    alike: such a read-out describes, it does not prove what causes the difference.
    """
    calendars = [name for name, experiment in rules.declared.items() if experiment.calendar]
    if not calendars:
        return None
    sums = [F.coalesce(F.sum(code), F.lit(0)).cast(MONEY).alias(f"y_{code}") for code in rules.metrics]
    seen = measured(activity, "counts_on_date", rules, as_of)
    days = seen.groupBy(F.col("counts_on_date").alias("event_date")).agg(*sums)
    return reduce(DataFrame.unionByName, [_days_of(name, days, rules, as_of) for name in calendars])


def _days_of(name: str, days: DataFrame, rules: ExperimentRules, as_of: date) -> DataFrame:
    experiment = rules.declared[name]
    first = experiment.start_date or as_of - timedelta(days=window_of(name, rules) - 1)
    variant = F.lit(None).cast("string")
    for code, sql in reversed([*experiment.calendar.items()]):
        variant = F.when(F.expr(sql), F.lit(code)).otherwise(variant)
    seen = days.where(F.col("event_date") >= F.lit(first)).withColumn("variant", variant)
    return seen.where("variant is not null").select(
        F.lit(None).cast("string").alias("customer_id"),
        F.lit(name).alias("experiment_id"),
        "variant",
        F.array(F.lit(ALL)).alias("segments"),
        *_values([*rules.metrics]),
        F.lit(True).alias("is_complete"),
    )


def _values(metrics: Sequence[str]) -> list[Column]:
    zero = F.lit(0).cast(MONEY)
    return [column for code in metrics for column in (F.col(f"y_{code}"), zero.alias(f"x_{code}"))]
