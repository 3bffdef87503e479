"""Whose an order is: the touches before it, and the share of each, in cents that add up to the order."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

METHODS = ("last", "first", "linear", "position")


def shares(method: str, touches: Column, cents: Column, share: Callable[[Column, Column], Column]) -> Column:
    """Array of `share(touch, its cents)` for an order's touches, which are sorted by time; empty without touches.

    `last` and `first` give all to one touch, `linear` the same to each, `position` 40 % to the first, 40 % to the last
    and 20 % in equal parts to those between; with two touches half to each, with one everything. Shares are whole
    cents, rounded down; what is left over goes to the last touch, so they add up to the order exactly.
    """
    if method == "last":
        return F.transform(F.slice(touches, -1, 1), lambda touch: share(touch, cents))
    if method == "first":
        return F.transform(F.slice(touches, 1, 1), lambda touch: share(touch, cents))
    count = F.size(touches)
    if method == "linear":
        first = middle = _part(cents, count)
    else:
        first = F.when(count == 2, _part(cents, F.lit(2))).otherwise(_part(cents * 40, F.lit(100)))
        middle = _part(cents * 20, 100 * F.greatest(count - 2, F.lit(1)))
    rest = cents - F.when(count > 1, first).otherwise(0) - F.greatest(count - 2, F.lit(0)) * middle

    def of(touch: Column, place: Column) -> Column:
        given = F.when(place == count - 1, rest).when(place == 0, first).otherwise(middle)
        return share(touch, given.cast("bigint"))

    return F.transform(touches, of)


def _part(cents: Column, parts: Column) -> Column:
    """Whole cents of each part, rounded down; of none 0."""
    divisor = F.greatest(parts, F.lit(1)).cast("bigint")
    return F.call_function("div", cents, divisor)
