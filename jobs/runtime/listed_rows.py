"""Rows listed on the driver as a frame, without a Python worker.

Of a Python list, PySpark makes an RDD that a worker hands over, of another kind than those of functions over columns:
in a night's first session that was a second start of five seconds (2 cores), mostly for no rows at all. Arrow's are a
part of the plan, which Spark can see: what is joined to no rows is not even read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType


def listed_rows(spark: SparkSession, rows: Sequence[Sequence[Any]], schema: StructType | str) -> DataFrame:
    """A frame of rows that the driver holds: as many as files, settings or checks, never as customers.

    Args:
        rows: values in the order of the schema's columns; timestamps are UTC, with or without zone.
        schema: the columns, also as DDL.
    """
    known = StructType.fromDDL(schema) if isinstance(schema, str) else schema
    assert isinstance(known, StructType)
    kinds = to_arrow_schema(known, timezone="UTC")
    columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(kinds)]
    return spark.createDataFrame(pa.Table.from_arrays(columns, schema=kinds), known)
