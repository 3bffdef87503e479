"""Whom finance may be offered, what, and why not: risk tiers in use, beside balance, demand and loans.

It counts what eligibility and the score card say; it decides nothing.
"""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO, gold
from transforms.eligibility import barred_from_finance, holds
from transforms.loans.rules import LoanRules

ALL, NONE, UNKNOWN = "all", "none", "unknown"
BARRED, RISK, OFFER = "barred", "risk", "offer"


def finance_portraits(
    customers: DataFrame, values: DataFrame, segments: DataFrame, activity: DataFrame, as_of: date, rules: LoanRules
) -> DataFrame:
    """One row per customer, key customer_id: everything of their portrait that finance is about.

    Args:
        customers: silver.customers.
        values: gold.customer_values of the run date.
        segments: (customer_id, segment), key customer_id: primary segments.
        activity: silver.activity as of that date, with `customer_id`.

    Besides their columns: `bar` (why finance may not be offered; null where it may), `has_applied` and `has_borrowed`
    (a loan_apply or loan_disburse on one of the `period_days` dates up to `as_of`).
    """
    within = (F.col("event_date") > F.lit(as_of - timedelta(days=rules.period_days))) & (
        F.col("event_date") <= F.lit(as_of)
    )
    loans = activity.where(within & F.col("event_type").isin("loan_apply", "loan_disburse"))
    asked = loans.groupBy("customer_id").agg(
        F.bool_or(F.col("event_type") == "loan_apply").alias("has_applied"),
        F.bool_or(F.col("event_type") == "loan_disburse").alias("has_borrowed"),
    )
    golden = customers.select("customer_id", "consent_finance", "is_minor")
    judged = values.select(
        "customer_id",
        "finance_risk_tier",
        "finance_risk_reasons",
        "needs_human_review",
        "review_decision",
        "asset_amount",
        "loan_demand_score",
    )
    for more in (judged, segments.select("customer_id", "segment"), asked):
        golden = golden.join(more, "customer_id", "left")
    return golden.withColumn("bar", barred_from_finance())


def finance_audience(portraits: DataFrame, as_of: date) -> DataFrame:
    """Customers by risk tier and segment, and the totals of both, in the columns of gold.finance_audience.

    Args:
        portraits: `finance_portraits`.
    """
    scored = F.count("loan_demand_score")
    balance = F.col("asset_amount")
    counts = {
        "customers": F.count("*"),
        "consenting": F.count_if(holds("consent_finance")),
        "minors": F.count_if(holds("is_minor")),
        "awaiting_review": F.count_if(holds("needs_human_review") & (_decision() != "refused")),
        "review_approved": F.count_if((_decision() == "approved") & ~holds("needs_human_review")),
        "review_refused": F.count_if(_decision() == "refused"),
        "eligible": F.count_if(F.col("bar").isNull()),
        "depositors": F.count_if(balance > 0),
        "asset_amount": F.coalesce(F.sum(balance), F.lit(0)).cast(MONEY),
        "mean_loan_demand_score": F.try_divide(F.sum("loan_demand_score"), scored).cast(RATIO),
        "applicants": F.count_if(holds("has_applied")),
        "borrowers": F.count_if(holds("has_borrowed")),
    }
    placed = portraits.select("*", F.inline(_places()))
    counted = placed.groupBy("tier", "place").agg(*[count.alias(name) for name, count in counts.items()])
    return _named(counted, as_of).select(*gold.FINANCE_AUDIENCE.column_names)


def finance_audience_reasons(portraits: DataFrame, recommendations: DataFrame, as_of: date) -> DataFrame:
    """The same customers by what may be offered to them and why not, in the columns of gold.finance_audience_reasons.

    Args:
        portraits: `finance_portraits`.
        recommendations: gold.recommendations of the run date.

    Kind `barred`: the first bar that holds, so that bars and `eligible` add up to `customers`; `risk`: reason codes of
    the score card, each customer at all of theirs; `offer`: finance products that the run date's lists hold.
    """
    offers = recommendations.where("kind = 'finance'").groupBy("customer_id")
    offered = offers.agg(F.collect_set("product_id").alias("offers"))
    known = portraits.join(offered, "customer_id", "left")
    said = F.concat(
        _coded(BARRED, F.array_compact(F.array("bar"))),
        _coded(RISK, F.array_distinct(_or_empty("finance_risk_reasons"))),
        _coded(OFFER, _or_empty("offers")),
    )
    placed = known.select("*", F.inline(said)).select("kind", "code", F.inline(_places()))
    counted = placed.groupBy("tier", "place", "kind", "code").agg(F.count("*").alias("customers"))
    return _named(counted, as_of).select(*gold.FINANCE_AUDIENCE_REASONS.column_names)


def _places() -> Column:
    """Where a customer counts: their tier and segment, and the totals of one and of both."""
    tier, segment = F.coalesce("finance_risk_tier", F.lit(NONE)), F.coalesce("segment", F.lit(UNKNOWN))
    return F.array(
        *[F.struct(t.alias("tier"), s.alias("place")) for t in (tier, F.lit(ALL)) for s in (segment, F.lit(ALL))]
    )


def _named(counted: DataFrame, as_of: date) -> DataFrame:
    names = {"finance_risk_tier": F.col("tier"), "segment": F.col("place"), "run_date": F.lit(as_of)}
    return counted.withColumns(names)


def _decision() -> Column:
    return F.coalesce("review_decision", F.lit(NONE))


def _or_empty(name: str) -> Column:
    return F.coalesce(F.col(name), F.array().cast("array<string>"))


def _coded(kind: str, codes: Column) -> Column:
    return F.transform(codes, lambda code: F.struct(F.lit(kind).alias("kind"), code.alias("code")))
