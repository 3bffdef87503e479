"""report-trade: silver.orders, order_lines, activity, customers, events, gold.segment_members, customer_values ->
gold.retention_cohorts, region_quality, inventory_turnover, price_fairness."""

from __future__ import annotations

from pyspark.sql import DataFrame

from jobs.runtime.job import JobContext, main
from jobs.runtime.portraits import primary_segments
from jobs.runtime.side_by_side import side_by_side
from transforms.cohorts import retention_cohorts
from transforms.contracts import Table, gold, silver
from transforms.prices import price_fairness
from transforms.regions import region_quality
from transforms.stock import inventory_turnover


def run(ctx: JobContext) -> None:
    """Who comes back, which places are loyal, what lies too long, and who pays more for the same."""
    side_by_side(lambda: _customers(ctx), lambda: _goods(ctx))


def _customers(ctx: JobContext) -> None:
    settings, day, orders = ctx.settings, ctx.run_date, ctx.counted(silver.ORDERS)
    activity = ctx.counted(silver.ACTIVITY)
    cohorts = retention_cohorts(orders, activity, primary_segments(ctx), day, settings.cohorts)
    _write(ctx, gold.RETENTION_COHORTS, cohorts)
    customers = ctx.without_staff(ctx.tables.read(silver.CUSTOMERS))
    values = ctx.of_run_date(gold.CUSTOMER_VALUES).select("customer_id", "clv_365d")
    _write(ctx, gold.REGION_QUALITY, region_quality(customers, orders, values, day, settings.regions))


def _goods(ctx: JobContext) -> None:
    settings, day = ctx.settings, ctx.run_date
    sold = ctx.tables.read(silver.ORDER_LINES)
    _write(ctx, gold.INVENTORY_TURNOVER, inventory_turnover(ctx.known_events(), sold, day, settings.turnover))
    bought = ctx.counted(silver.ORDER_LINES)
    _write(ctx, gold.PRICE_FAIRNESS, price_fairness(bought, primary_segments(ctx), day, settings.prices))


def _write(ctx: JobContext, table: Table, rows: DataFrame) -> None:
    ctx.tables.overwrite_slice(table, rows.coalesce(1), run_date=ctx.run_date)


if __name__ == "__main__":
    main(run)
