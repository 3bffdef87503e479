"""What one value of a KPI stands on: the rows that it reads, and the customers who add most to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.kpis.frames import FRAMES, UNKNOWN
from transforms.kpis.measures import Entry, Plan, Reading, contribution, holds
from transforms.kpis.report import per_customer, place_name
from transforms.stores import Stores, region_of

Places = Mapping[str, str]  # place to its value, those of one grain


def readings_of(entry: Entry) -> list[tuple[str, Reading, bool]]:
    """(part of the KPI, what it reads, whether at its place): numerator, less and denominator with their conditions."""
    parts = []
    for name in ("numerator", "less", "denominator"):
        value, measure = getattr(entry, name), getattr(entry.kpi, name)
        if value:
            named = [(name, value.reading)] if not value.needs else []
            named += [(name if n == 0 else f"{name}, also", need.reading) for n, need in enumerate(value.needs)]
            named += [(f"{name}, unless", bar.reading) for bar in value.bars]
            parts += [(part, reading, measure.at is None) for part, reading in named]
    return parts


def rows_read(frames: Mapping[str, DataFrame], entry: Entry, places: Places, stores: Stores) -> DataFrame:
    """(number, row_count, customer_count) for each of `readings_of`, at the places of one grain value."""
    counted = []
    for number, (_, reading, is_placed) in enumerate(readings_of(entry)):
        frame = _at(frames, reading.frame, places if is_placed else {}, stores).where(holds(reading))
        customers = F.count_distinct("customer_id") if "customer_id" in frame.columns else F.lit(None)
        counted.append(
            frame.agg(
                F.lit(number).alias("number"),
                F.count("*").alias("row_count"),
                customers.cast("bigint").alias("customer_count"),
            )
        )
    return reduce(DataFrame.unionByName, counted)


def most_by_customer(
    frames: Mapping[str, DataFrame], plan: Plan, entry: Entry, places: Places, stores: Stores, most: int
) -> DataFrame:
    """(customer_id, contribution): the customers who add most to a numerator at a grain value, by id where equal."""
    others = tuple(place for place in places if place != "segment")
    customers = per_customer(frames, plan, stores, [*plan.asked, *plan.amounts]).where(
        F.col("place") == place_name(others)
    )
    for place, value in places.items():
        customers = customers.where(F.coalesce(place, F.lit(UNKNOWN)) == value)
    added = F.coalesce(contribution(entry.numerator, plan), F.lit(0))
    if entry.less:
        added = added - F.coalesce(contribution(entry.less, plan), F.lit(0))
    of_each = customers.groupBy("customer_id").agg(F.sum(added).alias("contribution"))
    return of_each.where("contribution <> 0").orderBy(F.desc("contribution"), "customer_id").limit(most)


def _at(frames: Mapping[str, DataFrame], name: str, places: Places, stores: Stores) -> DataFrame:
    """The rows of a frame at the places of a grain value."""
    frame = frames[name]
    if "segment" in places and "segment" not in frame.columns:
        frame = frame.join(frames["customers"].select("customer_id", "segment"), "customer_id", "left")
    for place, value in places.items():
        if place in FRAMES[name].places:
            column = region_of(F.col("store_id"), stores) if place == "region" else F.col(place)
            frame = frame.where(F.coalesce(column, F.lit(UNKNOWN)) == value)
    return frame
