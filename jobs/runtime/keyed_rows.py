"""Rows that have one of some keys, or none: a null is a value like others."""

from __future__ import annotations

from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def with_key(rows: DataFrame, keys: DataFrame) -> DataFrame:
    """The rows that have one of the keys, which are in some of their columns and fit memory."""
    return _joined(rows, keys, "left_semi")


def without_key(rows: DataFrame, keys: DataFrame) -> DataFrame:
    """The rows that have none of the keys, which are in some of their columns and fit memory."""
    return _joined(rows, keys, "left_anti")


def _joined(rows: DataFrame, keys: DataFrame, how: Literal["left_semi", "left_anti"]) -> DataFrame:
    sought = keys.toDF(*[f"_sought_{name}" for name in keys.columns])
    has_key = [F.col(name).eqNullSafe(F.col(f"_sought_{name}")) for name in keys.columns]
    return rows.join(F.broadcast(sought), has_key, how)
