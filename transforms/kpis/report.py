"""KPI values: rows become partial sums per customer and place, places become grain values, all KPIs in one plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import RATIO, gold
from transforms.kpis.frames import FRAMES, GRAINS, PLACES, UNKNOWN
from transforms.kpis.measures import (
    Entry,
    Plan,
    Value,
    contribution,
    is_fed,
    is_relevant,
    measured,
    planned,
    reached,
    summed,
)
from transforms.kpis.rules import Benchmark, KpiRules
from transforms.stores import Stores, is_of_type, region_of

_SOLD = ("orders", "activity", "events")  # frames whose rows know customer, store and channel
_PLACE_KEY = ("place", "region", "store_id", "channel", "category", "knows_segment", "segment")
_SEGMENT = "segment"


def report_kpis(
    frames: Mapping[str, DataFrame], kpi_date: date, known_at: date, rules: KpiRules, stores: Stores | None = None
) -> DataFrame:
    """Every KPI of every period at every grain value, in the columns of gold.kpi_values.

    Args:
        frames: as known at `known_at`, those of `transforms.kpis.frames.FRAMES` that a KPI reads, and `customers`.
            Guests count in sums and counts, not in customers.
        kpi_date: D, the last day of the periods. Activity that happened after D is not seen.
        stores: types for the bands, and regions; without any region that grain is left out.

    Rows without a store, channel, segment, category or region are reported as `unknown`, so that plain sums of a
    grain's values add up to the chain's. A grain value has a row for each of its grain's KPIs once any measure has a
    row there, the chain and a segment once they have a customer.
    """
    plan, listed = planned(rules, kpi_date), stores or {}
    per_place = per_customer(frames, plan, listed).groupBy(*_PLACE_KEY).agg(
        *[F.sum(contribution(value, plan)).alias(name) for value, name in plan.values.items()]
    )  # fmt: skip
    return _values(_per_grain(per_place, plan), plan, known_at, listed)


def per_customer(frames: Mapping[str, DataFrame], plan: Plan, stores: Stores) -> DataFrame:
    """What each customer did, in the plan's columns, at each place and set of places; guests together are null."""
    return summed(_placed(_cells(frames, plan), plan, stores), *_PLACE_KEY, "customer_id", plan=plan)


def _cells(frames: Mapping[str, DataFrame], plan: Plan) -> DataFrame:
    """(frame kind, customer_id, segment, store_id, channel, category) with partial sums; null customers are guests.

    `kind` says which places a cell knows: of sales all, of customers only the segment, of stock no segment.
    """
    customers = frames["customers"]
    segments = customers.select("customer_id", _SEGMENT)
    sold = [_of_sales(frames[name], name, plan) for name in _SOLD if plan.readings(name)]
    touched = [_of_customers(frames["touches"], "touches", plan)] if plan.readings("touches") else []
    together = _together([*sold, *touched])
    known = []
    if together is not None:
        cells = summed(together, "kind", "customer_id", "store_id", "channel", "category", plan=plan)
        known = [cells.where(is_relevant(cells, plan)).join(segments, "customer_id", "left")]
    everybody = _of_customers(customers, "customers", plan, _SEGMENT)
    others = [_of_campaigns(frames["campaigns"], plan)] if plan.readings("campaigns") else []
    others += [_of_stock(frames["stock"], plan)] if plan.readings("stock") else []
    placed = _together([*known, everybody, *others])
    assert placed is not None
    missing = [
        F.lit(None).cast("string").alias(name)
        for name in ("store_id", "channel", "category")
        if name not in placed.columns
    ]
    return placed.select("*", *missing)


def _of_sales(frame: DataFrame, name: str, plan: Plan) -> DataFrame:
    """Rows that know customer, store and channel, and the category where a KPI by category counts them."""
    seen = frame.where(F.col("event_date") <= F.lit(plan.kpi_date)) if name == "activity" else frame
    category = F.col("category") if "category" in FRAMES[name].places else F.lit(None).cast("string")
    rows = reached(seen, name, plan).select(
        F.lit("sold").alias("kind"),
        "customer_id",
        "store_id",
        "channel",
        category.alias("category"),
        *measured(frame, name, plan),
    )
    placed = F.when(is_fed(plan.by_category(), name, plan), F.coalesce("category", F.lit(UNKNOWN)))
    return rows.withColumn("category", placed)


