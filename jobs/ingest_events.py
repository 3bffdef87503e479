"""ingest-events: landing files -> bronze.<source>, unreadable lines -> silver.rejected_records.

With `vault.enabled` also plain personal identifiers, sealed -> vault.identifiers. Rows of erased persons are left out,
and counted; other people's rows lose what is theirs.
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
from jobs.runtime.tombstones import Tombstones, known_tombstones, readers
from jobs.runtime.vault import keep
from transforms.contracts import Table, ops, silver
from transforms.contracts.bronze import bronze_table
from transforms.erasure import blanked, marked_rows, naming_erased, references
from transforms.identity.identifiers import identified
from transforms.rejects import rejected_records
from transforms.sources import Source, row_arrival_date, with_problems
from transforms.vault import brought

_BYTES_PER_ROW = {True: 40, False: 150}  # compressed or not, roughly: only to tell a small night from a large one
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


Slice = tuple[str, date | None]  # a file, or its rows of one arrival date where rows have their own


@dataclass(frozen=True)
class _Counts:
    """Rows by file and arrival date: taken into bronze, and left out as an erased person's."""

    taken: dict[Slice, int]
    suppressed: dict[Slice, int]


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
    most = max(map(_rows_roughly, new.values()), default=0)  # a source has plans of its own
    gone = known_tombstones(ctx)
    with ctx.interpreted(most), ThreadPoolExecutor(_THREADS) as pool:
        sources = ctx.settings.sources.values()
        taken = list(pool.map(lambda source: _take(ctx, source, new[source.name], before[source.name], gone), sources))
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


