"""The frames that KPIs read, of the run date, or of an earlier date with what is known now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.settings import Settings
from transforms.contracts import Table, gold, silver
from transforms.identity.anchors import with_owner
from transforms.kpis.measures import earliest, planned
from transforms.kpis.rules import KpiRules
from transforms.kpis.stock import stock_levels
from transforms.kpis.touches import touches
from transforms.orders import build_order_lines, build_orders, order_events, touched_orders
from transforms.tags import tag_columns

_VALUES = (gold.CUSTOMER_VALUES.full_name, gold.CUSTOMER_VALUES.column_names[2:])


class Readable(Protocol):
    """A run's own tables, or those of a publication."""

    def read(self, table: Table | str, /) -> DataFrame:
        """The table as it stands there."""

    def read_or_empty(self, table: Table, /) -> DataFrame:
        """The table, or no rows of it."""


def orders_as_of(tables: Readable, events: DataFrame, settings: Settings, kpi_date: date, known_at: date) -> DataFrame:
    """silver.orders as they stood on a date: those that something happened to after it are put together again."""
    orders = tables.read(silver.ORDERS)
    if kpi_date == known_at:
        return orders
    later = touched_orders(events.where(F.col("event_date") > F.lit(kpi_date))).select("order_id")
    named = order_events(events).join(F.broadcast(later), "order_id", "left_semi")
    before = named.where(F.col("event_date") <= F.lit(kpi_date))
    lines = build_order_lines(before, kpi_date, settings.identity.tier, settings.rfm.zero_value_orders)
    others = orders.where(F.col("order_date") <= F.lit(kpi_date)).join(F.broadcast(later), "order_id", "left_anti")
    return others.unionByName(build_orders(lines))


def kpi_frames(
    tables: Readable,
    events: DataFrame,
    orders: DataFrame,
    settings: Settings,
    kpi_date: date,
    known_at: date,
    rules: KpiRules,
) -> dict[str, DataFrame]:
    """The frames of `transforms.kpis.frames.FRAMES` that the rules read, and `customers`.

    Args:
        tables: as they stand on `known_at`, whose state silver holds.
        events: silver.events known then, led as of it.
        orders: `orders_as_of` kpi_date, which several frames are made of.
        kpi_date: at or before `known_at`. What happened after it is left out, so that orders are as they stood then;
            who is who is as known on `known_at`. Slices that a run of kpi_date left (tags, values, campaigns, segments)
            are read as that run left them: late events do not restate those.
    """
    wanted = {"customers", *rules.frames}
    identities = tables.read(silver.IDENTITIES)
    activity = with_owner(tables.read(silver.ACTIVITY), identities).where(F.col("event_date") <= F.lit(kpi_date))
    orders = with_owner(orders, identities)
    plan = planned(rules, kpi_date)
    frames = {"activity": activity, "orders": orders}
    frames["customers"] = _customers(tables, settings, frames, kpi_date, known_at, rules)
    if "events" in wanted:
        frames["events"] = with_owner(events.where(F.col("event_date") <= F.lit(kpi_date)), identities)
    if "touches" in wanted:
        frames["touches"] = touches(activity, orders, earliest(plan, "touches"), kpi_date)
    if "campaigns" in wanted:
        of_date = tables.read_or_empty(gold.CAMPAIGN_RESULTS).where(F.col("run_date") == F.lit(kpi_date))
        parts = of_date.where("segment <> 'all' and channel = 'all' and content_type = 'all'")
        frames["campaigns"] = parts.withColumn("segment", F.nullif("segment", F.lit("none")))
    if "stock" in wanted:
        frames["stock"] = stock_levels(events, kpi_date)
    return {name: frame for name, frame in frames.items() if name in wanted}


def _customers(
    tables: Readable, settings: Settings, frames: dict[str, DataFrame], kpi_date: date, known_at: date, rules: KpiRules
) -> DataFrame:
    """Customers with their primary segment, and the tags and values that some KPI reads, as of the date.

    Of an earlier date these are the customers who had done anything by then. A customer whose id the run of that date
    did not know (who merged since, or of whom only late events tell) is in the segment of `known_at`.
    """
    customers, columns = tables.read(silver.CUSTOMERS), rules.columns_read("customers")
    primary = tables.read(gold.SEGMENT_MEMBERS).where("kind = 'primary'")
    members = primary.where(F.col("run_date") == F.lit(kpi_date)).select("customer_id", "segment")
    if kpi_date == known_at:
        customers = customers.join(members, "customer_id", "left")
    else:
        known = frames["activity"].where("customer_id is not null").select("customer_id").distinct()
        bought = frames["orders"].where("is_purchase and customer_id is not null").groupBy("customer_id")
        first = bought.agg(F.min("order_date").alias("first_order_date"))
        now = primary.where(F.col("run_date") == F.lit(known_at)).select("customer_id", F.col("segment").alias("now"))
        seen = (
            customers.drop("first_order_date")
            .join(known, "customer_id", "left_semi")
            .join(first, "customer_id", "left")
        )
        both = seen.join(members, "customer_id", "left").join(now, "customer_id", "left")
        customers = both.withColumn("segment", F.coalesce("segment", "now")).drop("now")
    for table, names in (("gold.customer_tags", tag_columns(settings.tags)), _VALUES):
        more = _read_of(names, columns - {*customers.columns})
        if more:
            of_date = tables.read(table).where(F.col("run_date") == F.lit(kpi_date)).select("customer_id", *more)
            customers = customers.join(of_date, "customer_id", "left")
    return customers.select("customer_id", *sorted(columns - {"customer_id", "segment"}), "segment")


def _read_of(names: Iterable[str], columns: set[str]) -> list[str]:
    return [name for name in names if name in columns]
