"""What DuckDB says of the same rows: the reckoning that transforms are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import duckdb
import pyarrow as pa


def by_duckdb(sql: str, **tables: tuple[str, Iterable[Sequence[Any]]]) -> list[tuple[Any, ...]]:
    """The rows of a query over tables, each given as (Spark's columns, rows)."""
    connection = duckdb.connect()
    for name, (columns, rows) in tables.items():
        names = [column.split()[0] for column in columns.split(", ")]
        connection.register(name, pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows]))
    return connection.execute(sql).fetchall()
