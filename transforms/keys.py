"""Rows, keys and sums of many tables in one query: on small tables a query costs more than its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Counted:
    """What is counted of a frame: rows by `key`, and the sum of each SQL expression in `sums`."""

    frame: DataFrame
    key: Sequence[str]
    sums: Mapping[str, str] = field(default_factory=dict)


def count_keys(counted: Mapping[str, Counted]) -> DataFrame:
    """(name, rows, keys, repeated, sums map<string, decimal(38,2)>), one row for each frame that has rows.

    `keys` are different ones, `repeated` those of two rows or more. Keys are compared by 128 bits of hash, and what is
    null is part of them.
    """
    parts = [_hashed(name, one) for name, one in counted.items()]
    names = [total for one in counted.values() for total in one.sums]
    totals = list(dict.fromkeys(names))
    by_key = reduce(DataFrame.unionByName, [_with_totals(part, totals) for part in parts]).groupBy("name", *_HALVES)
    sums = [F.sum(F.col(f"_{name}")).alias(f"_{name}") for name in totals]
    per_key = by_key.agg(F.count("*").alias("rows"), *sums)
    entries = [item for name in totals for item in (F.lit(name), F.sum(f"_{name}").cast(_TOTAL))]
    return per_key.groupBy("name").agg(
        F.sum("rows").alias("rows"),
        F.count("*").alias("keys"),
        F.count_if(F.col("rows") > 1).alias("repeated"),
        (F.create_map(*entries) if entries else F.lit(None).cast(f"map<string,{_TOTAL}>")).alias("sums"),
    )


_HALVES = ("high", "low")
_TOTAL = "decimal(38,2)"


def _hashed(name: str, one: Counted) -> DataFrame:
    """The frame's rows as halves of their key's hash and the numbers that are summed."""
    # Spark's hash passes over nulls, so that (null, x) and (x, null) would be one key.
    nulls = F.concat(*[F.when(F.col(column).isNull(), F.lit("1")).otherwise(F.lit("0")) for column in one.key])
    plain: list[Column] = [F.col(column) for column in one.key]
    halves = [F.xxhash64(nulls, *plain), F.xxhash64(*plain, nulls, F.lit(1))]
    sums = [F.expr(sql).cast(_TOTAL).alias(f"_{total}") for total, sql in one.sums.items()]
    named = [half.alias(alias) for half, alias in zip(halves, _HALVES, strict=True)]
    return one.frame.select(F.lit(name).alias("name"), *named, *sums)


def _with_totals(part: DataFrame, totals: Sequence[str]) -> DataFrame:
    missing = [F.lit(None).cast(_TOTAL).alias(f"_{name}") for name in totals if f"_{name}" not in part.columns]
    return part.select("*", *missing)
