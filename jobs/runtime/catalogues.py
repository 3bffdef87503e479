"""Catalogue tables follow the settings: written only when they changed, since an unchanged one costs a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.runtime.job import JobContext
from transforms.contracts import Table


def write_catalogue(ctx: JobContext, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Make `rows` (in the table's column order) the catalogue."""
    if ctx.tables.exists(table):
        known = {tuple(_plain(value) for value in row) for row in ctx.tables.read(table).collect()}
        if known == {tuple(_plain(value) for value in row) for row in rows}:
            return
    ctx.tables.replace(table, ctx.small_frame(list(rows), table))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value
