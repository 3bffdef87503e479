"""Who moved between segments: gold.segment_history kept from publication to publication, and the flows it says."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.listed_rows import listed_rows
from jobs.runtime.publications import publications_of
from jobs.runtime.tables import literal
from transforms.contracts import gold
from transforms.segments import change_history, flow_dates, segment_flows


def write_movement(ctx: JobContext) -> None:
    """The history with the run date's members in it, and the flows that follow from it."""
    write_history(ctx)
    since = flow_dates(ctx.run_date)["month"]
    history = ctx.tables.read(gold.SEGMENT_HISTORY).where(_exited_since(since))
    flows = segment_flows(history, ctx.run_date)
    ctx.tables.overwrite_slice(gold.SEGMENT_FLOWS, flows.coalesce(1), run_date=ctx.run_date)


def write_history(ctx: JobContext) -> None:
    """The run date's members in the history as it was published: a refused or broken night leaves no trace in it.

    Written are the stays that are open, or ended in this month or later; all of them where a night that was not
    published stands in the table.
    """
    table, day = gold.SEGMENT_HISTORY, ctx.run_date
    publications = publications_of(ctx.tables, table)
    published = next((entry.delta_version for entry in publications if entry.is_current), None)
    if published is not None and ctx.is_erasing:
        published = ctx.tables.version(table)  # the sweep left there what was published, less the erased
    known = listed_rows(ctx.spark, [], table.schema) if published is None else ctx.tables.read(table, published)
    days = {entry.run_date for entry in publications}
    next_day, newest = min((other for other in days if other > day), default=None), max([day, *days])
    touched = _exited_since(day)
    next_members = members_of(ctx, next_day) if next_day else None
    changed = change_history(known.where(touched), members_of(ctx, day), day, newest, next_day, next_members)
    if published == ctx.tables.version(table):
        ctx.tables.overwrite_where(table, changed, touched)
    else:
        ctx.tables.replace(table, known.where(f"not ({touched})").unionByName(changed))


def members_of(ctx: JobContext, day: date) -> DataFrame:
    """The slice of gold.segment_members of a date."""
    return ctx.tables.read(gold.SEGMENT_MEMBERS).where(F.col("run_date") == F.lit(day))


def _exited_since(day: date) -> str:
    """Whole partitions: stays that are open, or ended in the month of a day or later."""
    return f"exit_month_date is null or exit_month_date >= {literal(day.replace(day=1))}"
