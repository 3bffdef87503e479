"""Experiments and their metrics, as `conf/experiments.yaml` says them, and whether they fit the other settings."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from transforms.contracts import silver
from transforms.expressions import SqlExpression, nearest, unknown_columns

Share = Annotated[Decimal, BeforeValidator(str), Field(gt=0, le=1)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metric(_Model):
    """What is measured of a customer in the days after assignment.

    Attributes:
        kind: `rate`, the share of customers whose sum is `at_least` so much; `mean`, the sum per customer.
        measure: SQL over silver.activity that is summed over a customer's rows, in two decimals.
        where: SQL over silver.activity; all rows without it.
        pre_days: days before assignment that CUPED compares customers with; 0 leaves the values as they are.
        direction: `up` where more is better.
    """

    label: str
    description: str
    kind: Literal["rate", "mean"]
    measure: SqlExpression = "event_count"
    where: SqlExpression | None = None
    at_least: int = Field(default=1, ge=1)
    pre_days: int = Field(default=0, ge=0)
    direction: Literal["up", "down"] = "up"

    @model_validator(mode="after")
    def _only_rates_have_a_bar(self) -> Metric:
        if self.kind == "mean" and self.at_least > 1:
            raise ValueError("at_least is for metrics of kind: rate")
        return self


class DeclaredExperiment(_Model):
    """What the read-out of an experiment does not know by itself.

    Attributes:
        control: the variant that others are compared with.
        shares: of customers by variant, as they were meant; the shares of conf/strategies.yaml stand there.
        start_date: first day that counts, for everybody; else each customer's own.
        window_days, metrics, minimum_sample: instead of those that hold for all.
        calendar: variant to SQL over event_date; the experiment then compares days, not customers.
    """

    label: str
    description: str
    control: str | None = None
    shares: dict[str, Share] = {}
    start_date: date | None = None
    window_days: int | None = Field(default=None, ge=1)
    metrics: tuple[str, ...] | None = Field(default=None, min_length=1)
    minimum_sample: int | None = Field(default=None, ge=2)
    calendar: dict[str, SqlExpression] = {}

    @model_validator(mode="after")
    def _whole(self) -> DeclaredExperiment:
        total = sum(self.shares.values(), Decimal(0))
        variants = [*(self.calendar or self.shares)]
        problems = [
            (self.shares and total != 1, f"the shares must add up to 1, not {total}"),
            (self.shares and self.calendar, "a calendar experiment has no shares: days are not drawn"),
            (len(self.calendar) == 1 or len(self.shares) == 1, "an experiment has two variants at least"),
            (self.calendar and not self.control, "a calendar experiment names its control"),
            (
                self.control and variants and self.control not in variants,
                f"control {self.control!r} is not a variant{nearest(str(self.control), variants)}",
            ),
        ]
        told = [text for is_wrong, text in problems if is_wrong]
        if told:
            raise ValueError("; ".join(told))
        return self


class ExperimentRules(_Model):
    """How experiments are read out (section `experiments`).

    Attributes:
        alpha: chance of calling a difference where there is none, over all comparisons of an experiment together.
        srm_alpha: below this p-value the variants' sizes are not what they were meant to be, and nothing is read.
        minimum_sample: customers that each variant must have.
        minimum_expected: customers of each variant who must be expected to do what the metric counts.
        window_days: days after assignment that count.
        metrics: by code. default_metrics: those that experiments are read by.
        declared: experiments by id; those that are not listed are read out too, by the defaults.
    """

    alpha: float = Field(gt=0, lt=0.5)
    srm_alpha: float = Field(gt=0, lt=0.5)
    minimum_sample: int = Field(ge=2)
    minimum_expected: float = Field(ge=0)
    window_days: int = Field(ge=1)
    metrics: dict[Code, Metric] = Field(min_length=1)
    default_metrics: tuple[str, ...] = Field(min_length=1)
    declared: dict[str, DeclaredExperiment] = {}

    @field_validator("metrics")
    @classmethod
    def _known_columns(cls, value: dict[str, Metric]) -> dict[str, Metric]:
        known = silver.ACTIVITY.column_names
        problems = [
            f"metric {code}: {problem}"
            for code, metric in value.items()
            for sql in (metric.measure, metric.where or "true")
            for problem in unknown_columns(sql, known)
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return value


def check_experiments(rules: ExperimentRules, planned: Collection[str]) -> list[str]:
    """A sentence for each name that nothing declares, and for shares that stand in two places.

    Args:
        planned: experiments whose shares other settings say.
    """
    problems = _unknown_metrics("default_metrics", rules.default_metrics, rules)
    for name, experiment in rules.declared.items():
        at = f"declared.{name}"
        problems += _unknown_metrics(f"{at}.metrics", experiment.metrics or (), rules)
        if experiment.shares and name in planned:
            problems.append(f"{at}.shares: they stand in strategies.yaml")
        for variant, sql in experiment.calendar.items():
            problems += [f"{at}.calendar.{variant}: {p}" for p in unknown_columns(sql, ["event_date"])]
        if experiment.calendar:
            listed = experiment.metrics or rules.default_metrics
            rates = [code for code in listed if code in rules.metrics and rules.metrics[code].kind == "rate"]
            problems += [f"{at}.metrics: {code} is a rate of customers; days have means only" for code in rates]
    return problems


def _unknown_metrics(at: str, codes: Collection[str], rules: ExperimentRules) -> list[str]:
    known = rules.metrics
    return [f"{at}: metric {code!r} is not declared{nearest(code, known)}" for code in codes if code not in known]
