"""Tags of every customer: measured over timelines, then worked out from each other by Spark's own expressions.

Activity becomes timelines (`timelines`), numpy measures what the declarations ask of them (`kernel`), and quotients,
trends and cases are a projection over these measures. One code path serves a whole night and a restated customer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from functools import partial, reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import RATIO
from transforms.tags.declarations import Tag, TagRules
from transforms.tags.kernel import measure, measure_columns
from transforms.tags.measures import ATTRIBUTE_TYPES, NEVER_NULL
from transforms.tags.timelines import build_timelines

Batches = Iterator[pa.RecordBatch]
_OPERAND = "decimal(20,6)"  # a quotient of two keeps 18 decimals, so that rounding it to 6 is rounding once


def compute_tags(activity: DataFrame, customers: DataFrame, as_of: date, rules: TagRules) -> DataFrame:
    """Every tag of every customer as of D.

    Args:
        activity: silver.activity with a non-null `customer_id`; its rows add up, whichever identifier led them.
        customers: silver.customers, key customer_id: the population.
        as_of: D. Rows of event_date > D are not seen; a window of w days is the counts_on_date in (D − w, D].

    Returns:
        customer_id and one column per tag in declared order; key customer_id, one row per row of `customers`.
    """
    seen = activity.where((F.col("event_date") <= F.lit(as_of)) & (F.col("counts_on_date") <= F.lit(as_of)))
    measures = build_timelines(seen, rules).mapInArrow(*measuring(as_of, rules))
    return tags_of_measures(measures, customers, as_of, rules)


def measuring(as_of: date, rules: TagRules) -> tuple[Callable[[Batches], Batches], str]:
    """What `mapInArrow` needs to measure silver.timelines, whose rows are of activity that happened up to D."""
    columns = measure_columns(rules)
    schema = ", ".join(["customer_id string", *[f"`{name}` {kind}" for name, kind in columns.items()]])
    return partial(measure, as_of=as_of, rules=rules), schema


def tags_of_measures(measures: DataFrame, customers: DataFrame, as_of: date, rules: TagRules) -> DataFrame:
    """The same as `compute_tags` from what `measuring` gives, key customer_id."""
    population = customers.join(measures, "customer_id", "left")
    tagged = population.select("customer_id", *_first_columns(as_of, rules))
    for level in rules.in_order_of_use():
        tagged = tagged.withColumns({tag.name: _derived(tag) for tag in level if _reads_tags(tag)})
    return tagged.select("customer_id", *rules.tags)


def _first_columns(as_of: date, rules: TagRules) -> list[Column]:
    """Everything that reads no tag: measured tags, attributes, and what trends and cases look at.

    A tag hides the customer attribute of its name, so that a `case` over `gender` reads the tag.
    """
    tags = list(rules.tags.values())
    read = {name for tag in tags for name in tag.columns_of_cases()}
    hidden = {*rules.tags, "customer_id"}
    trends = [tag.name for tag in tags if tag.parsed.name == "trend"]
    return [
        *([F.lit(as_of).alias("as_of")] if "as_of" in read else []),
        *[F.col(name) for name in ATTRIBUTE_TYPES if name in read and name not in hidden],
        *[_part(name, part).alias(f"_{part}_{name}") for name in trends for part in ("recent", "earlier")],
        *[F.col(tag.parsed.arguments[0]).alias(tag.name) for tag in tags if tag.parsed.name == "attribute"],
        *[_finished(tag, rules.types[tag.name]).alias(tag.name) for tag in tags if tag.reads_activity],
    ]


def _finished(tag: Tag, kind: str) -> Column:
    """The value of a measured tag; of no rows, sums and counts are 0 and all else is null."""
    if tag.parsed.name == "avg":
        return _quotient(_part(tag.name, "sum"), _part(tag.name, "count")).cast(kind)
    if tag.parsed.name == "interval_mean":
        return _quotient(_part(tag.name, "days"), _part(tag.name, "count")).cast(kind)
    value = _part(tag.name, "value")
    return F.coalesce(value, F.lit(0).cast(kind)) if tag.parsed.name in NEVER_NULL else value


def _part(name: str, part: str) -> Column:
    return F.col(f"`{name}.{part}`")


def _derived(tag: Tag) -> Column:
    """A tag over other tags: ratio, trend or case."""
    if tag.parsed.name == "case":
        tiers = [(F.expr(case.when), F.lit(case.then)) for case in tag.cases]
        chosen = reduce(lambda so_far, tier: so_far.when(*tier), tiers[1:], F.when(*tiers[0]))
        return chosen.otherwise(F.lit(tag.otherwise).cast("string"))
    if tag.parsed.name == "ratio":
        numerator, denominator = (F.col(name) for name in tag.parsed.arguments[:2])
        return _quotient(numerator, denominator).cast(RATIO)
    recent, earlier = tag.parsed.windows  # (r / recent) ÷ (e / earlier) − 1, without rounding in between
    recent_sum = F.coalesce(F.col(f"_recent_{tag.name}"), F.lit(0)) * F.lit(earlier)
    earlier_sum = F.col(f"_earlier_{tag.name}") * F.lit(recent)
    return (_quotient(recent_sum, earlier_sum) - 1).cast(RATIO)


def _reads_tags(tag: Tag) -> bool:
    return tag.parsed.name in ("ratio", "trend", "case")


def _quotient(numerator: Column, denominator: Column) -> Column:
    """Null where the denominator is 0 or unknown."""
    return numerator.cast(_OPERAND) / F.nullif(denominator.cast(_OPERAND), F.lit(0))
