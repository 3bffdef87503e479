"""What `conf/loans.yaml` says, and whether the decisions listed there name what the other settings know."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transforms.expressions import nearest

Named = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cohort(_Model):
    """Customers reached in `look_back_days` dates up to the run date, followed for `window_days` after the first."""

    look_back_days: int = Field(ge=1)
    window_days: int = Field(ge=0)


class Review(_Model):
    """What a person decided about a customer, named by an identifier, raw or as stored.

    Attributes:
        finance_risk_tier: the tier that they looked at; an approval holds for this one only.
        until_date: the last day on which the decision holds; null: until another one.
    """

    identifier_type: str
    identifier: Named
    finance_risk_tier: str
    decision: Literal["approved", "refused"]
    reviewed_by: Named
    reviewed_date: date
    until_date: date | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_is_for_ever(cls, value: object) -> object:
        return {k: v for k, v in value.items() if v != ""} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Review:
        if self.until_date is not None and self.until_date < self.reviewed_date:
            raise ValueError(f"until_date {self.until_date} is before reviewed_date {self.reviewed_date}")
        return self


class LoanRules(_Model):
    """Section `loans`.

    Attributes:
        period_days: dates up to the run date that period mode counts.
        reviews: decisions of people; settings name a CSV file of them.
    """

    period_days: int = Field(ge=1)
    cohort: Cohort
    reviews: tuple[Review, ...] = ()


def check_reviews(rules: LoanRules, identifier_types: Collection[str], tiers: Collection[str]) -> list[str]:
    """A sentence for each identifier type and risk tier of a review that is not declared."""
    named = {
        "identifier": ({review.identifier_type for review in rules.reviews}, identifier_types),
        "finance_risk_tier": ({review.finance_risk_tier for review in rules.reviews}, tiers),
    }
    return [
        f"loans.reviews: {what} {name!r} is not declared{nearest(name, known)}"
        for what, (names, known) in named.items()
        for name in sorted(names - {*known})
    ]
