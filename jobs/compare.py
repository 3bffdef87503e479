"""compare: two lakes table by table; names tables, keys and columns that differ."""

from __future__ import annotations

import argparse
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import DONE, FAILED, a_date, add_settings_arguments
from jobs.runtime.session import build_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.tables import Tables, slice_of
from transforms.contracts import Table, gold, silver, vault
from transforms.contracts.bronze import bronze_table
from transforms.tags import tables_of

# Columns that say which run or which part of a delivery wrote a row: outside laws 3 and 4.
NOT_COMPARED = frozenset({"_run_id"})


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Two lakes, and what to compare of them."""
    parser.add_argument("lake_a", metavar="LAKE_A")
    parser.add_argument("lake_b", metavar="LAKE_B")
    parser.add_argument("--date", type=a_date, metavar="D", help="of tables with slices, compare only this date's")
    parser.add_argument("--tables", metavar="T[,T…]", help="compare only these (layer.table)")
    add_settings_arguments(parser)


def run_compare(arguments: argparse.Namespace) -> int:
    """Print what differs; 0 when nothing does, 1 otherwise."""
    settings = load_settings(arguments.settings, arguments.env)
    spark = build_session(settings)
    left = Tables(spark, arguments.lake_a, "compare", None)
    right = Tables(spark, arguments.lake_b, "compare", None)
    wanted = set(arguments.tables.split(",")) if arguments.tables else None
    differences = compare_lakes(left, right, settings, arguments.date, wanted)
    print("\n".join(differences) if differences else "no difference")  # noqa: T201
    return FAILED if differences else DONE


def compare_lakes(
    left: Tables, right: Tables, settings: Settings, run_date: date | None = None, wanted: set[str] | None = None
) -> list[str]:
    """A line for each table, key and column that differs; none when all layers but ops hold the same rows."""
    contracts = _contracts(settings)
    names = sorted({*left.names(), *right.names()} & {*contracts} & (wanted or {*contracts}))
    differences, pairs = [], {}
    for name in names:
        missing = [tables.lake for tables in (left, right) if not tables.exists(name)]
        if missing:
            differences.append(f"{name}: is not in {missing[0]}")
        else:
            pairs[name] = tuple(slice_of(tables.read(name), run_date) for tables in (left, right))
    prints = _fingerprints(pairs)
    for name, (a, b) in pairs.items():
        if set(a.columns) != set(b.columns):
            differences.append(f"{name}: columns differ: {sorted(set(a.columns) ^ set(b.columns))}")
        elif prints[name, 0] != prints[name, 1]:
            differences += _details(contracts[name], a, b)
    return differences


def _contracts(settings: Settings) -> dict[str, Table]:
    bronze = [bronze_table(source.name, source.columns) for source in settings.sources.values()]
    of_tags = tables_of(settings.tags)
    return {table.full_name: table for table in [*bronze, *silver.TABLES, *gold.TABLES, *of_tags, *vault.TABLES]}


def _fingerprints(pairs: dict[str, tuple[DataFrame, ...]]) -> dict[tuple[str, int], tuple[int, int]]:
    """Rows and an order-free sum of row hashes of every table of both lakes, in one job."""
    sums = [
        frame.agg(
            F.lit(name).alias("name"),
            F.lit(side).alias("side"),
            F.count("*").alias("rows"),
            F.sum(F.xxhash64(*_plain(frame)).cast("decimal(38,0)")).alias("hash"),
        )
        for name, frames in pairs.items()
        for side, frame in enumerate(frames)
    ]
    rows = reduce(DataFrame.unionByName, sums).collect() if sums else []
    return {(row.name, row.side): (row.rows, row.hash) for row in rows}


def _details(table: Table, a: DataFrame, b: DataFrame, most: int = 3) -> list[str]:
    """Keys on one side only, then columns that differ on keys of both, each with an example."""
    values = [name for name in a.columns if name not in table.key and name not in NOT_COMPARED]
    left = a.select(
        *[F.col(k) for k in table.key], F.struct(*_named(a, values)).alias("_a"), F.lit(True).alias("_in_a")
    )
    right = b.select(
        *[F.col(k) for k in table.key], F.struct(*_named(b, values)).alias("_b"), F.lit(True).alias("_in_b")
    )
    same = [left[k].eqNullSafe(right[k]) for k in table.key]
    keys = [F.coalesce(left[k], right[k]).cast("string").alias(k) for k in table.key]
    joined = left.join(right, same, "full").select(*keys, "_a", "_b", "_in_a", "_in_b").localCheckpoint()
    told = []
    for flag, side in (("_in_b", "first"), ("_in_a", "second")):
        only = joined.where(F.col(flag).isNull())
        count = only.count()
        if count:
            examples = [tuple(row[k] for k in table.key) for row in only.orderBy(*table.key).limit(most).collect()]
            told.append(f"{table.full_name}: {count} keys only in the {side} lake, such as {examples}")
    both = joined.where("_in_a and _in_b")
    changed = both.agg(*[F.count_if(~F.col("_a")[n].eqNullSafe(F.col("_b")[n])).alias(n) for n in values]).head()
    for name in values:
        if changed and changed[name]:
            row = both.where(~F.col("_a")[name].eqNullSafe(F.col("_b")[name])).orderBy(*table.key).head()
            assert row is not None
            key = tuple(row[k] for k in table.key)
            told.append(
                f"{table.full_name}.{name}: {changed[name]} keys differ, such as {key}: {row._a[name]} / {row._b[name]}"
            )
    return told or [f"{table.full_name}: keys repeat a different number of times"]


def _plain(frame: DataFrame) -> list[Column]:
    """Columns as xxhash64 takes them: maps as JSON with their keys in order."""
    return _named(frame, [name for name in sorted(frame.columns) if name not in NOT_COMPARED])


def _named(frame: DataFrame, names: list[str]) -> list[Column]:
    kinds = dict(frame.dtypes)
    return [
        (F.to_json(F.sort_array(F.map_entries(name))) if kinds[name].startswith("map") else F.col(f"`{name}`")).alias(
            name
        )
        for name in names
    ]
