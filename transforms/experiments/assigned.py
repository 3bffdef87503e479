"""Who is counted in which experiment, from which day on, and which segment they were in before it."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.experiments.rules import ExperimentRules

ALL = "all"  # everybody, whatever their segment


def assigned_customers(
    variants: DataFrame, events: DataFrame, stays: DataFrame, rules: ExperimentRules, as_of: date
) -> DataFrame:
    """(experiment_id, customer_id, variant, first_date, segments), key (experiment_id, customer_id).

    Args:
        variants: `contacts.assignments.assigned_variants`; conflicts stay among them, to be counted.
        events: silver.events with `customer_id`, of which those that name an experiment count.
        stays: gold.segment_history.

    `first_date` is the first day that counts: the declared start; else the day after a plan drew the variant, since
    plans are for the next day; else the day of the first event that carries the experiment (where those events are
    somebody else's by now, the day on which they were recorded). Who starts after `as_of` is not in it.

    `segments` are `all` and the primary segment of the day before the first: a later one may be what the experiment
    did, and within it the variants are no longer alike.
    """
    shown = _first_shown(events, as_of)
    start_dates = {name: e.start_date for name, e in rules.declared.items() if e.start_date}
    declared = F.lit(None).cast("date")
    for name, start in start_dates.items():
        declared = F.when(F.col("experiment_id") == name, F.lit(start)).otherwise(declared)
    first = F.coalesce(declared, F.date_add("drawn_date", 1), F.col("shown_date"), F.col("recorded_date"))
    started = variants.join(shown, ["experiment_id", "customer_id"], "left").select(
        "experiment_id", "customer_id", "variant", first.alias("first_date")
    )
    return _with_segments(started.where(F.col("first_date") <= F.lit(as_of)), stays)


def _first_shown(events: DataFrame, as_of: date) -> DataFrame:
    """(experiment_id, customer_id, shown_date) by the first event that names the experiment."""
    named = F.col("customer_id").isNotNull() & F.col("experiment_id").isNotNull() & F.col("variant").isNotNull()
    seen = events.where(named & (F.col("event_date") <= F.lit(as_of)))
    return seen.groupBy("experiment_id", "customer_id").agg(F.min("event_date").alias("shown_date"))


def _with_segments(started: DataFrame, stays: DataFrame) -> DataFrame:
    """Primary segments lie side by side in time, so a day meets one stay at most."""
    primary = stays.where("kind = 'primary'").select("customer_id", "segment", "entered_date", "exited_date")
    eve = F.date_sub("first_date", 1)
    was_in = (F.col("entered_date") <= eve) & F.coalesce(F.col("exited_date") > eve, F.lit(True))
    segment = F.max(F.when(was_in, F.col("segment")))
    key = ["experiment_id", "customer_id", "variant", "first_date"]
    placed = started.join(primary, "customer_id", "left").groupBy(*key).agg(segment.alias("segment"))
    return placed.select(*key, F.array_compact(F.array(F.lit(ALL), F.col("segment"))).alias("segments"))
