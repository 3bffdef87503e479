"""What conf/kpis.yaml says: each KPI once, as a numerator over a denominator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from transforms.expressions import SqlExpression, columns_in, unknown_columns
from transforms.kpis.frames import FRAMES, GRAINS, USUAL_GRAINS
from transforms.stores import Stores, unknown_types

DATES = ("kpi_date", "period_start")  # names that any SQL of a KPI may use
_SUM = re.compile(r"^sum\((.+)\)$", re.DOTALL)

FrameName = Literal["orders", "activity", "events", "customers", "touches", "campaigns", "stock"]
Grain = Literal[
    "chain", "region", "store", "channel", "segment", "category",
    "store_channel", "store_segment", "channel_segment", "store_channel_segment",
]  # fmt: skip
Band = tuple[Decimal, Decimal]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Rows(_Model):
    """Rows of a base frame for which `where` holds, of a window of dates.

    Attributes:
        window_days: whole days, `lifetime`, or `previous` (the period before); left out it is the KPI's period.
        ends: the window's last day: `kpi_date`, or `period_start`, the day before the period.
        at_least: so many rows (events of activity) of one customer.
        total, above: rows of one customer whose sum of the SQL `total` is greater than `above`.
    """

    frame: FrameName = Field(alias="from")
    where: SqlExpression | None = None
    window_days: int | Literal["lifetime", "previous"] | None = None
    ends: Literal["kpi_date", "period_start"] = "kpi_date"
    at_least: int = Field(default=1, ge=1)
    total: SqlExpression | None = None
    above: Decimal = Decimal(0)

    @field_validator("window_days")
    @classmethod
    def _possible_window(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{value} is not a window; allowed: whole days from 1, lifetime or previous")
        return value

    @model_validator(mode="after")
    def _possible_rows(self) -> Rows:
        if FRAMES[self.frame].date is None and (self.window_days is not None or self.ends != "kpi_date"):
            raise ValueError(f"window_days: {self.frame} have no date; compare with kpi_date in where instead")
        if self.ends == "period_start" and self.window_days in (None, "previous"):
            raise ValueError("ends: period_start needs window_days, whole days or lifetime")
        if self.total and self.at_least > 1:
            raise ValueError("total and at_least exclude each other")
        return self

    @property
    def is_condition(self) -> bool:
        """Whether more is asked of a customer than to have a row."""
        return self.at_least > 1 or self.total is not None


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


SeveralRows = Annotated[tuple[Rows, ...], BeforeValidator(_listed)]


class Measure(Rows):
    """What is measured over the rows.

    Attributes:
        measure: `customers` (distinct, who meet at_least or total), `count` (rows; events of activity) or `sum(SQL)`.
        also: further rows, each of which a customer must have to be counted, at the same place.
        unless: rows of which a customer must have none, at the same place.
        at: `chain`: taken of the whole chain at every grain, for shares.
    """

    measure: str
    also: SeveralRows = ()
    unless: SeveralRows = ()
    at: Literal["chain"] | None = None

    @field_validator("measure")
    @classmethod
    def _known_measure(cls, value: str) -> str:
        if value not in ("customers", "count") and not _SUM.match(value):
            raise ValueError(f"{value!r} is not a measure; allowed: customers, count, sum(SQL)")
        columns_in(value)
        return value

    @model_validator(mode="after")
    def _possible_measure(self) -> Measure:
        if self.measure != "customers" and (self.is_condition or self.also or self.unless):
            raise ValueError("at_least, total, also and unless need measure: customers")
        asked = (
            [self.frame, *[rows.frame for rows in (*self.also, *self.unless)]] if self.measure == "customers" else []
        )
        nameless = [frame for frame in asked if not FRAMES[frame].has_customers]
        if nameless:
            named = [name for name, frame in FRAMES.items() if frame.has_customers]
            raise ValueError(f"{nameless[0]} know no customers; allowed: {', '.join(named)}")
        return self

    @property
    def summed(self) -> str | None:
        """The SQL expression inside `sum(...)`; None for counts."""
        found = _SUM.match(self.measure)
        return found.group(1) if found else None

    @property
    def rows(self) -> list[Rows]:
        """Everything that is read, conditions included."""
        return [self, *self.also, *self.unless]


class Benchmark(_Model):
    """Closed bands [low, high]: of a category's values, of the stores of a type, and of everything else."""

    default: Band | None = None
    category: dict[str, Band] = {}
    store_type: dict[str, Band] = {}

    @model_validator(mode="before")
    @classmethod
    def _plain_band(cls, value: Any) -> Any:
        return {"default": value} if isinstance(value, (list, tuple)) else value

    @model_validator(mode="after")
    def _in_order(self) -> Benchmark:
        bands = [band for band in (self.default, *self.category.values(), *self.store_type.values()) if band]
        wrong = [f"{low} is above {high}; expected [low, high]" for low, high in bands if low > high]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class Kpi(_Model):
    """One KPI: (numerator less `less`) over denominator, or without a denominator the numerator alone.

    `period_days` is the KPI's own period, which then is also that of its month rows.
    """

    label: str
    description: str
    numerator: Measure
    less: Measure | None = None
    denominator: Measure | None = None
    period_days: int | None = Field(default=None, ge=1)
    grains: tuple[Grain, ...] = ()
    direction: Literal["up", "down"]
    unit: Literal["ratio", "amount", "count", "days", "score"]
    benchmark: Benchmark | None = None

    @model_validator(mode="after")
    def _possible_grains(self) -> Kpi:
        problems = []
        for frame in dict.fromkeys(rows.frame for rows in self.rows):
            unknown = [grain for grain in self.grains if not {*GRAINS[grain]} <= FRAMES[frame].places]
            allowed = [grain for grain, places in GRAINS.items() if {*places} <= FRAMES[frame].places]
            if unknown:
                problems.append(f"grains: {frame} have no {' or '.join(unknown)}; allowed: {', '.join(allowed)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def reported_by(self) -> tuple[str, ...]:
        """Its grains: those given, or the usual ones whose places all of its frames know."""
        known = frozenset.intersection(*[FRAMES[rows.frame].places for rows in self.rows])
        return self.grains or tuple(grain for grain in USUAL_GRAINS if {*GRAINS[grain]} <= known)

    @property
    def measures(self) -> list[Measure]:
        """Numerator, what is taken off it, and denominator, as far as there are any."""
        return [measure for measure in (self.numerator, self.less, self.denominator) if measure]

    @property
    def rows(self) -> list[Rows]:
        """Everything that is read, conditions included."""
        return [rows for measure in self.measures for rows in measure.rows]

    @property
    def is_additive(self) -> bool:
        """Whether its values add up over places: plain sums and counts; a customer may buy in two stores."""
        return self.denominator is None and all(measure.measure != "customers" for measure in self.measures)


class RestateRules(_Model):
    """Up to how many days back late events restate stored KPI dates; each date costs as much as the run date's."""

    days: int = Field(ge=0)


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
        problems += _unknown(value, {name: frame.columns for name, frame in FRAMES.items() if name != "customers"})
        if problems:
            raise ValueError("\n  ".join(["the KPIs cannot be computed:", *problems]))
        return value

    @property
    def frames(self) -> list[str]:
        """The frames that some KPI reads."""
        return [name for name in FRAMES if any(rows.frame == name for kpi in self.kpis.values() for rows in kpi.rows)]

    def columns_read(self, frame: str) -> set[str]:
        """Columns of a frame that some KPI's SQL reads."""
        texts = [sql for kpi in self.kpis.values() for name, sql in _read(kpi) if name == frame]
        return {column for sql in texts for column in columns_in(sql)} - {*DATES}


def check_columns(rules: KpiRules, portrait: Iterable[str]) -> list[str]:
    """A sentence for each column that a KPI reads `from: customers` and the portrait does not have."""
    return _unknown(rules.kpis, {"customers": [*FRAMES["customers"].columns, *portrait]})


def check_bands(rules: KpiRules, stores: Stores) -> list[str]:
    """A sentence for each benchmark by a store type that no listed store is of."""
    return [
        f"kpis.{code}.benchmark.store_type: {problem}"
        for code, kpi in rules.kpis.items()
        if kpi.benchmark
        for problem in unknown_types({*kpi.benchmark.store_type}, stores)
    ]


def _unknown(kpis: Mapping[str, Kpi], known: Mapping[str, Iterable[str]]) -> list[str]:
    return [
        f"kpi {code}: {problem} ({frame})"
        for code, kpi in kpis.items()
        for frame, sql in dict.fromkeys(_read(kpi))
        if frame in known
        for problem in unknown_columns(sql, [*known[frame], *DATES])
    ]


def _read(kpi: Kpi) -> list[tuple[str, str]]:
    """(frame, SQL) of all that a KPI reads."""
    asked = [(str(rows.frame), sql) for rows in kpi.rows for sql in (rows.where, rows.total) if sql]
    return asked + [(str(measure.frame), measure.summed) for measure in kpi.measures if measure.summed]
