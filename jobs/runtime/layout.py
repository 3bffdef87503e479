"""How a table's rows lie in its files, and what its log tells of them, whoever writes it."""

from __future__ import annotations

from pyspark.sql import DataFrame

from transforms.contracts import Table, file_of


def laid_out(frame: DataFrame, table: Table, month_parts: int) -> DataFrame:
    """Few, sorted files: one task per partition value, or one file where the table is not partitioned."""
    if len(table.partition_by) == 1 and table.partition_by[0] in ("event_date", "_arrival_date"):
        frame = frame.repartition(*table.partition_by)  # else each task writes a file into each date
    if table.clustered_by:
        placed = frame.repartition(*file_of(table, month_parts))
        frame = placed.sortWithinPartitions(table.clustered_by)
    if table.sorted_by:
        frame = frame.sortWithinPartitions(*table.sorted_by)
    return frame


def properties(table: Table) -> dict[str, str]:
    """Reader version 1 for outside readers, and statistics only on `measured` columns."""
    return {
        "delta.enableDeletionVectors": "false",
        "delta.dataSkippingStatsColumns": ",".join(f"`{name}`" for name in measured(table)),
        "delta.checkpointInterval": "10",  # Delta's default, not delta-rs's
    }


def measured(table: Table) -> list[str]:
    """Columns whose least and greatest values in each file the log tells: what filters name, dates and the key's start.

    None on personal values: erased ones would survive in the log. With statistics on all 40 columns of silver.events
    400 files took an interpreted night 9.3 s, with these 3.7 s (66,000 rows, 2 cores).
    """
    plain = [c for c in table.columns if c.personal == "none" and c.name not in table.partition_by]
    sought = {name for name in table.key[:3] if table.schema[name].dataType.typeName() != "boolean"}
    return [c.name for c in plain if c.type == "date" or c.name in sought]
