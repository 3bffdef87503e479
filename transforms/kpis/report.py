"""KPI values: rows become partial sums per customer and place, places become grain values, all KPIs in one plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import RATIO, gold
from transforms.kpis.frames import FRAMES, GRAINS, PLACES, UNKNOWN
from transforms.kpis.measures import (
    CUSTOMERS,
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
_KEYS = ("kind", _SEGMENT, "store_id", "channel", "category")


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
    customers = per_customer(frames, plan, listed, plan.asked)
    counted = {name: value for value, name in plan.values.items() if value.what == CUSTOMERS}
    counts = customers.groupBy(*_PLACE_KEY).agg(
        *[F.sum(contribution(value, plan)).alias(name) for name, value in counted.items()], F.lit(1).alias("is_there")
    )
    # Amounts need no customers: they are summed before they are put to their places, not 5 times by customer.
    of_place = summed(_told(frames, plan, plan.amounts), _KEYS, plan.amounts, plan)
    amounts = _placed(of_place, plan, listed).groupBy(*_PLACE_KEY)
    added = {name: plan.sums[v.reading, v.what] for v, name in plan.values.items() if v.what != CUSTOMERS}
    sums = amounts.agg(*[F.expr(f"sum({s})").alias(name) for name, s in added.items()], F.lit(1).alias("is_there"))
    per_place = counts.unionByName(sums, allowMissingColumns=True)
    return _values(_per_grain(per_place, plan), plan, known_at, listed)


def per_customer(frames: Mapping[str, DataFrame], plan: Plan, stores: Stores, columns: Sequence[str]) -> DataFrame:
    """What each customer did, in columns of the plan, at each place and set of places; guests together are null."""
    placed = _placed(_told(frames, plan, columns), plan, stores)
    return summed(placed, (*_PLACE_KEY, "customer_id"), columns, plan)


def _told(frames: Mapping[str, DataFrame], plan: Plan, columns: Sequence[str]) -> DataFrame:
    """What rows of all frames say: columns of the plan, with _KEYS and customer_id, which is null for guests.

    `kind` says which places a row knows: of sales all, of customers only the segment, of stock no segment. Rows with
    nothing for the columns are left out before they move, but for those of customers, who are there whatever they do.
    Rows move by customer to their segment, and then no more as long as only rows of customers are asked for: sums by
    place do not lead away from the customer.
    """
    customers = frames["customers"]
    known = [_of_sales(frames[name], name, columns, plan) for name in _SOLD if plan.readings(name)]
    known += [_of_customers(frames["touches"], "touches", columns, plan)] if plan.readings("touches") else []
    others = [_of_campaigns(frames["campaigns"], columns, plan)] if measured("campaigns", columns, plan) else []
    others += [_of_stock(frames["stock"], columns, plan)] if measured("stock", columns, plan) else []
    everybody = _of_customers(customers, "customers", columns, plan)
    # A hash of the customers, each once: Spark takes the far more rows for fewer, and makes a hash of those.
    segments = customers.select("customer_id", _SEGMENT).hint("shuffle_hash")

    def relevant(rows: DataFrame) -> DataFrame:
        return rows.where(is_relevant(rows, columns, plan))

    of_customers = reduce(_with, [*map(relevant, known), everybody]).join(segments, "customer_id", "left")
    return reduce(_with, [of_customers, *map(relevant, others)])


def _of_sales(frame: DataFrame, name: str, columns: Sequence[str], plan: Plan) -> DataFrame:
    """Rows that know customer, store and channel, and the category where a KPI by category counts them."""
    seen = frame.where(F.col("event_date") <= F.lit(plan.kpi_date)) if name == "activity" else frame
    category = F.col("category") if "category" in FRAMES[name].places else F.lit(None).cast("string")
    rows = reached(seen, name, plan).select(
        F.lit("sold").alias("kind"),
        "customer_id",
        "store_id",
        "channel",
        category.alias("category"),
        *measured(name, columns, plan),
    )
    is_by_category = is_fed(plan.by_category(), name, columns, plan)
    return rows.withColumn("category", F.when(is_by_category, F.coalesce("category", F.lit(UNKNOWN))))


def _of_customers(frame: DataFrame, name: str, columns: Sequence[str], plan: Plan) -> DataFrame:
    """Rows that know their customer only."""
    rows = reached(frame, name, plan)
    return rows.select(
        F.lit("customer").alias("kind"), "customer_id", *_no("store_id", "channel", "category"),
        *measured(name, columns, plan),
    )  # fmt: skip


def _of_campaigns(frame: DataFrame, columns: Sequence[str], plan: Plan) -> DataFrame:
    return frame.select(
        F.lit("customer").alias("kind"), *_no("customer_id", "store_id", "channel", "category"), _SEGMENT,
        *measured("campaigns", columns, plan),
    )  # fmt: skip


def _of_stock(frame: DataFrame, columns: Sequence[str], plan: Plan) -> DataFrame:
    return frame.select(
        F.lit("stock").alias("kind"), *_no("customer_id", _SEGMENT, "channel"), "store_id",
        F.coalesce("category", F.lit(UNKNOWN)).alias("category"), *measured("stock", columns, plan),
    )  # fmt: skip


def _no(*names: str) -> list[Column]:
    return [F.lit(None).cast("string").alias(name) for name in names]


def _with(one: DataFrame, other: DataFrame) -> DataFrame:
    return one.unionByName(other, allowMissingColumns=True)


def _place_sets(plan: Plan, stores: Stores) -> list[tuple[str, ...]]:
    """The different sets of places, besides the segment, that KPIs are reported by; first none, the chain."""
    asked = {grain for entry in plan.entries for grain in entry.kpi.reported_by}
    sets = [tuple(p for p in places if p != _SEGMENT) for grain, places in GRAINS.items() if grain in asked]
    has_regions = any(store.region for store in stores.values())
    return [places for places in dict.fromkeys([(), *sets]) if has_regions or "region" not in places]


def _placed(rows: DataFrame, plan: Plan, stores: Stores) -> DataFrame:
    """Rows once for each set of places that they know, with null in the places of the other sets."""
    values = {
        "region": F.coalesce(region_of(F.col("store_id"), stores), F.lit(UNKNOWN)),
        **{place: F.coalesce(place, F.lit(UNKNOWN)) for place in ("store_id", "channel", "category")},
    }
    nothing = F.lit(None).cast("string")
    copies = []
    for places in _place_sets(plan, stores):
        here = [(values[place] if place in places else nothing).alias(place) for place in PLACES if place != _SEGMENT]
        copies.append(F.when(_knows(places), F.struct(F.lit(place_name(places)).alias("place"), *here)))
    kept = [name for name in rows.columns if name not in _KEYS]
    knows_segment = (F.col("kind") != "stock").alias("knows_segment")
    # Rows of no place are left out after, not by `array_compact`: that is never compiled, and these are millions.
    placed = rows.select(F.inline(F.array(*copies)), knows_segment, _SEGMENT, *kept)
    return placed.where("place is not null")


def _knows(places: tuple[str, ...]) -> Column:
    """Whether a row knows these places."""
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
    return grouped.agg(*[F.expr(f"cast(coalesce(sum({name}), 0) as {RATIO})").alias(name) for name in names])


def _values(wide: DataFrame, plan: Plan, known_at: date, stores: Stores) -> DataFrame:
    """One row per KPI, period and grain value: numerator over denominator, and where that stands against the band."""
    whole = {e.denominator for e in plan.entries if e.denominator and e.kpi.denominator and e.kpi.denominator.at}
    of_chain = {value: f"chain_{plan.values[value]}" for value in whole}
    for value, name in of_chain.items():
        chain = F.max(F.when(F.col("grain") == "chain", F.col(plan.values[value])))
        wide = wide.withColumn(name, chain.over(Window.partitionBy(F.lit(1))))
    declared = [_declared(entry, plan, of_chain) for entry in plan.entries]
    told = wide.select("grain", *PLACES, F.inline(F.array_compact(F.array(*declared))))
    bands = {"benchmark_low": _band(plan, 0, stores), "benchmark_high": _band(plan, 1, stores)}
    rows = told.withColumns(bands)
    ratio = F.col("numerator") / F.nullif("denominator", F.lit(0))
    valued = rows.withColumn("value", F.when(F.col("is_plain"), F.col("numerator")).otherwise(ratio).cast(RATIO))
    status = (
        F.when(F.col("value") < F.col("benchmark_low"), "below")
        .when(F.col("value") > F.col("benchmark_high"), "above")
        .when(F.col("value").isNotNull() & F.col("benchmark_low").isNotNull(), "within")
    )
    dates = [F.lit(plan.kpi_date).alias("kpi_date"), F.lit(known_at).alias("known_at_date")]
    return valued.select("*", *dates, status.alias("status")).select(*gold.KPI_VALUES.column_names)


def _declared(entry: Entry, plan: Plan, of_chain: Mapping[Value, str]) -> Column:
    """A KPI's numbers of one period; null at grains that it is not reported by."""
    kpi, names = entry.kpi, plan.values
    numerator, denominator = names[entry.numerator], "null"
    if entry.less:
        numerator = f"{numerator} - {names[entry.less]}"
    if entry.denominator and kpi.denominator:
        denominator = of_chain[entry.denominator] if kpi.denominator.at else names[entry.denominator]
    grains = ", ".join(f"'{grain}'" for grain in kpi.reported_by)
    numbers = {
        "kpi": f"'{entry.code}'",
        "period": f"'{entry.period.name}'",
        "numerator": f"cast({numerator} as {RATIO})",
        "denominator": f"cast({denominator} as {RATIO})",
        "is_plain": str(not kpi.denominator).lower(),
    }
    struct = ", ".join(f"'{name}', {sql}" for name, sql in numbers.items())
    return F.expr(f"case when grain in ({grains}) then named_struct({struct}) end")


def _band(plan: Plan, end: int, stores: Stores) -> Column:
    """One end of the band of a row's KPI and place; null without one."""
    bound = F.lit(None).cast(RATIO)
    for code, benchmark in {entry.code: entry.kpi.benchmark for entry in plan.entries}.items():
        if benchmark:
            bound = F.when(F.col("kpi") == code, _bound(benchmark, end, stores)).otherwise(bound)
    return bound


def _bound(benchmark: Benchmark, end: int, stores: Stores) -> Column:
    """One end of the band of a grain value: its category's, its store's type's, or the default."""
    bound = F.lit(benchmark.default[end] if benchmark.default else None).cast(RATIO)
    for kind, band in reversed(benchmark.store_type.items()):
        bound = F.when(is_of_type(F.col("store_id"), kind, stores), F.lit(band[end]).cast(RATIO)).otherwise(bound)
    for category, band in reversed(benchmark.category.items()):
        bound = F.when(F.col("category") == category, F.lit(band[end]).cast(RATIO)).otherwise(bound)
    return bound
