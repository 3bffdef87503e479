"""What tags read of a row of activity: which of their conditions hold on it, and the values they measure.

The same few conditions and values serve many tags (a count of 30 days and one of 90 differ in nothing else), so each
is worked out once per row and kept in silver.timelines; a window is looked at only when tags are computed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from transforms.contracts import MONEY, QUANTITY, RATIO, silver
from transforms.expressions import columns_in
from transforms.tags.declarations import Tag, TagRules
from transforms.tags.measures import expression_type

BITS = 62
"""Conditions to a number of 64 bits, its sign left alone."""

SCALES = {MONEY: 2, QUANTITY: 3, RATIO: 6}
"""Decimals are kept as whole numbers of their smallest unit."""

DAY = "day"
HOUR = "event_hour"

WORDS = "words"
_TAKEN = {"customer_id", DAY, WORDS}
_ADDITIVE = frozenset(silver.ACTIVITY.column_names) - frozenset(silver.ACTIVITY.key)


@dataclass(frozen=True)
class Stream:
    """One value of each row. `per_event`: it is a mean's, which weighs a row by its events."""

    expression: str
    kind: str
    per_event: bool = False

    @cached_property
    def name(self) -> str:
        """Its column in silver.timelines."""
        if self.expression.lower() in ("date", "counts_on_date"):
            return DAY
        if re.fullmatch(r"[a-z_]+", self.expression) and self.expression not in _TAKEN and not self.per_event:
            return self.expression
        named = f"{self.expression} per event" if self.per_event else self.expression
        return f"value_{hashlib.sha256(named.encode()).hexdigest()[:12]}"

    @property
    def is_words(self) -> bool:
        """Whether its values are text."""
        return self.kind == "string"


def condition(tag: Tag) -> str:
    """SQL of the rows that a tag counts at any date. Of rows that add nothing a sum needs none."""
    columns = tag.parsed.of_kind("column")
    known = [f"({columns[0]}) is not null"] if columns else []
    if tag.parsed.name == "sum" and tag.null_policy == "clear":  # keep_last looks at the dates of all
        known = [f"({columns[0]}) <> 0"]
    return " and ".join([*([f"({tag.where})"] if tag.where else []), *known]) or "true"


def reads_day_orders(expressions: Iterable[str]) -> bool:
    """Whether SQL looks at `day_order_count`, so that other rows of a day decide whether one counts."""
    return any("day_order_count" in {name.lower() for name in columns_in(sql)} for sql in expressions)


def measured(tag: Tag) -> Stream:
    """What a row gives to a tag: its events where they are counted, else the measured column."""
    columns = tag.parsed.of_kind("column")
    if not columns:
        return Stream("event_count", "bigint")
    is_of_each_event = tag.parsed.name == "avg" and not columns_in(columns[0]) & _ADDITIVE
    return Stream(columns[0], expression_type(columns[0]), is_of_each_event)


def weight(tag: Tag) -> Stream:
    """How much a row counts: the second column of `top`; in a mean its events, because rows are partial sums."""
    by = tag.parsed.arguments[1] if tag.parsed.name == "top" else "event_count"
    return Stream(by, expression_type(by))


def measured_tags(rules: TagRules) -> Iterator[Tag]:
    """Tags over activity. A trend measures the rows of its tag, which is among them."""
    return (tag for tag in rules.tags.values() if tag.reads_activity)


def conditions(rules: TagRules) -> list[str]:
    """All different conditions, in a fixed order: the place of one is its bit."""
    return sorted({condition(tag) for tag in measured_tags(rules)})


def streams(rules: TagRules) -> list[Stream]:
    """All different values but the date, by the name of their column."""
    found: set[Stream] = set()
    for tag in measured_tags(rules):
        name = tag.parsed.name
        if name not in ("days_since", "interval_mean", "interval_max"):
            found.add(measured(tag))
        if name in ("top", "avg"):
            found.add(weight(tag))
        if name in ("first", "last"):
            found.add(Stream(HOUR, "int"))
    return sorted((stream for stream in found if stream.name != DAY), key=lambda stream: stream.name)


def mask_names(rules: TagRules) -> list[str]:
    """Columns of silver.timelines that hold the conditions' bits."""
    return [f"holds_{number}" for number in range(-(-len(conditions(rules)) // BITS))]
