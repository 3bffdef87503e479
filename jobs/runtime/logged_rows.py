"""How many rows tables have, as their Delta logs say: one query over all logs.

Delta answers from the same statistics, but plans a query for each table, 0.3 s, and a night asks for a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

_ACTIONS = "add struct<path string, stats string>, remove struct<path string>"


def logged_rows(spark: SparkSession, logs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Rows by layer.table; without the tables of which a log does not say it.

    Args:
        logs: by layer.table, the files of its log that make up the wanted version (`log_of`).
    """
    paths = [path for log in logs.values() for path in log]
    if not paths:
        return {}
    # A file's last word counts: it was added, or removed again.
    last = _actions(spark, paths).groupBy("table", "file").agg(F.max_by("rows", "version").alias("rows"))
    counted = last.groupBy("table").agg(F.sum("rows").alias("rows"), F.count_if(F.isnull("rows")).alias("unknown"))
    return {row["table"]: int(row["rows"]) for row in counted.collect() if not row.unknown}


def log_of(names: Sequence[str], version: int) -> list[str] | None:
    """Of a log's files those that make up a version: its last checkpoint and the commits since. None: not all there."""
    checkpoints = [name for name in names if ".checkpoint" in name and name.endswith(".parquet")]
    start = max((known for name in checkpoints if (known := int(name[:20])) <= version), default=-1)
    commits = commits_since(start, version)
    if not {*commits} <= {*names}:
        return None
    return [*[name for name in checkpoints if int(name[:20]) == start], *commits]


def commits_since(after: int, version: int) -> list[str]:
    """Names of the commits that lead from one version of a table to another."""
    return [f"{number:020}.json" for number in range(after + 1, version + 1)]


def _actions(spark: SparkSession, paths: Sequence[str]) -> DataFrame:
    """What logs say of files: (table, version, file, rows), no rows where the file was removed."""
    path = F.col("_metadata.file_path")
    table = F.regexp_replace(F.regexp_extract(path, "([^/]+/[^/]+)/_delta_log/", 1), "/", ".").alias("table")
    version = F.regexp_extract(path, r"(\d{20})[^/]*$", 1).cast("long").alias("version")
    commits, checkpoints = ([path for path in paths if path.endswith(end)] for end in (".json", ".parquet"))
    read = []
    if commits:
        lines = spark.read.text(commits).where("value like '{\"add\"%' or value like '{\"remove\"%'")
        read.append(lines.select(F.from_json("value", _ACTIONS).alias("said"), table, version).select("said.*", "*"))
    if checkpoints:
        state = spark.read.schema(_ACTIONS).parquet(*checkpoints).where("add is not null or remove is not null")
        read.append(state.select("*", table, version))
    actions = reduce(DataFrame.unionByName, [part.select("add", "remove", "table", "version") for part in read])
    rows = F.get_json_object("add.stats", "$.numRecords").cast("long")
    return actions.select(
        "table",
        "version",
        F.coalesce("add.path", "remove.path").alias("file"),
        F.when(F.col("add").isNull(), 0).otherwise(rows).alias("rows"),
    )
