"""What people decided about customers' finance, beside what the score card says; neither replaces the other."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

SCHEMA = (
    "customer_id string, reviewed_date date, decision string, finance_risk_tier string, reviewed_by string, "
    "until_date date"
)
"""Decisions that hold on a date, with the customer whom their identifier belongs to."""


def with_reviews(judged: DataFrame, reviews: DataFrame) -> DataFrame:
    """The frame with `review_decision reviewed_tier reviewed_by reviewed_date review_until_date`; same grain.

    Args:
        judged: key customer_id, with finance_risk_tier and needs_human_review as the score card says.
        reviews: decisions that hold on the run date, in the columns of `SCHEMA`.

    Of several decisions about a customer the latest counts, of one date a refusal. Tier and reasons stay as they are.
    An approval ends `needs_human_review` as long as the tier is the one that was looked at: another one, better or
    worse, is looked at anew. A refusal sets it, whatever the tier, so that finance is barred until the refusal ends or
    is taken back. Consent and age are judged elsewhere, and no decision touches them.
    """
    told = F.struct("reviewed_date", "decision", "finance_risk_tier", "reviewed_by", "until_date")
    last = reviews.groupBy("customer_id").agg(F.max(told).alias("_review"))  # 'refused' is after 'approved'
    joined = judged.join(last, "customer_id", "left")
    decision, tier = F.col("_review.decision"), F.col("finance_risk_tier")
    needs = (
        F.when(decision == "refused", F.lit(True))
        .when((decision == "approved") & (F.col("_review.finance_risk_tier") == tier), F.lit(False))
        .otherwise(F.col("needs_human_review"))
    )
    shown = {
        "needs_human_review": needs,
        "review_decision": decision,
        "reviewed_tier": F.col("_review.finance_risk_tier"),
        "reviewed_by": F.col("_review.reviewed_by"),
        "reviewed_date": F.col("_review.reviewed_date"),
        "review_until_date": F.col("_review.until_date"),
    }
    return joined.withColumns(shown).drop("_review")
