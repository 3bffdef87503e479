"""build-customers: silver.events, identities and orders -> silver.customers."""

from __future__ import annotations

from pyspark.sql import DataFrame

from jobs.runtime.job import JobContext, main
from transforms.contracts import silver
from transforms.customers import build_customers
from transforms.identity.anchors import with_owner
from transforms.orders import build_order_lines, build_orders


def run(ctx: JobContext) -> None:
    """One golden record for each customer known on the run date."""
    identities = ctx.tables.read(silver.IDENTITIES)
    customers = build_customers(
        identities,
        with_owner(ctx.events(), identities),
        with_owner(_orders(ctx), identities),
        ctx.run_date,
        ctx.settings.customers,
        {name: source.priority for name, source in ctx.settings.sources.items()},
    )
    ctx.facts["customers"] = ctx.tables.replace(silver.CUSTOMERS, customers).rows


def _orders(ctx: JobContext) -> DataFrame:
    """silver.orders where build-orders ran before for this date (as `nightly` does), else the same from events."""
    built = ctx.tables.last_commit(silver.ORDERS)
    if built and built.metadata.get("run_date") == ctx.run_date.isoformat():
        return ctx.tables.read(silver.ORDERS)
    settings = ctx.settings
    return build_orders(
        build_order_lines(ctx.events(), ctx.run_date, settings.identity.tier, settings.rfm.zero_value_orders)
    )


if __name__ == "__main__":
    main(run)
