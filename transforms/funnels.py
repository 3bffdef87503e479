"""Funnels: how far customers come on a way of several steps, and where they stop.

One pass for all funnels: every event says which steps it could be (a bit each), and a customer's events, in the order
of time, are folded into the steps taken. No event is joined with another.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import RATIO, gold, silver
from transforms.expressions import SqlExpression, columns_in, unknown_columns
from transforms.names import repeated

DAYS_SINCE_PURCHASE = "days_since_purchase"
CHAIN, SEGMENT = "chain", "segment"
ALL, NONE = "all", "none"

Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_DAY = 86_400_000_000  # microseconds
_EVENT_COLUMNS = (*silver.EVENTS.column_names, DAYS_SINCE_PURCHASE)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(_Model):
    """One step: events for which `when` holds. Two steps may ask for the same; each then takes an event of its own."""

    name: Code
    label: str
    when: SqlExpression


class Funnel(_Model):
    """A funnel.

    Attributes:
        mode: `ordered`: every step at or after the one before it; `any`: in any order, none before the first step.
        window_days: all steps within so many days (of 24 hours, the last instant included) of the first.
        look_back_days: customers whose first step was in so many days up to the run date.
        scopes: name to SQL over the event of a customer's first step, by which the funnel is told beside the chain and
            the primary segments.
    """

    label: str
    description: str
    mode: Literal["ordered", "any"]
    window_days: int = Field(ge=1)
    look_back_days: int = Field(ge=1)
    scopes: dict[Code, SqlExpression] = {}
    steps: tuple[Step, ...] = Field(min_length=2, max_length=60)

    @model_validator(mode="after")
    def _named_once(self) -> Funnel:
        for name in repeated(step.name for step in self.steps):
            raise ValueError(f"step {name!r} is given twice")
        for name in sorted({CHAIN, SEGMENT} & {*self.scopes}):
            raise ValueError(f"scope {name!r} comes by itself")
        return self

    @property
    def expressions(self) -> dict[str, str]:
        """Key to the SQL written under it."""
        steps = {f"steps.{step.name}": step.when for step in self.steps}
        return steps | {f"scopes.{name}": expression for name, expression in self.scopes.items()}


Funnels = Mapping[str, Funnel]


def count_funnels(
    events: DataFrame, orders: DataFrame, segments: DataFrame, as_of: date, funnels: Funnels
) -> DataFrame:
    """Customers by step, scope and value, in the columns of gold.funnels; nobody who never took a first step.

    Args:
        events: silver.events as known on `as_of`, with `customer_id`; guests are left out.
        orders: silver.orders as of that date, with `customer_id`: which orders are purchases.
        segments: (customer_id, segment), key customer_id: primary segments.

    A customer is anchored on their first event of step 1 within the look-back, and counts at step k if they took all
    steps up to k within the window. An event is one step at most, and an order is one event however many lines it has;
    orders that are no purchases (given back, gifts) are none. The fold takes the earliest event that can be a step, by
    which nobody stops earlier than they must as long as two steps ask for the same or have no event in common. Ties:
    events of one instant count in the order of the steps they could be, then by event_id, so that a contact log that
    writes only dates still shows touch, delivery and opening on one day. Scope values are those of the anchor event,
    so the customers of a scope's values add up to the chain's.
    """
    marked = _within_reach(_marked(_with_history(events, orders, as_of, funnels), as_of, funnels), funnels)
    ways = _ways(marked, funnels).join(segments.select("customer_id", "segment"), "customer_id", "left")
    placed = ways.select(F.inline(F.concat(*[_placed(code, funnel) for code, funnel in funnels.items()])))
    most = max(len(funnel.steps) for funnel in funnels.values())
    reached = [F.count_if(_has_all(F.col("met"), n)).alias(f"reached_{n}") for n in range(1, most + 1)]
    counted = placed.groupBy("funnel", "scope", "scope_value").agg(*reached)
    steps = counted.select("funnel", "scope", "scope_value", F.inline(_steps(funnels)))
    return _rated(steps, as_of)


def check_columns(funnels: Funnels) -> list[str]:
    """A sentence for each expression that reads what events do not have."""
    return [
        f"funnels.{code}.{key}: {problem}"
        for code, funnel in funnels.items()
        for key, expression in funnel.expressions.items()
        for problem in unknown_columns(expression, _EVENT_COLUMNS)
    ]


def _with_history(events: DataFrame, orders: DataFrame, as_of: date, funnels: Funnels) -> DataFrame:
    """Events of customers that a funnel may see, with `_key` (the order, or the event) and `days_since_purchase`."""
    longest = max(funnel.look_back_days for funnel in funnels.values())
    is_order = F.col("event_type") == "order"
    is_seen = F.col("event_date").between(F.lit(as_of - timedelta(days=longest - 1)), F.lit(as_of))
    is_gift = is_order & F.coalesce("is_gift", F.lit(False))
    key = F.when(is_order, F.coalesce("order_id", F.concat_ws(":", "source", "event_id"))).otherwise(F.col("event_id"))
    seen = events.where(F.col("customer_id").isNotNull() & is_seen & ~is_gift).withColumn("_key", key)
    history = orders.where("customer_id is not null").groupBy("customer_id")
    known = history.agg(
        F.collect_set(F.when(F.col("is_purchase"), F.col("order_date"))).alias("_bought"),
        F.collect_set(F.when(~F.col("is_purchase"), F.col("order_id"))).alias("_undone"),
    )
    joined = seen.join(known, "customer_id", "left")
    last = F.array_max(F.filter("_bought", lambda day: day < F.col("event_date")))
    kept = joined.where(~is_order | ~F.coalesce(F.array_contains("_undone", F.col("_key")), F.lit(False)))
    reads = any(DAYS_SINCE_PURCHASE in columns_in(sql) for f in funnels.values() for sql in f.expressions.values())
    return kept.withColumn(DAYS_SINCE_PURCHASE, F.datediff("event_date", last)) if reads else kept


def _marked(events: DataFrame, as_of: date, funnels: Funnels) -> DataFrame:
    """(customer_id, _key, at, and for each funnel its `mask` and `place`), key (customer_id, _key)."""
    marks, places = {}, {}
    for number, funnel in enumerate(funnels.values()):
        since = as_of - timedelta(days=funnel.look_back_days - 1)
        bits = [F.when(F.expr(step.when), F.lit(1 << place)).otherwise(0) for place, step in enumerate(funnel.steps)]
        mask = F.when(F.col("event_date") >= F.lit(since), sum(bits[1:], bits[0])).otherwise(0)
        marks[f"mask_{number}"] = mask.cast("bigint")
        place = F.array(*[F.expr(sql).cast("string") for sql in funnel.scopes.values()]).cast("array<string>")
        places[f"place_{number}"] = F.when(F.col(f"mask_{number}").bitwiseAND(F.lit(1)) != 0, place)
    # The places after the masks: said once, days since a purchase are counted only for events that a step asks it of.
    some = events.withColumns(marks).where(" or ".join(f"{name} <> 0" for name in marks))
    is_order = (F.col("event_type") == "order").alias("is_order")
    at = F.unix_micros("event_at").alias("at")
    some = some.withColumns(places).select("customer_id", "_key", is_order, at, *marks, *places)
    # Only orders have several lines: grouping by an array sorts, and would sort every view and visit.
    orders = some.where("is_order").groupBy("customer_id", "_key").agg(
        F.min("at").alias("at"),
        *[F.bit_or(name).alias(name) for name in marks],
        *[F.min(name).alias(name) for name in places],
    )  # fmt: skip
    return orders.unionByName(some.where("not is_order").drop("is_order"))


def _within_reach(marked: DataFrame, funnels: Funnels) -> DataFrame:
    """The events that can be a step: from a customer's first one of step 1 to the end of its window.

    The fold would pass over the others, but only after they were gathered and sorted in arrays.
    """
    whole = Window.partitionBy("customer_id")
    masks = {}
    for number, funnel in enumerate(funnels.values()):
        mask = F.col(f"mask_{number}")
        begin = F.min(F.when(mask.bitwiseAND(F.lit(1)) != 0, F.col("at"))).over(whole)
        is_reached = F.col("at").between(begin, begin + funnel.window_days * _DAY)
        masks[f"mask_{number}"] = F.when(is_reached, mask).otherwise(F.lit(0).cast("bigint"))
    return marked.withColumns(masks).where(" or ".join(f"{name} <> 0" for name in masks))


def _ways(marked: DataFrame, funnels: Funnels) -> DataFrame:
    """One row per customer: for each funnel a struct of the steps taken (`met`, a bit each) and the anchor's places."""
    lists = []
    for number in range(len(funnels)):
        mask = F.col(f"mask_{number}")
        event = F.struct("at", _lowest(mask).alias("low"), mask.alias("mask"), "_key", f"place_{number}")
        event = event.cast("struct<at:bigint,low:bigint,mask:bigint,key:string,place:array<string>>")
        lists.append(F.sort_array(F.collect_list(F.when(mask != 0, event))).alias(f"events_{number}"))
    gathered = marked.groupBy("customer_id").agg(*lists)
    folded = [
        _fold(f"events_{number}", funnel).alias(f"way_{code}") for number, (code, funnel) in enumerate(funnels.items())
    ]
    return gathered.select("customer_id", *folded)


