"""What an erasure takes out of the tables that no night builds anew: bronze, rejected records, vault, past slices.

Everything is found by tombstones, so that a sweep that was killed goes on where it is run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.keys import opened_text
from jobs.runtime.publications import current
from jobs.runtime.tables import among, sliced_by
from jobs.runtime.tombstones import Tombstones, readers
from transforms.contracts import Table, gold, ops, silver, vault
from transforms.contracts.bronze import bronze_table
from transforms.erasure import blanked, marked_rows, naming_erased, pseudonyms, references, without_erased
from transforms.sources import Source
from transforms.tags import tables_of

_THREADS = 4


@dataclass(frozen=True)
class Swept:
    """Rows of a table that went, and those of other people that lost a value."""

    erased: int
    blanked: int


def sweep(ctx: JobContext, gone: Tombstones) -> dict[str, Swept]:
    """Take the erased persons out, table by table; what was found, by table."""
    sources, tables = list(_received(ctx)), _kept_tables(ctx)
    with ThreadPoolExecutor(_THREADS) as pool:  # small tables: planning takes one core, and longer than their rows
        of_bronze = pool.map(lambda source: _sweep_bronze(ctx, source, gone), sources)
        swept = {f"bronze.{source.name}": found for source, found in zip(sources, of_bronze, strict=True)}
        swept[silver.REJECTED_RECORDS.full_name] = _sweep_rejected(ctx, gone)
        _balance(ctx)
        of_tables = pool.map(lambda table: _sweep_table(ctx, table, gone), tables)
        swept |= {table.full_name: found for table, found in zip(tables, of_tables, strict=True)}
    for folder in ("models", "_state", "_scratch"):  # all of it is made again
        ctx.tables.files.remove(f"{ctx.tables.lake}/{folder}")
    return swept


def _received(ctx: JobContext) -> Iterator[Source]:
    return (source for source in ctx.settings.sources.values() if ctx.tables.exists(f"bronze.{source.name}"))


def _kept_tables(ctx: JobContext) -> list[Table]:
    """Tables of which rows outlive the night; the others are rebuilt from what is left."""
    kept = [silver.IDENTITY_CHANGES, silver.IDENTITY_HISTORY, *gold.TABLES, *tables_of(ctx.settings.tags)]
    return [table for table in [*kept, *vault.TABLES] if pseudonyms(table) and ctx.tables.exists(table)]


def _sweep_bronze(ctx: JobContext, source: Source, gone: Tombstones) -> Swept:
    """Rewrite the arrival dates on which rows go or lose a value."""
    table = bronze_table(source.name, source.columns, source.label)
    rows = ctx.tables.read(table)
    values = {name: (F.col(f"`{name}`"), F.col("_blocked")[name]) for name in source.identifier_columns()}
    marked = marked_rows(rows, source, values, ctx.settings.identity, gone.rows, gone.salt)
    counted = (
        marked.groupBy("_arrival_date")
        .agg(F.count_if("_is_erased").alias("erased"), F.count_if(F.col("_lost").isNotNull()).alias("blanked"))
        .where("erased + blanked > 0")
        .collect()  # as many as arrival dates
    )
    if counted:
        dates = [row._arrival_date for row in counted]
        lost = {*source.identifier_columns(), *references(source)}
        text = F.when(F.col("_lost").isNull(), F.col("_record")).alias("_record")
        kept = marked.where(f"not _is_erased and {among('_arrival_date', dates)}").select(
            *[
                blanked(name, name) if name in lost else text if name == "_record" else F.col(f"`{name}`")
                for name in table.column_names
            ]
        )
        ctx.tables.overwrite_slice(table, kept, _arrival_date=dates)
    return Swept(sum(row.erased for row in counted), sum(row.blanked for row in counted))


def _sweep_rejected(ctx: JobContext, gone: Tombstones) -> Swept:
    """Lines that could not be parsed, by the words in them; what a check refused is in bronze, and told again."""
    if not ctx.tables.exists(silver.REJECTED_RECORDS):
        return Swept(0, 0)
    key = [*silver.REJECTED_RECORDS.key]
    records = ctx.tables.read(silver.REJECTED_RECORDS)
    texts = records.where("step = 'ingest-events'").withColumn("_text", opened_text(F.col("record"), ctx.env))
    naming = ctx.settled(naming_erased(texts, key, readers(ctx), gone.rows, gone.salt), 0)
    count = naming.count()
    if count:
        ctx.tables.replace(silver.REJECTED_RECORDS, records.join(F.broadcast(naming), key, "left_anti"))
    return Swept(count, 0)


def _balance(ctx: JobContext) -> None:
    """The ledger's suppressed rows: those read that are neither in bronze nor among the unreadable ones any more."""
    if not ctx.tables.exists(ops.LANDING_FILES):
        return
    slices = ["source", "source_file", "arrival_date"]
    there = [
        ctx.tables.read(f"bronze.{source.name}").select(
            F.lit(source.name).alias("source"), F.col("_source_file").alias("source_file"),
            F.col("_arrival_date").alias("arrival_date"), F.lit(0).alias("is_text"),
        )
        for source in _received(ctx)
    ]  # fmt: skip
    refused = ctx.tables.read_or_empty(silver.REJECTED_RECORDS).where("step = 'ingest-events'")
    there.append(refused.select(*slices, F.lit(1).alias("is_text")))
    rows = reduce(DataFrame.unionByName, there)
    counted = rows.groupBy(*slices).agg(F.count("*").alias("left"), F.sum("is_text").alias("texts"))
    ledger = ctx.tables.read(ops.LANDING_FILES)
    same = [ledger[name].eqNullSafe(counted[name]) for name in slices]
    joined = ledger.join(counted, same, "left").select(ledger["*"], "left", "texts")
    left, texts = F.coalesce("left", F.lit(0)), F.coalesce("texts", F.lit(0))
    suppressed = F.when(F.col("status") != "rejected", F.col("rows_read") - left).otherwise(F.lit(0))
    is_waiting = F.col("status") == "not_due"
    balanced = joined.withColumns(
        {
            "rows_suppressed": suppressed,
            "rows_rejected": F.col("rows_rejected") - F.col("rows_unreadable") + texts,
            "rows_unreadable": texts,
            "rows_not_due": F.when(is_waiting, F.col("rows_read") - suppressed).otherwise(F.col("rows_not_due")),
        }
    )
    ctx.tables.replace(ops.LANDING_FILES, balanced.select(*ops.LANDING_FILES.column_names).coalesce(1))


