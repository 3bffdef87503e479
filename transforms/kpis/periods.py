"""Periods that end on a KPI date, and the dates that a KPI's rows are taken from."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

PERIODS = ("day", "month")
USUAL_DAYS = 30
Span = tuple[date | None, date]  # after the first (null: from the beginning), up to the second


@dataclass(frozen=True)
class Period:
    """The dates in (start, end], and the period before them, (before_start, before_end]."""

    name: str
    start: date
    end: date
    before_start: date
    before_end: date

    def span(self, window: int | Literal["lifetime", "previous"] | None, ends: str) -> Span:
        """The dates of a window: so many days or all up to `ends`, the period before, or the period itself."""
        if window == "previous":
            return self.before_start, self.before_end
        if window is None:
            return self.start, self.end
        last = self.start if ends == "period_start" else self.end
        return (None if window == "lifetime" else last - timedelta(days=window)), last

    def dated(self, sql: str) -> str:
        """SQL with its `kpi_date` and `period_start` as dates."""
        said = re.sub(r"\bperiod_start\b", f"date'{self.start}'", sql)
        return re.sub(r"\bkpi_date\b", f"date'{self.end}'", said)


def period_of(name: str, kpi_date: date, days: int | None) -> Period:
    """`day`: the `days` (30) up to the date. `month`: its calendar month to date, where the KPI names no days.

    The month is compared with the same days of the month before; at its end with all of it.
    """
    if name == "day" or days:
        start = kpi_date - timedelta(days=days or USUAL_DAYS)
        return Period(name, start, kpi_date, start - (kpi_date - start), start)
    start = kpi_date.replace(day=1) - timedelta(days=1)
    is_whole = (kpi_date + timedelta(days=1)).day == 1
    length = calendar.monthrange(start.year, start.month)[1]
    before_end = start.replace(day=length if is_whole else min(kpi_date.day, length))
    return Period(name, start, kpi_date, start.replace(day=1) - timedelta(days=1), before_end)
