"""Daily partials: what each lead identifier did on each date, in rows that add up.

A return is a partial of its own date that counts on its order's date, and takes the purchase away by which it ends
it; so the state of any past date is a filter on event_date and arrival_date.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY, QUANTITY, file_of, silver
from transforms.feedback.opinions import with_opinions
from transforms.feedback.rules import FeedbackRules
from transforms.orders import (
    LEAD,
    RETURN_TYPES,
    ZeroValueOrders,
    match_returns,
    order_events,
    priced_lines,
    touched_orders,
)

_MEASURES = silver.ACTIVITY.column_names[len(silver.ACTIVITY.key) :]
_OF_EVENTS = ("event_id", "source", "event_at", "order_id", "line_id", "city", "province", "is_gift", "amount")
_IS_CHANGED = "event_type <> 'order' or has_line"  # what an event of a touched order may be
_READ = [name for name in silver.EVENTS.column_names if name in {*silver.ACTIVITY.column_names, "rating", *_OF_EVENTS}]


def build_activity(
    events: DataFrame,
    as_of: date,
    timezone: str,
    tiers: Mapping[str, int],
    zero_value: ZeroValueOrders,
    feedback: FeedbackRules | None = None,
    orders: DataFrame | None = None,
    month_parts: int = 1,
) -> DataFrame:
    """Partials up to `as_of` in the columns of silver.activity, from silver.events that had arrived by then.

    Guests are kept with a null lead, for store and chain KPIs. `timezone` decides event_hour. Without `feedback` no
    text is read: nothing is about a topic, or speaks well or badly. `orders` are `events_of_orders` where the caller
    has them at hand, since they are read four times; those among `events` are not looked at then. `month_parts`: as
    `file_of` takes them.
    """
    until = F.col("event_date") <= F.lit(as_of)
    of_orders = (events_of_orders(events) if orders is None else orders).where(until)
    lines = priced_lines(of_orders, as_of, tiers, zero_value)
    returns = match_returns(of_orders, lines, as_of)
    others = events.where(until & ~F.col("event_type").isin("order", *RETURN_TYPES))
    if feedback is not None:
        others = with_opinions(others, feedback)
    parts = [_order_parts(lines.where("not is_gift")), _return_parts(returns), _other_parts(others)]
    hour = F.hour(F.from_utc_timestamp("event_at", timezone))
    partials = [_partial(part, hour) for part in parts]
    place = file_of(silver.ACTIVITY, month_parts)
    # Moved once, to where they lie in files: hardly two events of a day are one partial, so that adding up before they
    # move saves nothing (2 million events: 7 s instead of 10 s, and the layout's own shuffle).
    together = partials[0].unionByName(partials[1]).unionByName(partials[2]).repartition(*place)
    summed = together.groupBy(*place, *silver.ACTIVITY.key).agg(
        *[F.sum(name).cast(_type(name)).alias(name) for name in _MEASURES]
    )
    return summed.select(*silver.ACTIVITY.column_names)


def events_of_orders(events: DataFrame) -> DataFrame:
    """Lines, returns and cancels, in the columns that partials need of them."""
    return order_events(events.select(*_READ))


def concerned_dates(events: DataFrame, named: DataFrame) -> DataFrame:
    """(event_date,): the dates whose partials some events change.

    Besides their own dates, those of the returns of their orders, whose netting they change, and where an order got
    another line, also those of its other lines, whose order date and lead may be others now.

    Args:
        events: events that came, or are seen otherwise than before.
        named: (order_id, event_type, event_date) of all events of orders that are known.
    """
    further = _of_their_orders(events, named).where(_IS_CHANGED).select("event_date")
    return events.select("event_date").union(further).distinct()


def concerned_places(events: DataFrame, named: DataFrame) -> DataFrame:
    """(event_date, lead_identifier_type, lead_identifier), key all: where the partials lie that some events change.

    An event is led by one of its identifiers, whichever of them may lead, or by none; its return by what leads the
    order. So these are the `concerned_dates` of an order with each of its identifiers, and each date with none.

    Args:
        events: events that came, or are seen otherwise than before.
        named: (order_id, event_type, event_date, identifiers) of all events of orders that are known.
    """
    own = events.select("event_date", F.map_entries("identifiers").alias("leads"))
    per_order = (
        _of_their_orders(events, named)
        .groupBy("order_id")
        .agg(
            F.collect_set(F.when(F.expr(_IS_CHANGED), F.col("event_date"))).alias("dates"),
            F.array_distinct(F.flatten(F.collect_list(F.map_entries("identifiers")))).alias("leads"),
        )
    )
    of_orders = per_order.select(F.explode("dates").alias("event_date"), "leads")
    leads = own.unionByName(of_orders).select("event_date", F.explode_outer("leads").alias("lead"))
    nobody = F.lit(None).cast("string")
    led = leads.select("event_date", F.col("lead.key").alias(LEAD[0]), F.col("lead.value").alias(LEAD[1]))
    return led.unionByName(led.select("event_date", *[nobody.alias(name) for name in LEAD])).distinct()


def _of_their_orders(events: DataFrame, named: DataFrame) -> DataFrame:
    """`named` of the orders that the events name, and `has_line`."""
    return named.join(F.broadcast(touched_orders(events)), "order_id")


def _order_parts(lines: DataFrame) -> DataFrame:
    is_start = F.col("is_first_line") & F.col("is_sale")
    return lines.select(
        "*",
        F.col("order_date").alias("counts_on_date"),
        F.when(is_start, 1).otherwise(0).alias("order_count"),
        F.col("quantity").alias("_quantity"),
        F.col("gross_amount").alias("_gross_amount"),
        F.col("discount_amount").alias("_discount_amount"),
        F.col("gross_amount").alias("net_amount"),
        F.col("cost_amount").alias("_cost_amount"),
    )


def _return_parts(returns: DataFrame) -> DataFrame:
    return returns.select(
        "*",
        F.coalesce("order_date", "event_date").alias("counts_on_date"),
        F.when(F.col("ends_purchase"), -1).otherwise(0).alias("order_count"),
        (-F.col("returned_quantity")).alias("_quantity"),
        F.col("returned_amount").alias("_returned_amount"),
        (-F.col("returned_amount")).alias("net_amount"),
        (-F.abs("cost_amount")).alias("_cost_amount"),
    )


def _other_parts(events: DataFrame) -> DataFrame:
    sentiment = F.col("sentiment") if "sentiment" in events.columns else F.lit(0)
    return events.select(
        "*",
        F.when(sentiment > 0, 1).alias("_positive_count"),
        F.when(sentiment < 0, 1).alias("_negative_count"),
        F.col("event_date").alias("counts_on_date"),
        F.col("quantity").alias("_quantity"),
        F.col("amount").alias("other_amount"),
    )


def _partial(part: DataFrame, hour: Column) -> DataFrame:
    """Key and measures of one kind of event; measures that it has not are zero."""
    rated = F.col("rating").isNotNull()
    values = {
        "event_count": F.lit(1),
        "dwell_seconds": F.col("dwell_seconds"),
        "rating_sum": F.col("rating"),
        "rating_count": F.when(rated, 1),
        **{name: F.col(name) for name in ("order_count", "net_amount", "other_amount") if name in part.columns},
        **{name[1:]: F.col(name) for name in part.columns if name.startswith("_") and name[1:] in _MEASURES},
    }
    is_matched = F.col("is_matched") if "is_matched" in part.columns else F.lit(None).cast("boolean")
    topic = F.col("topic") if "topic" in part.columns else F.lit(None).cast("string")
    computed = {"event_hour": hour, "topic": topic, "is_matched": is_matched}
    key = [computed.get(name, F.col(name)).alias(name) for name in silver.ACTIVITY.key]
    measures = [
        F.coalesce(values.get(name, F.lit(None)).cast(_type(name)), F.lit(0)).cast(_type(name)).alias(name)
        for name in _MEASURES
    ]
    return part.select(*key, *measures)


def _type(name: str) -> str:
    if name.endswith("_amount"):
        return MONEY
    return QUANTITY if name == "quantity" else "bigint"
