"""ingest-events: landing files -> bronze.<source>, unreadable lines -> silver.rejected_records.

With `vault.enabled` also plain personal identifiers, sealed -> vault.identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.keys import sealed, token_key, vault_key, vault_seal
from jobs.runtime.landing import LandingFile, Survey
from jobs.runtime.tables import literal
from jobs.runtime.vault import keep
from transforms.contracts import ops, silver
from transforms.contracts.bronze import bronze_table
from transforms.identity.identifiers import identified
from transforms.rejects import rejected_records
from transforms.sources import Source, apply_records, row_arrival_date
from transforms.vault import brought

_BYTES_PER_ROW = 40  # of compressed text, roughly: only to tell a small night from a large one
_THREADS = 4  # sources are read side by side: small files leave cores idle, and a commit waits for the file system


@dataclass(frozen=True)
class _Taken:
    """What one source brought: its rows of ops.landing_files, the frame of its unreadable rows, if any, and of its
    good rows, where the vault keeps something of them.
    """

    ledger: list[tuple[Any, ...]]
    refused: DataFrame | None
    files: tuple[str, ...]
    good: DataFrame | None = None


@dataclass
class _Before:
    """What ops.landing_files knows of a source: its files, and its first arrival date."""

    files: set[str] = field(default_factory=set)
    first_arrival: date | None = None


def run(ctx: JobContext) -> None:
    """Take every new file of every source that arrived up to the run date."""
    token_key(ctx.env)  # a missing key stops here, before anything is written
    if ctx.settings.vault.enabled:
        vault_key(ctx.env)
    before = _accounted_before(ctx)
    until = ctx.horizon()
    new = {
        source.name: ctx.landing.new_files(source, until, () if ctx.full else before[source.name].files)
        for source in ctx.settings.sources.values()
    }
    size = sum(file.size for files in new.values() for file in files)
    with ctx.interpreted(size // _BYTES_PER_ROW), ThreadPoolExecutor(_THREADS) as pool:
        sources = ctx.settings.sources.values()
        taken = list(pool.map(lambda source: _take(ctx, source, new[source.name], before[source.name]), sources))
    _write_refused(ctx, taken)
    keep(ctx, [part.good for part in taken if part.good is not None])
    rows = [row for part in taken for row in part.ledger]
    if rows:
        ctx.tables.upsert(ops.LANDING_FILES, ctx.small_frame(rows, ops.LANDING_FILES))
    ctx.facts["files"] = len({row[1] for row in rows})
    ctx.facts["rows read"] = sum(row[4] for row in rows)
    ctx.facts["rejected"] = sum(row[7] for row in rows)


def _accounted_before(ctx: JobContext) -> dict[str, _Before]:
    """The ledger by source, read once; as many rows as files."""
    ledger = ctx.tables.read_or_empty(ops.LANDING_FILES).select("source", "source_file", "arrival_date")
    before = {name: _Before() for name in ctx.settings.sources}
    for row in ledger.collect():
        if row.source in before:
            known = before[row.source]
            known.files.add(row.source_file)
            known.first_arrival = min(filter(None, (known.first_arrival, row.arrival_date)), default=None)
    return before


def _take(ctx: JobContext, source: Source, files: list[LandingFile], before: _Before) -> _Taken:
    """Survey the source's new files, write their rows to bronze, and account for each file."""
    if source.expected == "daily" and not any(file.arrival_date == ctx.run_date for file in files):
        _report_missing(ctx, source, before.files)
    if not files:
        return _Taken([], None, ())
    survey = ctx.landing.survey(source, files)
    faulty = [_ledger_row(ctx, source, file, "rejected") for file in survey.files if file.fault]
    for file in survey.files:
        if file.fault:
            ctx.progress.warn(f"{source.name}: {file.relative} was rejected: {file.fault}")
    if not survey.good:
        empty = [_ledger_row(ctx, source, file, "loaded") for file in survey.files if not file.fault]
        return _Taken([*faulty, *empty], None, tuple(file.relative for file in survey.files))
    return _write_bronze(ctx, source, survey, faulty, before)


def _write_bronze(
    ctx: JobContext, source: Source, survey: Survey, faulty: list[tuple[Any, ...]], before: _Before
) -> _Taken:
    """Replace the rows of exactly these files, so that a rerun after a kill never takes a file twice."""
    table = bronze_table(source.name, source.columns, source.label)
    received = _received(ctx, source, survey, before)
    names = ", ".join(literal(file.relative) for file in survey.good)
    days = ", ".join(sorted({literal(file.arrival_date) for file in survey.good if file.arrival_date}))
    slices = f"_source_file in ({names})" + (f" and _arrival_date in ({days})" if days else "")
    good = received.where("_unreadable is null")
    expected = sum(file.rows for file in survey.good)
    is_vaulted = "_brought" in good.columns
    if is_vaulted:  # read once for two tables
        good = ctx.settled(good.select(*table.column_names, "_brought"), expected)
    commit = ctx.tables.overwrite_where(table, good.select(*table.column_names), slices)
    counts = None
    if commit.rows != expected or source.arrival_rule[0] == "event_date":
        counts = _rows_by_file(ctx.tables.read(table).where(F.col("_run_id") == ctx.run_id))
    ledger = [row for file in survey.files if not file.fault for row in _account(ctx, source, file, counts)]
    refused = None
    if commit.rows != expected:
        unreadable = received.where("_unreadable is not null").withColumn("source", F.lit(source.name))
        text = sealed(F.col("_text"), ctx.env)
        refused = rejected_records(unreadable, F.array("_unreadable"), text, "ingest-events")
    return _Taken(
        [*faulty, *ledger], refused, tuple(file.relative for file in survey.files), good if is_vaulted else None
    )


