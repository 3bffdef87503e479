"""What a customer's consents and protections allow; no setting widens it."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

FINANCE_READS = ("consent_finance", "is_minor", "needs_human_review")


def holds(name: str) -> Column:
    """A yes that was said: what is not known is no."""
    return F.coalesce(F.col(name), F.lit(False))


def barred_from_finance() -> Column:
    """Why finance may not be offered, null where it may; of the columns `FINANCE_READS`.

    No consent to it, a minor, or a negative risk tier that no person has looked at.
    """
    return (
        F.when(~holds("consent_finance"), "no_finance_consent")
        .when(holds("is_minor"), "minor")
        .when(holds("needs_human_review"), "human_review")
    )
