"""Bronze: one row per received record, as text, with where it came from."""

from __future__ import annotations

from collections.abc import Sequence

from transforms.contracts import Column, Table

LINEAGE = (
    Column("_arrival_date", "date", "到达日期", "Date on which the record arrived; runs see only dates up to theirs"),
    Column("_source_file", "string", "来源文件", "File below the landing folder, with forward slashes"),
    Column("_row_number", "bigint", "行号", "Physical line (text) or row (Parquet) in the file, from 1"),
    Column("_run_id", "string", "运行编号", "Run that took the file"),
    Column("_blocked", "map<string,string>", "屏蔽值", "Identifier column to the static rule that blocks its value"),
    Column(
        "_record",
        "string",
        "原始记录",
        "The received text, kept only where the source's checks refuse the row; encrypted outside --env local",
        personal="text",
    ),
)


def bronze_table(source: str, columns: Sequence[str], label: str = "") -> Table:
    """The contract of `bronze.<source>`: the declared columns as text, then lineage."""
    received = tuple(
        Column(name, "string", name, "As received; personal identifiers are tokens", personal="text")
        for name in columns
    )
    return Table(
        layer="bronze",
        name=source,
        label=label or source,
        grain="one received record",
        key=("_source_file", "_row_number"),
        columns=received + LINEAGE,
        partition_by=("_arrival_date",),
        retention_days=400,
        evolves=True,
    )
