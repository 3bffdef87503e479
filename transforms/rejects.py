"""Refused rows as they are kept."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import silver


def rejected_records(rows: DataFrame, reasons: Column, record: Column, step: str) -> DataFrame:
    """Refused rows in the columns of silver.rejected_records.

    Args:
        rows: with `source`, `_source_file`, `_row_number`, `_arrival_date`; one row per refused row.
        reasons: why, as an array; `record`: the original text as it may be stored; `step`: who refused.
    """
    named = rows.select(
        "source",
        F.col("_source_file").alias("source_file"),
        F.col("_row_number").alias("row_number"),
        F.col("_arrival_date").alias("arrival_date"),
        reasons.alias("reasons"),
        record.alias("record"),
        F.lit(step).alias("step"),
    )
    return named.select(*silver.REJECTED_RECORDS.column_names)
