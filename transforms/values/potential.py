"""High potential: customers whose interest runs ahead of their purchases, by rules and by a model.

The rules say why in words. The model (logistic regression) gives the probability of becoming high value in the days of
its outcome tag: it learns from tags as of that long before its effective date, and from what followed.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import RATIO
from transforms.expressions import SqlExpression, columns_in_order, nearest, unknown_columns
from transforms.names import repeated
from transforms.tags import TagRules
from transforms.values.features import (
    as_sql,
    check_features,
    damped,
    in_order,
    scaled,
    standardised,
    tags_as_of,
)
from transforms.values.words import values_in_words


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PotentialRule(_Model):
    """One reason for high potential: `when` holds, SQL over tags."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str
    when: SqlExpression

    @cached_property
    def columns(self) -> list[str]:
        """Tags that it reads, in the order in which it names them."""
        return columns_in_order(self.when)


class PotentialModelRules(_Model):
    """What the model learns, from whom, and when there is too little to learn from.

    Attributes:
        outcome: tag of the form sum(…) over a window of days; those days are how far the model looks ahead.
        share: high value is more of the outcome than 1 - share of its buyers had.
        features: numeric tags that it learns from.
        held_out_share: of the sample, kept from the fit to check it on.
        regularisation: strength of the L2 penalty.
    """

    outcome: str
    share: Decimal = Field(gt=0, lt=1)
    features: tuple[str, ...] = Field(min_length=1)
    held_out_share: Decimal = Field(gt=0, lt=1)
    regularisation: float = Field(ge=0)
    least_positives: int = Field(ge=1)
    least_positive_share: Decimal = Field(ge=0, lt=1)


class PotentialRules(_Model):
    """Section `value.potential` of the settings."""

    rules: tuple[PotentialRule, ...]
    model: PotentialModelRules

    @model_validator(mode="after")
    def _codes_differ(self) -> PotentialRules:
        twice = repeated(rule.code for rule in self.rules)
        if twice:
            raise ValueError("; ".join(f"rule {code} is declared twice" for code in twice))
        return self


def check_potential(rules: PotentialRules, tags: TagRules) -> list[str]:
    """A sentence for each name in the rules that is no tag, or a tag that cannot serve there."""
    problems = [f"rules.{rule.code}: {p}" for rule in rules.rules for p in unknown_columns(rule.when, tags.tags)]
    problems += [f"model.features: {problem}" for problem in check_features(rules.model.features, tags)]
    outcome = tags.tags.get(rules.model.outcome)
    if outcome is None:
        problems.append(f"model.outcome: {rules.model.outcome!r} is not a tag{nearest(rules.model.outcome, tags.tags)}")
    elif outcome.parsed.name != "sum" or not isinstance(outcome.window, int):
        problems.append(f"model.outcome: {outcome.name} must be a sum over a window of days")
    return problems


def with_potential_reasons(customers: DataFrame, rules: PotentialRules) -> DataFrame:
    """The frame with `high_potential_reasons`: `code: tag=value, tag=value` of each rule that holds, in their order.

    Args:
        customers: one row per customer with the tags that the rules read. A rule that is null does not hold.
    """
    reasons = [
        F.when(F.expr(rule.when), F.concat(F.lit(f"{rule.code}: "), values_in_words(rule.columns)))
        for rule in rules.rules
    ]
    return customers.withColumn("high_potential_reasons", F.array_compact(F.array(*reasons).cast("array<string>")))


def potential_sample(
    known: DataFrame,
    customers: DataFrame,
    then: DataFrame,
    effective: date,
    tags: TagRules,
    rules: PotentialModelRules,
) -> DataFrame:
    """What the model of an effective date learns from; key customer_id, sorted by it.

    Args:
        known: silver.activity with customer_id, as known on the effective date.
        customers: silver.customers, those chosen to learn from. Those who had done nothing `horizon` days before the
            effective date take no part.
        then: their tags as of the effective date, the outcome among them.

    Returns:
        customer_id, the features (damped doubles) and `before`, the outcome up to that day, both of what had happened
        by then; `after`, the outcome of the days that followed; and `is_held_out`.
    """
    start = effective - timedelta(days=horizon(tags, rules))
    before = tags_as_of(known, customers, start, [*rules.features, rules.outcome], tags)
    after = then.select("customer_id", F.col(rules.outcome).alias("after"))
    joined = before.join(after, "customer_id", "left")
    features = [F.expr(damped(name)).alias(f"feature_{place}") for place, name in enumerate(rules.features)]
    amounts = [F.col(rules.outcome).alias("before"), F.coalesce("after", F.lit(0)).alias("after")]
    by_hash = F.pmod(F.xxhash64("customer_id", F.lit("held out")), F.lit(1_000_000))
    is_held_out = by_hash < int(rules.held_out_share * 1_000_000)
    return joined.select(
        "customer_id", *features, *[a.cast("double") for a in amounts], is_held_out.alias("is_held_out")
    ).orderBy("customer_id")


