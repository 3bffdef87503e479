"""Health of the tags of a run: who has one, whether they moved (`drift`), whether anything feeds and reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import sqlglot
from pydantic import BaseModel, ConfigDict, Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sqlglot import exp

from transforms.contracts import silver
from transforms.expressions import columns_in
from transforms.tags.declarations import Tag, TagRules
from transforms.tags.measures import ATTRIBUTE_TYPES

ANY = "event_date"  # the newest date of an event type, whatever its measures
_PROFILE_EVENTS = ("register", "profile_update", "consent")
_MEASURES = [name for name in silver.ACTIVITY.column_names if name not in (*silver.ACTIVITY.key, "event_count")]

Newest = Mapping[str, Mapping[str, date | None]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StaleDays(_Model):
    """Days without a new event after which a tag of each refresh class is stale."""

    high: int = Field(ge=0)
    medium: int = Field(ge=0)
    low: int = Field(ge=0)


class HealthRules(_Model):
    """When a tag is stale, and after how many days without a reader it is unused (section `tag_health`)."""

    stale_days: StaleDays
    unused_days: int = Field(ge=0)


def newest_events(activity: DataFrame, as_of: date) -> DataFrame:
    """The newest event_date up to D of each event type, as `event_date` and, where a measure is not 0, by its name."""
    seen = activity.where(F.col("event_date") <= F.lit(as_of))
    measured = [F.max(F.when(F.col(name) != 0, F.col("event_date"))).alias(name) for name in _MEASURES]
    return seen.groupBy("event_type").agg(F.max("event_date").alias(ANY), *measured)


def health_rows(
    rules: TagRules,
    health: HealthRules,
    shapes: Sequence[Mapping[str, Any]],
    newest: Newest,
    before: Mapping[str, date | None],
    read: set[str],
    as_of: date,
) -> list[tuple[Any, ...]]:
    """The rows of gold.tag_health, in its column order.

    Args:
        shapes: rows of `drift.shapes`. newest: rows of `newest_events` by event type.
        before: of each tag that the last published run had, the date since when nothing reads it (null: something did).
        read: tags that a segment, strategy, KPI or other tag reads.
    """
    shaped = {row["name"]: row for row in shapes}
    rows = []
    for name, tag in rules.tags.items():
        shape = shaped.get(name, {})
        newest_date = newest_input(tag, rules, newest)
        freshness = (as_of - newest_date).days if newest_date else None
        unused_since_date = None if name in read else before.get(name) or as_of
        rows.append(
            (
                as_of,
                name,
                _rounded(shape.get("coverage")),
                shape.get("distinct_values", 0),
                freshness,
                _rounded(shape.get("psi")) if name in before else None,
                freshness is None or freshness > getattr(health.stale_days, tag.refresh),
                unused_since_date,
                unused_since_date is not None and unused_since_date <= as_of - timedelta(health.unused_days),
            )
        )
    return rows


def newest_input(tag: Tag, rules: TagRules, newest: Newest) -> date | None:
    """The newest event_date that could feed a tag: of the event types that its `where` names, or else of all.

    Where it reads measures, only events that have one of them; of a tag over tags the newest of theirs; of attributes
    that of events that tell about a person. What came back of an order is an event of its own, so `day_order_count`
    is not looked at.
    """
    if tag.parsed.name == "attribute":
        return _newest_profile(tag.parsed.arguments[0], newest)
    if not tag.reads_activity:
        attributes = tag.columns_of_cases() & set(ATTRIBUTE_TYPES) - set(rules.tags)
        dates = [newest_input(other, rules, newest) for other in rules.read_by(tag)]
        return max(filter(None, [*dates, *[_newest_profile(name, newest) for name in attributes]]), default=None)
    types = _event_types(tag.where)
    measured = {name.lower() for column in tag.parsed.of_kind("column") for name in columns_in(column)} & {*_MEASURES}
    of_types = [dates for event_type, dates in newest.items() if types is None or event_type in types]
    return max(filter(None, [dates[name] for dates in of_types for name in measured or {ANY}]), default=None)


def _event_types(where: str | None) -> set[str] | None:
    """Event types that a condition names; None where it names none, or says which not."""
    if where is None:
        return None
    tree = sqlglot.parse_one(where, dialect="spark")
    if tree.find(exp.Not):
        return None
    named = set()
    for node in tree.find_all(exp.EQ, exp.In):
        if isinstance(node.this, exp.Column) and node.this.name.lower() == "event_type":
            others = node.expressions if isinstance(node, exp.In) else [node.expression]
            named |= {other.this for other in others if isinstance(other, exp.Literal)}
    return named or None


def _newest_profile(attribute: str, newest: Newest) -> date | None:
    types = newest if attribute == "source_channel" else _PROFILE_EVENTS
    return max(filter(None, [newest[name][ANY] for name in types if name in newest]), default=None)


def _rounded(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(repr(round(value, 6))).quantize(Decimal("0.000001"))
