"""Section `value` of the settings: how customers' values are modelled, tested and tiered."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transforms.names import repeated
from transforms.values.churn import TAGS, ChurnRules
from transforms.values.clusters import ClusterRules
from transforms.values.finance import FinanceRules
from transforms.values.potential import PotentialRules

DAYS = {"days": 1, "weeks": 7}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ValueTier(_Model):
    """One tier: customers worth more than the others, of which no earlier tier took them.

    Attributes:
        top: at most this share of the valued customers is worth as much as any of the tier, or more.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str
    top: Decimal = Field(gt=0, le=1)


class ValueRules(_Model):
    """How customers are valued.

    Attributes:
        unit: of recency and age, as they are fitted and shown.
        fitted: `monthly`, on what was known on the first of the run date's month, or `daily`, on what tonight knows.
        least_order_lines: known before the first model is fitted.
        min_repeat_customers: customers who bought on two days or more, below which nothing is fitted.
        sample_customers: the most customers that a model is fitted on, chosen by a hash of `seed` and their id.
        learning_customers: the same for potential and clusters, which learn from tags.
        most_correlation: Gamma-Gamma takes order values for independent of frequency; up to this correlation (of
            either sign) it is used.
        monthly_rate: discount of lifetime value.
        holdout_days: the back-test fits on what was bought before these days and forecasts them.
        churn, potential, clusters, finance: the rules of the files of these names in transforms/values.
    """

    unit: Literal["days", "weeks"] = "days"
    fitted: Literal["monthly", "daily"] = "monthly"
    least_order_lines: int = Field(ge=1)
    min_repeat_customers: int = Field(ge=1)
    sample_customers: int = Field(ge=1)
    learning_customers: int = Field(ge=100)
    seed: int
    most_correlation: float = Field(gt=0, le=1)
    monthly_rate: float = Field(ge=0, lt=1)
    holdout_days: int = Field(ge=1)
    tiers: tuple[ValueTier, ...] = Field(min_length=1)
    churn: ChurnRules
    potential: PotentialRules
    clusters: ClusterRules
    finance: FinanceRules

    @model_validator(mode="after")
    def _tiers_rise_to_everybody(self) -> ValueRules:
        tops, names = [tier.top for tier in self.tiers], [tier.name for tier in self.tiers]
        problems = [f"tier {name} is declared twice" for name in repeated(names)]
        if tops != sorted(set(tops)) or tops[-1] != 1:
            given = ", ".join(map(str, tops))
            problems.append(f"tiers: top must rise from tier to tier up to 1 (everybody); found {given}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def tags_read(self) -> dict[str, list[str]]:
        """The tags that each set of rules reads, by its key in the settings."""
        model = self.potential.model
        in_rules = {name for rule in self.potential.rules for name in rule.columns}
        return {
            "churn": sorted(TAGS),
            "potential": sorted({*in_rules, *model.features, model.outcome}),
            "clusters": sorted(self.clusters.features),
        }