def horizon(tags: TagRules, rules: PotentialModelRules) -> int:
    """How many days ahead the model looks: the window of its outcome."""
    return int(tags.tags[rules.outcome].window)


def labelled(sample: pd.DataFrame, share: Decimal) -> tuple[pd.DataFrame, float | None]:
    """Those of the sample who were not high value before, with `is_positive`: whether they became it; and the bound.

    High value is more than the bound, the smallest amount that at least 1 - share of the buyers after did not exceed.
    None where nobody bought: then nobody is positive.
    """
    bought = np.sort(sample["after"].to_numpy()[sample["after"].to_numpy() > 0])
    if not len(bought):
        return sample.assign(is_positive=False), None
    place = -(-int((1 - share) * 1_000_000) * len(bought) // 1_000_000)  # the least whole number that reaches the share
    bound = float(bought[max(place, 1) - 1])
    others = sample[sample["before"].fillna(0) <= bound]
    return others.assign(is_positive=others["after"] > bound), bound


def with_potential_score(customers: DataFrame, model: dict[str, Any] | None, rules: PotentialModelRules) -> DataFrame:
    """The frame with `high_potential_score`, the probability of becoming high value; key as before.

    Args:
        customers: one row per customer with the features and the outcome tag as of tonight.
        model: a stored model, or None where none could be fitted.

    Null without a model, and of customers who are high value already: they cannot become it.
    """
    if model is None or model.get("intercept") is None:
        return customers.withColumn("high_potential_score", F.lit(None).cast(RATIO))
    score = _probability(model).cast(RATIO)
    may_become = F.coalesce(F.col(rules.outcome).cast("double"), F.lit(0.0)) <= F.lit(model["bound"])
    return customers.withColumn("high_potential_score", F.when(may_become, score))


def probabilities(features: Any, model: dict[str, Any]) -> Any:
    """What `with_potential_score` computes, for an array with a row per customer (features damped, NaN unknown)."""
    sums = scaled(features, model["means"], model["deviations"]) @ np.asarray(model["coefficients"])
    return 1 / (1 + np.exp(-(sums + model["intercept"])))


def deciles(probability: Any, is_positive: Any) -> pd.DataFrame:
    """How true the probabilities are: customers in ten equal groups, the most probable first.

    Returns:
        `bin` (1 … 10), `customers`, `expected` (mean probability), `actual` (share of positives), `lift` (that over the
        share among all). Equal probabilities stay in the order given. No row for a group without customers.
    """
    order = np.argsort(-np.asarray(probability), kind="stable")
    groups = pd.DataFrame(
        {
            "bin": np.arange(len(order)) * 10 // max(len(order), 1) + 1,
            "probability": np.asarray(probability, dtype=float)[order],
            "is_positive": np.asarray(is_positive, dtype=float)[order],
        }
    ).groupby("bin", sort=True)
    found = groups.agg(
        customers=("probability", "size"), expected=("probability", "mean"), actual=("is_positive", "mean")
    ).reset_index()
    overall = float(np.mean(is_positive)) if len(order) else 0.0
    return found.assign(lift=found["actual"] / overall if overall else np.nan)


def _probability(model: dict[str, Any]) -> Column:
    terms = [
        f"{as_sql(coefficient)} * {standardised(name, mean, deviation)}"
        for name, coefficient, mean, deviation in zip(
            model["features"], model["coefficients"], model["means"], model["deviations"], strict=True
        )
    ]
    return F.expr(f"1D / (1D + exp(-{in_order([as_sql(model['intercept']), *terms])}))")
