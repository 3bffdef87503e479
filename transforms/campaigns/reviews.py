"""Campaign reviews: each campaign against its predecessors and its control, and what to look at next."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.campaigns.results import ALL, UNATTRIBUTED
from transforms.campaigns.rules import CampaignRules, ReviewRule
from transforms.contracts import RATIO, gold
from transforms.expressions import columns_in_order

# Rate to what is divided by what.
_RATES = {
    "reach_rate": ("reached", "targeted"),
    "open_rate": ("opened", "targeted"),
    "click_rate": ("clicked", "opened"),
    "redemption_rate": ("coupons_redeemed", "targeted"),
    "unsubscribe_rate": ("unsubscribed", "targeted"),
    "conversion_rate": ("converted", "targeted"),
    "bought_rate": ("bought", "targeted"),
    "revenue_per_target": ("revenue", "targeted"),
}
_SUMMED = sorted({name for pair in _RATES.values() for name in pair})


def review_campaigns(
    results: DataFrame, control: DataFrame, orders: DataFrame, as_of: date, rules: CampaignRules
) -> DataFrame:
    """One row per campaign of the results, in the columns of gold.campaign_reviews.

    Args:
        results: gold.campaign_results of `as_of`.
        control: (strategy, customer_id, contact_date): customers whom a strategy's plan left alone as a control (the
            universal holdout, or a variant that is not contacted), and the day for which it did.
        orders: silver.orders with `customer_id`.

    A campaign's strategy is what stands before the last hyphen of its id (wake_up-202606). Its predecessors are the
    `predecessors` campaigns of the strategy that began before it (by first touch, then by id), taken together. Its
    control is whom the strategy left alone from its first touch until the next campaign of the strategy; their
    purchases within `window_days` are held against those of the customers touched (`bought_rate`).
    """
    campaigns = _with_predecessors(_campaigns(results), rules)
    compared = campaigns.join(_control(campaigns, control, orders, as_of, rules), "campaign_id", "left")
    rates = {name: _rate(*pair) for name, pair in _RATES.items()}
    previous = {f"previous_{name}": _rate(*[f"previous_{part}" for part in pair]) for name, pair in _RATES.items()}
    rated = compared.withColumns(
        {
            **rates,
            **previous,
            "run_date": F.lit(as_of),
            "previous_targeted": F.coalesce("previous_targeted", F.lit(0)).cast("bigint"),
            "control_customers": F.coalesce("control_customers", F.lit(0)),
            "control_bought_rate": _rate("control_bought", "control_customers"),
        }
    )
    held = [_proposal(code, rule) for code, rule in rules.reviews.items()]
    found = F.array_compact(F.array(*held).cast("array<struct<rule:string,proposal:string>>"))
    told = rated.withColumn("found", found)
    named = told.withColumns({"rules": F.col("found.rule"), "proposals": F.col("found.proposal")})
    return named.select(*gold.CAMPAIGN_REVIEWS.column_names)


def _campaigns(results: DataFrame) -> DataFrame:
    """Totals of each campaign by last touch, with `bought`: customers with a purchase in the window of any touch."""
    totals = results.where(
        (F.col("segment") == ALL)
        & (F.col("channel") == ALL)
        & (F.col("content_type") == ALL)
        & (F.col("campaign_id") != UNATTRIBUTED)
    )
    last = totals.where("attribution = 'last'")
    bought = totals.where("attribution = 'linear'").select("campaign_id", F.col("converted").alias("bought"))
    strategy = F.regexp_extract("campaign_id", "^(.+)-[^-]*$", 1)
    named = last.withColumn("strategy", F.when(strategy != "", strategy).otherwise(F.col("campaign_id")))
    return named.join(bought, "campaign_id")


def _with_predecessors(campaigns: DataFrame, rules: CampaignRules) -> DataFrame:
    in_order = Window.partitionBy("strategy").orderBy("started_date", "campaign_id")
    before = in_order.rowsBetween(-rules.predecessors, -1)
    return campaigns.withColumns(
        {
            "predecessors": F.collect_list("campaign_id").over(before),
            **{f"previous_{name}": F.sum(name).over(before) for name in _SUMMED},
            "next_date": F.lead("started_date").over(in_order),
        }
    )


def _control(
    campaigns: DataFrame, control: DataFrame, orders: DataFrame, as_of: date, rules: CampaignRules
) -> DataFrame:
    """(campaign_id, control_customers, control_bought), key campaign_id: of each left-alone customer the first day."""
    spans = campaigns.select("campaign_id", "strategy", "started_date", "next_date")
    due = control.where(F.col("contact_date") <= F.lit(as_of))
    is_of = (F.col("contact_date") >= F.col("started_date")) & (
        F.col("next_date").isNull() | (F.col("contact_date") < F.col("next_date"))
    )
    placed = due.join(F.broadcast(spans), "strategy").where(is_of)
    alone = placed.groupBy("campaign_id", "customer_id").agg(F.min("contact_date").alias("contact_date"))
    purchases = orders.where("is_purchase").select("customer_id", "order_date")
    after = F.datediff("order_date", "contact_date").between(0, rules.window_days)
    is_known = F.col("order_date") <= F.lit(as_of)
    judged = alone.join(purchases, "customer_id", "left").groupBy("campaign_id", "customer_id")
    people = judged.agg(F.coalesce(F.bool_or(after & is_known), F.lit(False)).alias("is_buyer"))
    return people.groupBy("campaign_id").agg(
        F.count("*").alias("control_customers"), F.count_if("is_buyer").alias("control_bought")
    )


def _rate(numerator: str, denominator: str) -> Column:
    return F.try_divide(numerator, denominator).cast(RATIO)


def _proposal(code: str, rule: ReviewRule) -> Column:
    """struct(rule, proposal) where the rule holds, else null; the proposal ends with the numbers that it stands on."""
    numbers = [
        F.concat(
            F.lit(f"{name} "),
            F.coalesce(F.regexp_replace(F.col(name).cast("string"), r"(\.\d{4})\d+$", "$1"), F.lit("unknown")),
        )
        for name in columns_in_order(rule.when)
    ]
    said = F.concat(F.lit(f"{rule.label}: look at {rule.look_at} ("), F.concat_ws(", ", *numbers), F.lit(")"))
    return F.when(F.expr(rule.when), F.struct(F.lit(code).alias("rule"), said.alias("proposal")))