def _sweep_table(ctx: JobContext, table: Table, gone: Tombstones) -> Swept:
    """Rewrite the slices in which rows go or lose a value, or the table where it has none."""
    version = ctx.tables.version(table)
    base = _published_version(ctx, table) if table is gold.SEGMENT_HISTORY else version
    marked = without_erased(ctx.tables.read(table, base), table, gone.rows, gone.salt)
    by = sliced_by(table.partition_by)
    counts = [F.count_if("_is_erased").alias("erased"), F.count_if("_is_blanked").alias("blanked")]
    grouped = marked.groupBy(by) if by else marked.groupBy()
    found = grouped.agg(*counts).where("erased + blanked > 0").collect()  # as many as run dates
    kept = marked.where("not _is_erased").drop("_is_erased", "_is_blanked")
    last = ctx.tables.last_commit(table)
    basis = last.metadata if last else None  # what it was built from, and for which date, is as it was
    if found and by:
        dates = [row[by] for row in found]
        ctx.tables.overwrite_slice(table, kept.where(among(by, dates)), basis, **{by: dates})
    elif found or base != version:
        ctx.tables.replace(table, kept, basis)
    return Swept(sum(row.erased for row in found), sum(row.blanked for row in found))


def _published_version(ctx: JobContext, table: Table) -> int:
    """The history of segments goes on from what was published, so that is what is swept and written."""
    published = {entry.table: entry.version for entry in current(ctx.tables)}
    return published.get(table.full_name, ctx.tables.version(table))
