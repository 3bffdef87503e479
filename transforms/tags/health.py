"""Health of the tags of a run: who has one, whether it moved since the run before, whether anything feeds and reads it.

Both runs' slices are read in one pass that leaves a histogram of each tag: Spark SQL has no aggregate that gives many
histograms at once, and a query for each tag would cost a night on small data more than all its other steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate
from math import log
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from pydantic import BaseModel, ConfigDict, Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from sqlglot import exp

from transforms.contracts import MONEY, QUANTITY, RATIO, silver
from transforms.expressions import columns_in
from transforms.tags.declarations import Tag, TagRules
from transforms.tags.measures import ATTRIBUTE_TYPES

ANY = "event_date"  # the newest date of an event type, whatever its measures
_PROFILE_EVENTS = ("register", "profile_update", "consent")
_MEASURES = [name for name in silver.ACTIVITY.column_names if name not in (*silver.ACTIVITY.key, "event_count")]
_SCALES = {"int": 0, "bigint": 0, "date": 0, MONEY: 2, QUANTITY: 3, RATIO: 6}
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_GROUPS = 10
_LISTED = 20
_LEAST_SHARE = 1e-4
_OTHER, _NULL = "other", None
_HISTOGRAM = "tag string, is_tonight boolean, number bigint, text string, customers bigint"
_SHAPE = "tag string, coverage double, distinct_values bigint, psi double"

Bins = Mapping[Any, int]
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


def tag_shapes(tags: DataFrame, as_of: date, rules: TagRules) -> DataFrame:
    """How each tag is distributed tonight, and how far that is from the run before.

    Args:
        tags: gold.customer_tags of `as_of` and of at most one earlier run.

    Returns:
        (tag, coverage, distinct_values, psi), key tag; no rows without a customer. `coverage` is the share of customers
        with a value. Numbers count as one value when their first two digits are equal, dates when those of their age
        in days are: so a histogram has some hundred bins, whatever the customers, and its bins follow from the value
        alone. `psi` is null without the earlier run.
    """
    scales = {name: _SCALES.get(kind) for name, kind in rules.types.items()}
    narrow = [_narrow(name, rules.types[name]).alias(name) for name in rules.tags]
    slices = tags.select((F.col("run_date") == F.lit(as_of)).alias("is_tonight"), *narrow)

    def histograms(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return _histograms(batches, scales)

    return slices.mapInArrow(histograms, _HISTOGRAM).groupBy("tag").applyInArrow(_shape, _SHAPE)


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
        shapes: rows of `tag_shapes`. newest: rows of `newest_events` by event type.
        before: of each tag that the last published run had, the date since when nothing reads it (null: something did).
        read: tags that a segment, strategy, KPI or other tag reads.
    """
    shaped = {row["tag"]: row for row in shapes}
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


def population_stability_index(expected: Bins, actual: Bins, is_number: bool) -> float | None:
    """How far a distribution moved: below 0.1 hardly, from 0.25 on so far that its readers should be looked at.

    PSI = Σ (a − e) ln(a / e) over the bins' shares (Siddiqi, Credit Risk Scorecards, 2006), shares below 0.0001 taken
    as that. Bins of numbers are the deciles of `expected` (each ends at the least value that reaches its share), bins
    of anything else its 20 most frequent values and the rest; customers without a value are a bin of their own.

    Args:
        expected, actual: customers by value, null for those without one. None where either has no customers.
    """
    group = _deciles(expected) if is_number else _most_frequent(expected)
    shares = []
    for bins in (expected, actual):
        total, grouped = sum(bins.values()), Counter[Any]()
        for value, customers in bins.items():
            grouped[value if value is _NULL else group(value)] += customers
        if not total:
            return None
        shares.append({place: customers / total for place, customers in grouped.items()})
    places = sorted({*shares[0], *shares[1]}, key=lambda place: (place is _NULL, "" if place is _NULL else place))
    pairs = [[max(side.get(place, 0.0), _LEAST_SHARE) for side in shares] for place in places]
    return sum((a - e) * log(a / e) for e, a in pairs)


