"""build-segments: gold.customer_tags, rfm_scores, customer_values, silver.customers -> gold.segment_*."""

from __future__ import annotations

from jobs.runtime.job import JobContext, main
from jobs.runtime.portraits import portraits
from transforms.contracts import gold
from transforms.segments import build_segments, summarise_segments


def run(ctx: JobContext) -> None:
    """Every customer's primary segment and all secondary ones, as of the run date."""
    customers = portraits(ctx)
    members = build_segments(customers, ctx.run_date, ctx.settings.segments)
    ctx.facts["memberships"] = ctx.tables.overwrite_slice(gold.SEGMENT_MEMBERS, members, run_date=ctx.run_date).rows
    written = ctx.tables.read(gold.SEGMENT_MEMBERS).where(f"run_date = date'{ctx.run_date}'")
    counted = ctx.without_staff(customers)
    summary = summarise_segments(ctx.without_staff(written), counted, ctx.run_date, ctx.settings.segments)
    ctx.tables.overwrite_slice(gold.SEGMENT_SUMMARY, summary.coalesce(1), run_date=ctx.run_date)


if __name__ == "__main__":
    main(run)
