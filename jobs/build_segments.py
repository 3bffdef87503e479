"""build-segments: gold.customer_tags, rfm_scores, customer_values, silver.customers, order_lines, identities ->
gold.segment_members, segment_summary, segment_history, segment_flows, segment_overlaps, pareto and
value_activity_matrix."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main, side_by_side
from jobs.runtime.portraits import portraits, segment_facts_of
from jobs.runtime.publications import current, published_after, today
from jobs.runtime.tables import literal
from transforms.contracts import Table, gold, silver
from transforms.segments import (
    build_segments,
    change_history,
    concentration,
    flow_dates,
    segment_flows,
    segment_overlaps,
    summarise_segments,
    value_activity_matrix,
)


def run(ctx: JobContext) -> None:
    """Every customer's primary segment and all secondary ones, who moved, and what the segments are worth."""
    rules, day = ctx.settings.segments, ctx.run_date
    facts = ctx.settled(segment_facts_of(ctx.tables.read, ctx.settings, day), ctx.tables.read(silver.CUSTOMERS).count())
    customers = portraits(ctx).join(facts, "customer_id", "left")
    members = build_segments(customers, day, rules)
    ctx.facts["memberships"] = ctx.tables.overwrite_slice(gold.SEGMENT_MEMBERS, members, run_date=day).rows
    side_by_side(lambda: _write_movement(ctx), lambda: _write_measures(ctx, customers, facts))


def _write_movement(ctx: JobContext) -> None:
    """The history with this date's members in it, and the flows that follow from it."""
    _write_history(ctx)
    since = flow_dates(ctx.run_date)["month"]
    history = ctx.tables.read(gold.SEGMENT_HISTORY).where(_exited_since(since.replace(day=1)))
    _write_slice(ctx, gold.SEGMENT_FLOWS, segment_flows(history, ctx.run_date))


def _write_history(ctx: JobContext) -> None:
    """This date's members in the history as it was published: a refused or broken night leaves no trace in it.

    Only stays that are open, or that ended in this month or later, are written; all of them where the table is not as
    it was published.
    """
    table, day = gold.SEGMENT_HISTORY, ctx.run_date
    published = {entry.table: entry.version for entry in current(ctx.tables)}.get(table.full_name)
    known = ctx.spark.createDataFrame([], table.schema) if published is None else ctx.tables.read(table, published)
    next_day = published_after(ctx.tables, table, day)
    newest = max(filter(None, [day, today(ctx.tables)]))
    touched = _exited_since(day.replace(day=1))
    members, next_members = _members(ctx, day), _members(ctx, next_day) if next_day else None
    changed = change_history(known.where(touched), members, day, newest, next_day, next_members)
    if published == ctx.tables.version(table):
        ctx.tables.overwrite_where(table, changed, touched)
    else:
        ctx.tables.replace(table, known.where(f"not ({touched})").unionByName(changed))


def _write_measures(ctx: JobContext, customers: DataFrame, facts: DataFrame) -> None:
    """What each segment is worth and shares with others, and how money and activity are spread over customers."""
    settings, day = ctx.settings, ctx.run_date
    members = _members(ctx, day)
    counted = ctx.without_staff(customers)
    summary = summarise_segments(ctx.without_staff(members), counted, day, settings.segments)
    _write_slice(ctx, gold.SEGMENT_SUMMARY, summary)
    _write_slice(ctx, gold.SEGMENT_OVERLAPS, segment_overlaps(members, day, settings.segments))
    _write_slice(ctx, gold.PARETO, concentration(facts, day))
    value_tiers = [tier.name for tier in settings.value.tiers]
    matrix = value_activity_matrix(customers, day, value_tiers, settings.activity_tiers)
    _write_slice(ctx, gold.VALUE_ACTIVITY_MATRIX, matrix)


def _members(ctx: JobContext, day: date) -> DataFrame:
    return ctx.tables.read(gold.SEGMENT_MEMBERS).where(F.col("run_date") == F.lit(day))


def _exited_since(month: date) -> str:
    return f"exit_month_date is null or exit_month_date >= {literal(month)}"


def _write_slice(ctx: JobContext, table: Table, rows: DataFrame) -> None:
    """A small table's rows of the run date, in one file."""
    ctx.tables.overwrite_slice(table, rows.coalesce(1), run_date=ctx.run_date)


if __name__ == "__main__":
    main(run)
