"""The read-out: from a few hundred rows of sums to lifts, intervals, p-values and verdicts. Plain Python, no Spark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from transforms.contacts.assignments import CONFLICT
from transforms.experiments.assigned import ALL
from transforms.experiments.comparisons import Comparison, two_proportions, welch
from transforms.experiments.cuped import adjusted_by_past
from transforms.experiments.designs import Design, Planned, design_of
from transforms.experiments.holm import holm
from transforms.experiments.moments import Moments
from transforms.experiments.rules import ExperimentRules, Metric
from transforms.experiments.sample_ratio import sample_ratio_p
from transforms.experiments.verdicts import verdict

Row = dict[str, Any]
_SIX = Decimal("0.000001")


def read_out(
    found: Iterable[Mapping[str, Any]], rules: ExperimentRules, planned: Mapping[str, Planned], as_of: date
) -> list[Row]:
    """Rows of gold.experiment_results: per experiment, metric, segment and variant; sorted by key.

    Args:
        found: rows of `moments.sums`. Customers whose recorded variants contradict each other are the variant
            `conflict`: counted, and in no comparison.
        planned: what other settings say of experiments, by id.

    Holm's correction spans everything that is compared within an experiment: metrics, segments and variants. What is
    too small to be compared does not count among them; how large a variant is says nothing about how it did.
    """
    by_experiment: dict[str, list[Mapping[str, Any]]] = {}
    for row in found:
        by_experiment.setdefault(row["experiment_id"], []).append(row)
    results = []
    for experiment_id, rows in sorted(by_experiment.items()):
        variants = {row["variant"] for row in rows} - {CONFLICT}
        if variants:
            results += _experiment(experiment_id, rows, design_of(experiment_id, variants, rules, planned), rules)
    return [{"run_date": as_of, **row} for row in results]


def _experiment(experiment_id: str, rows: list[Mapping[str, Any]], design: Design, rules: ExperimentRules) -> list[Row]:
    conflicts = sum(row["customers"] for row in rows if row["variant"] == CONFLICT and row["segment"] == ALL)
    by_segment: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["variant"] != CONFLICT:
            by_segment.setdefault(row["segment"], {})[row["variant"]] = row
    ratios = {segment: _sample_ratio(variants, design) for segment, variants in by_segment.items()}
    compared = [
        {
            "experiment_id": experiment_id,
            "metric": code,
            "segment": segment,
            "control_variant": design.control,
            "conflict_count": conflicts,
            "srm_p_value": ratios[segment],
            **row,
        }
        for code in design.metrics
        for segment, variants in by_segment.items()
        for row in _compared(variants, code, design, rules)
    ]
    broken = {s for s, p in ratios.items() if any(q is not None and q < rules.srm_alpha for q in (p, ratios.get(ALL)))}
    judged = _judged(compared, broken, rules)
    return [_rounded(row) for row in sorted(judged, key=lambda r: (r["metric"], r["segment"], r["variant"]))]


def _sample_ratio(variants: Mapping[str, Mapping[str, Any]], design: Design) -> float | None:
    return sample_ratio_p({name: row["customers"] for name, row in variants.items()}, design.shares)


def _compared(
    variants: Mapping[str, Mapping[str, Any]], code: str, design: Design, rules: ExperimentRules
) -> list[Row]:
    """One metric in one segment: each variant beside the control."""
    metric, moments = rules.metrics[code], {name: Moments.of(row, code) for name, row in variants.items()}
    adjusted = adjusted_by_past(moments) if metric.pre_days else None
    samples = adjusted.samples if adjusted else {name: m.sample for name, m in moments.items()}
    control, rows = moments.get(design.control), []
    for name, mine in moments.items():
        found: Comparison | None = None
        if control and name != design.control and _is_enough(mine, control, metric, design, rules):
            test = two_proportions if metric.kind == "rate" and not adjusted else welch
            found = test(samples[name], samples[design.control], rules.alpha)
        value, control_value = _mean(mine), _mean(control) if control else None
        rows.append(
            {
                "variant": name,
                "customers": mine.customers,
                "complete_count": variants[name]["complete"],
                "numerator": mine.y,
                "value": value,
                "control_value": control_value,
                "lift": found.lift if found else None,
                "relative_lift": found.lift / float(control_value) if found and control_value else None,
                "standard_error": found.standard_error if found else None,
                "ci_low": found.ci_low if found else None,
                "ci_high": found.ci_high if found else None,
                "test": found.test if found else None,
                "statistic": found.statistic if found else None,
                "p_value": found.p_value if found else None,
                "cuped_used": adjusted is not None,
                "variance_reduction": adjusted.reduction if adjusted else None,
            }
        )
    return rows


def _is_enough(one: Moments, other: Moments, metric: Metric, design: Design, rules: ExperimentRules) -> bool:
    """Whether both are large enough for their means to be nearly normal.

    Besides a least size, Cochran's rule (Biometrics 10, 1954): were the variants alike, so many customers of each must
    be expected to do what is counted, and of rates also not to do it.
    """
    total, some = one.customers + other.customers, one.some + other.some
    least = min(one.customers, other.customers)
    rarer = min(some, total - some) if metric.kind == "rate" else some
    return least >= design.minimum_sample and least * rarer >= rules.minimum_expected * total


def _judged(rows: list[Row], broken: set[str], rules: ExperimentRules) -> list[Row]:
    """With adjusted p-values and verdicts."""
    tested = [row for row in rows if row["p_value"] is not None]
    adjusted = holm([row["p_value"] for row in tested])
    p_adjusted = {id(row): p for row, p in zip(tested, adjusted, strict=True)}
    return [
        {
            **row,
            "p_adjusted": p_adjusted.get(id(row)),
            "verdict": verdict(
                row["lift"],
                p_adjusted.get(id(row)),
                is_broken=row["segment"] in broken,
                direction=rules.metrics[row["metric"]].direction,
                alpha=rules.alpha,
                is_control=row["variant"] == row["control_variant"],
            ),
        }
        for row in rows
    ]


def _mean(moments: Moments) -> Fraction:
    return Fraction(moments.y) / moments.customers


def _rounded(row: Row) -> Row:
    """Fractions and floats with six decimals, where another processor's last bit does not show."""
    return {
        name: _six(value) if isinstance(value, (float, Fraction, Decimal)) else value for name, value in row.items()
    }


def _six(value: float | Fraction | Decimal) -> Decimal:
    if isinstance(value, Fraction):
        return Decimal(round(value * 10**6)) * _SIX
    return Decimal(str(value)).quantize(_SIX) + 0
