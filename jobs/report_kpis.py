"""report-kpis: silver.orders, activity, customers, gold.segment_members -> gold.kpi_values, gold.kpi_catalogue."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.catalogues import write_catalogue
from jobs.runtime.job import JobContext, main
from transforms.contracts import gold, silver
from transforms.kpis import catalogue_rows, report_kpis


def run(ctx: JobContext) -> None:
    """KPIs of the run date, unless a later run knows that date better already."""
    write_catalogue(ctx, gold.KPI_CATALOGUE, catalogue_rows(ctx.settings.kpis))
    known_at = _known_at(ctx)
    if known_at and known_at > ctx.run_date:
        ctx.progress.note(f"KPIs of {ctx.run_date} stand as known at {known_at}: not replaced by an earlier knowledge")
        return
    values = report_kpis(_frames(ctx), ctx.run_date, ctx.run_date, ctx.settings.kpis)
    ctx.facts["values"] = ctx.tables.overwrite_slice(gold.KPI_VALUES, values.coalesce(1), kpi_date=ctx.run_date).rows


def _frames(ctx: JobContext) -> dict[str, DataFrame]:
    members = ctx.of_run_date(gold.SEGMENT_MEMBERS).where("kind = 'primary'")
    primary = members.select("customer_id", "segment")
    return {
        "orders": ctx.owned(silver.ORDERS),
        "activity": ctx.owned(silver.ACTIVITY),
        "customers": ctx.tables.read(silver.CUSTOMERS).join(primary, "customer_id", "left"),
    }


def _known_at(ctx: JobContext) -> date | None:
    if not ctx.tables.exists(gold.KPI_VALUES):
        return None
    found = ctx.tables.read(gold.KPI_VALUES).where(F.col("kpi_date") == F.lit(ctx.run_date))
    newest = found.agg(F.max("known_at_date")).head()
    return newest[0] if newest else None


if __name__ == "__main__":
    main(run)