def _received(ctx: JobContext, source: Source, survey: Survey, before: _Before) -> DataFrame:
    """The files' rows as bronze keeps them, still with `_text` and `_unreadable`, and for the vault `_brought`."""
    rows = ctx.landing.rows(source, survey)
    columns = {name: F.col(f"`{name}`") for name in source.columns}
    blocked: dict[str, Column] = {}
    plain: dict[str, tuple[str, Column]] = {}
    settings = ctx.settings
    for name, (kind, spec) in source.identifier_columns().items():
        identifier_type = settings.identity.named(kind)
        is_vaulted = settings.vault.enabled and identifier_type.personal and not spec.hashed
        found = identified(
            F.col(f"`{name}`"),
            identifier_type,
            region=settings.identity.default_region,
            key=token_key(ctx.env),
            common_hash=settings.common_hash(kind),
            delivered_hash=spec.hashed,
            app_id=spec.app_id,
            seal=vault_seal(ctx.env) if is_vaulted else None,
        )
        rows = rows.withColumn(f"_id_{name}", found)
        columns[name] = F.col(f"_id_{name}.value").alias(name)
        blocked[name] = F.col(f"_id_{name}.rule")
        if is_vaulted:
            plain[name] = (kind, F.col(f"_id_{name}"))
    rules = [F.struct(F.lit(name).alias("key"), rule.alias("value")) for name, rule in sorted(blocked.items())]
    present = F.filter(F.array(*rules), lambda entry: entry["value"].isNotNull()) if rules else None
    kept = rows.select(
        *columns.values(),
        "_source_file",
        "_row_number",
        "_arrival_date",
        F.lit(ctx.run_id).alias("_run_id"),
        (F.lit(None) if present is None else F.when(F.size(present) > 0, F.map_from_entries(present)))
        .cast("map<string,string>")
        .alias("_blocked"),
        *([brought(plain).alias("_brought")] if plain else []),
        "_text",
        "_unreadable",
    )
    if source.arrival_rule[0] == "event_date":
        kept = kept.withColumn("_arrival_date", row_arrival_date(source, settings.timezone))
    problems = apply_records(kept, source, settings.timezone, _first_arrival(survey, before))
    has_problem = (F.size("_problems") > 0) & F.col("_unreadable").isNull()
    return problems.withColumn("_record", F.when(has_problem, F.col("_text"))).withColumn(
        "_record", sealed(F.col("_record"), ctx.env)
    )


def _first_arrival(survey: Survey, before: _Before) -> date | None:
    """The source's first arrival date, on which lateness is not applied."""
    dates = [file.arrival_date for file in survey.good]
    return min(filter(None, (before.first_arrival, *dates)), default=None)


def _rows_by_file(bronze: DataFrame) -> dict[tuple[str, date | None], int]:
    counted = bronze.groupBy("_source_file", "_arrival_date").count().collect()
    return {(row._source_file, row._arrival_date): row["count"] for row in counted}


def _account(
    ctx: JobContext, source: Source, file: LandingFile, counts: dict[tuple[str, date | None], int] | None
) -> list[tuple[Any, ...]]:
    """A file's ledger rows: one, or one per arrival date where rows have their own."""
    if source.arrival_rule[0] != "event_date":
        readable = file.rows if counts is None else counts.get((file.relative, file.arrival_date), 0)
        status = "ingested" if file.rows else "loaded"  # a header alone leaves nothing to clean
        return [_ledger_row(ctx, source, file, status, file.rows, file.rows - readable)]
    own = {day: count for (name, day), count in (counts or {}).items() if name == file.relative}
    rows = [
        _ledger_row(ctx, source, file, "ingested", count, 0, day)
        if day is None or day <= ctx.run_date
        else _ledger_row(ctx, source, file, "not_due", count, 0, day)
        for day, count in sorted(own.items(), key=lambda item: item[0] or date.min)
    ]
    unreadable = file.rows - sum(own.values())
    if unreadable:
        rows = [row for row in rows if row[2] is not None]
        rows.append(_ledger_row(ctx, source, file, "ingested", unreadable + own.get(None, 0), unreadable))
    return rows


def _ledger_row(
    ctx: JobContext,
    source: Source,
    file: LandingFile,
    status: str,
    read: int = 0,
    unreadable: int = 0,
    arrival: date | None = None,
) -> tuple[Any, ...]:
    """One row of ops.landing_files, in its column order."""
    not_due = read if status == "not_due" else 0
    return (
        source.name,
        file.relative,
        arrival or file.arrival_date,
        status,
        read,
        0,
        0,
        unreadable,
        0,
        0,
        not_due,
        unreadable,
        file.fault,
        ctx.run_id,
    )


def _report_missing(ctx: JobContext, source: Source, known: set[str]) -> None:
    """A daily feed without a file for the run date: told here, and the audit refuses the night."""
    folder = f"dt={ctx.run_date.isoformat()}/"
    if not any(folder in name for name in known):
        ctx.progress.warn(f"{source.name} is expected daily and brought no file for {ctx.run_date}")


def _write_refused(ctx: JobContext, taken: Sequence[_Taken]) -> None:
    """Unreadable rows of all sources in one commit, replacing what an interrupted run left of these files."""
    frames = [part.refused for part in taken if part.refused is not None]
    files = [name for part in taken if part.refused is not None for name in part.files]
    if frames:
        together = reduce(DataFrame.unionByName, frames).coalesce(1)
        names = ", ".join(literal(name) for name in files)
        slices = f"step = 'ingest-events' and source_file in ({names})"
        ctx.tables.overwrite_where(silver.REJECTED_RECORDS, together, slices)


if __name__ == "__main__":
    main(run)
