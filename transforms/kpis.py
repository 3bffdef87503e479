"""KPIs: each declared once as numerator and denominator, reported by chain, store, channel and primary segment.

All measures of all KPIs are computed in one plan: rows of the three base frames become partial sums per customer and
place, places become grain values, and each grain value is one row that every KPI reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import RATIO, gold, silver
from transforms.expressions import SqlExpression, columns_in, unknown_columns

UNKNOWN = "unknown"  # grain value of rows without a store, channel or segment, so that the values add up to the chain
Grain = Literal["chain", "store", "channel", "segment"]
GRAINS: tuple[Grain, ...] = ("chain", "store", "channel", "segment")
FRAME_COLUMNS: dict[str, list[str]] = {
    "orders": [*silver.ORDERS.column_names, "customer_id", "kpi_date"],
    "activity": [*silver.ACTIVITY.column_names, "customer_id", "kpi_date"],
    "customers": [*silver.CUSTOMERS.column_names, "segment", "kpi_date"],
}

_DATE = {"orders": "order_date", "activity": "counts_on_date"}
_PLACE = {"store": "store_id", "channel": "channel", "segment": "segment"}
_PLACED_GRAINS = ("store", "channel")  # grains that the customers frame does not have
_DEFAULT_WINDOW = 30
_SUM = re.compile(r"^sum\((.+)\)$", re.DOTALL)
_Names = Mapping[tuple["Rows", str], str]  # (rows, what is summed over them) to a column name


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Rows(_Model):
    """Rows of a base frame: those for which `where` holds, of the dates in (D - window_days, D].

    The customers frame has no date of its own; its `where` may compare with `kpi_date`.
    """

    frame: Literal["orders", "activity", "customers"] = Field(alias="from")
    where: SqlExpression | None = None
    window_days: int | Literal["lifetime"] | None = None
    at_least: int = Field(default=1, ge=1)

    @field_validator("window_days")
    @classmethod
    def _possible_window(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{value} is not a window; allowed: whole days from 1, or lifetime")
        return value

    @model_validator(mode="after")
    def _customers_have_no_window(self) -> Rows:
        if self.frame == "customers" and self.window_days is not None:
            raise ValueError("window_days: customers have no date; compare with kpi_date in where instead")
        return self

    @property
    def days(self) -> int | None:
        """Length of the window; None when all dates up to D count."""
        if self.frame == "customers" or self.window_days == "lifetime":
            return None
        return int(self.window_days) if self.window_days is not None else _DEFAULT_WINDOW

    def described(self) -> str:
        """What is counted, in words for the catalogue."""
        text = f"{self.frame} where {self.where}" if self.where else str(self.frame)
        if self.frame != "customers":
            text += f", {f'last {self.days} days' if self.days else 'lifetime'}"
        return text + (f", at least {self.at_least}" if self.at_least > 1 else "")


class Measure(Rows):
    """What is measured over the rows.

    Attributes:
        measure: `customers` (distinct customer_id with `at_least` rows), `count` (orders; events of activity;
            customers) or `sum(SQL)`.
        also: further rows that a customer must have to be counted, at the same grain value.
    """

    measure: str
    also: Rows | None = None

    @field_validator("measure")
    @classmethod
    def _known_measure(cls, value: str) -> str:
        if value not in ("customers", "count") and not _SUM.match(value):
            raise ValueError(f"{value!r} is not a measure; allowed: customers, count, sum(SQL)")
        columns_in(value)
        return value

    @model_validator(mode="after")
    def _only_customers_have_conditions(self) -> Measure:
        if self.measure != "customers" and (self.at_least > 1 or self.also):
            raise ValueError("at_least and also need measure: customers")
        return self

    @property
    def summed(self) -> str | None:
        """The SQL expression inside `sum(...)`; None for counts."""
        found = _SUM.match(self.measure)
        return found.group(1) if found else None

    def described(self) -> str:
        """What is measured, in words for the catalogue."""
        text = f"{self.measure} from {super().described()}"
        return f"{text}; also in {self.also.described()}" if self.also else text


class Kpi(_Model):
    """One KPI: numerator over denominator, or the numerator alone; `benchmark` is a closed band [low, high]."""

    label: str
    description: str
    numerator: Measure
    denominator: Measure | None = None
    grains: tuple[Grain, ...] = GRAINS
    direction: Literal["up", "down"]
    unit: Literal["ratio", "amount", "count", "days", "score"]
    benchmark: tuple[Decimal, Decimal] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Kpi:
        problems = []
        if self.benchmark and self.benchmark[0] > self.benchmark[1]:
            problems.append(f"benchmark: {self.benchmark[0]} is above {self.benchmark[1]}; expected [low, high]")
        placed = [grain for grain in self.grains if grain in _PLACED_GRAINS]
        if placed and any(rows.frame == "customers" for rows in self.rows):
            problems.append(f"grains: customers have no {' or '.join(placed)}; allowed: chain, segment")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def measures(self) -> list[Measure]:
        """Numerator and, where there is one, denominator."""
        return [self.numerator, *([self.denominator] if self.denominator else [])]

    @property
    def rows(self) -> list[Rows]:
        """Everything that is read, conditions included."""
        return [rows for measure in self.measures for rows in (measure, measure.also) if rows]

    @property
    def is_additive(self) -> bool:
        """Whether its values add up over stores: plain sums and counts; a customer may buy in two stores."""
        return self.denominator is None and self.numerator.measure != "customers"


class KpiRules(_Model):
    """All KPIs by code. The section `kpis` of the settings is a mapping of KPIs, and may be given as it is."""

    kpis: dict[str, Kpi] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _bare_section(cls, value: Any) -> Any:
        return value if isinstance(value, dict) and set(value) == {"kpis"} else {"kpis": value}

    @field_validator("kpis")
    @classmethod
    def _known_names(cls, value: dict[str, Kpi]) -> dict[str, Kpi]:
        misnamed = [code for code in value if not re.fullmatch(r"[a-z][a-z0-9_]*", code)]
        problems = [f"kpi {code}: a code is lower case words joined by _" for code in misnamed]
        problems += _unknown_columns(value, FRAME_COLUMNS)
        if problems:
            raise ValueError("\n  ".join(["the KPIs cannot be computed:", *problems]))
        return value


def check_columns(rules: KpiRules, known: Mapping[str, Iterable[str]] = FRAME_COLUMNS) -> list[str]:
    """A sentence for each column that a KPI reads and its frame does not have, naming the nearest ones."""
    return _unknown_columns(rules.kpis, known)


def report_kpis(frames: Mapping[str, DataFrame], kpi_date: date, known_at: date, rules: KpiRules) -> DataFrame:
    """Every KPI at every grain value, in the columns of gold.kpi_values.

    Args:
        frames: as known at `known_at`, `orders` (silver.orders with customer_id, null for guests), `activity`
            (silver.activity with customer_id, which may be null) and `customers` (silver.customers with `segment`,
            the primary one). Guests count in sums and counts, not in customers.
        kpi_date: D. Windows are dates in (D - w, D]; activity that happened after D is not seen.

    Rows without a store, channel or segment are reported as `unknown`. A grain value has a row for each of its grain's
    KPIs once any measure has a row there, the chain and a segment once they have a customer.
    """
    names = _measure_names(rules)
    cells = _cells(frames, kpi_date, names)
    placed = _placed(cells, frames["customers"], kpi_date, names, rules)
    return _values(_per_grain_value(placed, names, rules), kpi_date, known_at, rules)


def catalogue_rows(rules: KpiRules) -> list[tuple]:
    """One tuple per KPI in the order of the columns of gold.kpi_catalogue."""
    return [
        (
            code,
            kpi.label,
            kpi.description,
            kpi.numerator.described(),
            kpi.denominator.described() if kpi.denominator else None,
            list(kpi.grains),
            kpi.direction,
            kpi.unit,
            kpi.is_additive,
        )
        for code, kpi in rules.kpis.items()
    ]


def _unknown_columns(kpis: Mapping[str, Kpi], known: Mapping[str, Iterable[str]]) -> list[str]:
    problems = []
    for code, kpi in kpis.items():
        read = [(rows.frame, rows.where) for rows in kpi.rows] + [(m.frame, m.summed) for m in kpi.measures]
        for frame, sql in dict.fromkeys(read):
            problems += [f"kpi {code}: {p} ({frame})" for p in unknown_columns(sql, known[frame])] if sql else []
    return problems


def _measure_names(rules: KpiRules) -> _Names:
    """A column name for each different thing that is summed: (rows, what); KPIs that share one share the column."""
    summed = dict.fromkeys(_summed(rows) for kpi in rules.kpis.values() for rows in kpi.rows)
    return {what: f"m{number}" for number, what in enumerate(summed)}


def _summed(rows: Rows) -> tuple[Rows, str]:
    """What is summed per customer, whatever condition stands on it afterwards."""
    plain = Rows.model_validate({"from": rows.frame, "where": rows.where, "window_days": rows.window_days})
    return plain, (rows.summed if isinstance(rows, Measure) else None) or "count"


def _cells(frames: Mapping[str, DataFrame], kpi_date: date, names: _Names) -> DataFrame:
    """Partial sums per (customer_id, store_id, channel) of the orders and activity frames; null for guests."""
    activity = frames["activity"].where(F.col("event_date") <= F.lit(kpi_date))
    orders = frames["orders"]
    parts = [_measured(frame, name, kpi_date, names) for name, frame in (("orders", orders), ("activity", activity))]
    together = reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), parts)
    columns = [name for (rows, _), name in names.items() if rows.frame != "customers"]
    relevant = reduce(lambda left, right: left | right, [F.col(c).isNotNull() for c in columns], F.lit(False))
    summed = together.where(relevant).groupBy("customer_id", "store_id", "channel")
    return summed.agg(F.count("*").alias("rows"), *[_sum(c) for c in columns]).drop("rows")


def _measured(frame: DataFrame, frame_name: str, kpi_date: date, names: _Names) -> DataFrame:
    """The frame's rows: customer_id, its places and its own measures, which are null where a row is not in one."""
    dated = frame.withColumn("kpi_date", F.lit(kpi_date))
    keys = ["customer_id", "segment"] if frame_name == "customers" else ["customer_id", "store_id", "channel"]
    mine = {what: name for what, name in names.items() if what[0].frame == frame_name}
    latest = F.lit(True) if frame_name == "customers" else F.col(_DATE[frame_name]) <= F.lit(kpi_date)
    return dated.where(latest).select(
        *keys, *[_row_measure(rows, what, kpi_date).alias(name) for (rows, what), name in mine.items()]
    )


