"""Occasions: the dated moments at which people do something, before it is known what."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation.draws import draw, number, whole
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.times import BUSIEST, busyness, date_of, second_of_day


def occasions(people: DataFrame, plan: SimulationPlan, purpose: str, per_year: Column) -> DataFrame:
    """One row per person and occasion `n`, with its `date` and `second`; key (id, n) within a purpose.

    Candidates fall evenly on the days on which the person is a customer and are thinned by how busy each day is, so
    weekends and festivals are fuller without a row per person and day.

    Args:
        per_year: occasions a year, an expression over the person's columns.
    """
    first = F.greatest(F.lit(0), F.col("start_day"))
    length = F.greatest(F.least(F.lit(plan.days), F.col("end_day")) - first, F.lit(0))
    expected = F.least(per_year, F.lit(400.0)) * length / 365 * BUSIEST
    candidates = whole(expected, draw(plan, f"{purpose}/candidates", F.col("id")))
    numbered = people.withColumn("n", F.explode(F.when(candidates > 0, F.sequence(F.lit(1), candidates))))
    keys = (F.col("id"), F.col("n"))
    day = first + F.floor(draw(plan, f"{purpose}/day", *keys) * length)
    dated = numbered.withColumn("date", date_of(plan, day))
    kept = dated.where(draw(plan, f"{purpose}/thinning", *keys) * BUSIEST < busyness(F.col("date")))
    hour, within = draw(plan, f"{purpose}/hour", *keys), draw(plan, f"{purpose}/second", *keys)
    return kept.withColumn("second", second_of_day(hour, within))


def in_steps(rows: DataFrame, steps: Column) -> DataFrame:
    """Each row once per element `step:item` of the array `steps`: columns `step`, `item` and `position` (from 0)."""
    spread = rows.select("*", F.posexplode(steps).alias("position", "_step"))
    parts = F.split("_step", ":")
    return spread.withColumns({"step": parts[0], "item": parts[1].cast("int")}).drop("_step")


def later(rows: DataFrame, seconds: Column) -> DataFrame:
    """The same rows some seconds later on the same day."""
    return rows.withColumn("second", F.least(F.col("second") + seconds, F.lit(86399)).cast("int"))


def days_after(rows: DataFrame, days: Column, plan: SimulationPlan) -> DataFrame:
    """The same rows some days later; what would happen after the history's end has not happened."""
    moved = rows.withColumn("date", F.date_add(F.col("date"), days.cast("int")))
    return moved.where(F.col("date") <= F.lit(plan.end_date))


def followed_by(rows: DataFrame, plan: SimulationPlan, sequels: dict[str, tuple[Column, Column]]) -> DataFrame:
    """Each row, and after it what followed: the same row with another `step`, some days later.

    One pass over the rows where a union would work them out once per sequel.

    Args:
        sequels: step to (whether it followed, after how many days).
    """
    itself = F.struct(F.col("step").alias("step"), F.lit(0).alias("days"))
    others = [
        F.when(happened, F.struct(F.lit(step).alias("step"), days.cast("int").alias("days")))
        for step, (happened, days) in sequels.items()
    ]
    spread = rows.withColumn("_sequel", F.explode(F.array_compact(F.array(itself, *others))))
    named = spread.withColumn("step", F.col("_sequel.step"))
    return days_after(named, F.col("_sequel.days"), plan).drop("_sequel")


def raw_rows(
    rows: DataFrame,
    plan: SimulationPlan,
    feed: str,
    columns: dict[str, Column],
    keys: Sequence[Column],
    batch: Sequence[Column] | None = None,
) -> DataFrame:
    """What a source writes: its own columns, and how the row is sorted, dirtied and delivered.

    Args:
        keys: what names the row: `_key` is their hash.
        batch: what arrives together, as the lines of one receipt do: `_batch` is its hash; default the row.
    """
    key = number(plan, f"row/{feed}", *keys)
    together = number(plan, f"batch/{feed}", *batch) if batch else key
    return rows.select(
        *[value.alias(name) for name, value in columns.items()],
        F.col("date").alias("_date"),
        F.col("second").alias("_second"),
        key.alias("_key"),
        together.alias("_batch"),
    )
