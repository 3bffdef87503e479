"""What is fitted and checked, and what stands in where nothing can be fitted; value tiers and their borders."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import SparkSession

from transforms.values.fitting import fit_values
from transforms.values.purchases import HISTORY
from transforms.values.rules import ValueRules, ValueTier
from transforms.values.scoring import _predictions
from transforms.values.tiers import with_value_tiers

CONF = Path(__file__).parents[2] / "conf/value.yaml"
THEN = [f"calibration_{name}" for name in HISTORY]
LATER = ["holdout_count", "holdout_paid_count", "holdout_amount"]
NOBODY_YET = [-1, -1, -1, 0, 0, 0, 0]


def rules(**said: Any) -> ValueRules:
    shipped = yaml.safe_load(CONF.read_text(encoding="utf-8"))["value"]
    return ValueRules(**{**shipped, **said})


def sample(*customers: tuple[list[int], list[int], list[int]]) -> pd.DataFrame:
    """Histories now (amounts in cents), on the calibration date, and what was bought since."""
    return pd.DataFrame([[*now, *then, *later] for now, then, later in customers], columns=[*HISTORY, *THEN, *LATER])


FEW = sample(
    # x, t_x, T, paid days, their amount, paid repeat days, their amount
    ([2, 8, 15, 3, 4500, 2, 3000], [0, 0, 5, 1, 1500, 0, 0], [2, 2, 3000]),
    ([0, 0, 15, 1, 2000, 0, 0], [0, 0, 5, 1, 2000, 0, 0], [0, 0, 0]),
    ([2, 12, 14, 2, 5000, 1, 1000], [1, 3, 4, 2, 5000, 1, 1000], [1, 0, 0]),  # the last one cost nothing
    ([0, 0, 2, 1, 1200, 0, 0], NOBODY_YET, [1, 1, 1200]),
)


def test_means_of_equally_frequent_buyers_stand_in() -> None:
    model = fit_values(FEW, rules(holdout_days=10))
    assert (model["bgnbd"], model["gamma_gamma"]) == (None, None)
    assert model["segment_means"] == [
        {"bin": 0, "orders_per_day": 2 / 20, "order_value": 3200 / 100 / 2},  # two then, two now
        {"bin": 1, "orders_per_day": 1 / 10, "order_value": None},  # one then, nobody now
        {"bin": 2, "orders_per_day": None, "order_value": 9500 / 100 / 5},  # nobody then, two now
    ]
    history = {
        "frequency": np.array([0, 1, 2, 50]),
        **{name: np.array([0, 5, 8, 99]) for name in ("recency_days", "age_days")},
        **{name: np.array([0, 1, 2, 50]) for name in ("repeat_paid_count", "repeat_amount")},
    }
    found = _predictions(history, model, rules(holdout_days=10, monthly_rate=0))
    assert [*found["expected_orders_90d"]] == pytest.approx([9, 9, 9, 9])
    assert [*found["expected_orders_365d"]] == pytest.approx([36.5] * 4)
    assert [*found["expected_order_value"]] == [16, 16, 19, 19]  # of an empty bin the next lower one's
    assert [*found["clv_365d"]] == [584, 584, 693.5, 693.5]
    assert np.isnan(found["p_alive"]).all()


def test_where_nothing_is_known_nothing_is_said() -> None:
    newcomers = sample(([0, 0, 2, 1, 1200, 0, 0], NOBODY_YET, [1, 1, 1200]))
    model = fit_values(newcomers, rules())
    found = _predictions({name: np.array([0]) for name in HISTORY}, model, rules())
    assert [*found["expected_order_value"]] == [12]  # the mean of who is there
    assert all(np.isnan(found[name]).all() for name in ("expected_orders_90d", "p_alive", "clv_365d"))


def test_checks_say_why_there_is_no_model() -> None:
    checks = {(c["model"], c["check"], c["bin"]): c for c in fit_values(FEW, rules(holdout_days=10))["checks"]}
    enough = checks["bgnbd", "precondition", "repeat_customers"]
    assert (enough["expected"], enough["actual"], enough["is_passed"]) == (100, 2, False)
    for model in ("bgnbd", "gamma_gamma"):
        for check in ("fit", "backtest_fit"):
            fit = checks[model, check, "log_likelihood"]
            assert (fit["is_passed"], fit["actual"]) == (False, None)
            assert "bought again, at least 100 are needed" in fit["note"]
    assert checks["bgnbd", "segment_mean", "0"]["actual"] == 1  # two orders of two customers
    assert checks["gamma_gamma", "segment_mean", "2"]["actual"] == 19
    assert not [key for key in checks if key[1] in ("parameter", "backtest")]


def shop(seed: int = 3) -> pd.DataFrame:
    """900 customers of 300 days, drawn from the models themselves; the last 90 days are held out."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(900):
        rate, leaving, mean = chance.gamma(0.8, 1 / 30), chance.beta(1, 4), 2000 / chance.gamma(4.0)
        day, days = 0.0, [0]
        while (day := day + chance.exponential(1 / rate)) < 300 and chance.random() > leaving:
            days.append(max(int(day), days[-1] + 1))
        paid = (chance.gamma(6, mean / 6, len(days)) + 1).astype(int)
        then = [d for d in days if d <= 210]
        now = _history(days, paid, 300)
        later = [len(days) - len(then), len(days) - len(then), int(paid[len(then) :].sum())]
        rows.append((now, _history(then, paid, 210), later))
    return sample(*rows)


