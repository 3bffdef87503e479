"""build-orders: silver.events -> silver.order_lines, silver.orders (returns netted)."""

from __future__ import annotations

from pyspark.sql import DataFrame

from jobs.runtime.increments import basis, events_in_question
from jobs.runtime.job import JobContext, main
from jobs.runtime.restatements import Restatements
from jobs.runtime.tables import among
from transforms.contracts import Table, silver
from transforms.orders import build_order_lines, build_orders, order_events, touched_orders


def run(ctx: JobContext) -> None:
    """Every order as it stands on the run date; where only events came, the orders that they name."""
    concerned = events_in_question(ctx, silver.ORDERS)
    if concerned is None:
        _rebuild(ctx)
    else:
        with ctx.restating():
            _restate(ctx, concerned)


def _rebuild(ctx: JobContext) -> None:
    ctx.tables.replace(silver.ORDER_LINES, _lines(ctx, ctx.events()), basis(ctx))
    orders = build_orders(ctx.tables.read(silver.ORDER_LINES))
    with Restatements(ctx, silver.ORDERS, date_column="order_date", amount_column="net_amount"):
        ctx.facts["orders"] = ctx.tables.replace(silver.ORDERS, orders, basis(ctx)).rows


def _restate(ctx: JobContext, concerned: DataFrame) -> None:
    """Build the orders that some events name again; of the other orders on their dates the rows stay."""
    touched = ctx.settled(touched_orders(concerned).select("order_id"), 0)
    named = order_events(ctx.known_events()).join(touched, "order_id", "left_semi")
    days = [row.event_date for row in named.select("event_date").distinct().collect()]
    events = order_events(ctx.events().where(among("event_date", days))).join(touched, "order_id", "left_semi")
    lines = ctx.settled(_lines(ctx, events), 0)
    before = ctx.tables.read(silver.ORDER_LINES).join(touched, "order_id", "left_semi").select("order_date")
    dates = [row.order_date for row in before.union(lines.select("order_date")).distinct().collect()]

    def restated(table: Table, rows: DataFrame) -> int:
        others = ctx.tables.read(table).where(among("order_date", dates)).join(touched, "order_id", "left_anti")
        return ctx.tables.overwrite_slice(table, others.unionByName(rows), basis(ctx), order_date=dates).rows

    restated(silver.ORDER_LINES, lines)
    with Restatements(ctx, silver.ORDERS, date_column="order_date", amount_column="net_amount", dates=dates):
        ctx.facts["orders"] = restated(silver.ORDERS, build_orders(lines))
    ctx.facts["dates restated"] = len(dates)


def _lines(ctx: JobContext, events: DataFrame) -> DataFrame:
    settings = ctx.settings
    return build_order_lines(events, ctx.run_date, settings.identity.tier, settings.rfm.zero_value_orders)


if __name__ == "__main__":
    main(run)
