"""build-activity: silver.events -> silver.activity (daily partials), silver.timelines (a customer's partials)."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.increments import basis, events_in_question
from jobs.runtime.job import JobContext, main
from jobs.runtime.restatements import Restatements
from jobs.runtime.tables import among
from jobs.runtime.timelines import write_timelines
from transforms.activity import build_activity, concerned_dates, events_of_orders
from transforms.contracts import silver
from transforms.orders import order_events


def run(ctx: JobContext) -> None:
    """Daily partials of all events known on the run date; where only events came, those of the dates they concern."""
    before, concerned = ctx.tables.version(silver.ACTIVITY), events_in_question(ctx, silver.ACTIVITY)
    if concerned is None:
        with Restatements(ctx, silver.ACTIVITY, date_column="event_date", amount_column="net_amount"):
            partials = ctx.tables.replace(silver.ACTIVITY, _partials(ctx, ctx.events()), basis(ctx))
        ctx.facts["partials"] = partials.rows
    else:
        with ctx.restating():
            _restate(ctx, concerned)
    is_worth_it = ctx.event_count > ctx.settings.timelines.whole_up_to
    write_timelines(ctx, concerned if is_worth_it else None, before)


def _restate(ctx: JobContext, concerned: DataFrame) -> None:
    """Build the dates that some events concern again, seeing all events of the orders that these dates name."""
    named = order_events(ctx.known_events().where(F.col("event_date") <= F.lit(ctx.run_date)))
    named = ctx.settled(named.select("order_id", "event_type", "event_date"), ctx.event_count)
    dates = [row.event_date for row in concerned_dates(concerned, named).collect()]
    on_dates = among("event_date", dates)
    orders = ctx.settled(named.where(on_dates).select("order_id").distinct(), ctx.event_count)
    elsewhere = named.where(f"not {on_dates}").join(orders, "order_id", "left_semi").select("event_date").distinct()
    others = order_events(ctx.events().where(among("event_date", [row.event_date for row in elsewhere.collect()])))
    events = ctx.events().where(on_dates).unionByName(others.join(orders, "order_id", "left_semi"))
    partials = _partials(ctx, events).where(on_dates)
    with Restatements(ctx, silver.ACTIVITY, date_column="event_date", amount_column="net_amount", dates=dates):
        written = ctx.tables.overwrite_slice(silver.ACTIVITY, partials, basis(ctx), event_date=dates)
    ctx.facts["partials"], ctx.facts["dates restated"] = written.rows, len(dates)


def _partials(ctx: JobContext, events: DataFrame) -> DataFrame:
    settings = ctx.settings
    return build_activity(
        events,
        ctx.run_date,
        settings.timezone,
        settings.identity.tier,
        settings.rfm.zero_value_orders,
        settings.feedback,
        ctx.settled(events_of_orders(events), ctx.event_count),  # a scan of 2 million events takes 3 s
        ctx.tables.month_parts,
    )


if __name__ == "__main__":
    main(run)
