"""Reasons that people read: a value as text, without the zeros that a decimal's scale adds."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def in_words(value: Column) -> Column:
    """`value` as text: `40.000000` is `40`, `0.310000` is `0.31`; null stays null."""
    text = value.cast("string")
    return F.when(text.contains("."), F.regexp_replace(text, r"\.?0+$", "")).otherwise(text)


def values_in_words(columns: list[str]) -> Column:
    """`a=1, b=null` for the columns, in their order."""
    told = [F.concat(F.lit(f"{name}="), F.coalesce(in_words(F.col(name)), F.lit("null"))) for name in columns]
    return F.concat_ws(", ", *told)