def _fold(events: str, funnel: Funnel) -> Column:
    """The way of one customer: struct(at of the anchor, met, place)."""

    def took(way: Column, event: Column) -> Column:
        met, mask = way["met"], event["mask"]
        left = mask.bitwiseAND(F.bitwise_not(met))
        following = mask.bitwiseAND(met + 1) if funnel.mode == "ordered" else _lowest(left)
        step = F.when(met == 0, mask.bitwiseAND(F.lit(1))).when(
            event["at"] <= way["at"] + funnel.window_days * _DAY, following
        )
        step = F.coalesce(step, F.lit(0)).cast("bigint")
        is_anchor = (met == 0) & (step != 0)
        return F.struct(
            F.when(is_anchor, event["at"]).otherwise(way["at"]).alias("at"),
            met.bitwiseOR(step).alias("met"),
            F.when(is_anchor, event["place"]).otherwise(way["place"]).alias("place"),
        )

    nothing = F.struct(
        F.lit(None).cast("bigint").alias("at"),
        F.lit(0).cast("bigint").alias("met"),
        F.lit(None).cast("array<string>").alias("place"),
    )
    return F.aggregate(events, nothing, took)


def _placed(code: str, funnel: Funnel) -> Column:
    """array<struct(funnel, scope, scope_value, met)> of a customer: empty for who never took the first step."""
    way = F.col(f"way_{code}")
    values = {CHAIN: F.lit(ALL), SEGMENT: F.col("segment")}
    values |= {name: way["place"][place] for place, name in enumerate(funnel.scopes)}
    rows = F.array(
        *[
            F.struct(
                F.lit(code).alias("funnel"),
                F.lit(scope).alias("scope"),
                F.coalesce(value, F.lit(NONE)).alias("scope_value"),
                way["met"].alias("met"),
            )
            for scope, value in values.items()
        ]
    )
    return F.when(way["met"] != 0, rows).otherwise(F.slice(rows, 1, 0))