def _rows_roughly(files: Sequence[LandingFile]) -> int:
    """How many rows are in files that nobody has read yet."""
    return sum(file.size // _BYTES_PER_ROW[file.relative.endswith((".gz", ".parquet"))] for file in files)


def _take(
    ctx: JobContext, source: Source, files: list[LandingFile], before: _Before, gone: Tombstones | None
) -> _Taken:
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
    return _write_bronze(ctx, source, survey, faulty, before, gone)


def _write_bronze(
    ctx: JobContext,
    source: Source,
    survey: Survey,
    faulty: list[tuple[Any, ...]],
    before: _Before,
    gone: Tombstones | None,
) -> _Taken:
    """Replace the rows of exactly these files, so that a rerun after a kill never takes a file twice."""
    table = bronze_table(source.name, source.columns, source.label)
    received = _received(ctx, source, survey, before, gone)
    names = ", ".join(literal(file.relative) for file in survey.good)
    days = ", ".join(sorted({literal(file.arrival_date) for file in survey.good if file.arrival_date}))
    slices = f"_source_file in ({names})" + (f" and _arrival_date in ({days})" if days else "")
    good = received.where("_unreadable is null and not _is_erased")
    expected = sum(file.rows for file in survey.good)
    is_vaulted = "_brought" in good.columns
    if is_vaulted:  # read once for two tables
        good = ctx.settled(good.select(*table.column_names, "_brought"), expected)
    commit = ctx.tables.overwrite_where(table, good.select(*table.column_names), slices)
    counts, refused = None, None
    if commit.rows != expected:
        refused = _unreadable(ctx, source, received, gone)
    if commit.rows != expected or source.arrival_rule[0] == "event_date":
        counts = _counted(ctx, table, received, refused, gone)
    ledger = [row for file in survey.files if not file.fault for row in _account(ctx, source, file, counts)]
    if refused is not None:
        text = sealed(F.col("_text"), ctx.env)
        told = refused.where("not _is_erased").withColumn("source", F.lit(source.name))
        refused = rejected_records(told, F.array("_unreadable"), text, "ingest-events")
    return _Taken(
        [*faulty, *ledger], refused, tuple(file.relative for file in survey.files), good if is_vaulted else None
    )


def _received(ctx: JobContext, source: Source, survey: Survey, before: _Before, gone: Tombstones | None) -> DataFrame:
    """The files' rows as bronze keeps them, still with `_text`, `_unreadable` and `_is_erased`, and for the vault
    `_brought`.
    """
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
    rows = _without_erased(ctx, source, rows, gone)
    rules = [F.struct(F.lit(name).alias("key"), rule.alias("value")) for name, rule in sorted(blocked.items())]
    present = F.filter(F.array(*rules), lambda entry: entry["value"].isNotNull())
    some = F.coalesce(F.lit(None), *blocked.values()).isNotNull()  # of most rows none is: the others are looked at
    kept = rows.select(
        *columns.values(),
        "_source_file",
        "_row_number",
        "_arrival_date",
        F.lit(ctx.run_id).alias("_run_id"),
        (F.when(some, F.map_from_entries(present)) if rules else F.lit(None))
        .cast("map<string,string>")
        .alias("_blocked"),
        *([brought(plain).alias("_brought")] if plain else []),
        "_text",
        "_unreadable",
        "_is_erased",
        "_lost",
    )
    if source.arrival_rule[0] == "event_date":
        kept = kept.withColumn("_arrival_date", row_arrival_date(source, settings.timezone))
    judged = with_problems(kept, source, settings.timezone, _first_arrival(survey, before))
    # The text of a row that lost a value still has it.
    has_problem = (F.size("_problems") > 0) & F.col("_unreadable").isNull() & F.col("_lost").isNull()
    return judged.withColumn("_record", F.when(has_problem, F.col("_text"))).withColumn(
        "_record", sealed(F.col("_record"), ctx.env)
    )


def _without_erased(ctx: JobContext, source: Source, rows: DataFrame, gone: Tombstones | None) -> DataFrame:
    """The rows with `_is_erased` and `_lost`; values of erased persons are gone from those of other people."""
    if gone is None:
        return rows.withColumn("_is_erased", F.lit(False)).withColumn("_lost", F.lit(None).cast("array<string>"))
    found = {name: F.col(f"_id_{name}") for name in source.identifier_columns()}
    values = {name: (column["value"], column["rule"]) for name, column in found.items()}
    marked = marked_rows(rows, source, values, ctx.settings.identity, gone.rows, gone.salt)
    for name in (*found, *references(source)):
        stored = f"_id_{name}" if name in found else name
        marked = marked.withColumn(stored, blanked(stored, name))
    return marked


def _first_arrival(survey: Survey, before: _Before) -> date | None:
    """The source's first arrival date, on which lateness is not applied."""
    dates = [file.arrival_date for file in survey.good]
    return min(filter(None, (before.first_arrival, *dates)), default=None)


def _unreadable(ctx: JobContext, source: Source, received: DataFrame, gone: Tombstones | None) -> DataFrame:
    """The rows that cannot be parsed; `_is_erased` where a word of them is an erased person's."""
    place = ["_source_file", "_row_number"]
    lines = received.where("_unreadable is not null").select(*place, "_arrival_date", "_text", "_unreadable")
    if gone is None:
        return lines.withColumn("_is_erased", F.lit(False))
    lines = ctx.settled(lines, 0)
    naming = naming_erased(lines, place, readers(ctx), gone.rows, gone.salt).withColumn("_is_erased", F.lit(True))
    joined = lines.join(F.broadcast(naming), place, "left")
    return ctx.settled(joined.withColumn("_is_erased", F.coalesce("_is_erased", F.lit(False))), 0)


def _counted(
    ctx: JobContext, table: Table, received: DataFrame, refused: DataFrame | None, gone: Tombstones | None
) -> _Counts:
    taken = _rows_by_slice(ctx.tables.read(table).where(F.col("_run_id") == ctx.run_id))
    if gone is None:
        return _Counts(taken, {})
    hidden = received.where("_unreadable is null and _is_erased").select("_source_file", "_arrival_date")
    if refused is not None:
        hidden = hidden.unionByName(refused.where("_is_erased").select("_source_file", "_arrival_date"))
    return _Counts(taken, _rows_by_slice(hidden))


def _rows_by_slice(rows: DataFrame) -> dict[Slice, int]:
    counted = rows.groupBy("_source_file", "_arrival_date").count().collect()
    return {(row._source_file, row._arrival_date): row["count"] for row in counted}


def _account(ctx: JobContext, source: Source, file: LandingFile, counts: _Counts | None) -> list[tuple[Any, ...]]:
    """A file's ledger rows: one, or one per arrival date where rows have their own."""
    if source.arrival_rule[0] != "event_date":
        here = (file.relative, file.arrival_date)
        readable = file.rows if counts is None else counts.taken.get(here, 0)
        suppressed = 0 if counts is None else counts.suppressed.get(here, 0)
        status = "ingested" if file.rows else "loaded"  # a header alone leaves nothing to clean
        unreadable = file.rows - readable - suppressed
        return [_ledger_row(ctx, source, file, status, file.rows, unreadable, suppressed=suppressed)]
    assert counts is not None
    days = sorted({day for name, day in (*counts.taken, *counts.suppressed) if name == file.relative}, key=_undated)
    rows, read = [], 0
    for day in days:
        taken, suppressed = (found.get((file.relative, day), 0) for found in (counts.taken, counts.suppressed))
        status = "ingested" if day is None or day <= ctx.run_date else "not_due"
        read += taken + suppressed
        rows.append(_ledger_row(ctx, source, file, status, taken + suppressed, 0, day, suppressed))
    unreadable = file.rows - read
    if unreadable:
        undated = (file.relative, None)
        taken, suppressed = (found.get(undated, 0) for found in (counts.taken, counts.suppressed))
        rows = [row for row in rows if row[2] is not None]
        whole = unreadable + taken + suppressed
        rows.append(_ledger_row(ctx, source, file, "ingested", whole, unreadable, suppressed=suppressed))
    return rows


def _undated(day: date | None) -> date:
    return day or date.min


def _ledger_row(
    ctx: JobContext,
    source: Source,
    file: LandingFile,
    status: str,
    read: int = 0,
    unreadable: int = 0,
    arrival: date | None = None,
    suppressed: int = 0,
) -> tuple[Any, ...]:
    """One row of ops.landing_files, in its column order."""
    not_due = read - suppressed if status == "not_due" else 0
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
        suppressed,
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