def _row_measure(rows: Rows, what: str, kpi_date: date) -> Column:
    """What one row adds: its events, 1, or its amount as decimal(18,6); null when the row does not count."""
    holds = F.expr(rows.where) if rows.where else F.lit(True)
    if rows.days is not None:
        holds = holds & (F.col(_DATE[rows.frame]) > F.lit(kpi_date - timedelta(days=rows.days)))
    if what != "count":
        return F.when(holds, F.expr(what).cast(RATIO))
    each = F.col("event_count").cast("bigint") if rows.frame == "activity" else F.lit(1).cast("bigint")
    return F.when(holds, each)


def _placed(cells: DataFrame, customers: DataFrame, kpi_date: date, names: _Names, rules: KpiRules) -> DataFrame:
    """Cells once per grain: (grain, grain_value, customer_id, measures), the customers' own rows beside them."""
    grains = [grain for grain in GRAINS if any(grain in kpi.grains for kpi in rules.kpis.values())]
    segments = customers.select("customer_id", "segment")
    columns = list(names.values())
    located = _exploded(cells.join(segments, "customer_id", "left"), grains, columns)
    their_grains = [grain for grain in grains if grain not in _PLACED_GRAINS]
    if not their_grains:
        return located
    everybody = _exploded(_measured(customers, "customers", kpi_date, names), their_grains, columns)
    return located.unionByName(everybody, allowMissingColumns=True)


