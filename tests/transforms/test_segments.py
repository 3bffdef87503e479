"""Segments: one primary each, in the declared order, on each side of every border; reasons, summary, refusals."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from transforms.contracts import conform, gold, silver
from transforms.segments import (
    FACTS,
    SegmentRules,
    build_segments,
    check_columns,
    rule_outcomes,
    summarise_segments,
)
from transforms.segments.explain import conditions
from transforms.tags import TagRules, tag_columns
from transforms.values.churn import TIERS

CONF = Path(__file__).parents[2] / "conf"
D = date(2026, 6, 30)

# Every column that the shipped rules read, with the value of a customer who is nothing in particular.
PORTRAIT = {
    "lifecycle": ("string", "cooling"),
    "churn_tier": ("string", "low"),
    "high_potential_reasons": ("array<string>", []),
    "is_vip_warning": ("boolean", False),
    "value_tier": ("string", "medium"),
    "interest_event_count_30d": ("bigint", 2),
    "finance_risk_tier": ("string", None),
    "needs_human_review": ("boolean", None),
    "loan_demand_score": ("int", None),
    "consent_finance": ("boolean", True),
    "is_minor": ("boolean", False),
    "asset_amount": ("decimal(18,2)", Decimal(0)),
    "asset_inflow_90d": ("decimal(18,2)", Decimal(0)),
    "registered_date": ("date", D - timedelta(days=900)),
    "r_score": ("int", 3),
    "f_score": ("int", 3),
    "m_score": ("int", 3),
    "order_interval_variability": ("decimal(18,6)", Decimal(1)),
    "days_since_last_order": ("int", 120),
    "visit_count_30d": ("bigint", 4),
    "average_order_value_365d": ("decimal(18,6)", Decimal(100)),
    "order_count_365d": ("bigint", 3),
    "promotion_sensitivity": ("decimal(18,6)", Decimal(0)),
    "new_product_share": ("decimal(18,6)", Decimal(0)),
    "new_product_line_count": ("bigint", 0),
    "amount_top_percent": ("int", 50),
    "referral_count_365d": ("bigint", 0),
    "share_count_90d": ("bigint", 0),
    "net_amount_lifetime": ("decimal(18,2)", Decimal(0)),
    "order_count_lifetime": ("bigint", 0),
}
NEVER_BOUGHT = {
    "lifecycle": "prospect",
    "churn_tier": None,
    "days_since_last_order": None,
    "r_score": 0,
    "f_score": 0,
    "m_score": 0,
    "order_interval_variability": None,
    "average_order_value_365d": None,
    "promotion_sensitivity": None,
}


def days_ago(days: int) -> date:
    return D - timedelta(days=days)


def shipped() -> SegmentRules:
    return SegmentRules(**yaml.safe_load((CONF / "segments.yaml").read_text(encoding="utf-8"))["segments"])


def portraits(spark: SparkSession, customers: dict[str, dict[str, Any]]) -> DataFrame:
    schema = ", ".join(["customer_id string", *[f"{name} {kind}" for name, (kind, _) in PORTRAIT.items()]])
    usual = {name: value for name, (_, value) in PORTRAIT.items()}
    return spark.createDataFrame([Row(customer_id=c, **{**usual, **over}) for c, over in customers.items()], schema)


def test_every_customer_is_in_the_first_primary_segment_that_fits(spark: SparkSession) -> None:
    top = {"lifecycle": "active", "m_score": 4, "f_score": 4, "days_since_last_order": 20}
    overdue = {"lifecycle": "active", "churn_tier": "high"}
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        # high_value: M >= 4, F >= 4, active; it comes before the warning
        "top": ("high_value", top),
        "top, and overdue": ("high_value", {**top, "churn_tier": "high"}),
        "M too low": ("active", {**top, "m_score": 3}),
        "F too low": ("active", {**top, "f_score": 3}),
        "top, but cooling": ("other", {**top, "lifecycle": "cooling"}),
        "top, but new": ("new_customer", {**top, "lifecycle": "new"}),
        # new_customer: first purchase, or registration without one, at most 30 days ago
        "registered 30 days ago": ("new_customer", {**NEVER_BOUGHT, "registered_date": days_ago(30)}),
        "registered 31 days ago": ("prospect", {**NEVER_BOUGHT, "registered_date": days_ago(31)}),
        "registered lately, bought earlier": ("other", {"registered_date": days_ago(2)}),
        # churn_warning: high or worse, not yet sleeping
        "overdue": ("churn_warning", overdue),
        "far overdue": ("churn_warning", {**overdue, "churn_tier": "very_high"}),
        "lost to their own rhythm": ("churn_warning", {**overdue, "churn_tier": "lost", "lifecycle": "cooling"}),
        "overdue and cooling": ("churn_warning", {**overdue, "lifecycle": "cooling"}),
        "overdue but sleeping": ("sleeping", {**overdue, "lifecycle": "sleeping"}),
        "nearly overdue": ("active", {**overdue, "churn_tier": "medium"}),
        "overdue before potential": ("churn_warning", {**overdue, "order_interval_variability": Decimal(2)}),
        # potential: M 2 to 4 with varying intervals, or a reason for high potential
        "varying, M 2": ("potential", {"m_score": 2, "order_interval_variability": Decimal("1.5")}),
        "varying, M 4": ("potential", {"m_score": 4, "order_interval_variability": Decimal("1.5")}),
        "varying, M 1": ("other", {"m_score": 1, "order_interval_variability": Decimal("1.5")}),
        "varying, M 5": ("other", {"m_score": 5, "order_interval_variability": Decimal("1.5")}),
        "steady, M 3": ("other", {"order_interval_variability": Decimal("1.499999")}),
        "a reason": ("potential", {"high_potential_reasons": ["shares: …"]}),
        "a reason, never bought": ("potential", {**NEVER_BOUGHT, "high_potential_reasons": ["shares: …"]}),
        # lifecycle
        "active": ("active", {"lifecycle": "active"}),
        "sleeping": ("sleeping", {"lifecycle": "sleeping"}),
        "lost": ("lost", {"lifecycle": "lost", "m_score": 0, "f_score": 0, "r_score": 0}),
        "registered long ago": ("prospect", NEVER_BOUGHT),
        # other: whom nothing fits
        "visitor who never registered": ("other", {**NEVER_BOUGHT, "registered_date": None}),
        "cooling": ("other", {}),
        "knows nothing": ("other", dict.fromkeys(PORTRAIT)),
    }
    customers = portraits(spark, {name: over for name, (_, over) in cases.items()})
    members = conform(build_segments(customers, D, shipped()), gold.SEGMENT_MEMBERS).collect()

    primary = [row for row in members if row.kind == "primary"]
    assert {row.customer_id: row.segment for row in primary} == {name: segment for name, (segment, _) in cases.items()}
    assert len(primary) == len(cases)
    assert {segment for segment, _ in cases.values()} == {segment.code for segment in shipped().primary}


TOP = {"lifecycle": "active", "m_score": 4, "f_score": 4}
SILENT = {"days_since_last_order": 91, "visit_count_30d": 0}
ABSENT = {"value_tier": "silver", "days_since_last_order": 31, "visit_count_30d": 0, "interest_event_count_30d": 0}
BIG = {"average_order_value_365d": Decimal(500)}
PROMOTED = {"promotion_sensitivity": Decimal("0.5"), "order_count_365d": 3}
NEWEST = {"new_product_share": Decimal("0.3"), "new_product_line_count": 3}
SAVER = {"finance_risk_tier": "low", "asset_amount": Decimal("5000.01")}
DRAWN = {"asset_inflow_90d": Decimal(-30), "asset_amount": Decimal(70)}  # of 100
REASON = {"high_potential_reasons": ["shares: …"]}

# Of every shipped segment a customer just inside, and what makes another one just outside, border by border.
BORDERS: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "high_value": [(TOP, {"m_score": 3}), (TOP, {"f_score": 3}), (TOP, {"lifecycle": "cooling"})],
    "new_customer": [
        ({"lifecycle": "new"}, {"lifecycle": "active"}),
        ({**NEVER_BOUGHT, "registered_date": days_ago(30)}, {"registered_date": days_ago(31)}),
    ],
    "churn_warning": [
        ({"lifecycle": "active", "churn_tier": "high"}, {"churn_tier": "medium"}),
        ({"lifecycle": "cooling", "churn_tier": "lost"}, {"lifecycle": "sleeping"}),
    ],
    "potential": [
        ({"m_score": 2, "order_interval_variability": Decimal("1.5")}, {"m_score": 1}),
        ({"m_score": 4, "order_interval_variability": Decimal("1.5")}, {"m_score": 5}),
        (
            {"m_score": 3, "order_interval_variability": Decimal("1.5")},
            {"order_interval_variability": Decimal("1.499999")},
        ),
        (REASON, {"high_potential_reasons": []}),
    ],
    "active": [({"lifecycle": "active"}, {"lifecycle": "cooling"})],
    "sleeping": [
        ({"lifecycle": "sleeping"}, {"lifecycle": "cooling"}),
        ({"lifecycle": "sleeping"}, {"lifecycle": "lost"}),
    ],
    "lost": [({"lifecycle": "lost"}, {"lifecycle": "sleeping"})],
    "prospect": [
        ({**NEVER_BOUGHT, "registered_date": days_ago(31)}, {"registered_date": days_ago(30)}),
        ({**NEVER_BOUGHT, "registered_date": days_ago(31)}, {"lifecycle": "cooling"}),
    ],
    "other": [({}, {"lifecycle": "active"})],
    "high_frequency_high_amount": [({"f_score": 4, "m_score": 4}, {"f_score": 3}), (TOP, {"m_score": 3})],
    "low_frequency_high_amount": [
        ({"f_score": 2, "m_score": 4}, {"f_score": 3}),
        ({"f_score": 1, "m_score": 4}, {"f_score": 0}),  # without a purchase: not "seldom"
        ({"f_score": 2, "m_score": 4}, {"m_score": 3}),
    ],
    "high_frequency_low_amount": [
        ({"f_score": 4, "m_score": 2}, {"f_score": 3}),
        ({"f_score": 4, "m_score": 2}, {"m_score": 3}),
        ({"f_score": 4, "m_score": 1}, {"m_score": 0}),
    ],
    "high_basket_high_frequency": [
        ({**BIG, "f_score": 4}, {"average_order_value_365d": Decimal("499.99")}),
        ({**BIG, "f_score": 4}, {"f_score": 3}),
    ],
    "high_basket_low_frequency": [
        ({**BIG, "f_score": 2}, {"average_order_value_365d": Decimal("499.99")}),
        ({**BIG, "f_score": 2}, {"f_score": 3}),
        ({**BIG, "f_score": 1}, {"f_score": 0}),
    ],
    "silent": [(SILENT, {"days_since_last_order": 90}), (SILENT, {"visit_count_30d": 1})],
    "high_value_silent": [
        ({**SILENT, "m_score": 4}, {"m_score": 3}),
        ({**SILENT, "m_score": 4}, {"days_since_last_order": 90}),
        ({**SILENT, "m_score": 4}, {"visit_count_30d": 1}),
    ],
    "active_referrer": [({"referral_count_365d": 2}, {"referral_count_365d": 1})],
    "socially_active": [({"share_count_90d": 3}, {"share_count_90d": 2})],
    "promotion_sensitive": [
        (PROMOTED, {"promotion_sensitivity": Decimal("0.499999")}),
        (PROMOTED, {"order_count_365d": 2}),
    ],
    "new_product_sensitive": [
        (NEWEST, {"new_product_share": Decimal("0.299999")}),
        (NEWEST, {"new_product_line_count": 2}),
    ],
    "high_potential": [(REASON, {"high_potential_reasons": []})],
    "vip_warning": [({"is_vip_warning": True}, {"is_vip_warning": False})],
    "high_value_low_activity": [
        (ABSENT, {"value_tier": "bronze"}),
        (ABSENT, {"days_since_last_order": 30}),
        (ABSENT, {"visit_count_30d": 1}),
        (ABSENT, {"interest_event_count_30d": 1}),
    ],
    "finance_high_value": [
        (SAVER, {"asset_amount": Decimal(5000)}),
        (SAVER, {"finance_risk_tier": "medium"}),
        (SAVER, {"finance_risk_tier": None}),
    ],
    "finance_potential": [
        ({"loan_demand_score": 40}, {"loan_demand_score": 39}),
        ({"loan_demand_score": 40, "needs_human_review": False}, {"needs_human_review": True}),
    ],
    "finance_churn": [
        (DRAWN, {"asset_amount": Decimal("70.01")}),
        (DRAWN, {"consent_finance": False}),
        (DRAWN, {"is_minor": True}),
        ({"asset_inflow_90d": Decimal("-0.01"), "is_minor": None}, {"asset_inflow_90d": Decimal(0)}),
    ],
    "finance_risk": [({"needs_human_review": True}, {"needs_human_review": False})],
    "pareto_top20": [({"amount_top_percent": 20}, {"amount_top_percent": 21})],
}


def test_every_shipped_segment_has_a_customer_on_each_side_of_each_border(spark: SparkSession) -> None:
    """And of each rule that all conditions must hold for, each condition alone keeps somebody out."""
    rules = shipped()
    assert set(BORDERS) == {segment.code for segment in rules.all}
    people = {
        f"{code} {n} {side}": {**inside, **(change if side == "outside" else {})}
        for code, borders in BORDERS.items()
        for n, (inside, change) in enumerate(borders)
        for side in ("inside", "outside")
    }
    customers = portraits(spark, people)
    outcomes = rule_outcomes(customers, D, rules)
    own = F.split("customer_id", " ")[0].alias("own")
    rows = build_segments(customers, D, rules).join(outcomes, "customer_id").select("*", own).collect()
    found = {name: {row.segment for row in rows if row.customer_id == name} for name in people}
    wrong = [name for name in people if (name.split()[0] in found[name]) != name.endswith("inside")]
    assert wrong == []
    assert all({"silent", "high_value_silent"} <= found[name] for name in people if "value_silent 0 in" in name)

    alone = set()
    for row in rows:
        failed = [outcome.condition for outcome in row.outcomes if outcome.segment == row.own and not outcome.holds]
        if len(failed) == 1:
            alone.add((row.own, failed[0]))
    assert {(s.code, condition) for s in rules.all if s.code != "other" for condition in conditions(s.when)} == alone


ANYBODY = st.fixed_dictionaries(
    {
        "lifecycle": st.sampled_from([None, "prospect", "new", "active", "cooling", "sleeping", "lost", "typo"]),
        "churn_tier": st.sampled_from([None, "low", "medium", "high"]),
        "registered_date": st.sampled_from([None, days_ago(0), days_ago(30), days_ago(31)]),
        "f_score": st.sampled_from([None, 0, 2, 4, 5]),
        "m_score": st.sampled_from([None, 0, 1, 2, 4, 5]),
        "order_interval_variability": st.sampled_from([None, Decimal(1), Decimal("1.5")]),
        "high_potential_reasons": st.sampled_from([None, [], ["shares: …"]]),
        "days_since_last_order": st.sampled_from([None, 0, 14, 91, 400]),
    }
)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ANYBODY, min_size=80, max_size=80))
def test_anybody_is_in_exactly_one_primary_segment(spark: SparkSession, people: list[dict[str, Any]]) -> None:
    customers = portraits(spark, {f"c{number}": person for number, person in enumerate(people)})
    members = build_segments(customers, D, shipped()).collect()
    primary = [row.customer_id for row in members if row.kind == "primary"]
    assert sorted(primary) == sorted(f"c{number}" for number in range(len(people)))
    assert len({(row.segment, row.customer_id) for row in members}) == len(members)


def rules(*primary: tuple[str, str], secondary: tuple[tuple[str, str], ...] = ()) -> SegmentRules:
    def declared(code: str, when: str) -> dict[str, str]:
        return {"code": code, "label": f"客群 {code}", "description": code, "when": when}

    return SegmentRules(
        primary=[*[declared(*entry) for entry in primary], declared("other", "true")],
        secondary=[declared(*entry) for entry in secondary],
    )


def test_reasons_are_the_rule_and_the_values_it_read(spark: SparkSession) -> None:
    when = "m_score >= 4 and lifecycle = 'active' and datediff(as_of, registered_date) > 30"
    customers = portraits(
        spark,
        {"fits": {"m_score": 5, "lifecycle": "active", "registered_date": days_ago(31)}, "unknown": {"m_score": None}},
    )
    two = rules(("fits", when), secondary=(("nameless", "m_score is null"),))
    members = build_segments(customers, D, two).collect()
    assert {(row.customer_id, row.segment): row.reasons for row in members} == {
        ("fits", "fits"): [when, "m_score=5", "lifecycle=active", "as_of=2026-06-30", "registered_date=2026-05-30"],
        ("unknown", "other"): ["true"],
        ("unknown", "nameless"): ["m_score is null", "m_score=null"],
    }


def test_summary_shares_customers_and_money(spark: SparkSession) -> None:
    customers = portraits(
        spark,
        {
            "a": {"m_score": 5, "net_amount_lifetime": Decimal("60"), "order_count_lifetime": 4},
            "b": {"m_score": 5, "net_amount_lifetime": Decimal("15"), "order_count_lifetime": 1},
            "c": {"m_score": 1, "net_amount_lifetime": Decimal("25"), "order_count_lifetime": 1},
            "d": {"m_score": 0, "net_amount_lifetime": None, "order_count_lifetime": None},  # never bought
        },
    )
    both = rules(
        ("rich", "m_score = 5"), ("poor", "m_score = 0"), secondary=(("bought", "m_score > 0"), ("none", "false"))
    )
    summary = summarise_segments(build_segments(customers, D, both), customers, D, both)
    rows = {row.segment: row for row in conform(summary, gold.SEGMENT_SUMMARY).collect()}
    found = {
        code: (r.kind, r.customers, float(r.share), r.net_amount, float(r.amount_share), r.average_order_value)
        for code, r in rows.items()
    }
    assert found == {
        "rich": ("primary", 2, 0.5, 75, 0.75, Decimal("15.00")),
        "poor": ("primary", 1, 0.25, 0, 0, None),
        "other": ("primary", 1, 0.25, 25, 0.25, Decimal("25.00")),
        "bought": ("secondary", 3, 0.75, 100, 1, Decimal("16.67")),
        "none": ("secondary", 0, 0, 0, 0, None),  # declared and empty
    }
    assert rows["rich"].label == "客群 rich"


def test_rules_that_cannot_work_are_refused() -> None:
    entry = {"code": "one", "label": "一", "description": "", "when": "m_score > 1"}
    other = {**entry, "code": "other", "when": "true"}
    refusals = [
        ({"primary": [entry]}, "the last primary segment must be 'other'"),
        ({"primary": [{**other, "when": "m_score > 1"}]}, "with when: 'true'"),
        ({"primary": [entry, entry, other]}, "segment one is declared twice"),
        ({"primary": [other], "secondary": [{**entry, "code": "other"}]}, "segment other is declared twice"),
        ({"primary": [{**entry, "when": "m_score >"}, other]}, "not a Spark SQL expression"),
        ({"primary": []}, "at least 1 item"),
    ]
    for declared, message in refusals:
        with pytest.raises(ValidationError, match=message):
            SegmentRules(**declared)


def test_unknown_columns_are_named_with_the_nearest() -> None:
    misspelt = rules(("one", "m_scor >= 4"), secondary=(("two", "lifecicle = 'new' and M_SCORE > 1"),))
    assert check_columns(misspelt, ["m_score", "lifecycle"]) == [
        "segment one: 'm_scor' is not a column here; nearest: m_score",
        "segment two: 'lifecicle' is not a column here; nearest: lifecycle",
    ]


def test_shipped_rules_read_columns_that_exist() -> None:
    tags = TagRules.model_validate(yaml.safe_load((CONF / "tags.yaml").read_text(encoding="utf-8"))["tags"])
    scores = [*gold.RFM_SCORES.column_names, *gold.CUSTOMER_VALUES.column_names]
    known = [*tag_columns(tags), *scores, *silver.CUSTOMERS.column_names, *FACTS, "as_of"]
    assert check_columns(shipped(), known) == []
    assert check_columns(shipped(), [*PORTRAIT, "as_of"]) == []  # and this file's portrait has them all
    stages = set(tags.tags["lifecycle"].allowed)
    assert {"active", "new", "prospect", "cooling", "sleeping", "lost"} <= stages
    assert {"high", "very_high", "lost"} < set(TIERS)
