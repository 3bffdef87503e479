"""Days and clocks of the simulation: which days are busy, and how sources write a time.

A moment is a business date and a second of the day in Asia/Shanghai (UTC+8, no summer time), so that nothing here
depends on the session's time zone.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from transforms.simulation.draws import looked_up, pick_weighted
from transforms.simulation.plan import SimulationPlan

SHANGHAI_SECONDS = 8 * 3600
BUSIEST = 2.4
_WEEKDAYS = (0.80, 0.80, 0.84, 0.90, 1.10, 1.42, 1.30)  # Monday first
_MONTHS = (1.20, 0.85, 0.90, 0.92, 1.00, 1.15, 0.95, 0.92, 1.00, 1.05, 1.30, 1.10)
_HOURS = {8: 2, 9: 4, 10: 6, 11: 7, 12: 8, 13: 6, 14: 6, 15: 7, 16: 7, 17: 8, 18: 10, 19: 12, 20: 13, 21: 9, 22: 3}


def busyness(day: Column) -> Column:
    """How busy a date is, 1 on average: weekly rhythm, seasons, and the 6.18 and 11.11 shopping festivals."""
    weekday = looked_up([str(w) for w in _WEEKDAYS], F.weekday(day)).cast("double")
    month = looked_up([str(m) for m in _MONTHS], F.month(day) - 1).cast("double")
    month_day = F.month(day) * 100 + F.dayofmonth(day)
    festival = F.when(month_day.isin(618, 1111), 1.8).when(month_day.isin(617, 1110, 1212), 1.3).otherwise(1.0)
    return F.least(weekday * month * festival, F.lit(BUSIEST))


def second_of_day(uniform: Column, within_hour: Column) -> Column:
    """A second between 8:00 and 23:00, most of them in the evening."""
    hour = pick_weighted({str(hour): weight for hour, weight in _HOURS.items()}, uniform).cast("int")
    return hour * 3600 + F.floor(within_hour * 3600).cast("int")


def date_of(plan: SimulationPlan, day: Column) -> Column:
    """The date of a day number; day 0 is the first of the history."""
    return F.date_add(F.lit(plan.first_date), day.cast("int"))


def epoch_seconds(day: Column, second: Column) -> Column:
    """Seconds since 1970 UTC of a Shanghai moment."""
    return F.unix_date(day).cast("bigint") * 86400 + second - SHANGHAI_SECONDS


def clock(second: Column, separator: str = ":") -> Column:
    """`HH:mm:ss` with the given separator."""
    parts = (F.floor(second / 3600), F.floor(second / 60) % 60, second % 60)
    return F.concat_ws(separator, *[F.lpad(part.cast("string"), 2, "0") for part in parts])


def local_time(day: Column, second: Column, pattern: str = "yyyy-MM-dd", between: str = " ") -> Column:
    """The moment as Shanghai clocks show it, `yyyy-MM-dd HH:mm:ss` unless told otherwise."""
    return F.concat(F.date_format(day, pattern), F.lit(between), clock(second))


def utc_time(day: Column, second: Column) -> Column:
    """The moment in ISO 8601 UTC, as in `2026-01-31T12:00:00Z`."""
    is_previous_day = second < SHANGHAI_SECONDS
    utc_day = F.date_sub(day, is_previous_day.cast("int"))
    utc_second = F.when(is_previous_day, second + 86400).otherwise(second) - SHANGHAI_SECONDS
    return F.concat(F.date_format(utc_day, "yyyy-MM-dd"), F.lit("T"), clock(utc_second), F.lit("Z"))
