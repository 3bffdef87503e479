"""What all KPIs together measure, each different thing once, as columns of rows that add up.

Most of what is asked of a customer is to have any row of some kind in some window. Each such question is one bit of a
number, put together by bit_or: 100 questions are two columns, whatever the customers, where a count for each would be
100.
"""

from __future__ import annotations

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
    def columns(self) -> list[str]:
        """All columns of a row that add up."""
        return [*self.masks, *self.numbers.values(), *self.sums.values()]

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


def summed(rows: DataFrame, *keys: str, plan: Plan) -> DataFrame:
    """Rows that add up, by key."""
    present = [name for name in plan.columns if name in rows.columns]
    return rows.groupBy(*keys).agg(
        F.count("*").alias("row_count"),
        *[(F.bit_or if name in plan.masks else F.sum)(name).alias(name) for name in present],
    )


def is_relevant(rows: DataFrame, plan: Plan) -> Column:
    """Whether any measure has something of a row."""
    said = [
        (F.col(name) != 0) if name in plan.masks else F.col(name).isNotNull()
        for name in plan.columns
        if name in rows.columns
    ]
    return reduce(lambda one, other: one | F.coalesce(other, F.lit(False)), said, F.lit(False))


def measured(frame: DataFrame, name: str, plan: Plan) -> list[Column]:
    """What each row of a frame adds to the plan's columns; columns that only other frames feed are left out."""
    columns = []
    for number, mask in enumerate(plan.masks):
        bits = {r: bit % _BITS for r, bit in plan.flags.items() if r.frame == name and bit // _BITS == number}
        if bits:
            set_bits = [F.when(holds(r), _bigint(1 << bit)).otherwise(_bigint(0)) for r, bit in bits.items()]
            columns.append(reduce(Column.bitwiseOR, set_bits).alias(mask))
    for (reading, what), column in (*plan.numbers.items(), *plan.sums.items()):
        if reading.frame == name:
            columns.append(F.when(holds(reading), _adds(reading, what)).alias(column))
    return columns


def reached(frame: DataFrame, name: str, plan: Plan) -> DataFrame:
    """The rows of a frame that some KPI may read: of two years of activity most KPIs read two months.

    Of silver.events, which is far larger than what KPIs read of it, only those that one does.
    """
    readings, column = plan.readings(name), FRAMES[name].date
    if column is None or name == "stock":
        return frame
    if name == "events":
        return frame.where(reduce(Column.__or__, [holds(reading) for reading in readings], F.lit(False)))
    bounded = [reading.after for reading in readings if reading.after]
    recent = F.col(column) > F.lit(min(bounded)) if bounded else F.lit(False)
    older = [F.expr(r.where) if r.where else F.lit(True) for r in readings if r.after is None]
    return frame.where(reduce(Column.__or__, older, recent) & (F.col(column) <= F.lit(plan.kpi_date)))


def contribution(value: Value, plan: Plan) -> Column:
    """What one customer of a place adds to a value; guests are nobody, and count in sums only."""
    if value.what != CUSTOMERS:
        return F.col(plan.sums[value.reading, value.what])
    meets = F.col("customer_id").isNotNull()
    for condition in value.needs:
        meets = meets & _met(condition, plan)
    for condition in value.bars:
        meets = meets & ~_met(condition, plan)
    return F.when(meets, F.lit(1)).otherwise(F.lit(0))


def is_fed(values: list[Value], frame: str, plan: Plan) -> Column:
    """Whether a row of a frame adds to one of the values."""
    asked = [condition for value in values for condition in (*value.needs, *value.bars)]
    conditions = [condition for condition in asked if condition.reading.frame == frame]
    flags = [c.reading for c in conditions if c.number is None]
    columns = [plan.numbers[c.number] for c in conditions if c.number]
    columns += [plan.sums[v.reading, v.what] for v in values if v.what != CUSTOMERS and v.reading.frame == frame]
    said = [_has_bit(plan.flags[reading], plan) for reading in dict.fromkeys(flags)]
    said += [F.col(name).isNotNull() for name in dict.fromkeys(columns)]
    return F.coalesce(reduce(Column.__or__, said, F.lit(False)), F.lit(False))


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


def holds(reading: Reading) -> Column:
    """Whether a row is one of those that are read; null is no."""
    said = F.expr(reading.where) if reading.where else F.lit(True)
    column = FRAMES[reading.frame].date
    if reading.frame == "stock":
        return (_days_held(reading) > 0) & said
    if column is None:
        return said
    in_time = F.col(column) <= F.lit(reading.upto)
    if reading.after:
        in_time = in_time & (F.col(column) > F.lit(reading.after))
    return in_time & said


def _adds(reading: Reading, what: str) -> Column:
    """What one row adds: its events, 1, or its amount; a stock level adds itself for every day it was held."""
    each = F.col("event_count").cast("bigint") if reading.frame == "activity" else F.lit(1).cast("bigint")
    if reading.frame == "stock":
        each = _days_held(reading).cast("bigint")
        return each if what == COUNT else (F.expr(what).cast(RATIO) * each).cast(RATIO)
    return each if what == COUNT else F.expr(what).cast(RATIO)


def _days_held(reading: Reading) -> Column:
    """Days of the window on which a stock level stood."""
    first = F.lit(reading.after + timedelta(days=1)) if reading.after else F.lit(None).cast("date")
    until = F.least(F.col("held_until_date"), F.lit(reading.upto + timedelta(days=1)))
    return F.datediff(until, F.greatest(F.col("held_from_date"), first))


def _met(condition: Condition, plan: Plan) -> Column:
    if condition.number is None:
        return _has_bit(plan.flags[condition.reading], plan)
    number = F.col(plan.numbers[condition.number])
    enough = number > F.lit(condition.above) if condition.total else number >= condition.at_least
    return F.coalesce(enough, F.lit(False))


def _has_bit(bit: int, plan: Plan) -> Column:
    mask = F.col(plan.masks[bit // _BITS])
    return F.coalesce(mask.bitwiseAND(_bigint(1 << bit % _BITS)) != 0, F.lit(False))


def _bigint(number: int) -> Column:
    return F.lit(number).cast("bigint")
