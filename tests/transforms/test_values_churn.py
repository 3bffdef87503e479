"""Churn tiers on each side of every border, their reasons, and the warning of VIPs who slow down."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession

from transforms.values.churn import ChurnRules, with_churn

VALUE = Path(__file__).parents[2] / "conf" / "value.yaml"
COLUMNS = {
    "days_since_last_order": "int",
    "mean_order_interval_days": "decimal(18,6)",
    "p_alive": "decimal(18,6)",
    "order_trend": "decimal(18,6)",
    "average_order_value_365d": "decimal(18,6)",
}


def shipped() -> ChurnRules:
    return ChurnRules(**yaml.safe_load(VALUE.read_text(encoding="utf-8"))["value"]["churn"])


def customers_of(spark: SparkSession, cases: dict[str, tuple[Any, ...]]) -> DataFrame:
    """One row per case: the values of COLUMNS in order, those left out null."""
    schema = ", ".join(["customer_id string", *[f"{name} {kind}" for name, kind in COLUMNS.items()]])

    def row(customer: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        padded = [*values, *[None] * (len(COLUMNS) - len(values))]
        kinds = COLUMNS.values()
        return (
            customer,
            *[v if v is None or k == "int" else Decimal(str(v)) for v, k in zip(padded, kinds, strict=True)],
        )

    return spark.createDataFrame([row(customer, values) for customer, values in cases.items()], schema)


def test_tiers_on_each_side_of_every_border(spark: SparkSession) -> None:
    # Shipped: over 1, 2, 3, 4 intervals (here 40 days each) and p_alive below 0.6, 0.5, 0.35, 0.2; once: 60 … 240 days.
    cases: dict[str, tuple[str | None, tuple[Any, ...]]] = {
        "on the day": ("low", (40, 40, "0.1")),
        "a day over": ("medium", (41, 40, "0.1")),
        "two intervals": ("medium", (80, 40, "0.1")),
        "over two": ("high", (81, 40, "0.1")),
        "over three": ("very_high", (121, 40, "0.1")),
        "four intervals": ("very_high", (160, 40, "0.1")),
        "over four": ("lost", (161, 40, "0.1")),
        # p_alive must agree; the worst tier of which both bounds are passed
        "alive": ("low", (500, 40, "0.6")),
        "hardly cooling": ("medium", (500, 40, "0.599999")),
        "half": ("medium", (500, 40, "0.5")),
        "less than half": ("high", (500, 40, "0.499999")),
        "a third": ("very_high", (500, 40, "0.349999")),
        "a fifth": ("very_high", (500, 40, "0.2")),
        "less than a fifth": ("lost", (500, 40, "0.199999")),
        "dead by the model, not late": ("low", (39, 40, "0.01")),
        # an unknown p_alive leaves the decision to the days
        "no model, late": ("high", (120, 40)),
        "no model, in time": ("low", (40, 40)),
        # one purchase day: no rhythm
        "once, 60": ("low", (60,)),
        "once, 61": ("medium", (61,)),
        "once, 120": ("medium", (120,)),
        "once, 121": ("high", (121,)),
        "once, 181": ("very_high", (181,)),
        "once, 240": ("very_high", (240,)),
        "once, 241": ("lost", (241,)),
        "never": (None, ()),
    }
    rows = with_churn(customers_of(spark, {name: values for name, (_, values) in cases.items()}), shipped()).collect()
    assert {row.customer_id: row.churn_tier for row in rows} == {name: tier for name, (tier, _) in cases.items()}
    reasons = {row.customer_id: row.churn_reasons for row in rows}
    assert {name: reasons[name] for name in ("over two", "no model, late", "once, 121", "never", "once, 60")} == {
        "over two": ["days_since_last_order=81 > 2 x mean_order_interval_days=40", "p_alive=0.1 < 0.5"],
        "no model, late": ["days_since_last_order=120 > 2 x mean_order_interval_days=40"],
        "once, 121": ["days_since_last_order=121 > 120 after one purchase"],
        "once, 60": ["days_since_last_order=60 <= 60 after one purchase"],
        "never": [],
    }
    # low: what kept them out of medium
    assert {name: reasons[name] for name in ("alive", "dead by the model, not late", "no model, in time")} == {
        "alive": ["p_alive=0.6 >= 0.6"],
        "dead by the model, not late": ["days_since_last_order=39 <= 1 x mean_order_interval_days=40"],
        "no model, in time": ["days_since_last_order=40 <= 1 x mean_order_interval_days=40"],
    }
    assert not any(row.is_vip_warning for row in rows)


def test_vips_who_order_less_are_warned_of(spark: SparkSession) -> None:
    # Ten customers with an order value: 80 % of them, eight, are at 80 or less, so two are VIPs.
    usual = (10, 40, "0.9")
    cases = {f"at {value}": (*usual, "-0.5", value) for value in range(10, 101, 10)}
    cases |= {
        "steady VIP": (*usual, "0", "100.01"),
        "slower by a hair": (*usual, "-0.000001", "100.02"),
        "new VIP": (*usual, None, "100.03"),  # no order in the 90 days before
        "no order this year": (*usual, "-1", None),
    }
    rows = with_churn(customers_of(spark, cases), shipped()).collect()
    # 13 values; the smallest that 80 % of 13 = 10.4, so 11, do not exceed is 100.01
    assert {row.customer_id for row in rows if row.is_vip_warning} == {"slower by a hair"}
    warned = next(row for row in rows if row.is_vip_warning)
    assert warned.churn_reasons[-2:] == [
        "order_trend=-0.000001 < 0",
        "average_order_value_365d=100.02 > cut of VIPs=100.01",
    ]
    ten = {name: values for name, values in cases.items() if name.startswith("at ")}
    moved = with_churn(customers_of(spark, ten).repartition(7), shipped()).where("is_vip_warning").collect()
    assert {row.customer_id for row in moved} == {"at 90", "at 100"}


def test_rules_that_cannot_work_are_refused() -> None:
    good = yaml.safe_load(VALUE.read_text(encoding="utf-8"))["value"]["churn"]
    repeat, once = good["repeat"], good["one_time"]
    refusals = [
        ({"repeat": repeat[::-1]}, "repeat: high after medium: tiers go from worst to best"),
        ({"one_time": [once[0], {**once[1], "days_over": 240}]}, "one_time: very_high after lost"),
        ({"repeat": [{**repeat[0], "p_alive_below": 0.5}, repeat[1]]}, "with falling bounds"),
        ({"one_time": [{**once[3], "tier": "low"}]}, "low is what is left"),
        ({"repeat": [{**repeat[0], "tier": "gone"}]}, "'low', 'medium', 'high', 'very_high' or 'lost'"),
        ({"vip": {**good["vip"], "share": 1}}, "less than 1"),
    ]
    for change, message in refusals:
        with pytest.raises(ValidationError, match=message):
            ChurnRules(**{**good, **change})