def _exploded(rows: DataFrame, grains: Sequence[str], columns: Sequence[str]) -> DataFrame:
    """Each row once per grain; one without the grain's column, or with a null in it, is at `unknown`."""
    values = {"chain": F.lit("all"), **{grain: F.col(name) for grain, name in _PLACE.items() if name in rows.columns}}
    places = [
        F.struct(F.lit(grain).alias("grain"), F.coalesce(values[grain], F.lit(UNKNOWN)).alias("grain_value"))
        for grain in grains
    ]
    mine = [column for column in columns if column in rows.columns]
    return rows.select(F.inline(F.array(*places)), "customer_id", *mine)


def _per_grain_value(placed: DataFrame, names: _Names, rules: KpiRules) -> DataFrame:
    """One row per (grain, grain_value) with a column per different measure, named as `_measures` says."""
    per_customer = placed.groupBy("grain", "grain_value", "customer_id").agg(*[_sum(name) for name in names.values()])
    results = [_result(measure, names).cast(RATIO).alias(name) for measure, name in _measures(rules).items()]
    return per_customer.groupBy("grain", "grain_value").agg(*results)


def _measures(rules: KpiRules) -> dict[Measure, str]:
    different = dict.fromkeys(measure for kpi in rules.kpis.values() for measure in kpi.measures)
    return {measure: f"v{number}" for number, measure in enumerate(different)}


