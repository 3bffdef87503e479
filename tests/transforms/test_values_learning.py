"""Models that learn from tags find what was planted, say so, and are the same for any order of the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from transforms.values.clusters import ClusterRules
from transforms.values.features import scaled
from transforms.values.learning import centres_of, fitted_clusters, fitted_potential, nothing_learnt
from transforms.values.potential import PotentialModelRules, labelled

SECTION = yaml.safe_load((Path(__file__).parents[2] / "conf" / "value.yaml").read_text(encoding="utf-8"))["value"]


def potential_rules(**changed: Any) -> PotentialModelRules:
    return PotentialModelRules(
        **{
            **SECTION["potential"]["model"],
            "features": ["view_count_14d", "visit_count_30d", "share_count_90d"],
            **changed,
        }
    )


def people(number: int = 2_000) -> pd.DataFrame:
    """Customers whose first feature makes them big buyers, and whose second says nothing; a tenth of it is unknown."""
    chance = np.random.default_rng(7)
    signal, noise = chance.normal(size=number), chance.normal(size=number)
    noise[::10] = np.nan
    is_big = chance.random(number) < 1 / (1 + np.exp(-(2 * signal - 2)))
    is_buyer = is_big | (chance.random(number) < 0.9)
    return pd.DataFrame(
        {
            "customer_id": [f"C{n:05d}" for n in range(number)],
            "feature_0": signal,
            "feature_1": noise,
            "feature_2": np.where(np.arange(number) % 5 == 0, np.log(5), np.nan),  # one value, or unknown
            "before": 0.0,
            "after": np.where(is_big, 500.0 + np.arange(number), np.where(is_buyer, 10.0, 0.0)),
            "is_held_out": np.arange(number) % 3 == 0,
        }
    )


def test_potential_learns_what_was_planted() -> None:
    model = fitted_potential(people(), potential_rules())
    assert model["coefficients"][0] > 1  # of a standardised feature with a true weight near 2, some of it below the cut
    assert abs(model["coefficients"][1]) < 0.3
    assert model["coefficients"][2] == 0  # what never varies says nothing, and spoils nothing
    assert model == fitted_potential(people(), potential_rules())

    checks = pd.DataFrame(model["checks"]).set_index(["check", "bin"])
    assert checks.loc[("precondition", "positives"), "is_passed"]
    deciles = checks.loc["calibration"]
    assert list(deciles.index) == [str(decile) for decile in range(1, 11)]
    assert deciles["customers"].sum() == people()["is_held_out"].sum()  # nobody was high value before
    assert deciles["expected"].is_monotonic_decreasing
    share = (deciles["actual"] * deciles["customers"]).sum() / deciles["customers"].sum()
    assert abs(np.average(deciles["expected"], weights=deciles["customers"]) - share) < 0.05  # well calibrated in all
    assert checks.loc[("lift", "1"), "actual"] > 2  # the best tenth: more than twice as often
    assert checks.loc[("lift", "10"), "actual"] < 0.5


def test_no_other_weights_lose_less() -> None:
    """Mean log-loss and half the penalty of the squared weights, worked out here for weights beside those found."""
    rules = potential_rules()
    model = fitted_potential(people(), rules)
    judged, _ = labelled(people(), rules.share)
    learnt = judged[~judged["is_held_out"]]
    known = scaled(learnt[["feature_0", "feature_1", "feature_2"]].to_numpy(), model["means"], model["deviations"])
    sign = np.where(learnt["is_positive"], 1, -1)

    def lost(coefficients: list[float], intercept: float) -> float:
        sums = known @ np.array(coefficients) + intercept
        return float(
            np.log(1 + np.exp(-sign * sums)).mean() + float(rules.regularisation) / 2 * np.square(coefficients).sum()
        )

    found = [*model["coefficients"], model["intercept"]]
    least = lost(found[:-1], found[-1])
    for place in range(len(found)):
        for step in (-0.01, 0.01):
            other = [value + step * (number == place) for number, value in enumerate(found)]
            assert lost(other[:-1], other[-1]) > least


def test_too_little_to_learn_from_is_said() -> None:
    few = people().assign(after=lambda frame: np.where(np.arange(len(frame)) < 100, frame["after"], 0.0))
    for sample, check in (
        (few, "positive_share"),
        (people(60), "positives"),
        (people().assign(after=0.0), "positives"),
    ):
        model = fitted_potential(sample, potential_rules())
        assert model["intercept"] is None
        found = {row["bin"]: row for row in model["checks"]}
        assert not found[check]["is_passed"]
        assert found[check]["note"] == "too few to learn from: no model"
    clusters = fitted_clusters(people(20), ClusterRules(**SECTION["clusters"]), 1)
    assert (clusters["clusters"], clusters["checks"][0]["is_passed"]) == ([], False)
    potential, none = nothing_learnt("too early")
    assert (potential["intercept"], none["clusters"], centres_of(none)) == (None, [], [])
    assert [check["note"] for model in (potential, none) for check in model["checks"]] == ["too early"] * 2


def test_clusters_find_what_was_planted() -> None:
    rules = ClusterRules(
        clusters=3, features={"view_count_14d": "浏览", "order_count_365d": "购买"}, least_customers=100
    )
    chance = np.random.default_rng(7)
    kinds = np.arange(600) % 3  # viewers, buyers, and those who do little
    counts = np.array([[40, 1], [2, 20], [0, 0]])[kinds] + chance.integers(0, 2, size=(600, 2))
    sample = pd.DataFrame(
        {"customer_id": [f"C{n:05d}" for n in range(600)], **{f"feature_{i}": np.log1p(counts[:, i]) for i in range(2)}}
    )
    model = fitted_clusters(sample, rules, 1)
    assert [(c["number"], c["customers"]) for c in model["clusters"]] == [(1, 200), (2, 200), (3, 200)]
    assert [set(c["name"].split("+")) for c in model["clusters"]] == [
        {"high_order_count_365d", "low_view_count_14d"},
        {"high_view_count_14d", "low_order_count_365d"},
        {"low_view_count_14d", "low_order_count_365d"},  # did least, so comes last
    ]
    assert model == fitted_clusters(sample, rules, 1)
    centres = {(row["behaviour_cluster"], row["feature"]): row for row in centres_of(model)}
    of_viewers = counts[kinds == 0][:, 0].mean()
    assert centres[model["clusters"][1]["name"], "view_count_14d"]["mean"] == pytest.approx(of_viewers)
    shares = [check["actual"] for check in model["checks"] if check["check"] == "size"]
    assert shares == [round(1 / 3, 6)] * 3


def test_who_is_like_each_other_is_one_cluster_though_more_were_asked_for() -> None:
    rules = ClusterRules(clusters=4, features={"view_count_14d": "浏览"}, least_customers=10)
    alike = pd.DataFrame({"customer_id": [f"C{n:03d}" for n in range(90)], "feature_0": [0.0] * 60 + [1.0] * 30})
    assert [cluster["customers"] for cluster in fitted_clusters(alike, rules, 1)["clusters"]] == [30, 60]
