"""What all KPIs together measure, each different thing once, as columns of rows that add up.

Most of what is asked of a customer is to have any row of some kind in some window. Each such question is one bit of a
number, put together by bit_or: 100 questions are two columns, whatever the customers, where a count for each would be
100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import RATIO
from transforms.kpis.frames import FRAMES
from transforms.kpis.periods import PERIODS, Period, period_of
from transforms.kpis.rules import Kpi, KpiRules, Measure, Rows

CUSTOMERS, COUNT = "customers", "count"
_BITS = 60  # of one number; a bigint has 63


@dataclass(frozen=True)
class Reading:
    """Rows of a frame for which `where` holds, of the dates in (after, upto]; `after` null is from the beginning."""

    frame: str
    where: str | None
    after: date | None
    upto: date


@dataclass(frozen=True)
class Condition:
    """What is asked of a customer: any row, `at_least` so many, or a `total` over them above a number."""

    reading: Reading
    at_least: int
    total: str | None
    above: Decimal

    @property
    def number(self) -> tuple[Reading, str] | None:
        """What must be summed per customer to answer; None where having a row does."""
        if self.total is None and self.at_least == 1:
            return None
        return self.reading, self.total or COUNT


@dataclass(frozen=True)
class Value:
    """A measure of one period: customers who meet all `needs` and none of `bars`, or `what` summed over `reading`."""

    what: str
    reading: Reading
    needs: tuple[Condition, ...] = ()
    bars: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One KPI of one period with its values."""

    code: str
    kpi: Kpi
    period: Period
    numerator: Value
    less: Value | None
    denominator: Value | None


