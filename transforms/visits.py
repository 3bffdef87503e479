"""Visits: which ways people take within one, and which pages and zones lead to an order."""

from __future__ import annotations

from datetime import date, timedelta

from pydantic import BaseModel, ConfigDict, Field
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import RATIO, gold, silver
from transforms.expressions import SqlExpression, unknown_columns

START, END = "(start)", "(end)"
_BETWEEN = " > "
_LEAD = ("lead_identifier_type", "lead_identifier")


class VisitRules(BaseModel):
    """What a visit is and what is told of it (section `visits`).

    Attributes:
        inactivity_minutes: a longer rest ends the visit.
        look_back_days: events of so many dates up to the run date.
        when: which events belong to visits.
        step: what an event is called in paths; null: it is left out there.
        converted: an event by which the visit converts.
        longest_path, top_paths: steps of a path and number of paths that are told.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    inactivity_minutes: int = Field(ge=1)
    look_back_days: int = Field(ge=1)
    when: SqlExpression
    step: SqlExpression
    converted: SqlExpression
    longest_path: int = Field(ge=2, le=50)
    top_paths: int = Field(ge=0)


def find_visits(events: DataFrame, as_of: date, rules: VisitRules) -> DataFrame:
    """Events of visits, in the columns that `path_flows` and `page_heat` read.

    Args:
        events: silver.events as known on `as_of`. Those without a lead identifier are nobody's visit.

    Columns: the lead, `visit` (1, 2 … of it), `is_converted` (the whole visit), `step`, `at` (microseconds),
    `event_id`, `page`, `zone` and `dwell_seconds`; key event_id. A visit is the events of one lead with at most
    `inactivity_minutes` between neighbours, in the order of time, then event_id.
    """
    since = as_of - timedelta(days=rules.look_back_days - 1)
    is_seen = F.col("event_date").between(F.lit(since), F.lit(as_of)) & F.col("lead_identifier").isNotNull()
    told = events.where(is_seen).where(rules.when)
    rows = told.select(
        *_LEAD,
        "event_id",
        F.unix_micros("event_at").alias("at"),
        F.expr(rules.step).cast("string").alias("step"),
        F.coalesce(F.expr(rules.converted), F.lit(False)).alias("is_converting"),
        "page",
        "zone",
        "dwell_seconds",
    )
    in_time = Window.partitionBy(*_LEAD).orderBy("at", "event_id")
    rest = F.col("at") - F.lag("at").over(in_time)
    is_first = rest.isNull() | (rest > rules.inactivity_minutes * 60_000_000)
    found = rows.withColumn("is_first", is_first.cast("int")).withColumn("visit", F.sum("is_first").over(in_time))
    is_converted = F.max("is_converting").over(Window.partitionBy(*_LEAD, "visit"))
    return found.withColumn("is_converted", is_converted).drop("is_first", "is_converting")


def ways_taken(visits: DataFrame) -> DataFrame:
    """(steps, sessions, converted): the different ways that visits took; a visit without a step took none.

    Most visits go one of few ways, and what is said of a way by functions over its steps, which are never compiled, is
    said once for all of them. Two ways that differ only in steps repeated at once may be two rows.

    Args:
        visits: `find_visits`.
    """
    said = F.when(F.col("step").isNotNull(), F.struct("at", "event_id", "step"))
    gathered = visits.groupBy(*_LEAD, "visit", "is_converted").agg(F.sort_array(F.collect_list(said)).alias("events"))
    taken = gathered.where(F.size("events") > 0).groupBy(F.col("events.step").alias("steps"))
    counted = taken.agg(F.count("*").alias("sessions"), F.count_if("is_converted").alias("converted"))
    is_new = F.filter("steps", lambda step, n: (n == 0) | (step != F.get("steps", n - 1)))
    return counted.withColumn("steps", is_new)


def path_flows(ways: DataFrame, as_of: date, rules: VisitRules) -> DataFrame:
    """Transitions between steps and the paths most taken, in the columns of gold.path_flows.

    Args:
        ways: `ways_taken`, which are looked at four times.

    A step that is repeated at once is one step. A visit counts once for each transition, (start) and (end) included,
    so the shares of what follows (start) add up to 1. Paths of equal number are told in their own order.
    """
    return _transitions(ways, as_of).unionByName(_paths(ways, as_of, rules))


def page_heat(visits: DataFrame, as_of: date) -> DataFrame:
    """Pages and zones with their visits, seconds and conversion, in the columns of gold.page_heat.

    Args:
        visits: `find_visits`.

    A visit counts once for each page and zone, wherever in it the order comes.
    """
    places = F.array(*[F.struct(F.lit(kind).alias("kind"), F.col(kind).alias("place")) for kind in ("page", "zone")])
    placed = visits.select(*_LEAD, "visit", "is_converted", "dwell_seconds", F.inline(places)).where(
        "place is not null"
    )
    of_visit = placed.groupBy("kind", "place", *_LEAD, "visit").agg(
        F.count("*").alias("event_count"),
        F.sum("dwell_seconds").alias("dwell_seconds"),
        F.bool_or("is_converted").alias("is_converted"),
    )
    heat = of_visit.groupBy("kind", "place").agg(
        F.count("*").alias("visits"),
        F.sum("event_count").alias("event_count"),
        F.coalesce(F.sum("dwell_seconds"), F.lit(0)).cast("bigint").alias("dwell_seconds"),
        F.count_if("is_converted").alias("converted"),
    )
    rated = heat.withColumns({"run_date": F.lit(as_of), "conversion": _ratio(F.col("converted"), F.col("visits"))})
    return rated.select(*gold.PAGE_HEAT.column_names)


def check_columns(rules: VisitRules) -> list[str]:
    """A sentence for each expression that reads what events do not have."""
    return [
        f"visits.{key}: {problem}"
        for key in ("when", "step", "converted")
        for problem in unknown_columns(getattr(rules, key), silver.EVENTS.column_names)
    ]


def _transitions(ways: DataFrame, as_of: date) -> DataFrame:
    whole = F.concat(F.array(F.lit(START)), "steps", F.array(F.lit(END)))
    pairs = F.transform(
        F.slice(whole, 1, F.size("steps") + 1),
        lambda step, n: F.struct(step.alias("from_step"), F.get(whole, n + 1).alias("to_step")),
    )
    taken = ways.select("sessions", "converted", F.inline(F.array_distinct(pairs)))
    counted = taken.groupBy("from_step", "to_step").agg(
        F.sum("sessions").alias("sessions"), F.sum("converted").alias("converted")
    )
    steps = F.explode(F.array_union(F.array(F.lit(START)), F.array_distinct("steps"))).alias("from_step")
    seen = ways.select("sessions", steps).groupBy("from_step").agg(F.sum("sessions").alias("all_of_it"))
    rows = counted.join(seen, "from_step")
    return rows.select(
        F.lit(as_of).alias("run_date"),
        F.lit("transition").alias("kind"),
        F.concat("from_step", F.lit(_BETWEEN), "to_step").alias("path"),
        "from_step",
        "to_step",
        "sessions",
        _ratio(F.col("sessions"), F.col("all_of_it")).alias("share"),
        "converted",
    )


def _paths(ways: DataFrame, as_of: date, rules: VisitRules) -> DataFrame:
    told = F.slice("steps", 1, rules.longest_path)
    more = F.when(F.size("steps") > rules.longest_path, F.array(F.lit("…"))).otherwise(F.array().cast("array<string>"))
    counted = ways.groupBy(F.array_join(F.concat(told, more), _BETWEEN).alias("path")).agg(
        F.sum("sessions").alias("sessions"), F.sum("converted").alias("converted")
    )
    whole = ways.agg(F.sum("sessions").alias("all_of_it"))
    most = counted.orderBy(F.desc("sessions"), "path").limit(rules.top_paths)
    return most.crossJoin(F.broadcast(whole)).select(
        F.lit(as_of).alias("run_date"),
        F.lit("path").alias("kind"),
        "path",
        F.lit(None).cast("string").alias("from_step"),
        F.lit(None).cast("string").alias("to_step"),
        "sessions",
        _ratio(F.col("sessions"), F.col("all_of_it")).alias("share"),
        "converted",
    )


def _ratio(part: Column, whole: Column) -> Column:
    return F.try_divide(part, whole).cast(RATIO)
