"""How an experiment was meant: its variants' shares, its control, its window and what it is read by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from transforms.contacts.assignments import CONTACTED, HELD_OUT, HOLDOUT
from transforms.contacts.rules import Holdout, Strategies
from transforms.experiments.rules import DeclaredExperiment, ExperimentRules

USUAL_CONTROL = "control"  # the control of an experiment that nobody declared, where a variant is named so


@dataclass(frozen=True)
class Planned:
    """What other settings say of an experiment: shares by variant, and the variant that others are compared with."""

    shares: Mapping[str, Decimal]
    control: str


@dataclass(frozen=True)
class Design:
    """An experiment as it is read out. `shares` is empty where days are compared, which nobody drew."""

    control: str
    shares: Mapping[str, Decimal]
    window_days: int
    metrics: tuple[str, ...]
    minimum_sample: int


def planned_experiments(strategies: Strategies, holdout: Holdout) -> dict[str, Planned]:
    """Experiments of the strategies and the universal holdout, by id.

    The control is the variant that is not contacted, else the first.
    """
    found = {
        HOLDOUT: Planned({HELD_OUT: holdout.share, CONTACTED: 1 - holdout.share}, HELD_OUT),
    }
    for strategy in strategies.values():
        if strategy.experiment:
            variants = strategy.experiment.variants
            left_alone = [name for name, variant in variants.items() if not variant.is_contacted]
            found[strategy.experiment.id] = Planned(strategy.experiment.shares, [*left_alone, *variants][0])
    return found


def design_of(
    experiment_id: str, variants: Collection[str], rules: ExperimentRules, planned: Mapping[str, Planned]
) -> Design:
    """The design of an experiment in which these variants were seen.

    What is declared wins over what strategies say; where neither says it, all variants are meant to be equally large,
    and the control is the one named `control`, else the first by name.
    """
    declared = rules.declared.get(experiment_id) or DeclaredExperiment(label="", description="")
    plan = planned.get(experiment_id)
    shares: Mapping[str, Decimal] = declared.shares or (plan.shares if plan else {})
    if not shares and not declared.calendar:
        shares = {variant: Decimal(1) / len(variants) for variant in sorted(variants)}
    usual = USUAL_CONTROL if USUAL_CONTROL in variants else min(variants, default="")
    return Design(
        control=declared.control or (plan.control if plan else usual),
        shares={variant: share for variant, share in shares.items() if share},
        window_days=window_of(experiment_id, rules),
        metrics=declared.metrics or rules.default_metrics,
        minimum_sample=declared.minimum_sample or rules.minimum_sample,
    )


def window_of(experiment_id: str, rules: ExperimentRules) -> int:
    """Days that count, from the first one on."""
    declared = rules.declared.get(experiment_id)
    return (declared.window_days if declared else None) or rules.window_days
