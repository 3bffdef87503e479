"""What each customer of an experiment did after its first day, and before it."""

from __future__ import annotations

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY
from transforms.experiments.designs import window_of
from transforms.experiments.rules import ExperimentRules, Metric


def outcomes(assigned: DataFrame, activity: DataFrame, rules: ExperimentRules, as_of: date) -> DataFrame:
    """One row per experiment and customer: `variant`, `segments`, `is_complete`, and per metric `y_…` and `x_…`.

    Args:
        assigned: `assigned.assigned_customers`.
        activity: silver.activity with `customer_id`, as known on `as_of`.

    `y` is the metric over the window that begins on the first day, `x` the same over `pre_days` before that day: 1 or 0
    of rates, the sum of means, decimals with two places. Returns count on their order's date. `is_complete` tells that
    the whole window has passed.
    """
    rows = assigned.join(measured(activity, "customer_id", rules, as_of), "customer_id", "left")
    window = F.lit(rules.window_days)
    for name in rules.declared:
        window = F.when(F.col("experiment_id") == name, window_of(name, rules)).otherwise(window)
    day = F.date_diff("counts_on_date", "first_date")
    columns = []
    for code, metric in rules.metrics.items():
        columns.append(_value(metric, code, (day >= 0) & (day < window)).alias(f"y_{code}"))
        columns.append(_value(metric, code, (day < 0) & (day >= -metric.pre_days)).alias(f"x_{code}"))
    whole = F.date_add("first_date", window - 1) <= F.lit(as_of)
    # Grouped by customer_id first, as the join left the rows: they do not move again.
    found = rows.groupBy("customer_id", "experiment_id", "variant", "first_date", "segments").agg(*columns)
    return found.withColumn("is_complete", whole).drop("first_date")


def measured(activity: DataFrame, key: str, rules: ExperimentRules, as_of: date) -> DataFrame:
    """Rows of activity that any metric counts: `key`, `counts_on_date`, and per metric what it sums, null elsewhere."""
    parts = []
    for code, metric in rules.metrics.items():
        amount = F.expr(metric.measure).cast(MONEY)
        parts.append((F.when(F.expr(metric.where), amount) if metric.where else amount).alias(code))
    seen = activity.where((F.col("event_date") <= F.lit(as_of)) & (F.col("counts_on_date") <= F.lit(as_of)))
    rows = seen.select(*dict.fromkeys([key, "counts_on_date"]), *parts)
    return rows.where(reduce(lambda left, right: left | right, [F.col(code) != 0 for code in rules.metrics]))


def _value(metric: Metric, code: str, holds: Column) -> Column:
    total = F.coalesce(F.sum(F.when(holds, F.col(code))), F.lit(0))
    return (F.when(total >= metric.at_least, 1).otherwise(0) if metric.kind == "rate" else total).cast(MONEY)
