"""Finance: balance, demand for a loan, habit of repayment, and a risk tier by a score card that gives its reasons.

Only customers who consented to it and are no minors are looked at. A score card adds up points for what somebody did
with money, never for who they are: sensitive attributes are refused when the settings are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO, silver
from transforms.expressions import nearest
from transforms.names import repeated

EVENT_TYPES = (
    "loan_apply",
    "loan_approve",
    "loan_reject",
    "loan_disburse",
    "repay",
    "overdue",
    "deposit",
    "withdraw",
    "consult",
)
"""Events that finance looks at; a consult counts where it was made in the finance channel."""

EVENT_COLUMNS = ("event_type", "event_date", "channel", "amount", "props")

FACTS = {
    "asset_amount": "balance: deposits less withdrawals",
    "asset_trend_90d": "net inflow of 90 days over the balance before them; null where that was not positive",
    "loan_apply_count_90d": "loan applications in 90 days",
    "loan_apply_count_365d": "loan applications in 365 days",
    "loan_reject_count_365d": "rejected applications in 365 days",
    "finance_consult_count_90d": "consults in the finance channel in 90 days",
    "loan_count": "loans paid out",
    "repay_count": "repayments",
    "on_time_share": "of instalments repaid or in arrears, the share that never was in arrears; null without one",
    "arrears_count_365d": "instalments that fell overdue in 365 days",
    "unpaid_amount": "amount of instalments in arrears and not repaid since",
    "days_overdue_now": "days that the oldest of those is past due; 0 without one",
    "days_overdue_worst": "days that any instalment ever was past due; 0 without one",
    "default_count": "instalments that ever were past due for more than default_days",
}
"""What is known of a customer's finance as of D; the only inputs that demand and the score card may have."""

SENSITIVE = frozenset(silver.CUSTOMERS.column_names) - {"customer_id"}
"""Who somebody is (gender, birth_date, city …): no input of a decision about money."""


def _is_fact(name: str) -> str:
    if name in SENSITIVE:
        raise ValueError(f"{name!r} says who a customer is and may not be an input; allowed: {', '.join(FACTS)}")
    if name not in FACTS:
        raise ValueError(f"{name!r} is not known of a customer's finance{nearest(name, FACTS)}")
    return name