def _result(measure: Measure, names: _Names) -> Column:
    """The measure over all customers of a grain value; guests are one nameless customer, who counts in sums only."""
    total = F.col(names[_summed(measure)])
    if measure.measure != "customers":
        return F.coalesce(F.sum(total), F.lit(0))
    counts = F.col("customer_id").isNotNull() & (total >= measure.at_least)
    if measure.also:
        counts = counts & (F.col(names[_summed(measure.also)]) >= measure.also.at_least)
    return F.count_if(counts)


def _values(wide: DataFrame, kpi_date: date, known_at: date, rules: KpiRules) -> DataFrame:
    """One row per KPI and grain value: numerator over denominator, and where that stands against the band."""
    value_of = _measures(rules)
    declared = []
    for code, kpi in rules.kpis.items():
        low, high = kpi.benchmark or (None, None)
        entry = F.struct(
            F.lit(code).alias("kpi"),
            F.col(value_of[kpi.numerator]).alias("numerator"),
            (F.col(value_of[kpi.denominator]) if kpi.denominator else F.lit(None)).cast(RATIO).alias("denominator"),
            F.lit(not kpi.denominator).alias("is_plain"),
            F.lit(low).cast(RATIO).alias("benchmark_low"),
            F.lit(high).cast(RATIO).alias("benchmark_high"),
        )
        declared.append(F.when(F.col("grain").isin(*kpi.grains), entry))
    rows = wide.select("grain", "grain_value", F.inline(F.array_compact(F.array(*declared))))
    ratio = F.col("numerator") / F.nullif("denominator", F.lit(0))
    valued = rows.withColumn("value", F.when(F.col("is_plain"), F.col("numerator")).otherwise(ratio).cast(RATIO))
    status = (
        F.when(F.col("value") < F.col("benchmark_low"), "below")
        .when(F.col("value") > F.col("benchmark_high"), "above")
        .when(F.col("value").isNotNull() & F.col("benchmark_low").isNotNull(), "within")
    )
    located = valued.select(
        "*",
        F.lit(kpi_date).alias("kpi_date"),
        F.lit(known_at).alias("known_at_date"),
        status.alias("status"),
        *[F.when(F.col("grain") == grain, F.col("grain_value")).alias(column) for grain, column in _PLACE.items()],
    )
    return located.select(*gold.KPI_VALUES.column_names)


def _sum(name: str) -> Column:
    return F.sum(name).alias(name)
