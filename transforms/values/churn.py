"""Churn: how overdue a customer's next purchase is, by their own rhythm and by the BG/NBD model; and VIPs slowing down.

People who bought on several days are held against their own mean interval, people who bought on one day against days:
who has no rhythm yet cannot fall out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.quantiles import quantile_cuts
from transforms.tags import TagRules
from transforms.values.words import in_words

TIERS = ("low", "medium", "high", "very_high", "lost")
TAGS = ("days_since_last_order", "mean_order_interval_days", "order_trend", "average_order_value_365d")

ChurnTier = Literal["low", "medium", "high", "very_high", "lost"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Repeat(_Model):
    """One tier of those who bought on two days or more: overdue by so many intervals, and hardly alive by the model.

    Attributes:
        intervals_over: it takes more days since the last purchase than this many of their own mean intervals.
        p_alive_below: and, where p_alive is known, less of it than this; where it is not, the days alone decide.
    """

    tier: ChurnTier
    label: str
    intervals_over: Decimal = Field(gt=0)
    p_alive_below: Decimal = Field(gt=0, le=1)


class Once(_Model):
    """One tier of those who bought on one day: it takes more days since than `days_over`."""

    tier: ChurnTier
    label: str
    days_over: int = Field(ge=1)


class Vip(_Model):
    """Who counts as a VIP: an average order value in the top `share` of customers with one."""

    label: str
    share: Decimal = Field(gt=0, lt=1)


class ChurnRules(_Model):
    """Churn tiers (section `value.churn` of the settings), worst first; the first that fits wins, none is `low`."""

    repeat: tuple[Repeat, ...] = Field(min_length=1)
    one_time: tuple[Once, ...] = Field(min_length=1)
    otherwise_label: str
    vip: Vip

    @model_validator(mode="after")
    def _worst_first(self) -> ChurnRules:
        problems = [*_order_problems("repeat", self.repeat), *_order_problems("one_time", self.one_time)]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def missing_tags(tags: TagRules) -> list[str]:
    """Tags that churn reads and the settings do not declare."""
    return [name for name in TAGS if name not in tags.tags]


def with_churn(customers: DataFrame, rules: ChurnRules) -> DataFrame:
    """The frame with `churn_tier`, `churn_reasons` and `is_vip_warning`; same grain, no rows lost.

    Args:
        customers: one row per customer with `TAGS` and p_alive; of a customer who never bought, or bought on one day
            only, the interval is null.

    The tier is null for those who never bought. Reasons are the comparisons that made the tier (for `low` those that
    kept them out of the mildest other one), then those of the warning; empty where there is neither.
    """
    tier = F.when(F.col("mean_order_interval_days").isNotNull(), _of_repeat_buyers(rules)).when(
        F.col("days_since_last_order").isNotNull(), _of_one_time_buyers(rules)
    )
    is_slower = (F.col("order_trend") < 0) & (F.col("average_order_value_365d") > F.col("vip_cut"))
    nothing = F.array().cast("array<string>")
    why_tier = F.coalesce(F.col("churn.reasons"), nothing)
    why_warned = F.when(F.col("is_vip_warning"), _vip_reasons()).otherwise(nothing)
    judged = _with_vip_cut(customers, rules.vip).withColumn("churn", tier)
    return (
        judged.withColumns({"churn_tier": F.col("churn.tier"), "is_vip_warning": F.coalesce(is_slower, F.lit(False))})
        .withColumn("churn_reasons", F.concat(why_tier, why_warned))
        .drop("churn", "vip_cut")
    )


def _of_repeat_buyers(rules: ChurnRules) -> Column:
    """(tier, reasons) of those with a rhythm: the worst tier whose interval and p_alive bounds both are passed."""
    days, interval, p_alive = F.col("days_since_last_order"), F.col("mean_order_interval_days"), F.col("p_alive")

    def told(tier: Repeat, is_over: str, is_below: str) -> list[Column]:
        intervals = f"{_plain(tier.intervals_over)} x mean_order_interval_days"
        return [
            _told("days_since_last_order", is_over, intervals, interval),
            _told("p_alive", is_below, _plain(tier.p_alive_below)),
        ]

    mildest = rules.repeat[-1]
    late = days > interval * F.lit(mildest.intervals_over)
    fading = p_alive < F.lit(mildest.p_alive_below)
    kept_by = [F.when(~late, told(mildest, "<=", "")[0]), F.when(~fading, told(mildest, "", ">=")[1])]
    chosen = _judgement("low", kept_by)
    for tier in reversed(rules.repeat):
        is_late = days > interval * F.lit(tier.intervals_over)
        is_fading = F.coalesce(p_alive < F.lit(tier.p_alive_below), F.lit(True))
        chosen = F.when(is_late & is_fading, _judgement(tier.tier, told(tier, ">", "<"))).otherwise(chosen)
    return chosen


def _of_one_time_buyers(rules: ChurnRules) -> Column:
    """(tier, reasons) of those who bought on one day: the worst tier whose days are passed."""
    days = F.col("days_since_last_order")

    def told(tier: Once, comparison: str) -> Column:
        return _told("days_since_last_order", comparison, f"{tier.days_over} after one purchase")

    chosen = _judgement("low", [told(rules.one_time[-1], "<=")])
    for tier in reversed(rules.one_time):
        why = told(tier, ">")
        chosen = F.when(days > tier.days_over, _judgement(tier.tier, [why])).otherwise(chosen)
    return chosen


def _with_vip_cut(customers: DataFrame, vip: Vip) -> DataFrame:
    """The frame with `vip_cut`: the order value that 1 - share of customers do not exceed, an observed one."""
    known = customers.where("average_order_value_365d is not null")
    values = known.groupBy(F.col("average_order_value_365d").alias("value")).agg(F.count("*").alias("customers"))
    cut = quantile_cuts(values, [], [1 - Fraction(vip.share)]).agg(F.max("value").alias("vip_cut"))
    return customers.crossJoin(F.broadcast(cut))


def _vip_reasons() -> Column:
    return F.array(
        _told("order_trend", "<", "0"),
        _told("average_order_value_365d", ">", "cut of VIPs", F.col("vip_cut")),
    )


def _judgement(tier: str, reasons: Sequence[Column]) -> Column:
    return F.struct(F.lit(tier).alias("tier"), F.array_compact(F.array(*reasons)).alias("reasons"))


def _told(column: str, comparison: str, bound: str, value: Column | None = None) -> Column:
    """`column=value comparison bound`, and `=value` of the bound where it has one of its own; null of a null."""
    parts = [F.lit(f"{column}="), in_words(F.col(column)), F.lit(f" {comparison} {bound}")]
    return F.concat(*parts, *([] if value is None else [F.lit("="), in_words(value)]))


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _order_problems(name: str, tiers: Sequence[Repeat | Once]) -> list[str]:
    """What is wrong with the order of the tiers: each must be milder than the one before, and none is `low`."""
    problems = [
        f"{name}: {later.tier} after {earlier.tier}: tiers go from worst to best, with falling bounds"
        for earlier, later in pairwise(tiers)
        if not _is_milder(later, earlier)
    ]
    return problems + [f"{name}: low is what is left when no tier fits" for tier in tiers if tier.tier == "low"]


def _is_milder(later: Repeat | Once, earlier: Repeat | Once) -> bool:
    if TIERS.index(later.tier) >= TIERS.index(earlier.tier):
        return False
    if isinstance(later, Repeat) and isinstance(earlier, Repeat):
        return later.intervals_over <= earlier.intervals_over and later.p_alive_below >= earlier.p_alive_below
    return isinstance(later, Once) and isinstance(earlier, Once) and later.days_over < earlier.days_over
