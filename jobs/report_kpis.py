"""report-kpis: silver.orders, activity, events, customers, gold.segment_members, customer_tags, customer_values,
campaign_results -> gold.kpi_values, gold.kpi_catalogue."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.catalogues import write_catalogue
from jobs.runtime.increments import arrived_since, basis
from jobs.runtime.job import JobContext, main
from jobs.runtime.kpi_frames import kpi_frames, orders_as_of
from jobs.runtime.restatements import Restatements
from transforms.contracts import gold
from transforms.kpis import catalogue_rows, report_kpis


def run(ctx: JobContext) -> None:
    """KPIs of the run date, unless a later run knows it better, and of the stored dates that late events concern."""
    write_catalogue(ctx, gold.KPI_CATALOGUE, catalogue_rows(ctx.settings.kpis))
    known = _known_at(ctx)
    stale = [] if ctx.tables.is_past else _concerned(ctx, known)
    dates = [*stale, *([ctx.run_date] if known.get(ctx.run_date, ctx.run_date) <= ctx.run_date else [])]
    if ctx.run_date not in dates:
        later = known[ctx.run_date]
        ctx.progress.note(f"KPIs of {ctx.run_date} stand as known at {later}: not replaced by an earlier knowledge")
    if not dates:
        return
    values = reduce(DataFrame.unionByName, [_values(ctx, day) for day in dates]).coalesce(1)
    with Restatements(ctx, gold.KPI_VALUES, "kpi_date", "numerator", dates, cause="late_events"):
        ctx.facts["values"] = ctx.tables.overwrite_slice(gold.KPI_VALUES, values, basis(ctx), kpi_date=dates).rows
    if stale:
        ctx.facts["dates restated"] = len(stale)


def _values(ctx: JobContext, kpi_date: date) -> DataFrame:
    rules, events = ctx.settings.kpis, ctx.events()
    orders = orders_as_of(ctx.tables, events, ctx.settings, kpi_date, ctx.run_date)
    if kpi_date != ctx.run_date:  # put together again, for three frames
        orders = ctx.settled(orders, ctx.event_count)
    frames = kpi_frames(ctx.tables, events, orders, ctx.settings, kpi_date, ctx.run_date, rules)
    return ctx.settled(report_kpis(frames, kpi_date, ctx.run_date, rules, ctx.settings.stores), 0)


def _known_at(ctx: JobContext) -> dict[date, date]:
    """What is stored of the run date and of the days before it that may be restated: when each became known."""
    first = ctx.run_date - timedelta(days=ctx.settings.restate_kpis.days)
    stored = ctx.tables.read_or_empty(gold.KPI_VALUES).where(
        F.col("kpi_date").between(F.lit(first), F.lit(ctx.run_date))
    )
    return {row[0]: row[1] for row in stored.groupBy("kpi_date").agg(F.max("known_at_date")).collect()}


def _concerned(ctx: JobContext, known: dict[date, date]) -> list[date]:
    """Earlier stored dates of which events of up to that date became known since: by their arrival date, or in files
    that were found only now in the folder of an earlier one."""
    earlier = {day: at for day, at in known.items() if day < ctx.run_date and at < ctx.run_date}
    if not earlier:
        return []
    past = F.col("event_date") <= F.lit(max(earlier))
    late = ctx.known_events().where(past & (F.col("arrival_date") > F.lit(min(earlier.values()))))
    came = [(row[0], row[1]) for row in late.select("event_date", "arrival_date").distinct().collect()]
    found = arrived_since(ctx, gold.KPI_VALUES)
    now = found.where(past).agg(F.min("event_date")).head() if found is not None else None
    first_found = now[0] if now and now[0] else date.max
    return sorted(
        day
        for day, at in earlier.items()
        if first_found <= day or any(happened <= day and arrived > at for happened, arrived in came)
    )


if __name__ == "__main__":
    main(run)
