"""build-orders: silver.events -> silver.order_lines, silver.orders (returns netted)."""

from __future__ import annotations

from jobs.runtime.job import JobContext, main
from jobs.runtime.restatements import Restatements
from transforms.contracts import silver
from transforms.orders import build_order_lines, build_orders


def run(ctx: JobContext) -> None:
    """Build every order as it stands on the run date."""
    settings = ctx.settings
    lines = build_order_lines(ctx.events(), ctx.run_date, settings.identity.tier, settings.rfm.zero_value_orders)
    ctx.tables.replace(silver.ORDER_LINES, lines)
    orders = build_orders(ctx.tables.read(silver.ORDER_LINES))
    with Restatements(ctx, silver.ORDERS, date_column="order_date", amount_column="net_amount"):
        commit = ctx.tables.replace(silver.ORDERS, orders)
    ctx.facts["orders"] = commit.rows


if __name__ == "__main__":
    main(run)