def _steps(funnels: Funnels) -> Column:
    """The steps of a counted row as array<struct(step_number, step, label, customers, first, previous)>."""
    found = F.lit(None)
    for code, funnel in funnels.items():
        steps = F.array(
            *[
                F.struct(
                    F.lit(n).alias("step_number"),
                    F.lit(step.name).alias("step"),
                    F.lit(step.label).alias("label"),
                    F.col(f"reached_{n}").alias("customers"),
                    F.col("reached_1").alias("first"),
                    (F.col(f"reached_{n - 1}") if n > 1 else F.lit(None).cast("bigint")).alias("previous"),
                )
                for n, step in enumerate(funnel.steps, start=1)
            ]
        )
        found = F.when(F.col("funnel") == code, steps).otherwise(found)
    return found


def _rated(steps: DataFrame, as_of: date) -> DataFrame:
    from_previous = F.try_divide("customers", "previous").cast(RATIO)
    rated = steps.withColumns(
        {
            "run_date": F.lit(as_of),
            "rate_from_first": F.try_divide("customers", "first").cast(RATIO),
            "rate_from_previous": from_previous,
            "drop_off": (F.lit(1) - from_previous).cast(RATIO),
        }
    )
    return rated.select(*gold.FUNNELS.column_names)


def _lowest(mask: Column) -> Column:
    """The lowest bit that is set; 0 of none."""
    return mask.bitwiseAND(-mask)


def _has_all(met: Column, steps: int) -> Column:
    """Whether the first so many steps were taken."""
    all_of_them = F.lit((1 << steps) - 1).cast("bigint")
    return met.bitwiseAND(all_of_them) == all_of_them
