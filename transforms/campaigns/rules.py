"""What `conf/campaigns.yaml` says, and whether its rules read what reviews have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from transforms.contracts import gold
from transforms.expressions import SqlExpression, unknown_columns

Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReviewRule(_Model):
    """If `when` (SQL over gold.campaign_reviews) holds for a campaign, `look_at` is proposed, with what `when` read."""

    label: str
    description: str
    when: SqlExpression
    look_at: str


class CampaignRules(_Model):
    """How campaigns are judged (section `campaigns`).

    Attributes:
        window_days: an order belongs to the customer's touches in so many days (of 24 hours) before it.
        look_back_days: touches and orders of so many dates up to the run date are reported.
        asleep_days: who bought longer ago than this when touched was asleep.
        wake_up_days: within so many days after the touch they must open, visit or buy to count as woken up.
        predecessors: how many earlier campaigns of the same strategy a campaign is held against.
        reviews: rules by code, told in their order.
    """

    window_days: int = Field(ge=1, le=365)
    look_back_days: int = Field(ge=1)
    asleep_days: int = Field(ge=1)
    wake_up_days: int = Field(ge=1)
    predecessors: int = Field(ge=1)
    reviews: dict[Code, ReviewRule] = {}


def check_columns(rules: CampaignRules) -> list[str]:
    """A sentence for each column that a review rule reads and reviews do not have."""
    told = ("run_date", "rules", "proposals")
    known = [name for name in gold.CAMPAIGN_REVIEWS.column_names if name not in told]
    return [
        f"campaigns.reviews.{code}.when: {problem}"
        for code, rule in rules.reviews.items()
        for problem in unknown_columns(rule.when, known)
    ]