@dataclass
class Plan:
    """All entries, and the columns that they need: a bit, a number or a sum for each different thing, by its place."""

    kpi_date: date
    entries: list[Entry]
    flags: dict[Reading, int] = field(default_factory=dict)
    numbers: dict[tuple[Reading, str], str] = field(default_factory=dict)
    sums: dict[tuple[Reading, str], str] = field(default_factory=dict)
    values: dict[Value, str] = field(default_factory=dict)

    @property
    def masks(self) -> list[str]:
        """Columns that hold the bits."""
        return [f"bits_{number}" for number in range((len(self.flags) + _BITS - 1) // _BITS)]

    @property
    def asked(self) -> list[str]:
        """Columns that say what is asked of customers: bits and numbers."""
        return [*self.masks, *self.numbers.values()]

    @property
    def amounts(self) -> list[str]:
        """Columns that only add up, whoever's they are."""
        return [*self.sums.values()]

    def readings(self, frame: str) -> list[Reading]:
        """What is read of a frame, each once."""
        read = [*self.flags, *[reading for reading, _ in (*self.numbers, *self.sums)]]
        return [reading for reading in dict.fromkeys(read) if reading.frame == frame]

    def by_category(self) -> list[Value]:
        """Values that some KPI reports by category."""
        of = [entry for entry in self.entries if "category" in entry.kpi.reported_by]
        return [value for entry in of for value in (entry.numerator, entry.less, entry.denominator) if value]


def planned(rules: KpiRules, kpi_date: date) -> Plan:
    """The plan of all KPIs in all periods that end on a date."""
    entries = [
        _entry(code, kpi, period_of(name, kpi_date, kpi.period_days))
        for code, kpi in rules.kpis.items()
        for name in PERIODS
    ]
    plan = Plan(kpi_date, entries)
    for entry in entries:
        for value in (entry.numerator, entry.less, entry.denominator):
            if value is not None:
                _note(plan, value)
    return plan


def summed(rows: DataFrame, keys: Sequence[str], columns: Sequence[str], plan: Plan) -> DataFrame:
    """Rows that add up, by key; those of which no column has anything are left out."""
    present = [name for name in columns if name in rows.columns]
    added = [F.expr(f"{'bit_or' if name in plan.masks else 'sum'}({name})").alias(name) for name in present]
    return rows.groupBy(*keys).agg(F.count("*").alias("row_count"), *added).drop("row_count")


def is_relevant(rows: DataFrame, columns: Sequence[str], plan: Plan) -> Column:
    """Whether any of the columns has something of a row."""
    present = [name for name in columns if name in rows.columns]
    said = [f"coalesce({name}, 0) != 0" if name in plan.masks else f"{name} is not null" for name in present]
    return F.expr(" or ".join(said) or "false")


def measured(name: str, columns: Sequence[str], plan: Plan) -> list[Column]:
    """What each row of a frame adds to some of the plan's columns; those that only other frames feed are left out.

    They are SQL, as are the columns below: of 100 expressions, each parsed once, where 10 calls each cost as many
    round trips to the JVM, 3 s a night.
    """
    made = []
    for number, mask in enumerate(plan.masks):
        bits = {r: bit % _BITS for r, bit in plan.flags.items() if r.frame == name and bit // _BITS == number}
        if bits and mask in columns:
            made.append(F.expr(" | ".join(f"if({_holds(r)}, {1 << bit}L, 0L)" for r, bit in bits.items())).alias(mask))
    for (reading, what), column in (*plan.numbers.items(), *plan.sums.items()):
        if reading.frame == name and column in columns:
            made.append(F.expr(f"case when {_holds(reading)} then {_adds(reading, what)} end").alias(column))
    return made


def reached(frame: DataFrame, name: str, plan: Plan) -> DataFrame:
    """The rows of a frame that some KPI may read: of two years of activity most KPIs read two months.

    Of silver.events, which is far larger than what KPIs read of it, only those that one does.
    """
    readings, column = plan.readings(name), FRAMES[name].date
    if column is None or name == "stock":
        return frame
    if name == "events":
        return frame.where(" or ".join(f"({_holds(reading)})" for reading in readings) or "false")
    bounded = [reading.after for reading in readings if reading.after]
    recent = F.col(column) > F.lit(min(bounded)) if bounded else F.lit(False)
    older = [F.expr(r.where) if r.where else F.lit(True) for r in readings if r.after is None]
    return frame.where(reduce(Column.__or__, older, recent) & (F.col(column) <= F.lit(plan.kpi_date)))


def contribution(value: Value, plan: Plan) -> Column:
    """What one customer of a place adds to a value; guests are nobody, and count in sums only."""
    if value.what != CUSTOMERS:
        return F.col(plan.sums[value.reading, value.what])
    needs = [_met(condition, plan) for condition in value.needs]
    bars = [f"not {_met(condition, plan)}" for condition in value.bars]
    return F.expr(f"if({' and '.join(['customer_id is not null', *needs, *bars])}, 1, 0)")


def holds(reading: Reading) -> Column:
    """Whether a row is one of those that are read; null is no."""
    return F.coalesce(F.expr(_holds(reading)), F.lit(False))


def is_fed(values: Sequence[Value], frame: str, columns: Sequence[str], plan: Plan) -> Column:
    """Whether a row of a frame adds to one of the values by one of the columns."""
    asked = [condition for value in values for condition in (*value.needs, *value.bars)]
    conditions = [condition for condition in asked if condition.reading.frame == frame]
    said = [_has_bit(plan.flags[c.reading], plan) for c in conditions if c.number is None and plan.masks[0] in columns]
    named = [plan.numbers[c.number] for c in conditions if c.number]
    named += [plan.sums[v.reading, v.what] for v in values if v.what != CUSTOMERS and v.reading.frame == frame]
    said += [f"{name} is not null" for name in named if name in columns]
    return F.expr(" or ".join(dict.fromkeys(said)) or "false")


def earliest(plan: Plan, frame: str) -> date:
    """The first date of a frame that some KPI reads."""
    return min((r.after or date.min for r in plan.readings(frame)), default=plan.kpi_date)


def _entry(code: str, kpi: Kpi, period: Period) -> Entry:
    values = [_value(measure, period) if measure else None for measure in (kpi.numerator, kpi.less, kpi.denominator)]
    assert values[0] is not None
    return Entry(code, kpi, period, values[0], values[1], values[2])


def _value(measure: Measure, period: Period) -> Value:
    reading = _reading(measure, period)
    if measure.measure != CUSTOMERS:
        return Value(period.dated(measure.summed) if measure.summed else COUNT, reading)
    needs = tuple(_condition(rows, period) for rows in (measure, *measure.also))
    return Value(CUSTOMERS, reading, needs, tuple(_condition(rows, period) for rows in measure.unless))


def _condition(rows: Rows, period: Period) -> Condition:
    total = period.dated(rows.total) if rows.total else None
    return Condition(_reading(rows, period), rows.at_least, total, rows.above)


def _reading(rows: Rows, period: Period) -> Reading:
    where = period.dated(rows.where) if rows.where else None
    if FRAMES[rows.frame].date is None:
        return Reading(rows.frame, where, None, period.end)
    return Reading(rows.frame, where, *period.span(rows.window_days, rows.ends))


def _note(plan: Plan, value: Value) -> None:
    """Give each different thing that a value needs its column."""
    plan.values.setdefault(value, f"v{len(plan.values)}")
    if value.what != CUSTOMERS:
        plan.sums.setdefault((value.reading, value.what), f"s{len(plan.sums)}")
    for condition in (*value.needs, *value.bars):
        if condition.number:
            plan.numbers.setdefault(condition.number, f"n{len(plan.numbers)}")
        else:
            plan.flags.setdefault(condition.reading, len(plan.flags))


def _holds(reading: Reading) -> str:
    said = f"({reading.where})" if reading.where else "true"
    column = FRAMES[reading.frame].date
    if reading.frame == "stock":
        return f"{_days_held(reading)} > 0 and {said}"
    if column is None:
        return said
    since = f"{column} > date'{reading.after}' and " if reading.after else ""
    return f"{since}{column} <= date'{reading.upto}' and {said}"


def _adds(reading: Reading, what: str) -> str:
    """What one row adds: its events, 1, or its amount; a stock level adds itself for every day it was held."""
    each = "cast(event_count as bigint)" if reading.frame == "activity" else "1L"
    amount = f"cast({what} as {RATIO})"
    if reading.frame == "stock":
        each = f"cast({_days_held(reading)} as bigint)"
        amount = f"cast({amount} * {each} as {RATIO})"
    return each if what == COUNT else amount


def _days_held(reading: Reading) -> str:
    """Days of the window on which a stock level stood."""
    until = f"least(held_until_date, date'{reading.upto + timedelta(days=1)}')"
    if reading.after is None:
        return f"datediff({until}, held_from_date)"
    return f"datediff({until}, greatest(held_from_date, date'{reading.after + timedelta(days=1)}'))"


def _met(condition: Condition, plan: Plan) -> str:
    if condition.number is None:
        return _has_bit(plan.flags[condition.reading], plan)
    number = plan.numbers[condition.number]
    enough = f"{number} > {condition.above}" if condition.total else f"{number} >= {condition.at_least}"
    return f"coalesce({enough}, false)"


def _has_bit(bit: int, plan: Plan) -> str:
    return f"((coalesce({plan.masks[bit // _BITS]}, 0L) & {1 << bit % _BITS}L) != 0)"
