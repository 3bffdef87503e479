"""What models learn from: numeric tags of a sample of customers as of a date, damped and standardised.

A number x is taken as sign(x) · ln(1 + |x|): counts and money have long tails, and a mean and a deviation mean little
before that. Unknown numbers are the mean, so 0 after standardisation: they speak neither for nor against.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY, QUANTITY, RATIO, silver
from transforms.digits import six_digits_each
from transforms.expressions import nearest
from transforms.tags import Tag, TagRules, compute_tags

NUMBERS = ("int", "bigint", MONEY, QUANTITY, RATIO)
_KNOWN_EVENTS = Tag(
    name="known_events", label="已知事件", description="Events known.", type="behaviour", measure="count"
)


def check_features(names: Sequence[str], tags: TagRules) -> list[str]:
    """A sentence for each name that is no numeric tag over activity.

    Tags over silver.customers are refused too: that table knows tonight's attributes only, not those of a past date.
    """
    numeric = [name for name in tags.tags if tags.types[name] in NUMBERS and tags.tags[name].parsed.name != "attribute"]
    problems = [f"{name!r} is not a numeric tag over activity{nearest(name, numeric)}" for name in names]
    return [problem for name, problem in zip(names, problems, strict=True) if name not in numeric]


def sample_of(customers: DataFrame, size: int, seed: int) -> DataFrame:
    """At most `size` customers, chosen by a hash of their id: the same ones whatever their order."""
    return customers.orderBy(F.xxhash64("customer_id", F.lit(seed)), "customer_id").limit(size)


def known_activity(activity: DataFrame, customers: DataFrame, day: date) -> DataFrame:
    """What was known of these customers on `day`, of silver.activity with a non-null customer_id."""
    known = activity.where(F.col("arrival_date") <= F.lit(day))
    return known.join(F.broadcast(customers.select("customer_id")), "customer_id", "left_semi")


def fingerprint(known: DataFrame) -> DataFrame:
    """One row that says what is known: `customers`, `rows` and `hashes`, a sum.

    What rows teach is a function of them, so it need not be worked out again while this row stays the same.
    """
    columns = ["customer_id", *[name for name in silver.ACTIVITY.column_names if not name.startswith("lead_")]]
    return known.agg(
        F.count_distinct("customer_id").alias("customers"),
        F.count("*").alias("rows"),
        F.sum(F.xxhash64(*columns).cast("decimal(20,0)")).cast("string").alias("hashes"),
    )


def tags_as_of(known: DataFrame, customers: DataFrame, day: date, names: Sequence[str], tags: TagRules) -> DataFrame:
    """customer_id and the named tags as of `day`, of those customers who had done something by then."""
    counted = TagRules(tags={**tags_for(names, tags), _KNOWN_EVENTS.name: _KNOWN_EVENTS})
    tagged = compute_tags(known, customers, day, counted).where(F.col(_KNOWN_EVENTS.name) > 0)
    return tagged.select("customer_id", *dict.fromkeys(names))


def tags_for(names: Iterable[str], tags: TagRules) -> dict[str, Tag]:
    """The named tags and all that these read."""
    wanted = set(names)
    for level in reversed(tags.in_order_of_use()):
        for tag in level:
            if tag.name in wanted:
                wanted |= {*tag.parsed.of_kind("tag"), *(tag.columns_of_cases() & set(tags.tags))}
    return {name: tag for name, tag in tags.tags.items() if name in wanted}


def damped(name: str) -> str:
    """SQL of sign(x) · ln(1 + |x|) of a number, as a double; null stays null."""
    return f"signum(double({name})) * log1p(abs(double({name})))"


def scale_of(features: npt.NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each column, unknown values (NaN) left out; of a column that never varies 0."""
    known = ~np.isnan(features)
    counts = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, features, 0.0)
    means = filled.sum(axis=0) / counts
    deviations = np.sqrt((np.where(known, features - means, 0.0) ** 2).sum(axis=0) / counts)
    return six_digits_each(means), [deviation if deviation > 1e-9 else 0.0 for deviation in six_digits_each(deviations)]


def scaled(features: npt.NDArray[np.float64], means: Sequence[float], deviations: Sequence[float]) -> Any:
    """The columns as deviations from their mean, in standard deviations; unknown values are 0, and constant columns.

    Exactly 0, so that what rounding leaves of a constant tells nobody from the others.
    """
    varies = np.asarray(deviations) > 0
    standardised = (features - np.asarray(means)) / np.where(varies, deviations, 1.0)
    return np.where(varies & ~np.isnan(features), standardised, 0.0)


def standardised(name: str, mean: float, deviation: float) -> str:
    """SQL of the same of a customer's tag: as Column objects a night's models are thousands of calls into the JVM."""
    if deviation == 0:
        return "0D"
    return f"coalesce(({damped(name)} - {as_sql(mean)}) / {as_sql(deviation)}, 0D)"


def undamped(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The numbers that `damped` took."""
    return np.sign(numbers) * np.expm1(np.abs(numbers))


def in_order(terms: Sequence[str]) -> str:
    """SQL of the sum of the terms from first to last: a sum of doubles depends on its order."""
    return f"({' + '.join(terms)})"


def as_sql(number: float) -> str:
    """A double as SQL writes it."""
    return f"({number!r}D)"