Fact = Annotated[str, AfterValidator(_is_fact)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bucket(_Model):
    """Customers whose oldest arrears are past due for up to so many days, and longer than the bucket before."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    up_to_days: int | None = Field(default=None, ge=0)


class Demand(_Model):
    """Points of loan demand for a fact that is at least, or at most, a number; unknown facts give none."""

    fact: Fact
    label: str
    at_least: Decimal | None = None
    at_most: Decimal | None = None
    points: int

    @model_validator(mode="after")
    def _one_bound(self) -> Demand:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give one of at_least and at_most")
        return self


class Bin(_Model):
    """Points of a characteristic up to a value (included), with the code and words given as reason for too few."""

    up_to: Decimal | None = None
    points: int
    reason: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    label: str


class Characteristic(_Model):
    """One line of the score card: the first bin that reaches the value gives the points; `unknown` those of null."""

    fact: Fact
    label: str
    bins: tuple[Bin, ...] = Field(min_length=2)
    unknown: Bin

    @model_validator(mode="after")
    def _bins_ascend(self) -> Characteristic:
        *closed, last = self.bins
        bounds = [bin.up_to for bin in closed]
        ascends = all(a is not None and b is not None and a < b for a, b in pairwise([*bounds, Decimal("inf")]))
        if not ascends or last.up_to is not None:
            raise ValueError("bins need ascending up_to, all but the last, which takes the rest")
        return self

    @property
    def most_points(self) -> int:
        """The points of its best bin."""
        return max(bin.points for bin in (*self.bins, self.unknown))


class RiskTier(_Model):
    """Customers with at least so many points, whom no tier before took; negative ones are decided by people."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    from_points: int | None = None
    is_negative: bool


class ScoreCard(_Model):
    """Points of all characteristics, added to `base_points`, make the tier.

    Attributes:
        tiers: best first. most_reasons: so many of the characteristics that cost most points are given as reasons.
    """

    base_points: int
    characteristics: tuple[Characteristic, ...] = Field(min_length=1)
    tiers: tuple[RiskTier, ...] = Field(min_length=2)
    most_reasons: int = Field(ge=1)

    @model_validator(mode="after")
    def _tiers_fall(self) -> ScoreCard:
        *named, last = self.tiers
        bounds = [tier.from_points for tier in named]
        problems = []
        falls = all(a is not None and b is not None and a > b for a, b in pairwise(bounds)) and None not in bounds
        if not falls or last.from_points is not None:
            problems.append("tiers need falling from_points, all but the last, which takes the rest")
        if any(better.is_negative and not worse.is_negative for better, worse in pairwise(self.tiers)):
            problems.append("a tier below a negative one is negative too")
        if not last.is_negative:
            problems.append(f"the last tier, {last.name}, must be negative")
        inputs = [characteristic.fact for characteristic in self.characteristics]
        problems += [f"{name} is used twice" for name in repeated(inputs)]
        if problems:
            raise ValueError("; ".join(problems))
        return self


class FinanceRules(_Model):
    """Section `value.finance` of the settings.

    Attributes:
        default_days: an instalment that was past due for longer is a default (Basel: 90 days).
        most_demand: the greatest score of loan demand.
        overdue_buckets: by falling worth: from not overdue to the longest, which has no bound.
    """

    default_days: int = Field(ge=1)
    overdue_buckets: tuple[Bucket, ...] = Field(min_length=2)
    most_demand: int = Field(ge=1)
    demand: tuple[Demand, ...] = Field(min_length=1)
    score_card: ScoreCard

    @model_validator(mode="after")
    def _buckets_ascend(self) -> FinanceRules:
        *closed, last = [bucket.up_to_days for bucket in self.overdue_buckets]
        if None in closed or sorted(set(closed)) != closed or last is not None:  # type: ignore[type-var]
            raise ValueError("overdue_buckets need ascending up_to_days, all but the last, which takes the rest")
        return self


def with_finance(customers: DataFrame, events: DataFrame, as_of: date, rules: FinanceRules) -> DataFrame:
    """The frame with the finance columns of gold.customer_values; same grain.

    Args:
        customers: one row per customer with consent_finance and is_minor.
        events: silver.events with a non-null customer_id, as known on D: `EVENT_COLUMNS` of `EVENT_TYPES`.

    Without consent, and for minors, all are null and none of the customer's events is looked at. A customer with
    consent who at most asked has a balance of 0 but no tier: nothing is known of the risk.
    """
    may_judge = F.coalesce("consent_finance", F.lit(False)) & ~F.coalesce("is_minor", F.lit(False))
    allowed = customers.where(may_judge).select("customer_id")
    facts = allowed.join(finance_facts(_consented(events, allowed, as_of), as_of, rules), "customer_id", "left")
    judged = facts.withColumns(
        {
            "asset_amount": F.coalesce("asset_amount", F.lit(0)).cast(MONEY),
            "overdue_bucket": F.when(F.col("loan_count").isNotNull(), _bucket(rules.overdue_buckets)),
            "loan_demand_score": _demand(rules),
            "_lines": _lines(rules.score_card),
        }
    )
    scored = judged.withColumn("_points", _points(rules.score_card))
    tier = F.when(F.col("has_account"), _tier(rules.score_card))
    negative = [tier.name for tier in rules.score_card.tiers if tier.is_negative]
    told = scored.withColumn("finance_risk_tier", tier).select(
        "customer_id",
        "asset_amount",
        "overdue_bucket",
        "loan_demand_score",
        "finance_risk_tier",
        F.when(tier.isNotNull(), _reasons(rules.score_card)).alias("finance_risk_reasons"),
        F.col("finance_risk_tier").isin(*negative).alias("needs_human_review"),
    )
    return customers.join(told, "customer_id", "left")


def finance_facts(events: DataFrame, as_of: date, rules: FinanceRules) -> DataFrame:
    """`FACTS` and `has_account` (did more than ask) per customer; key customer_id.

    Args:
        events: customer_id, event_type, event_date, amount, props (contract_id, days_overdue), up to D.
    """
    arrears = _arrears(events, as_of).groupBy("customer_id").agg(*_of_arrears(as_of, rules))
    joined = events.groupBy("customer_id").agg(*_of_events(as_of)).join(arrears, "customer_id", "left")
    zero = ("arrears_count", "arrears_count_365d", "unpaid_count", "days_overdue_now", "days_overdue_worst")
    filled = joined.withColumns(
        {name: F.coalesce(name, F.lit(0)) for name in (*zero, "default_count", "unpaid_amount")}
    )
    settled = F.greatest(F.col("repay_count") + F.col("unpaid_count"), F.col("arrears_count"))
    on_time = _share(settled - F.col("arrears_count"), F.nullif(settled, F.lit(0)))
    before = F.col("asset_amount") - F.col("inflow_90d")
    trend = F.when(before > 0, _share(F.col("inflow_90d"), before))
    facts = filled.withColumns({"on_time_share": on_time, "asset_trend_90d": trend})
    return facts.select("customer_id", "has_account", *FACTS)


def _consented(events: DataFrame, allowed: DataFrame, as_of: date) -> DataFrame:
    """The finance events up to D of customers who may be judged."""
    is_ours = F.col("event_type").isin(*EVENT_TYPES) & (F.col("event_date") <= F.lit(as_of))
    is_finance = (F.col("event_type") != "consult") | (F.col("channel") == "finance")
    return events.where(is_ours & is_finance).join(allowed, "customer_id", "left_semi")


def _arrears(events: DataFrame, as_of: date) -> DataFrame:
    """Instalments in arrears: customer_id, amount, last_told, due_date, repaid_date (null), days_overdue.

    Notices of one contract that name one due date (their date less the days they say it is over) are one instalment.
    It is repaid by the first repayment of its contract on or after the last notice; until then, or D, it is overdue.
    """
    contract = F.coalesce(F.col("props")["contract_id"], F.lit(""))
    days_over = F.coalesce(F.col("props")["days_overdue"].try_cast("int"), F.lit(0))
    notices = events.where("event_type = 'overdue'").select(
        "customer_id",
        contract.alias("contract"),
        "event_date",
        "amount",
        F.date_sub("event_date", days_over).alias("due_date"),
    )
    instalments = notices.groupBy("customer_id", "contract", "due_date").agg(
        F.max("event_date").alias("last_told"), F.max("amount").alias("amount")
    )
    repayments = events.where("event_type = 'repay'").select("customer_id", contract.alias("contract"), "event_date")
    dates = repayments.groupBy("customer_id", "contract").agg(F.collect_set("event_date").alias("repaid_dates"))
    joined = instalments.join(dates, ["customer_id", "contract"], "left")
    repaid = F.array_min(F.filter("repaid_dates", lambda day: day >= F.col("last_told")))
    dated = joined.withColumn("repaid_date", repaid)
    return dated.withColumn("days_overdue", F.datediff(F.coalesce("repaid_date", F.lit(as_of)), F.col("due_date")))


def _of_arrears(as_of: date, rules: FinanceRules) -> list[Column]:
    unpaid = F.col("repaid_date").isNull()
    return [
        F.count("*").alias("arrears_count"),
        F.count_if(F.col("due_date") > F.lit(as_of - timedelta(days=365))).alias("arrears_count_365d"),
        F.count_if(unpaid).alias("unpaid_count"),
        F.sum(F.when(unpaid, F.col("amount"))).cast(MONEY).alias("unpaid_amount"),
        F.max(F.when(unpaid, F.col("days_overdue"))).alias("days_overdue_now"),
        F.max("days_overdue").alias("days_overdue_worst"),
        F.count_if(F.col("days_overdue") > rules.default_days).alias("default_count"),
    ]


def _of_events(as_of: date) -> list[Column]:
    kind, amount = F.col("event_type"), F.coalesce("amount", F.lit(0))
    moved = F.when(kind == "deposit", amount).when(kind == "withdraw", -amount).otherwise(0)

    def within(days: int) -> Column:
        return F.col("event_date") > F.lit(as_of - timedelta(days=days))

    return [
        F.bool_or(kind != "consult").alias("has_account"),
        F.sum(moved).cast(MONEY).alias("asset_amount"),
        F.sum(F.when(within(90), moved).otherwise(0)).cast(MONEY).alias("inflow_90d"),
        F.count_if((kind == "loan_apply") & within(90)).alias("loan_apply_count_90d"),
        F.count_if((kind == "loan_apply") & within(365)).alias("loan_apply_count_365d"),
        F.count_if((kind == "loan_reject") & within(365)).alias("loan_reject_count_365d"),
        F.count_if((kind == "consult") & within(90)).alias("finance_consult_count_90d"),
        F.count_if(kind == "loan_disburse").alias("loan_count"),
        F.count_if(kind == "repay").alias("repay_count"),
    ]


def _share(part: Column, whole: Column) -> Column:
    """`part` over `whole`; operands of 20 digits keep 18 decimals, so that rounding to 6 is rounding once."""
    return (part.cast("decimal(20,6)") / whole.cast("decimal(20,6)")).cast(RATIO)


def _bucket(buckets: Sequence[Bucket]) -> Column:
    """The first bucket that reaches the days of the oldest arrears."""
    *closed, last = buckets
    days = F.col("days_overdue_now")
    return reduce(
        lambda rest, b: F.when(days <= F.lit(b.up_to_days), b.code).otherwise(rest), reversed(closed), F.lit(last.code)
    )


def _demand(rules: FinanceRules) -> Column:
    """Points of all lines that hold, between 0 and `most_demand`."""
    total = F.lit(0)
    for line in rules.demand:
        value = F.col(line.fact)
        holds = value >= F.lit(line.at_least) if line.at_most is None else value <= F.lit(line.at_most)
        total = total + F.when(holds, line.points).otherwise(0)
    return F.greatest(F.lit(0), F.least(F.lit(rules.most_demand), total)).cast("int")


def _lines(card: ScoreCard) -> Column:
    """Each characteristic's (points lost against its best bin, place, points, reason), in declared order."""
    return F.array(*[_line(place, characteristic) for place, characteristic in enumerate(card.characteristics)])


def _line(place: int, characteristic: Characteristic) -> Column:
    def given(chosen: Bin) -> Column:
        return F.struct(
            F.lit(chosen.points - characteristic.most_points).alias("lost"),
            F.lit(place).alias("place"),
            F.lit(chosen.points).alias("points"),
            F.lit(chosen.reason).alias("reason"),
        )

    value = F.col(characteristic.fact)
    *closed, last = characteristic.bins
    found = given(last)
    for bin in reversed(closed):
        found = F.when(value <= F.lit(bin.up_to), given(bin)).otherwise(found)
    return F.when(value.isNull(), given(characteristic.unknown)).otherwise(found)


def _points(card: ScoreCard) -> Column:
    start = F.lit(card.base_points)
    return F.aggregate("_lines", start, lambda total, line: total + line["points"])


def _tier(card: ScoreCard) -> Column:
    *bounded, last = card.tiers
    return reduce(
        lambda rest, tier: F.when(F.col("_points") >= F.lit(tier.from_points), tier.name).otherwise(rest),
        reversed(bounded),
        F.lit(last.name),
    )


def _reasons(card: ScoreCard) -> Column:
    """Codes of the characteristics that lost most against their best bin, the worst first; ties in declared order.

    The points-below-maximum method of adverse action reasons: Siddiqi, Credit Risk Scorecards, 2006, chapter 8.
    """
    costly = F.sort_array(F.filter("_lines", lambda line: line["lost"] < 0))
    return F.slice(F.transform(costly, lambda line: line["reason"]), 1, card.most_reasons)