def _history(days: list[int], paid: np.ndarray, until: int) -> list[int]:
    count, amount = len(days), int(paid[: len(days)].sum())
    return [count - 1, days[-1], until, count, amount, count - 1, amount - int(paid[0])]


def test_models_are_fitted_tested_and_the_same_for_any_order_of_rows() -> None:
    customers = shop()
    model = fit_values(customers, rules())
    assert fit_values(customers.sample(frac=1, random_state=5), rules()) == model
    assert model["bgnbd"] and model["gamma_gamma"]
    checks = {(c["model"], c["check"], c["bin"]): c for c in model["checks"]}
    assert checks["bgnbd", "parameter", "r"]["actual"] == model["bgnbd"]["r"]
    for name in ("bgnbd", "clv"):  # it forecasts what was drawn from it: within a tenth of what came
        whole = checks[name, "backtest", "all"]
        assert whole["customers"] == 900
        assert whole["expected"] == pytest.approx(whole["actual"], rel=0.2)


def test_correlated_values_are_not_modelled() -> None:
    customers = shop()
    for name in ("", "calibration_"):  # who buys often buys for more
        customers[f"{name}repeat_amount"] *= 1 + customers[f"{name}frequency"].clip(lower=0)
    model = fit_values(customers, rules())
    assert model["bgnbd"] and model["gamma_gamma"] is None
    checks = {(c["model"], c["check"], c["bin"]): c for c in model["checks"]}
    correlation = checks["gamma_gamma", "precondition", "correlation"]
    assert (correlation["expected"], correlation["is_passed"]) == (0.3, False)
    assert "are correlated" in checks["gamma_gamma", "fit", "log_likelihood"]["note"]


def test_tiers_hold_at_most_their_share(spark: SparkSession) -> None:
    """200 customers in cents of four digits and more; ties at borders; nobody's value is null."""
    values: list[float | None] = [1000 + n / 100 for n in range(200)]  # the best is the last
    values[189] = values[190]  # the 10th and the 11th best: both fall out of the best 5 %
    values += [None, None]
    rows = [(f"c{n}", Decimal(str(value)) if value is not None else None) for n, value in enumerate(values)]
    tiers = [tier.model_dump() for tier in rules().tiers]
    frame = spark.createDataFrame(rows, "customer_id string, clv_365d decimal(18,2)")
    found = {r.customer_id: r.value_tier for r in with_value_tiers(frame, [ValueTier(**t) for t in tiers]).collect()}
    best_first = [found[f"c{n}"] for n in reversed(range(200))]
    shares = ["platinum"] * 2 + ["gold"] * 7 + ["silver"] * 11 + ["bronze"] * 30 + ["medium"] * 50 + ["low"] * 100
    assert best_first == shares
    assert (found["c200"], found["c201"]) == (None, None)
    alike = spark.createDataFrame([(f"c{n}", Decimal(7)) for n in range(9)], frame.schema)
    assert {r.value_tier for r in with_value_tiers(alike, rules().tiers).collect()} == {"low"}
    nobody = with_value_tiers(frame.where("clv_365d is null"), rules().tiers)
    assert [r.value_tier for r in nobody.collect()] == [None, None]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"tiers": [{"name": "a", "label": "甲", "description": "d", "top": 0.5}]}, "up to 1"),
        ({"tiers": [{"name": "a", "label": "甲", "description": "d", "top": t} for t in (0.5, 1)]}, "declared twice"),
        ({"unit": "months"}, "days"),
        ({"fited": "daily"}, "fited"),
    ],
)
def test_wrong_rules_are_told(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        rules(**said)