def _of_customers(frame: DataFrame, name: str, plan: Plan, *more: str) -> DataFrame:
    """Rows that know their customer only."""
    nowhere = [F.lit(None).cast("string").alias(place) for place in ("store_id", "channel", "category")]
    rows = reached(frame, name, plan)
    return rows.select(F.lit("customer").alias("kind"), "customer_id", *more, *nowhere, *measured(frame, name, plan))


def _of_campaigns(frame: DataFrame, plan: Plan) -> DataFrame:
    nobody = F.lit(None).cast("string").alias("customer_id")
    rows = frame.select(F.lit("customer").alias("kind"), nobody, _SEGMENT, *measured(frame, "campaigns", plan))
    return summed(rows, "kind", "customer_id", _SEGMENT, plan=plan)


def _of_stock(frame: DataFrame, plan: Plan) -> DataFrame:
    nobody = [F.lit(None).cast("string").alias(name) for name in ("customer_id", _SEGMENT)]
    category = F.coalesce("category", F.lit(UNKNOWN)).alias("category")
    rows = frame.select(F.lit("stock").alias("kind"), *nobody, "store_id", category, *measured(frame, "stock", plan))
    levels = summed(rows, "kind", "customer_id", _SEGMENT, "store_id", "category", plan=plan)
    return levels.where(is_relevant(levels, plan))


def _together(parts: list[DataFrame]) -> DataFrame | None:
    bare = [part.drop("row_count") for part in parts]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), bare) if bare else None


def _place_sets(plan: Plan, stores: Stores) -> list[tuple[str, ...]]:
    """The different sets of places, besides the segment, that KPIs are reported by; first none, the chain."""
    asked = {grain for entry in plan.entries for grain in entry.kpi.reported_by}
    sets = [tuple(p for p in places if p != _SEGMENT) for grain, places in GRAINS.items() if grain in asked]
    has_regions = any(store.region for store in stores.values())
    return [places for places in dict.fromkeys([(), *sets]) if has_regions or "region" not in places]


def _placed(cells: DataFrame, plan: Plan, stores: Stores) -> DataFrame:
    """Cells once for each set of places that they know, with null in the places of the other sets."""
    values = {
        "region": F.coalesce(region_of(F.col("store_id"), stores), F.lit(UNKNOWN)),
        **{place: F.coalesce(place, F.lit(UNKNOWN)) for place in ("store_id", "channel", "category")},
    }
    nothing = F.lit(None).cast("string")
    copies = []
    for places in _place_sets(plan, stores):
        here = [(values[place] if place in places else nothing).alias(place) for place in PLACES if place != _SEGMENT]
        copies.append(F.when(_knows(places), F.struct(F.lit(place_name(places)).alias("place"), *here)))
    kept = [name for name in plan.columns if name in cells.columns]
    knows_segment = (F.col("kind") != "stock").alias("knows_segment")
    return cells.select(F.inline(F.array_compact(F.array(*copies))), knows_segment, _SEGMENT, "customer_id", *kept)


def _knows(places: tuple[str, ...]) -> Column:
    """Whether a cell knows these places."""
    if "category" in places:
        return F.col("category").isNotNull()
    if "channel" in places:
        return F.col("kind") == "sold"
    return F.col("kind") != "customer" if places else F.lit(True)


def place_name(places: tuple[str, ...]) -> str:
    """What a set of places, the segment left out, is called in `place`."""
    return "+".join(places)


