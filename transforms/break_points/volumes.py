"""How many events of which date were known when: what break points are found from. One bounded pass over each table."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.break_points.rules import BreakPointRules
from transforms.stages import StageRules


def stage_volumes(activity: DataFrame, stages: StageRules, as_of: date, rules: BreakPointRules) -> DataFrame:
    """Events of each stage: (stage, channel, store_id, event_type, age_days, lag_days, volume).

    `age_days` lie between the event's date and `as_of`, `lag_days` between its date and its arrival. `store_id` is
    empty where the event has none. An event may be of several stages.

    Args:
        activity: rows of silver.activity, guests' too.
    """
    named = [F.when(F.expr(stage.when), F.lit(name)) for name, stage in stages.stages.items()]
    of_stages = _recent(activity, as_of, rules).withColumn("stage", F.explode(F.array(*named)))
    return _counted(
        of_stages.where("stage is not null"), ["stage", "channel", "store_id", "event_type"], F.sum("event_count")
    )


def feed_volumes(events: DataFrame, as_of: date, rules: BreakPointRules) -> DataFrame:
    """Events of each source: (source, channel, event_type, age_days, lag_days, volume), as in `stage_volumes`."""
    return _counted(_recent(events, as_of, rules), ["source", "channel", "event_type"], F.count(F.lit(1)))


def arrivals(landing_files: DataFrame, as_of: date, rules: BreakPointRules) -> DataFrame:
    """Files that came, refused ones too: (source, age_days, files), `age_days` between their arrival and `as_of`."""
    age = F.datediff(F.lit(as_of), F.col("arrival_date"))
    came = landing_files.where("status != 'not_due'").withColumn("age_days", age)
    recent = came.where(F.col("age_days").between(0, rules.baseline_days))
    return recent.groupBy("source", "age_days").agg(F.countDistinct("source_file").alias("files"))


def _recent(rows: DataFrame, as_of: date, rules: BreakPointRules) -> DataFrame:
    first = as_of - timedelta(days=rules.baseline_days + rules.late_days)
    dated = rows.where(F.col("event_date").between(F.lit(first), F.lit(as_of)))
    lag = F.greatest(F.datediff("arrival_date", "event_date"), F.lit(0))
    return dated.where(F.col("arrival_date") <= F.lit(as_of)).select(
        "*", F.datediff(F.lit(as_of), "event_date").alias("age_days"), lag.alias("lag_days")
    )


def _counted(rows: DataFrame, dimensions: list[str], volume: Column) -> DataFrame:
    filled = rows.withColumns({name: F.coalesce(F.col(name), F.lit("")) for name in dimensions})
    return filled.groupBy(*dimensions, "age_days", "lag_days").agg(volume.cast("bigint").alias("volume"))
