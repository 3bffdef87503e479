"""The statistics of experiments: known examples, and what they promise, held in thousands of simulated experiments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from jobs.runtime.settings import SettingsError, load_settings
from transforms.contacts.assignments import CONFLICT, HOLDOUT
from transforms.contracts import gold
from transforms.experiments.comparisons import two_proportions, welch
from transforms.experiments.cuped import adjusted_by_past
from transforms.experiments.designs import Planned, design_of, planned_experiments
from transforms.experiments.holm import holm
from transforms.experiments.moments import Moments, Sample
from transforms.experiments.read_out import read_out
from transforms.experiments.rules import ExperimentRules
from transforms.experiments.sample_ratio import sample_ratio_p

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "conf/experiments.yaml").read_text(encoding="utf-8"))
DAY = date(2026, 6, 30)
TRIALS = 4_000  # of so many, 5 % are found within 0.35 points


def rules(**over: Any) -> ExperimentRules:
    return ExperimentRules.model_validate({**SHIPPED["experiments"], "declared": {}, **over})


def moments(y: Iterable[int], x: Iterable[int] | None = None) -> Moments:
    """Of whole numbers, as Spark would sum them."""
    after = np.asarray([*y], dtype=np.int64)
    before = np.asarray([*x], dtype=np.int64) if x is not None else np.zeros_like(after)
    sums = [after.sum(), (after**2).sum(), before.sum(), (before**2).sum(), (after * before).sum()]
    return Moments(len(after), int(np.count_nonzero(after)), *[Fraction(int(total)) for total in sums])


def row(variant: str, segment: str = "all", experiment: str = "E", complete: int = 0, **of: Moments) -> dict[str, Any]:
    """A row of `moments.sums`; metrics that are not given are all zero."""
    customers = next(iter(of.values())).customers
    found: dict[str, Any] = {
        "experiment_id": experiment, "segment": segment, "variant": variant, "customers": customers,
        "complete": complete,
    }  # fmt: skip
    for code in SHIPPED["experiments"]["metrics"]:
        mine = of.get(code, moments([0] * customers))
        found |= {f"{name}_{code}": getattr(mine, name) for name in ("some", "y", "yy", "x", "xx", "xy")}
    return found


def rate(customers: int, successes: int) -> Moments:
    return Moments(customers, successes, Fraction(successes), Fraction(successes))


def results(
    rows: Iterable[Mapping[str, Any]], planned: Mapping[str, Planned] | None = None, **over: Any
) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = read_out(rows, rules(**over), planned or {}, DAY)
    assert all([*each] and {*each} == {*gold.EXPERIMENT_RESULTS.column_names} for each in found)
    return {(each["metric"], each["segment"], each["variant"]): each for each in found}


# -- each formula beside another one ----------------------------------------------------------------------------------


def test_two_proportions_are_the_chi_square_of_their_table() -> None:
    ours = two_proportions(rate(1_000, 130).sample, rate(1_200, 110).sample, 0.05)
    table = stats.chi2_contingency([[130, 870], [110, 1_090]], correction=False)
    assert ours.statistic == pytest.approx(table.statistic**0.5)
    assert ours.p_value == pytest.approx(table.pvalue)
    error = (0.13 * 0.87 / 1_000 + 110 / 1_200 * 1_090 / 1_200 / 1_200) ** 0.5
    assert (ours.ci_low, ours.ci_high) == pytest.approx(
        (0.13 - 110 / 1_200 - 1.959964 * error, 0.13 - 110 / 1_200 + 1.959964 * error), abs=1e-8
    )


def test_welch_is_scipys() -> None:
    chance = np.random.default_rng(1)
    one, other = chance.poisson(300, 50), chance.poisson(280, 80) * 2
    ours = welch(moments(one).sample, moments(other).sample, 0.1)
    theirs = stats.ttest_ind(one, other, equal_var=False)
    interval = theirs.confidence_interval(0.9)
    assert (ours.statistic, ours.p_value, ours.ci_low, ours.ci_high) == pytest.approx(
        (theirs.statistic, theirs.pvalue, interval.low, interval.high)
    )


def test_variants_without_spread_have_no_statistic() -> None:
    same, more = Sample(10, 1.0, 0.0), Sample(10, 2.0, 0.0)
    for test in (welch, two_proportions):
        assert (test(same, same, 0.05).statistic, test(same, same, 0.05).p_value) == (None, 1.0)
    assert welch(more, same, 0.05).p_value == 0.0


def test_large_amounts_keep_their_small_differences() -> None:
    """Sums of squares of a thousand million differ in digits that floats do not have."""
    base = 1_000_000_000
    sample = moments([base, base + 1, base + 2]).sample
    assert (sample.mean, sample.variance) == (base + 1, 1.0)


def test_cuped_is_the_regression_on_the_past_and_the_variant() -> None:
    chance = np.random.default_rng(2)
    x = chance.poisson(50, 900)
    variant = np.repeat([0, 1, 2], [200, 300, 400])
    y = 3 * x + 7 * (variant == 1) + chance.poisson(40, 900)
    adjusted = adjusted_by_past({str(n): moments(y[variant == n], x[variant == n]) for n in range(3)})
    assert adjusted is not None
    design = np.column_stack([np.ones(900), variant == 1, variant == 2, x])
    _, first, second, slope = np.linalg.lstsq(design, y, rcond=None)[0]
    means = {name: sample.mean for name, sample in adjusted.samples.items()}
    assert (means["1"] - means["0"], means["2"] - means["0"], adjusted.theta) == pytest.approx((first, second, slope))
    weights = np.array([200, 300, 400]) / 900
    assert float(weights @ [*means.values()]) == pytest.approx(y.mean())  # all together are left as they are
    within = [(y[variant == n] - y[variant == n].mean(), x[variant == n] - x[variant == n].mean()) for n in range(3)]
    residuals = np.concatenate([a - slope * b for a, b in within])
    whole = np.concatenate([a for a, _ in within])
    assert adjusted.reduction == pytest.approx(1 - (residuals**2).sum() / (whole**2).sum())
    assert adjusted.reduction > 0.9  # 9 · 50 of 9 · 50 + 40
    spread = [((a - slope * b) ** 2).sum() / (len(a) - 1) for a, b in within]
    assert [s.variance for s in adjusted.samples.values()] == pytest.approx(spread)


def test_cuped_is_not_used_where_no_past_tells_customers_apart() -> None:
    assert adjusted_by_past({"A": moments([1, 2]), "B": moments([3, 5])}) is None
    assert adjusted_by_past({"A": moments([1, 2], [4, 4]), "B": moments([3, 5], [9, 9])}) is None


def test_sample_ratio_of_known_experiments() -> None:
    half = {"A": Decimal("0.5"), "B": Decimal("0.5")}
    # Kohavi, Tang, Xu, Trustworthy Online Controlled Experiments (2020), chapter 3: p = 1.8e-6
    assert sample_ratio_p({"A": 821_588, "B": 815_482}, half) == pytest.approx(1.8e-6, abs=5e-8)
    expected = stats.chisquare([30, 60, 10], [50, 40, 10]).pvalue
    shares = {"A": Decimal("0.5"), "B": Decimal("0.4"), "C": Decimal("0.1")}
    assert sample_ratio_p({"A": 30, "B": 60, "C": 10}, shares) == pytest.approx(expected)
    assert sample_ratio_p({"A": 50}, half) == pytest.approx(stats.chisquare([50, 0]).pvalue)  # B is missing
    assert sample_ratio_p({"A": 50, "B": 50, "Z": 1}, half) == 0.0  # nobody meant a Z
    assert sample_ratio_p({"A": 50}, {"A": Decimal(1)}) is None
    assert sample_ratio_p({}, half) is None


def test_holm_of_a_known_example_and_by_closed_testing() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    chance = np.random.default_rng(3)
    for p_values in chance.random((20, 5)) ** 3:
        # A hypothesis falls when every set of hypotheses that it is in falls by Bonferroni's test of its smallest.
        sets = [which for size in range(1, 6) for which in combinations(range(5), size)]
        closed = [
            max(min(1.0, len(which) * min(p_values[n] for n in which)) for which in sets if place in which)
            for place in range(5)
        ]
        assert holm([*p_values]) == pytest.approx(closed)


# -- what is promised, in simulated experiments -----------------------------------------------------------------------


def binomial(chance: np.random.Generator, share: float) -> list[Moments]:
    return [rate(1_000, int(n)) for n in chance.binomial(1_000, share, TRIALS)]


def spending(chance: np.random.Generator, added: int) -> list[Moments]:
    """Two in five spend, most of them little, after a past that tells much of it; `added` to everybody, in cents."""
    habit = np.where(chance.random((TRIALS, 300)) < 0.4, chance.exponential(3_000, (TRIALS, 300)), 0)
    x, y = (np.rint(habit * chance.uniform(0.5, 1.5, habit.shape)).astype(int) for _ in range(2))
    return [moments(after, before) for after, before in zip(y + added, x, strict=True)]


def share(holds: Iterable[bool]) -> float:
    return float(np.mean([*holds]))


def test_false_positives_are_one_in_twenty_and_a_known_lift_lies_in_its_interval() -> None:
    chance = np.random.default_rng(4)
    rates = [binomial(chance, p) for p in (0.10, 0.10, 0.13)]  # control, another like it, three points more
    means = [spending(chance, cents) for cents in (0, 0, 400)]
    cases: dict[str, tuple[float, list[Any], list[Any]]] = {
        "z": (0.03, *[[two_proportions(t.sample, c.sample, 0.05) for t, c in zip(v, rates[0], strict=True)]
                      for v in rates[1:]]),
        "t": (400, *[[welch(t.sample, c.sample, 0.05) for t, c in zip(v, means[0], strict=True)]
                     for v in means[1:]]),
    }  # fmt: skip
    reductions: list[float] = []

    def less_past(treated: Moments, control: Moments) -> Any:
        adjusted = adjusted_by_past({"t": treated, "c": control})
        assert adjusted is not None
        reductions.append(adjusted.reduction)
        return welch(adjusted.samples["t"], adjusted.samples["c"], 0.05)

    cases["cuped"] = (400, *[[less_past(t, c) for t, c in zip(v, means[0], strict=True)] for v in means[1:]])
    for name, (lift, same, more) in cases.items():
        assert share(each.p_value < 0.05 for each in same) == pytest.approx(0.05, abs=0.01), name
        assert share(each.ci_low <= lift <= each.ci_high for each in more) == pytest.approx(0.95, abs=0.01), name
        assert share((each.p_value < 0.05) == (not each.ci_low <= 0 <= each.ci_high) for each in same) > 0.99, name
    # What the past explains is not noise any more: of the same experiments more lifts are found.
    assert min(reductions) > 0.5
    found = {name: share(each.p_value < 0.05 for each in cases[name][2]) for name in ("t", "cuped")}
    assert found["cuped"] > found["t"] + 0.3, found
    assert np.mean([e.standard_error for e in cases["cuped"][1]]) == pytest.approx(
        np.std([e.lift for e in cases["cuped"][1]]), rel=0.05
    )


def test_a_whole_read_out_calls_a_difference_by_chance_in_one_of_twenty_experiments() -> None:
    """However many metrics and segments it has: that is what Holm's correction is for. Sizes are drawn too."""
    chance = np.random.default_rng(5)
    rows = []
    for number in range(2_000):
        for segment in ("new", "old"):
            first = int(chance.binomial(1_000, 0.5))
            for variant, customers in (("A", first), ("B", 1_000 - first)):
                counts = chance.binomial(customers, (0.3, 0.1, 0.05))
                of = dict(zip(("visit", "order", "repurchase"), counts, strict=True))
                rows.append(row(variant, segment, f"E{number}", **{k: rate(customers, int(n)) for k, n in of.items()}))
    found = read_out(rows, rules(default_metrics=["visit", "order", "repurchase"]), {}, DAY)
    called = {each["experiment_id"] for each in found if each["verdict"] in ("better", "worse")}
    assert 0.03 <= len(called) / 2_000 <= 0.06
    assert sum(each["p_value"] is not None for each in found) == 2_000 * 6
    broken = {each["experiment_id"] for each in found if each["verdict"].startswith("sample ratio")}
    assert len(broken) <= 12  # 2 segments at 0.001: four expected


