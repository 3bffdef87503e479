"""clean-events: bronze.* -> silver.events, refused rows -> silver.rejected_records, each file accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.tables import literal
from transforms.contracts import ops, silver
from transforms.events import ORDER_OF_COPIES, content_hash, drop_copies, events_of
from transforms.sources import Source, apply_records

_KEPT = ("_source_file", "_row_number", "_arrival_date", "_record", "_events", "_problems", "_warnings", "_is_ignored")


def run(ctx: JobContext) -> None:
    """Clean every arrival slice that is due and not loaded yet."""
    due = _due(ctx)
    if not due:
        ctx.progress.note("nothing new has arrived: silver.events stays as it is")
        return
    with ctx.interpreted(sum(slice_.rows_read for slice_ in due)):
        rows = _judged(ctx, due).persist()
        incoming = events_of(rows, ctx.settings.identity.linking)
        marked = drop_copies(incoming, _known_copies(ctx, rows)).persist()
        _write_events(ctx, marked)
        _write_refused(ctx, due, rows)
        _write_ledger(ctx, due, rows, marked)
        _write_warnings(ctx, rows)
        rows.unpersist()
        marked.unpersist()


def _due(ctx: JobContext) -> list[Row]:
    """Ledger rows of slices that arrived by the run date and are not in silver yet; as many as files, so collected."""
    states = ["ingested", "not_due", "loaded"] if ctx.full else ["ingested", "not_due"]
    ledger = ctx.tables.read_or_empty(ops.LANDING_FILES).where(F.col("status").isin(states) & (F.col("rows_read") > 0))
    arrived = F.col("arrival_date").isNull() | (F.col("arrival_date") <= F.lit(ctx.horizon()))
    return ledger.where(arrived & F.col("source").isin(*ctx.settings.sources)).collect()


def _judged(ctx: JobContext, due: Sequence[Row]) -> DataFrame:
    """Bronze rows of the due slices with their events and problems; grain one row, key (source, file, number)."""
    ledger = ctx.tables.read(ops.LANDING_FILES).groupBy("source").agg(F.min("arrival_date"))
    firsts: dict[str, date | None] = {row[0]: row[1] for row in ledger.collect()}
    frames = [
        _judge(ctx, ctx.settings.sources[name], [slice_ for slice_ in due if slice_.source == name], firsts.get(name))
        for name in sorted({slice_.source for slice_ in due})
    ]
    return reduce(DataFrame.unionByName, frames)


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
    return " or ".join(f"({_among(arrival, days)} and {_among(file, names)})" for days, names in groups)


def _among(column: str, values: Sequence[Any]) -> str:
    known = ", ".join(literal(value) for value in values if value is not None)
    parts = [f"`{column}` in ({known})"] if known else []
    if any(value is None for value in values):
        parts.append(f"`{column}` is null")
    return f"({' or '.join(parts)})"


def _known_copies(ctx: JobContext, rows: DataFrame) -> DataFrame | None:
    """Rows of silver.events that may share an id with the new ones; None when there is no table yet.

    Where every source limits lateness, copies can only be on the dates that lateness allows; otherwise all dates
    are looked at, in the few narrow columns that decide.
    """
    if ctx.full or not ctx.tables.exists(silver.EVENTS):
        return None
    known = ctx.tables.read(silver.EVENTS)
    limits = [source.lateness_days for source in ctx.settings.sources.values()]
    if all(limit is not None for limit in limits):
        oldest = rows.agg(F.min(F.array_min("_events.event_date"))).head()
        known = known.where(F.col("event_date") >= F.lit(oldest[0] if oldest else None))
    ids = rows.select(F.explode("_events.event_id").alias("event_id")).distinct()
    return (
        known.join(ids, "event_id", "left_semi")
        .select("*", content_hash().alias("_content_hash"))
        .select("event_id", "event_date", *ORDER_OF_COPIES)
    )


def _write_events(ctx: JobContext, marked: DataFrame) -> None:
    """Append the accepted events; where an earlier copy turned up late, its dates are rewritten instead."""
    accepted = marked.where("_status = 'accepted'").select(*silver.EVENTS.column_names)
    counts = marked.agg(
        F.count_if(F.col("_status") == "accepted").alias("accepted"),
        F.count_if("_replaces_known").alias("replaced"),
        F.count_if((F.col("_status") == "accepted") & (F.col("event_date") < F.col("arrival_date"))).alias("late"),
    ).head()
    assert counts is not None
    if ctx.full:
        ctx.tables.replace(silver.EVENTS, accepted)
    elif counts.replaced:
        _rewrite_dates(ctx, marked, accepted)
    elif counts.accepted or not ctx.tables.exists(silver.EVENTS):
        ctx.tables.append(silver.EVENTS, accepted)
    ctx.facts["events"] = counts.accepted
    if counts.late:
        ctx.progress.note(f"{counts.late:,} events are older than their arrival date: their dates are restated")


def _rewrite_dates(ctx: JobContext, marked: DataFrame, accepted: DataFrame) -> None:
    """Replace the dates of the new events and of the copies that give way, in one commit."""
    known = ctx.tables.read(silver.EVENTS)
    losers = known.join(marked.where("_replaces_known").select("event_id"), "event_id", "left_semi")
    days = accepted.select("event_date").union(losers.select("event_date")).distinct().collect()
    dates = [row.event_date for row in days]
    kept = known.where(F.col("event_date").isin(dates)).join(losers.select("event_id"), "event_id", "left_anti")
    ctx.tables.overwrite_where(silver.EVENTS, kept.unionByName(accepted), _among("event_date", dates))
    ctx.progress.note(f"earlier copies of known events turned up: {len(dates)} dates are rewritten")


def _write_refused(ctx: JobContext, due: Sequence[Row], rows: DataFrame) -> None:
    """Refused rows, replacing what an interrupted run left of these slices."""
    refused = rows.where(F.size("_problems") > 0).select(
        "source",
        F.col("_source_file").alias("source_file"),
        F.col("_row_number").alias("row_number"),
        F.col("_arrival_date").alias("arrival_date"),
        F.col("_problems").alias("reasons"),
        F.col("_record").alias("record"),
        F.lit("clean-events").alias("step"),
    )
    slices = f"step = 'clean-events' and ({_in_slices(due, 'source_file', 'arrival_date')})"
    if ctx.full:
        slices = "step = 'clean-events'"
    ctx.tables.overwrite_where(silver.REJECTED_RECORDS, refused.coalesce(1), slices)


def _write_ledger(ctx: JobContext, due: Sequence[Row], rows: DataFrame, marked: DataFrame) -> None:
    """Account for every slice: its rows were accepted, duplicates, rejected or ignored."""
    outcomes = marked.groupBy("_source_file", "_row_number").agg(
        F.bool_or(F.col("_status") != "duplicate").alias("is_accepted")
    )
    counted = (
        rows.select(
            "_source_file", "_row_number", "_arrival_date", F.size("_problems").alias("_problems"), "_is_ignored"
        )
        .join(outcomes, ["_source_file", "_row_number"], "left")
        .groupBy("_source_file", "_arrival_date")
        .agg(
            F.count_if("is_accepted").alias("accepted"),
            F.count_if(~F.col("is_accepted")).alias("duplicate"),
            F.count_if(F.col("_problems") > 0).alias("rejected"),
            F.count_if("_is_ignored").alias("ignored"),
        )
        .collect()
    )
    counts = {(row._source_file, row._arrival_date): row for row in counted}
    accounted = [_accounted(ctx, slice_, counts.get((slice_.source_file, slice_.arrival_date))) for slice_ in due]
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