def _narrow(name: str, kind: str) -> Column:
    """A tag as a whole number where it has an order (of its last decimal, or days of age), else as text."""
    if kind == "date":
        return F.datediff(F.col("run_date"), F.col(name)).cast("bigint")
    if kind in _SCALES:
        return (F.col(name) * F.lit(10 ** _SCALES[kind])).cast("bigint")
    return F.col(name).cast("string")


def _histograms(batches: Iterator[pa.RecordBatch], scales: Mapping[str, int | None]) -> Iterator[pa.RecordBatch]:
    """Customers of the partition by tag, run and value."""
    counts: Counter[tuple[str, bool, Any]] = Counter()
    for batch in batches:
        for is_tonight in (True, False):
            part = batch.filter(pc.equal(batch.column("is_tonight"), is_tonight))
            for name, scale in scales.items() if part.num_rows else ():
                values = part.column(name) if scale is None else _two_digits(part.column(name))
                for found in pc.value_counts(values).to_pylist():
                    counts[name, is_tonight, found["values"]] += found["counts"]
    keys = list(counts)
    numbers = [value if scales[name] is not None else None for name, _, value in keys]
    texts = [value if scales[name] is None else None for name, _, value in keys]
    columns = {
        "tag": pa.array([key[0] for key in keys], pa.string()),
        "is_tonight": pa.array([key[1] for key in keys], pa.bool_()),
        "number": pa.array(numbers, pa.int64()),
        "text": pa.array(texts, pa.string()),
        "customers": pa.array([counts[key] for key in keys], pa.int64()),
    }
    yield from pa.table(columns).to_batches()


def _two_digits(values: pa.Array) -> pa.Array:
    """Whole numbers cut to their first two digits: 4,310 is 4,300, -127 is -120, 17 is 17."""
    known = values.fill_null(0).to_numpy(zero_copy_only=False)
    sizes = np.abs(known)
    units = _POWERS[np.maximum(np.searchsorted(_POWERS, sizes, side="right") - 2, 0)]
    return pa.array(np.sign(known) * (sizes // units * units), mask=values.is_null().to_numpy(zero_copy_only=False))


def _shape(rows: pa.Table) -> pa.Table:
    """One tag's row of `tag_shapes` from its histograms."""
    runs: dict[bool, Counter[Any]] = {True: Counter(), False: Counter()}
    is_number = False
    for row in rows.to_pylist():
        is_number = is_number or row["number"] is not None
        value = row["text"] if row["number"] is None else row["number"]
        runs[row["is_tonight"]][value] += row["customers"]
    tonight, earlier = runs[True], runs[False]
    total = sum(tonight.values())
    shape = {
        "tag": rows.column("tag")[0].as_py(),
        "coverage": 1 - tonight[_NULL] / total if total else None,
        "distinct_values": len(set(tonight) - {_NULL}),
        "psi": population_stability_index(earlier, tonight, is_number),
    }
    types = (pa.string(), pa.float64(), pa.int64(), pa.float64())
    return pa.table({name: pa.array([shape[name]], kind) for name, kind in zip(shape, types, strict=True)})


def _deciles(bins: Bins) -> Any:
    """Number to the place of its decile."""
    values = sorted(value for value in bins if value is not _NULL)
    below = list(accumulate(bins[value] for value in values))
    reached = (
        [np.searchsorted(np.array(below) * _GROUPS, place * below[-1]) for place in range(1, _GROUPS)] if below else []
    )
    cuts = np.array(sorted({values[place] for place in reached}))
    return lambda value: f"{np.searchsorted(cuts, value):02}"


def _most_frequent(bins: Bins) -> Any:
    """Text to itself where it is among the most frequent; ties go to the smaller one."""
    known = [(-customers, value) for value, customers in bins.items() if value is not _NULL]
    listed = {value for _, value in sorted(known)[:_LISTED]}
    return lambda value: f"={value}" if value in listed else _OTHER


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