def _per_grain(per_place: DataFrame, plan: Plan) -> DataFrame:
    """One row per grain value with a column per different value: places alone, and places by segment."""
    segment = F.coalesce(_SEGMENT, F.lit(UNKNOWN))
    copies = []
    for grain, places in GRAINS.items():
        within = F.col("place") == place_name(tuple(place for place in places if place != _SEGMENT))
        by_segment = _SEGMENT in places
        here = F.struct(
            F.lit(grain).alias("grain"), (segment if by_segment else F.lit(None)).cast("string").alias(_SEGMENT)
        )
        copies.append(F.when(within & F.col("knows_segment") if by_segment else within, here))
    names = list(plan.values.values())
    others = [place for place in PLACES if place != _SEGMENT]
    rows = per_place.select(F.inline(F.array_compact(F.array(*copies))), *others, *names)
    grouped = rows.groupBy("grain", *PLACES)
    return grouped.agg(*[F.coalesce(F.sum(name), F.lit(0)).cast(RATIO).alias(name) for name in names])


def _values(wide: DataFrame, plan: Plan, known_at: date, stores: Stores) -> DataFrame:
    """One row per KPI, period and grain value: numerator over denominator, and where that stands against the band."""
    whole = {e.denominator for e in plan.entries if e.denominator and e.kpi.denominator and e.kpi.denominator.at}
    of_chain = {value: f"chain_{plan.values[value]}" for value in whole}
    for value, name in of_chain.items():
        chain = F.max(F.when(F.col("grain") == "chain", F.col(plan.values[value])))
        wide = wide.withColumn(name, chain.over(Window.partitionBy(F.lit(1))))
    declared = [_declared(entry, plan, of_chain, stores) for entry in plan.entries]
    rows = wide.select("grain", *PLACES, F.inline(F.array_compact(F.array(*declared))))
    ratio = F.col("numerator") / F.nullif("denominator", F.lit(0))
    valued = rows.withColumn("value", F.when(F.col("is_plain"), F.col("numerator")).otherwise(ratio).cast(RATIO))
    status = (
        F.when(F.col("value") < F.col("benchmark_low"), "below")
        .when(F.col("value") > F.col("benchmark_high"), "above")
        .when(F.col("value").isNotNull() & F.col("benchmark_low").isNotNull(), "within")
    )
    dates = [F.lit(plan.kpi_date).alias("kpi_date"), F.lit(known_at).alias("known_at_date")]
    return valued.select("*", *dates, status.alias("status")).select(*gold.KPI_VALUES.column_names)


def _declared(entry: Entry, plan: Plan, of_chain: Mapping[Value, str], stores: Stores) -> Column:
    """A KPI's numbers of one period; null at grains that it is not reported by."""
    kpi, names = entry.kpi, plan.values
    numerator = F.col(names[entry.numerator])
    if entry.less:
        numerator = numerator - F.col(names[entry.less])
    denominator = F.lit(None)
    if entry.denominator and kpi.denominator:
        denominator = F.col(of_chain[entry.denominator] if kpi.denominator.at else names[entry.denominator])
    numbers = F.struct(
        F.lit(entry.code).alias("kpi"),
        F.lit(entry.period.name).alias("period"),
        numerator.cast(RATIO).alias("numerator"),
        denominator.cast(RATIO).alias("denominator"),
        F.lit(not kpi.denominator).alias("is_plain"),
        _bound(kpi.benchmark, 0, stores).alias("benchmark_low"),
        _bound(kpi.benchmark, 1, stores).alias("benchmark_high"),
    )
    return F.when(F.col("grain").isin(*kpi.reported_by), numbers)


def _bound(benchmark: Benchmark | None, end: int, stores: Stores) -> Column:
    """One end of the band of a grain value: its category's, its store's type's, or the default."""
    bound = F.lit(benchmark.default[end] if benchmark and benchmark.default else None).cast(RATIO)
    if benchmark is None:
        return bound
    for kind, band in reversed(benchmark.store_type.items()):
        bound = F.when(is_of_type(F.col("store_id"), kind, stores), F.lit(band[end]).cast(RATIO)).otherwise(bound)
    for category, band in reversed(benchmark.category.items()):
        bound = F.when(F.col("category") == category, F.lit(band[end]).cast(RATIO)).otherwise(bound)
    return bound
