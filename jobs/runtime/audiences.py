"""Audience sizes against the last published run: a segment that halves or doubles overnight is told, not refused."""

from __future__ import annotations

from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.publications import PublishedTables, published_before
from transforms.contracts import gold

Size = tuple[str, str, str, str, bool]  # as the audit's findings: check, segment, observed, expected, is_passed


def audience_sizes(ctx: JobContext) -> list[Size]:
    """One finding for each segment that both runs know, and a warning for each that is out of bounds.

    Held against the last published run date before this one. A segment with fewer than `least_segment_customers` in
    both runs always passes.
    """
    rules, earlier = ctx.settings.audit, published_before(ctx.tables, ctx.run_date)
    if earlier is None or not ctx.tables.exists(gold.SEGMENT_SUMMARY):
        return []
    here, there = (
        {row.segment: row.customers for row in view.where(F.col("run_date") == F.lit(day)).collect()}
        for view, day in (
            (ctx.tables.read(gold.SEGMENT_SUMMARY), ctx.run_date),
            (PublishedTables(ctx.tables).read(gold.SEGMENT_SUMMARY), earlier),
        )
    )
    found = []
    for segment in sorted({*here} & {*there}):
        now, before = here[segment], there[segment]
        low, high = int(before * rules.least_segment_share), int(before * rules.most_segment_share)
        is_small = max(now, before) < rules.least_segment_customers
        expected = f"{low} to {high} customers, as {before} on {earlier}"
        found.append(("segment_size", segment, f"{now} customers", expected, is_small or low <= now <= high))
    for _, segment, observed, expected, is_passed in found:
        if not is_passed:
            ctx.progress.warn(
                f"segment {segment} has {observed}, expected {expected}: look at gold.segment_flows and the entry "
                f"reasons in gold.segment_history of {ctx.run_date}, and at gold.tag_health for tags that moved"
            )
    return found