# -- what a read-out says ---------------------------------------------------------------------------------------------


def test_verdicts() -> None:
    planned = {"E": Planned({"A": Decimal("0.5"), "B": Decimal("0.5")}, "A")}
    one = [row("A", order=rate(2_000, 200), visit=rate(2_000, 400), repurchase=rate(2_000, 4), complete=1_500),
           row("B", order=rate(2_000, 300), visit=rate(2_000, 410), repurchase=rate(2_000, 0)),
           row("A", "new", order=rate(90, 9), visit=rate(90, 9)),
           row("B", "new", order=rate(95, 90), visit=rate(95, 9)),
           row("A", "old", order=rate(300, 150), visit=rate(300, 150)),
           row("B", "old", order=rate(500, 150), visit=rate(500, 350)),
           row(CONFLICT, order=rate(7, 7)), row(CONFLICT, "old", order=rate(7, 7))]  # fmt: skip
    found = results(one, planned, default_metrics=["visit", "order", "repurchase"])
    told = {key: each["verdict"] for key, each in found.items()}
    assert told == {
        **{(metric, segment, "A"): "control" for metric in ("visit", "order", "repurchase")
           for segment in ("all", "new", "old")},
        ("visit", "all", "B"): "no difference shown",
        ("order", "all", "B"): "better",
        ("repurchase", "all", "B"): "too few customers",  # two of each expected
        ("visit", "new", "B"): "too few customers",  # 90 of A
        ("order", "new", "B"): "too few customers",
        ("repurchase", "new", "B"): "too few customers",
        ("visit", "old", "B"): "sample ratio broken: do not read",  # 300 and 500
        ("order", "old", "B"): "sample ratio broken: do not read",
        ("repurchase", "old", "B"): "sample ratio broken: do not read",
    }  # fmt: skip
    best, control = found["order", "all", "B"], found["order", "all", "A"]
    assert (best["value"], best["control_value"], best["lift"], best["relative_lift"], best["numerator"]) == tuple(
        Decimal(text) for text in ("0.150000", "0.100000", "0.050000", "0.500000", "300.000000")
    )
    assert (control["value"], control["control_value"], control["lift"], control["p_value"]) == (
        Decimal("0.1"), Decimal("0.1"), None, None)  # fmt: skip
    assert (control["complete_count"], best["conflict_count"], best["cuped_used"]) == (1_500, 7, False)
    # Compared are visit and order, of all and of old: four.
    tested = [each for each in found.values() if each["p_value"] is not None]
    expected = holm([float(each["p_value"]) for each in tested])
    assert [float(each["p_adjusted"]) for each in tested] == pytest.approx(expected, abs=4e-6)
    assert len(tested) == 4
    downwards = {**SHIPPED["experiments"]["metrics"]["order"], "direction": "down"}
    over = {"metrics": {**SHIPPED["experiments"]["metrics"], "order": downwards}, "default_metrics": ["order"]}
    assert results(one[:2], planned, **over)["order", "all", "B"]["verdict"] == "worse"


