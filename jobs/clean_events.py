"""clean-events: bronze.* -> silver.events, refused rows -> silver.rejected_records, each file accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.tables import among
from transforms.contracts import ops, silver
from transforms.events import ORDER_OF_COPIES, content_hash, drop_copies, events_of, repeated_ids, with_ids
from transforms.rejects import rejected_records
from transforms.sources import Source, apply_records

_KEPT = ("_source_file", "_row_number", "_arrival_date", "_record", "_events", "_problems", "_warnings", "_is_ignored")
_THREADS = 4
_BROADCAST_IDS = 1_000_000  # some 60 MB


def run(ctx: JobContext) -> None:
    """Clean every arrival slice that is due and not loaded yet."""
    due = _due(ctx)
    if not due:
        ctx.progress.note("nothing new has arrived: silver.events stays as it is")
        return
    size = sum(slice_.rows_read for slice_ in due)
    with ctx.interpreted(size), ctx.spread(coming=size):
        with ctx.interpreted(_of_largest(due)):  # a source has a plan of its own
            rows = _judged(ctx, due)
        incoming = events_of(rows, ctx.settings.identity.linking)
        single, copies = _by_copies(ctx, incoming, _known_copies(ctx, rows))
        counted = _count(rows, copies)
        _write_events(ctx, single, copies, counted)
        _write_refused(ctx, due, rows)
        _write_ledger(ctx, due, counted)
        _write_warnings(ctx, rows)


def _due(ctx: JobContext) -> list[Row]:
    """Ledger rows of slices that arrived by the run date and are not in silver yet; as many as files, so collected."""
    states = ["ingested", "not_due", "loaded"] if ctx.cleans_all else ["ingested", "not_due"]
    ledger = ctx.tables.read_or_empty(ops.LANDING_FILES).where(F.col("status").isin(states) & (F.col("rows_read") > 0))
    arrived = F.col("arrival_date").isNull() | (F.col("arrival_date") <= F.lit(ctx.horizon()))
    return ledger.where(arrived & F.col("source").isin(*ctx.settings.sources)).collect()


def _of_largest(due: Sequence[Row]) -> int:
    """Rows of the source that brought most."""
    sizes = Counter[str]()
    for slice_ in due:
        sizes[slice_.source] += slice_.rows_read
    return max(sizes.values())


def _judged(ctx: JobContext, due: Sequence[Row]) -> DataFrame:
    """Bronze rows of the due slices with their events and problems; grain one row, key (source, file, number)."""
    ledger = ctx.tables.read(ops.LANDING_FILES).groupBy("source").agg(F.min("arrival_date"))
    firsts: dict[str, date | None] = {row[0]: row[1] for row in ledger.collect()}
    names = sorted({slice_.source for slice_ in due})

    def judged(name: str) -> DataFrame:
        slices = [slice_ for slice_ in due if slice_.source == name]
        rows = _judge(ctx, ctx.settings.sources[name], slices, firsts.get(name))
        return ctx.settled(rows, sum(slice_.rows_read for slice_ in slices))

    with ThreadPoolExecutor(_THREADS) as pool:  # planning a source takes one core, and longer than a small night's rows
        return reduce(DataFrame.unionByName, pool.map(judged, names))


def _judge(ctx: JobContext, source: Source, due: Sequence[Row], first_arrival: date | None) -> DataFrame:
    bronze = ctx.tables.read(f"bronze.{source.name}")
    rows = bronze.where(_in_slices(due, "_source_file", "_arrival_date"))
    judged = apply_records(rows, source, ctx.settings.timezone, first_arrival)
    # The text was kept at ingest where a check failed then; should settings have changed since, bronze says it all.
    received = F.to_json(F.struct(*[F.col(f"`{name}`") for name in source.columns]))
    text = F.when(F.size("_problems") > 0, F.coalesce("_record", received))
    return judged.withColumn("_record", text).select(F.lit(source.name).alias("source"), *_KEPT)


def _in_slices(due: Sequence[Row], file: str, arrival: str) -> str:
    """SQL that holds for the rows of the slices: files by arrival date, dates first for partition pruning."""
    files: dict[date | None, list[str]] = {}
    for slice_ in due:
        files.setdefault(slice_.arrival_date, []).append(slice_.source_file)
    if len({tuple(sorted(names)) for names in files.values()}) == 1 or all(len(names) == 1 for names in files.values()):
        # One set of files on all dates, or one file on each: the product of both lists is exact or empty elsewhere.
        groups = [([*files], sorted({name for names in files.values() for name in names}))]
    else:
        groups = [([day], names) for day, names in files.items()]
    return " or ".join(f"({among(arrival, days)} and {among(file, names)})" for days, names in groups)


def _known_copies(ctx: JobContext, rows: DataFrame) -> DataFrame | None:
    """Rows of silver.events that share an id with the new ones; None when there are none.

    Where every source limits lateness, copies can only be on the dates that lateness allows; otherwise all dates are
    looked at, by id alone; whole rows are read only of the dates on which copies were found.
    """
    if ctx.cleans_all or not ctx.tables.exists(silver.EVENTS):
        return None
    known = ctx.tables.read(silver.EVENTS)
    brought = rows.agg(
        F.sum(F.size("_events")).alias("events"), F.min(F.array_min("_events.event_date")).alias("oldest")
    ).head()
    assert brought is not None
    if all(source.lateness_days is not None for source in ctx.settings.sources.values()):
        known = known.where(F.col("event_date") >= F.lit(brought.oldest))
    ids = rows.select(F.explode("_events.event_id").alias("event_id")).distinct()
    if (brought.events or 0) <= _BROADCAST_IDS:
        ids = F.broadcast(ids)
    copies = known.select("event_id", "event_date").join(ids, "event_id", "left_semi")
    dates = [row.event_date for row in copies.select("event_date").distinct().collect()]
    if not dates:
        return None
    same = known.where(F.col("event_date").isin(dates)).join(ids, "event_id", "left_semi")
    copies = same.withColumn("_content_hash", content_hash()).select("event_id", *ORDER_OF_COPIES)
    return ctx.settled(copies, 0)  # without its plan: silver.events is written next


def _by_copies(ctx: JobContext, incoming: DataFrame, known: DataFrame | None) -> tuple[DataFrame, DataFrame]:
    """The events of which there is one, and `drop_copies` of the others, which are settled: few, as a rule."""
    repeated = ctx.settled(repeated_ids(incoming, known), 0)
    if repeated.count() <= _BROADCAST_IDS:
        repeated = F.broadcast(repeated)
    copies = ctx.settled(drop_copies(with_ids(incoming, repeated, True), known), 0)
    return with_ids(incoming, repeated, False), copies


def _count(rows: DataFrame, copies: DataFrame) -> dict[tuple[str, date | None], Row]:
    """What became of each slice's rows and events; as many as files, so collected.

    All rows with events count as accepted, and all their events; then what copies take off.
    """
    told = rows.select(
        "_source_file", "_arrival_date", F.size("_problems").alias("_p"), "_is_ignored",
        F.posexplode_outer("_events.event_date").alias("_place", "_date"),
    )  # fmt: skip
    is_row, is_event = F.coalesce("_place", F.lit(0)) == 0, (F.col("_p") == 0) & F.col("_place").isNotNull()
    whole = told.groupBy("_source_file", "_arrival_date").agg(
        F.count_if(is_row & is_event).alias("accepted"),
        F.count_if(is_row & (F.col("_p") > 0)).alias("rejected"),
        F.count_if(is_row & F.col("_is_ignored")).alias("ignored"),
        F.count_if(is_event).alias("events"),
        F.count_if(is_event & (F.col("_date") < F.col("_arrival_date"))).alias("late"),
    )
    taken_off = _taken_off(copies)
    names = [name for name in taken_off.columns if not name.startswith("_")]
    both = whole.unionByName(taken_off, allowMissingColumns=True)
    sums = [F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in ("rejected", "ignored", *names)]
    counted = both.groupBy("_source_file", "_arrival_date").agg(*sums)
    return {(row._source_file, row._arrival_date): row for row in counted.collect()}


def _taken_off(copies: DataFrame) -> DataFrame:
    """By slice, what copies take off its rows and events: a row of which all events are duplicates is one."""
    is_new = F.col("_status") == "accepted"
    of_row = copies.groupBy("_source_file", F.col("arrival_date").alias("_arrival_date"), "_row_number").agg(
        (F.count_if(F.col("_status") == "duplicate") == F.max("_events_of_row")).alias("is_duplicate"),
        F.count_if(~is_new).alias("lost"),
        F.count_if(~is_new & (F.col("event_date") < F.col("arrival_date"))).alias("late"),
        F.count_if("_replaces_known").alias("replaced"),
    )
    duplicate = F.count_if("is_duplicate")
    return of_row.groupBy("_source_file", "_arrival_date").agg(
        duplicate.alias("duplicate"),
        (-duplicate).alias("accepted"),
        (-F.sum("lost")).alias("events"),
        (-F.sum("late")).alias("late"),
        F.sum("replaced").alias("replaced"),
    )


def _write_events(
    ctx: JobContext, single: DataFrame, copies: DataFrame, counted: dict[tuple[str, date | None], Row]
) -> None:
    """Append the accepted events; where an earlier copy turned up late, its dates are rewritten instead."""
    names = silver.EVENTS.column_names
    accepted = single.select(*names).unionByName(copies.where("_status = 'accepted'").select(*names))
    events, replaced, late = (sum(row[name] for row in counted.values()) for name in ("events", "replaced", "late"))
    is_first = not ctx.tables.exists(silver.EVENTS)
    if ctx.cleans_all:
        ctx.tables.replace(silver.EVENTS, accepted)
    elif replaced:
        _rewrite_dates(ctx, copies, accepted)
    elif events or is_first:
        ctx.tables.append(silver.EVENTS, accepted)
    ctx.facts["events"] = events
    if late and not is_first and not ctx.cleans_all:
        ctx.progress.note(f"{late:,} events are older than their arrival date: their dates are restated")


def _rewrite_dates(ctx: JobContext, copies: DataFrame, accepted: DataFrame) -> None:
    """Replace the dates of the new events and of the copies that give way, in one commit."""
    known = ctx.tables.read(silver.EVENTS)
    losers = known.join(copies.where("_replaces_known").select("event_id"), "event_id", "left_semi")
    days = accepted.select("event_date").union(losers.select("event_date")).distinct().collect()
    dates = [row.event_date for row in days]
    kept = known.where(F.col("event_date").isin(dates)).join(losers.select("event_id"), "event_id", "left_anti")
    ctx.tables.overwrite_slice(silver.EVENTS, kept.unionByName(accepted), event_date=dates)
    ctx.progress.note(f"earlier copies of known events turned up: {len(dates)} dates are rewritten")


def _write_refused(ctx: JobContext, due: Sequence[Row], rows: DataFrame) -> None:
    """Refused rows, replacing what an interrupted run left of these slices."""
    bad = rows.where(F.size("_problems") > 0)
    refused = rejected_records(bad, F.col("_problems"), F.col("_record"), "clean-events")
    slices = f"step = 'clean-events' and ({_in_slices(due, 'source_file', 'arrival_date')})"
    if ctx.cleans_all:
        slices = "step = 'clean-events'"
    ctx.tables.overwrite_where(silver.REJECTED_RECORDS, refused.coalesce(1), slices)


def _write_ledger(ctx: JobContext, due: Sequence[Row], counted: dict[tuple[str, date | None], Row]) -> None:
    """Account for every slice: its rows were accepted, duplicates, rejected or ignored."""
    accounted = [_accounted(ctx, slice_, counted.get((slice_.source_file, slice_.arrival_date))) for slice_ in due]
    ctx.tables.upsert(ops.LANDING_FILES, ctx.small_frame(accounted, ops.LANDING_FILES))
    ctx.facts["rows read"] = sum(row["rows_read"] for row in accounted)
    ctx.facts["duplicates"] = sum(row["rows_duplicate"] for row in accounted)
    ctx.facts["rejected"] = sum(row["rows_rejected"] for row in accounted)


def _accounted(ctx: JobContext, slice_: Row, counted: Row | None) -> dict[str, Any]:
    return {
        **slice_.asDict(),
        "status": "loaded",
        "rows_accepted": counted.accepted if counted else 0,
        "rows_duplicate": counted.duplicate if counted else 0,
        "rows_rejected": slice_.rows_unreadable + (counted.rejected if counted else 0),
        "rows_ignored": counted.ignored if counted else 0,
        "rows_not_due": 0,
        "run_id": ctx.run_id,
    }


def _write_warnings(ctx: JobContext, rows: DataFrame) -> None:
    """Rows that a `severity: warn` check found, counted by source and check, in ops.data_quality."""
    if not any(
        check.severity == "warn" for s in ctx.settings.sources.values() for r in s.records for check in r.checks
    ):
        return
    warned = rows.select("source", F.explode("_warnings").alias("check")).groupBy("source", "check").count()
    found = warned.select(
        F.lit(ctx.run_id).alias("run_id"),
        F.lit(ctx.run_date).alias("run_date"),
        F.concat(F.lit("source_check:"), F.col("check")).alias("check"),
        F.col("source").alias("table"),
        F.lit("warn").alias("severity"),
        F.lit(False).alias("is_passed"),
        F.concat(F.col("count").cast("string"), F.lit(" rows")).alias("observed"),
        F.lit("0 rows").alias("expected"),
        F.lit(None).cast("bigint").alias("delta_version"),
        F.lit(ctx.now()).alias("checked_at"),
    )
    ctx.tables.append(ops.DATA_QUALITY, found.coalesce(1))


if __name__ == "__main__":
    main(run)
