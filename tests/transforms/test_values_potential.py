"""High potential: the rules on each side of their borders, and the model's sample, labels, score and checks."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession

from tests.transforms.test_tags import D, Row, activity_of, customers_of, event, given_back, order
from transforms.tags import TagRules, compute_tags
from transforms.values.features import check_features, fingerprint, known_activity, tags_as_of, tags_for
from transforms.values.potential import (
    PotentialModelRules,
    PotentialRules,
    check_potential,
    deciles,
    labelled,
    potential_sample,
    probabilities,
    with_potential_reasons,
    with_potential_score,
)

CONF = Path(__file__).parents[2] / "conf"
TAGS = TagRules.model_validate(yaml.safe_load((CONF / "tags.yaml").read_text(encoding="utf-8"))["tags"])
SECTION = yaml.safe_load((CONF / "value.yaml").read_text(encoding="utf-8"))["value"]["potential"]
RULES = PotentialRules(**SECTION)


def model_rules(**changed: Any) -> PotentialModelRules:
    return PotentialModelRules(**{**SECTION["model"], **changed})


def test_reasons_on_each_side_of_every_border(spark: SparkSession) -> None:
    def viewed(customer: str, *days: int) -> list[Row]:
        return [event(customer, "view", day) for day in days]

    before = (14, 30, 50, 69)  # the first and last day of the 56 before the last 14: one a fortnight
    cases: dict[str, tuple[set[str], list[Row]]] = {
        "twice as many": ({"views_rising"}, viewed("twice as many", 0, 13, *before)),
        "one more": (set(), viewed("one more", 0, 13, *before, 20)),  # 2 against 5 / 4
        "as many": (set(), viewed("as many", 0, *before)),
        "none before": (set(), viewed("none before", 0, 1, 2, 70)),  # no habit to compare with
        "twice, bought 14 days ago": (
            {"views_rising"},
            [*viewed("twice, bought 14 days ago", 0, 13, *before), order("twice, bought 14 days ago", 14)],
        ),
        "twice, bought since": (
            set(),
            [*viewed("twice, bought since", 0, 13, *before), order("twice, bought since", 13)],
        ),
        "cart": (
            {"cart_without_order"},
            [event("cart", "cart_add", 0), event("cart", "cart_add", 13), event("cart", "favourite", 5)],
        ),
        "cart too old": (set(), [event("cart too old", "cart_add", day) for day in (0, 13, 14)]),
        "promotions": (
            {"active_in_promotions"},
            [event("promotions", kind, 29) for kind in ("click", "coupon_claim", "coupon_redeem")],
        ),
        "two promotions": (set(), [event("two promotions", kind, 29) for kind in ("open", "click", "coupon_claim")]),
        "shared": ({"shares"}, [event("shared", "share", 89)]),
        "shared long ago": (set(), [event("shared long ago", "share", 90)]),
        "praised": ({"positive_reviews"}, [event("praised", "review", 89, rating_sum=4, rating_count=1)]),
        "so so": (set(), [event("so so", "review", 1, rating_sum=3, rating_count=1)]),
        "words only": (set(), [event("words only", "review", 1)]),
        "two at once": (
            {"cart_without_order", "shares"},
            [event("two at once", "cart_add", 1, event_count=3), event("two at once", "share", 1)],
        ),
        "nothing": (set(), []),
    }  # fmt: skip
    rows = [row for _, events in cases.values() for row in events]
    read = TagRules(tags=tags_for({name for rule in RULES.rules for name in rule.columns}, TAGS))
    tags = compute_tags(activity_of(spark, rows), customers_of(spark, *({"customer_id": c} for c in cases)), D, read)
    found = {row.customer_id: row.high_potential_reasons for row in with_potential_reasons(tags, RULES).collect()}
    assert {c: {reason.split(":")[0] for reason in reasons} for c, reasons in found.items()} == {
        name: codes for name, (codes, _) in cases.items()
    }
    assert found["twice as many"] == ["views_rising: view_trend_14d=1, days_since_last_order=null"]
    assert found["two at once"] == [
        "cart_without_order: cart_or_favourite_count_14d=3, days_since_last_order=null",
        "shares: share_count_90d=1",
    ]


def test_sample_knows_what_had_happened(spark: SparkSession) -> None:
    """Features and `before` are of D − 90 days, `after` of the 90 days since, all as known on D."""
    rules = model_rules(features=["order_count_90d", "view_count_14d", "mean_order_interval_days"])
    start = 90
    rows = [
        *[event("looked", "view", start + day, event_count=3) for day in (0, 13, 14)],
        event("looked", "view", start - 1),  # after the start
        order("looked", start - 1, "70"),
        order("bought before", start, "50"),
        given_back("bought before", start, start - 1, "20", ends=False),  # after the start, for what was bought before
        order("bought before", start + 10, "25", arrival_date=D),  # heard of late
        order("bought before", 0, "10", arrival_date=D + timedelta(days=1)),  # not known on D
        order("unknown then", 3, "900"),
    ]
    everybody = ("looked", "bought before", "unknown then", "silent")
    customers = customers_of(spark, *({"customer_id": c} for c in everybody))
    known = known_activity(activity_of(spark, rows), customers, D)

    def learnt_from(rows: DataFrame, people: DataFrame) -> list[Any]:
        then = tags_as_of(rows, people, D, [rules.outcome], TAGS)
        return potential_sample(rows, people, then, D, TAGS, rules).collect()

    sample = learnt_from(known, customers)
    assert [row.customer_id for row in sample] == ["bought before", "looked"]
    damped = {count: pytest.approx(np.log1p(count)) for count in (2, 6, 10)}
    assert [tuple(row)[1:6] for row in sample] == [
        (damped[2], 0.0, damped[10], 75.0, 0.0),
        (0.0, damped[6], None, 0.0, 70.0),
    ]
    moved = known.repartition(7)
    assert learnt_from(moved, customers.repartition(3)) == sample
    assert fingerprint(moved).collect() == fingerprint(known).collect()


def test_label_is_becoming_one_of_the_best_buyers() -> None:
    after = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100, 0]
    sample = pd.DataFrame({"after": after, "before": [0.0] * 9 + [95.0, 5.0, None]})
    judged, bound = labelled(sample, Decimal("0.2"))
    assert bound == 90  # of 11 buyers 80 % are 8.8, so the ninth smallest
    assert judged["after"][judged["is_positive"]].tolist() == [100]  # the other one had 95 before: high value already
    assert len(judged) == 11
    nobody, none = labelled(sample.assign(after=0), Decimal("0.2"))
    assert none is None
    assert not nobody["is_positive"].any()


def test_score_is_the_model_in_spark(spark: SparkSession) -> None:
    model = {
        "features": ["order_count_90d", "view_count_14d"],
        "means": [0.7, 1.1],
        "deviations": [0.4, 1.0],
        "coefficients": [1.25, -0.5],
        "intercept": -1.5,
        "bound": 100.0,
    }
    schema = "customer_id string, order_count_90d bigint, view_count_14d bigint, net_amount_90d decimal(18,2)"
    people = [("known", 3, 9, Decimal(100)), ("unknown", None, None, None), ("already", 9, 9, Decimal("100.01"))]
    rows = with_potential_score(spark.createDataFrame(people, schema), model, RULES.model).collect()
    expected = probabilities(np.log1p(np.array([[3.0, 9.0], [np.nan, np.nan]])), model)
    scores = {row.customer_id: row.high_potential_score for row in rows}
    assert scores == {
        "known": Decimal(f"{expected[0]:.6f}"),
        "unknown": Decimal(f"{1 / (1 + np.exp(1.5)):.6f}"),
        "already": None,
    }
    without = with_potential_score(spark.createDataFrame(people, schema), None, RULES.model)
    assert without.select("high_potential_score").distinct().collect() == [(None,)]


def test_deciles_show_calibration_and_lift() -> None:
    # Forty customers of falling probability; the best eight are positive, and so is the last.
    is_positive = np.array([True] * 8 + [False] * 31 + [True])
    found = deciles(np.linspace(0.99, 0.01, 40), is_positive)
    assert found["customers"].tolist() == [4] * 10
    assert found["actual"].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0.25]
    assert found["lift"].tolist() == pytest.approx([40 / 9, 40 / 9, *[0] * 7, 0.25 * 40 / 9])
    assert found["expected"].is_monotonic_decreasing
    assert found["expected"].iloc[0] == pytest.approx(np.linspace(0.99, 0.01, 40)[:4].mean())
    assert deciles(np.array([0.5, 0.4]), np.array([False, False]))["bin"].tolist() == [1, 6]


def test_rules_that_cannot_work_are_refused() -> None:
    assert check_potential(RULES, TAGS) == []
    wrong = RULES.model_copy(
        update={
            "rules": (RULES.rules[0].model_copy(update={"when": "view_trend_14 > 1"}),),
            "model": model_rules(features=["gender", "order_count_90", "view_count_14d"], outcome="order_count_90d"),
        }
    )
    problems = "\n".join(check_potential(wrong, TAGS))
    assert "rules.views_rising: 'view_trend_14' is not a column here; nearest: view_trend_14d" in problems
    assert "model.features: 'gender' is not a numeric tag over activity" in problems
    assert "model.features: 'order_count_90' is not a numeric tag over activity; nearest: order_count_90d" in problems
    assert check_potential(RULES.model_copy(update={"model": model_rules(outcome="net_amount_lifetime")}), TAGS) == [
        "model.outcome: net_amount_lifetime must be a sum over a window of days"
    ]  # fmt: skip
    assert check_features(["view_count_14d"], TAGS) == []
    with pytest.raises(ValidationError, match="rule shares is declared twice"):
        PotentialRules(**{**SECTION, "rules": [SECTION["rules"][3]] * 2})