def test_a_broken_sample_ratio_of_all_is_one_of_every_segment() -> None:
    rows = [row("A", visit=rate(5_000, 500)), row("B", visit=rate(5_500, 700)),
            row("A", "new", visit=rate(400, 40)), row("B", "new", visit=rate(400, 90))]  # fmt: skip
    found = results(rows, default_metrics=["visit"])
    assert {each["verdict"] for each in found.values()} == {"control", "sample ratio broken: do not read"}
    assert found["visit", "new", "B"]["srm_p_value"] == 1


def test_the_past_is_taken_off_means_where_there_is_one() -> None:
    chance = np.random.default_rng(6)
    past = chance.poisson(5_000, 400) * 2
    spent = past + chance.poisson(300, 400) + np.repeat([0, 10], 200)
    with_past = [row(v, net_amount=moments(spent[s], past[s])) for v, s in zip("AB", halves(), strict=True)]
    without = [row(v, net_amount=moments(spent[s])) for v, s in zip("AB", halves(), strict=True)]
    (cuped, plain) = (results(rows, default_metrics=["net_amount"])["net_amount", "all", "B"]
                      for rows in (with_past, without))  # fmt: skip
    assert (cuped["cuped_used"], plain["cuped_used"], plain["variance_reduction"]) == (True, False, None)
    assert (cuped["verdict"], plain["verdict"]) == ("better", "no difference shown")
    assert cuped["variance_reduction"] > Decimal("0.95")
    assert plain["lift"] == plain["value"] - plain["control_value"]
    assert (cuped["value"], cuped["control_value"]) == (plain["value"], plain["control_value"])
    assert cuped["ci_low"] < 10 < cuped["ci_high"]


