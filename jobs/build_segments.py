"""build-segments: gold.customer_tags, rfm_scores, customer_values, silver.customers, order_lines, identities ->
gold.segment_members, segment_summary, segment_history, segment_flows, segment_overlaps, pareto and
value_activity_matrix."""

from __future__ import annotations

from pyspark.sql import DataFrame

from jobs.runtime.job import JobContext, main
from jobs.runtime.movement import members_of, write_movement
from jobs.runtime.portraits import portraits, segment_facts_of
from jobs.runtime.side_by_side import side_by_side
from transforms.contracts import Table, gold, silver
from transforms.segments import (
    READ_TAGS,
    build_segments,
    concentration,
    segment_overlaps,
    summarise_segments,
    value_activity_matrix,
)

_MEASURED = sorted({"value_tier"}.union(*READ_TAGS.values()))


def run(ctx: JobContext) -> None:
    """Every customer's primary segment and all secondary ones, who moved, and what the segments are worth."""
    rules, day = ctx.settings.segments, ctx.run_date
    size = ctx.tables.count(silver.CUSTOMERS)
    facts = ctx.settled(segment_facts_of(ctx.tables.read, ctx.settings, day), size)
    customers = portraits(ctx).join(facts, "customer_id", "left")
    members = build_segments(customers, day, rules)
    ctx.facts["memberships"] = ctx.tables.overwrite_slice(gold.SEGMENT_MEMBERS, members, run_date=day).rows
    measured = ctx.settled(customers.select("customer_id", *_MEASURED), size)  # a join of four tables, used twice
    side_by_side(lambda: write_movement(ctx), lambda: _write_measures(ctx, measured, facts))


def _write_measures(ctx: JobContext, customers: DataFrame, facts: DataFrame) -> None:
    """What each segment is worth and shares with others, and how money and activity are spread over customers."""
    settings, day = ctx.settings, ctx.run_date
    members = members_of(ctx, day)
    counted = ctx.without_staff(customers)
    summary = summarise_segments(ctx.without_staff(members), counted, day, settings.segments)
    _write_slice(ctx, gold.SEGMENT_SUMMARY, summary)
    _write_slice(ctx, gold.SEGMENT_OVERLAPS, segment_overlaps(members, day, settings.segments))
    _write_slice(ctx, gold.PARETO, concentration(facts, day))
    value_tiers = [tier.name for tier in settings.value.tiers]
    matrix = value_activity_matrix(customers, day, value_tiers, settings.activity_tiers)
    _write_slice(ctx, gold.VALUE_ACTIVITY_MATRIX, matrix)


def _write_slice(ctx: JobContext, table: Table, rows: DataFrame) -> None:
    """A small table's rows of the run date, in one file."""
    ctx.tables.overwrite_slice(table, rows.coalesce(1), run_date=ctx.run_date)


if __name__ == "__main__":
    main(run)
