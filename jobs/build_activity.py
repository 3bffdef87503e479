"""build-activity: silver.events -> silver.activity (daily partials), silver.timelines (a customer's partials)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.increments import basis, events_in_question
from jobs.runtime.job import JobContext, main
from jobs.runtime.keyed_rows import with_key
from jobs.runtime.restatements import Restatements
from jobs.runtime.tables import among
from jobs.runtime.timelines import write_timelines
from transforms.activity import build_activity, concerned_dates, concerned_places, events_of_orders
from transforms.contracts import silver
from transforms.orders import LEAD, order_events

_FEW_DATES = 2  # are built whole for less than it takes to find the few leads on them
_MOST_PLACES = 1_000_000  # some 100 MB


def run(ctx: JobContext) -> None:
    """Daily partials of all events known on the run date; where only events came, those that the events concern."""
    before, concerned = ctx.tables.version(silver.ACTIVITY), events_in_question(ctx, silver.ACTIVITY)
    places = None
    if concerned is None:
        with Restatements(ctx, silver.ACTIVITY, date_column="event_date", amount_column="net_amount"):
            partials = ctx.tables.replace(silver.ACTIVITY, _partials(ctx, ctx.events()), basis(ctx))
        ctx.facts["partials"] = partials.rows
    else:
        with ctx.restating():
            if ctx.event_count > ctx.settings.timelines.whole_up_to:
                found = concerned_places(concerned, _of_orders(ctx, ctx.known_events()))
                places = ctx.settled(found, ctx.event_count)
            _restate(ctx, concerned, places)
    write_timelines(ctx, places, before)


def _of_orders(ctx: JobContext, events: DataFrame) -> DataFrame:
    """Those of orders, up to the run date."""
    return order_events(events.where(F.col("event_date") <= F.lit(ctx.run_date)))


def _restate(ctx: JobContext, concerned: DataFrame, places: DataFrame | None) -> None:
    """Build the partials that some events concern again: those of whole dates, or of many dates those at the places."""
    known, leads = (ctx.known_events(), ()) if places is None else (ctx.events(), LEAD)
    named = ctx.settled(_of_orders(ctx, known).select("order_id", "event_type", "event_date", *leads), ctx.event_count)
    found = concerned_dates(concerned, named) if places is None else places.select("event_date").distinct()
    dates = [row.event_date for row in found.collect()]
    on_dates = among("event_date", dates)
    if len(dates) <= _FEW_DATES or (places and places.count() > _MOST_PLACES):
        places = None
    with Restatements(ctx, silver.ACTIVITY, date_column="event_date", amount_column="net_amount", dates=dates):
        if places is None:
            partials = _partials(ctx, _events_of_dates(ctx, named, dates)).where(on_dates)
            written = ctx.tables.overwrite_slice(silver.ACTIVITY, partials, basis(ctx), event_date=dates)
        else:
            partials = with_key(_partials(ctx, *_events_of_places(ctx, named, dates, places)).where(on_dates), places)
            written = ctx.tables.overwrite_keys(silver.ACTIVITY, partials, places, basis(ctx), event_date=dates)
    ctx.facts["partials"], ctx.facts["dates restated"] = written.rows, len(dates)


def _events_of_dates(ctx: JobContext, named: DataFrame, dates: Sequence[date]) -> DataFrame:
    """Events on the dates, and all other events of the orders that these name."""
    on_dates = among("event_date", dates)
    orders = ctx.settled(named.where(on_dates).select("order_id").distinct(), ctx.event_count)
    elsewhere = _dates_of(named.where(f"not {on_dates}"), orders)
    others = order_events(ctx.events().where(among("event_date", elsewhere)))
    return ctx.events().where(on_dates).unionByName(others.join(orders, "order_id", "left_semi"))


def _events_of_places(
    ctx: JobContext, named: DataFrame, dates: Sequence[date], places: DataFrame
) -> tuple[DataFrame, DataFrame]:
    """All events that partials at the places are made of, among others: what happened there, and orders whole.

    What an order brings is its lead's, which is one of its lines' leads or null where they have none, on the dates of
    its lines and returns.
    """
    on_dates = among("event_date", dates)
    inside, there = with_key(ctx.events().where(on_dates), places), named.where(on_dates)
    leads = places.select(*LEAD).where("lead_identifier is not null").distinct()
    of_leads = named.join(F.broadcast(leads), [*LEAD], "left_semi").join(there, "order_id", "left_semi")
    others = there.where("event_type <> 'order' or lead_identifier is null")
    found = of_leads.select("order_id").union(others.select("order_id")).distinct()
    orders = ctx.settled(found, ctx.event_count)
    of_orders = order_events(ctx.events().where(among("event_date", _dates_of(named, orders))))
    unnumbered = order_events(inside).where("order_id is null")
    return inside, of_orders.join(orders, "order_id", "left_semi").unionByName(unnumbered)


def _dates_of(named: DataFrame, orders: DataFrame) -> list[date]:
    """The dates of the orders' events."""
    found = named.join(orders, "order_id", "left_semi").select("event_date").distinct()
    return [row.event_date for row in found.collect()]


def _partials(ctx: JobContext, events: DataFrame, of_orders: DataFrame | None = None) -> DataFrame:
    """Partials of some events; of `of_orders` in place of those among them that are of orders."""
    settings = ctx.settings
    return build_activity(
        events,
        ctx.run_date,
        settings.timezone,
        settings.identity.tier,
        settings.rfm.zero_value_orders,
        settings.feedback,
        ctx.settled(events_of_orders(of_orders or events), ctx.event_count),  # a scan of 2 million events takes 3 s
        ctx.tables.month_parts,
    )


if __name__ == "__main__":
    main(run)