def halves() -> list[slice]:
    return [slice(0, 200), slice(200, 400)]


def test_rows_in_any_order_give_the_same_rows() -> None:
    rows = [row(v, s, e, visit=rate(n, n // 3)) for v, n in (("A", 300), ("B", 310)) for s in ("all", "x")
            for e in ("E", "F")]  # fmt: skip
    assert read_out(rows, rules(), {}, DAY) == read_out(rows[::-1], rules(), {}, DAY)
    assert read_out([], rules(), {}, DAY) == []
    assert read_out([row(CONFLICT, visit=rate(3, 1))], rules(), {}, DAY) == []  # nobody else


# -- designs and settings ---------------------------------------------------------------------------------------------


def test_designs_come_from_what_is_declared_then_from_strategies() -> None:
    settings = load_settings()
    planned = planned_experiments(settings.strategies, settings.contacts.holdout)
    half = {"A": Decimal("0.5"), "B": Decimal("0.5")}
    assert planned == {
        HOLDOUT: Planned({"holdout": Decimal("0.05"), "contact": Decimal("0.95")}, "holdout"),
        "EXP-WAKE-01": Planned(half, "A"),
    }
    own = {
        "label": "甲", "description": "d", "control": "z", "shares": {"y": "0.9", "z": "0.1"}, "window_days": 7,
        "metrics": ["order"], "minimum_sample": 30,
    }  # fmt: skip
    mine = rules(declared={"E": own})
    declared = design_of("E", {"y", "z"}, mine, planned)
    assert (declared.control, declared.shares, declared.window_days, declared.metrics, declared.minimum_sample) == (
        "z", {"y": Decimal("0.9"), "z": Decimal("0.1")}, 7, ("order",), 30)  # fmt: skip
    known = design_of("EXP-WAKE-01", {"A", "B"}, mine, planned)
    assert (known.control, known.shares, known.window_days, known.minimum_sample) == ("A", half, 28, 100)
    nobody = design_of("?", {"b", "a", "control", "c"}, mine, planned)
    assert (nobody.control, {*nobody.shares.values()}, len(nobody.shares)) == ("control", {Decimal("0.25")}, 4)
    assert design_of("?", {"b", "a"}, mine, planned).control == "a"
    days = design_of("weekend_effect", {"weekend", "weekday"}, settings.experiments, planned)
    assert (days.control, days.shares, days.window_days) == ("weekday", {}, 91)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("metrics: {visit: {where: event_typ = 'visit'}}", ["metric visit: 'event_typ'", "event_type"]),
        ("metrics: {visit: {kind: ratio}}", ["mine.yaml: experiments.metrics.visit.kind", "rate", "mean"]),
        ("metrics: {net_amount: {at_least: 2}}", ["net_amount", "kind: rate"]),
        ("default_metrics: [visits]", ["default_metrics: metric 'visits'", "visit"]),
        ("declared: {E: {label: 甲, description: d, metrics: [orders]}}", ["declared.E.metrics: metric 'orders'"]),
        ("declared: {E: {label: 甲, description: d, shares: {A: 0.5, B: 0.4}}}", ["add up to 1, not 0.9"]),
        ("declared: {E: {label: 甲, description: d, shares: {A: 0.5, B: 0.5}, control: C}}", ["control 'C'", "A, B"]),
        ("declared: {EXP-WAKE-01: {label: 甲, description: d, shares: {A: 0.5, B: 0.5}}}", ["in strategies.yaml"]),
        ("declared: {weekend_effect: {metrics: [visit]}}", ["visit is a rate of customers"]),
        ("declared: {weekend_effect: {calendar: {weekend: dayofweek(day) = 1}}}", ["calendar.weekend: 'day'"]),
        ("declared: {weekend_effect: {control: null}}", ["names its control"]),
        ("alfa: 0.1", ["experiments.alfa: unknown key", "alpha"]),
    ],
)
def test_a_wrong_setting_is_told(tmp_path: Path, written: str, named: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(f"experiments: {{{written}}}\n", encoding="utf-8")
    with pytest.raises(SettingsError) as found:
        load_settings([str(tmp_path / "mine.yaml")])
    assert [part for part in named if part not in str(found.value)] == [], str(found.value)
