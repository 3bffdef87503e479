"""Why a customer is in a segment or not: each rule taken apart into its conditions, with the values that they read."""

from __future__ import annotations

from datetime import date

import sqlglot
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from sqlglot import exp

from transforms.expressions import columns_in_order
from transforms.segments.membership import SegmentRules, with_values


def rule_outcomes(portraits: DataFrame, as_of: date, rules: SegmentRules) -> DataFrame:
    """One row per customer: customer_id and `outcomes`, one for each condition of each rule, in declared order.

    Args:
        portraits: as `build_segments` takes them.

    An outcome is (segment, kind, condition, holds, read): `holds` is null where a value that it needs is unknown, and
    `read` has `column=value` for each column. A rule holds where all its conditions do.
    """
    dated = portraits.withColumn("as_of", F.lit(as_of))
    outcomes = [
        _outcome(segment.code, rules.kind(segment), condition)
        for segment in rules.all
        for condition in conditions(segment.when)
    ]
    return dated.select("customer_id", F.array(*outcomes).alias("outcomes"))


def conditions(when: str) -> list[str]:
    """What must hold together for a rule to hold: `a and (b or c)` is `a` and `b or c`."""
    tree = sqlglot.parse_one(when, dialect="spark")
    parts = tree.flatten() if isinstance(tree, exp.And) else [tree]
    return [part.sql(dialect="spark") for part in parts]


def _outcome(segment: str, kind: str, condition: str) -> Column:
    return F.struct(
        F.lit(segment).alias("segment"),
        F.lit(kind).alias("kind"),
        F.lit(condition).alias("condition"),
        F.expr(condition).cast("boolean").alias("holds"),
        F.array(*with_values(columns_in_order(condition))).cast("array<string>").alias("read"),
    )
