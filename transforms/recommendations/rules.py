"""Section `recommendations` of the settings: what is recommended to whom, and how that is tested."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transforms.expressions import SqlExpression, nearest, unknown_columns
from transforms.names import repeated


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CoPurchaseRules(_Model):
    """How it is learnt what is bought together.

    Attributes:
        most_basket_products: baskets of more products teach nothing here: one of n products makes n² pairs.
        least_baskets: baskets that must hold two products for them to be neighbours.
        damping: baskets without any neighbour that every product is given, so that few baskets are not overrated.
        neighbours: kept per product, the likeliest.
        seeds: of a customer's products the newest, whose neighbours are candidates.
    """

    most_basket_products: int = Field(ge=2)
    least_baskets: int = Field(ge=1)
    damping: int = Field(ge=0)
    neighbours: int = Field(ge=1)
    seeds: int = Field(ge=1)


class RepeatableRules(_Model):
    """Which products are bought again: a share of their buyers did, within the window.

    Attributes:
        least_share: of the buyers who bought on two days or more.
        least_buyers: a product of fewer is judged by all products of its category.
    """

    least_share: Decimal = Field(ge=0, le=1)
    least_buyers: int = Field(ge=1)


class PreferredCategoryRules(_Model):
    """Tags that name a category, in order, and how many of its best sellers are candidates."""

    tags: tuple[str, ...] = ()
    most: int = Field(ge=1)


class PlaceRules(_Model):
    """How many places each source has, before the rest of any has one; `preferred_category` has them per category."""

    buy_again: int = Field(ge=0)
    bought_together: int = Field(ge=0)
    preferred_category: int = Field(ge=0)


class FinanceProduct(_Model):
    """A finance product and whom it fits: SQL over the portrait, as in segments; null does not fit."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str
    when: SqlExpression


class RecommendationTestRules(_Model):
    """The offline test.

    Attributes:
        holdout_days: the last days before the model's date, whose purchases are to be foreseen.
        customers: the most that are learnt from and judged, chosen by a hash of `seed` and their id.
        least_customers: fewer judged ones neither pass nor fail.
    """

    holdout_days: int = Field(ge=1)
    customers: int = Field(ge=1)
    least_customers: int = Field(ge=1)
    seed: int


class RecommendationRules(_Model):
    """What is recommended (section `recommendations`).

    Attributes:
        window_days: purchases that are looked at.
        rank_count: places in a customer's list.
        best_sellers: the chain's, that fill a list.
        stock_days: how old the newest stock record of a store may be to say anything.
        finance: in order of rank.
    """

    window_days: int = Field(ge=1)
    rank_count: int = Field(ge=1)
    co_purchase: CoPurchaseRules
    repeatable: RepeatableRules
    preferred_category: PreferredCategoryRules
    best_sellers: int = Field(ge=1)
    places: PlaceRules
    stock_days: int = Field(ge=1)
    finance: tuple[FinanceProduct, ...] = ()
    test: RecommendationTestRules

    @model_validator(mode="after")
    def _each_once(self) -> RecommendationRules:
        problems = [f"finance product {code} is declared twice" for code in repeated(p.code for p in self.finance)]
        problems += [f"tag {name} is named twice" for name in repeated(self.preferred_category.tags)]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def check_recommendations(rules: RecommendationRules, portrait: Iterable[str], tags: Iterable[str]) -> list[str]:
    """A sentence for each column that a finance product reads and portraits lack, and for each unknown tag."""
    names, known = list(portrait), list(tags)
    read = [(product.code, fault) for product in rules.finance for fault in unknown_columns(product.when, names)]
    missing = [name for name in rules.preferred_category.tags if name not in known]
    return [
        *[f"finance.{code}: {fault}" for code, fault in read],
        *[f"preferred_category.tags: {name!r} is not a tag{nearest(name, known)}" for name in missing],
    ]
