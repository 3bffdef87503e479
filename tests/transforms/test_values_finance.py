"""Finance: facts of loans and savings, on each side of every border; consent; the score card and its reasons."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import DataFrame, Row, SparkSession

from tests.builders import DAY as D
from tests.builders import days_before, event, frame
from transforms.contracts import silver
from transforms.values.finance import FACTS, FinanceRules, ScoreCard, finance_facts, with_finance

VALUE = Path(__file__).parents[2] / "conf" / "value.yaml"
SECTION = yaml.safe_load(VALUE.read_text(encoding="utf-8"))["value"]["finance"]
RULES = FinanceRules(**SECTION)
Told = dict[str, Any]


def did(customer: str, kind: str, days_ago: int, amount: int | None = 100, **props: str) -> Told:
    """A finance event; `props` are contract_id and days_overdue."""
    return {"customer_id": customer, "kind": kind, "day": days_before(days_ago, D), "amount": amount, "props": props}


def events_of(spark: SparkSession, told: list[Told]) -> DataFrame:
    rows = [
        event(
            f"e{number}",
            t["kind"],
            channel="finance",
            event_date=t["day"],
            amount=t["amount"],
            props=t["props"] or None,
            order_id=None,
        )
        | {"customer_id": t["customer_id"], "channel": t.get("channel", "finance")}
        for number, t in enumerate(told)
    ]
    return frame(spark, silver.EVENTS, rows, customer_id="string")


def test_facts_of_loans_and_savings(spark: SparkSession) -> None:
    def late(contract: str, days_ago: int, days_over: int, amount: int = 100) -> Told:
        return did("", "overdue", days_ago, amount, contract_id=contract, days_overdue=str(days_over))

    def repaid(contract: str, days_ago: int) -> Told:
        return did("", "repay", days_ago, contract_id=contract)

    cases: dict[str, tuple[dict[str, Any], list[Told]]] = {
        "saver": (
            {"asset_amount": 700, "asset_trend_90d": Decimal("-0.3"), "on_time_share": None, "days_overdue_now": 0},
            [did("", "deposit", 90, 1000), did("", "withdraw", 89, 400), did("", "deposit", 0, 100)],
        ),
        "began lately": ({"asset_amount": 50, "asset_trend_90d": None}, [did("", "deposit", 89, 50)]),
        "applicant": (
            {"loan_apply_count_90d": 1, "loan_apply_count_365d": 2, "loan_reject_count_365d": 1, "asset_amount": 0},
            [
                *[did("", "loan_apply", days) for days in (89, 90, 365)],
                *[did("", "loan_reject", days) for days in (364, 365)],
            ],
        ),
        "asks the bank": (
            {"finance_consult_count_90d": 1},
            [
                did("", "consult", 1, None),
                {**did("", "consult", 1, None), "channel": "service"},
                did("", "consult", 90, None),
            ],
        ),
        "pays in time": (
            {"loan_count": 1, "repay_count": 2, "on_time_share": 1, "arrears_count_365d": 0, "unpaid_amount": 0},
            [did("", "loan_disburse", 90), repaid("a", 60), repaid("a", 30)],
        ),
        # due 40 days ago, told 35 days ago that it is 5 over, repaid 28 days ago, so 12 days late
        "late once": (
            {
                "repay_count": 2, "on_time_share": Decimal("0.5"), "arrears_count_365d": 1, "unpaid_amount": 0,
                "days_overdue_now": 0, "days_overdue_worst": 12, "default_count": 0,
            },
            [late("a", 35, 5), repaid("a", 28), repaid("a", 70)],
        ),
        # one instalment, told of twice: due 100 days ago, not repaid; another contract's repayment does not count
        "owes": (
            {
                "unpaid_amount": 120, "days_overdue_now": 100, "days_overdue_worst": 100, "default_count": 1,
                "arrears_count_365d": 1, "on_time_share": Decimal("0.5"),
            },
            [late("a", 95, 5), late("a", 65, 35, 120), repaid("b", 60)],
        ),
        "90 days over": ({"days_overdue_now": 90, "default_count": 0}, [late("a", 60, 30)]),
        "repaid on the day told": (
            {"days_overdue_now": 0, "days_overdue_worst": 30},
            [late("a", 60, 30), repaid("a", 60)],
        ),
        "repaid before": ({"days_overdue_now": 90}, [late("a", 60, 30), repaid("a", 61)]),
        # without contract or days: one contract, due on the day of the notice
        "plain notice": ({"days_overdue_now": 20, "unpaid_amount": 100}, [did("", "overdue", 20)]),
        "a year ago": ({"arrears_count_365d": 0, "default_count": 1}, [late("a", 360, 5)]),
        "told of nonsense": ({"days_overdue_now": 20}, [late("a", 20, 0) | {"props": {"days_overdue": "soon"}}]),
    }  # fmt: skip
    told = [{**t, "customer_id": customer} for customer, (_, events) in cases.items() for t in events]
    events = events_of(spark, told)
    is_finance = "event_type <> 'consult' or channel = 'finance'"
    rows = {row.customer_id: row.asDict() for row in finance_facts(events.where(is_finance), D, RULES).collect()}
    found = {name: {fact: rows[name][fact] for fact in expected} for name, (expected, _) in cases.items()}
    assert found == {name: expected for name, (expected, _) in cases.items()}
    assert set(rows["saver"]) == {"customer_id", "has_account", *FACTS}
    moved = finance_facts(events.where(is_finance).repartition(7), D, RULES).collect()
    assert {row.customer_id: row.asDict() for row in moved} == rows


def judged(spark: SparkSession, told: list[Told], people: dict[str, tuple[bool | None, bool | None]]) -> dict[str, Row]:
    schema = "customer_id string, consent_finance boolean, is_minor boolean"
    customers = spark.createDataFrame([(c, *flags) for c, flags in people.items()], schema)
    return {row.customer_id: row for row in with_finance(customers, events_of(spark, told), D, RULES).collect()}


def test_only_consenting_adults_are_judged_and_tiers_have_reasons(spark: SparkSession) -> None:
    def overdue(customer: str, days: int) -> Told:
        return did(customer, "overdue", 0, contract_id="a", days_overdue=str(days))

    people: dict[str, tuple[bool | None, bool | None]] = {
        "adult": (True, False),
        "age unknown": (True, None),
        "refused": (False, False),
        "not asked": (None, False),
        "minor": (True, True),
        "does nothing": (True, False),
        "only asks": (True, False),
        "good": (True, False),
        **{f"overdue {days}": (True, False) for days in (30, 31, 60, 61, 90, 91)},
        "borrower": (True, False),
    }
    withdrawn = [(c, "withdraw", 1, 300) for c in people if c not in ("does nothing", "only asks", "good")]
    told = [
        *[did(c, "deposit", 100, 1000) for c in people if c not in ("does nothing", "only asks")],
        did("only asks", "consult", 5, None),
        *[did(*given) for given in withdrawn],
        did("good", "deposit", 50, 4001), did("good", "repay", 30),
        *[overdue(f"overdue {days}", days) for days in (30, 31, 60, 61, 90, 91)],
        did("borrower", "loan_apply", 3), did("borrower", "loan_apply", 5), did("borrower", "consult", 1),
        did("adult", "deposit", -1, 9000),  # not yet happened
    ]  # fmt: skip
    found = judged(spark, told, people)
    nobody = ("refused", "not asked", "minor")
    columns = ("asset_amount", "overdue_bucket", "loan_demand_score", "finance_risk_tier", "finance_risk_reasons",
               "needs_human_review")  # fmt: skip
    assert {tuple(found[c][name] for name in columns) for c in nobody} == {(None,) * len(columns)}
    # A balance and no demand, but nothing to judge by.
    assert tuple(found["does nothing"][name] for name in columns) == (0, None, 0, None, None, None)
    assert tuple(found["only asks"][name] for name in columns) == (0, "none", 20, None, None, None)
    # 500 + 60 not overdue + 40 no default + 0 no repayments + 30 no arrears + 10 + 10 + 20 small balance = 670
    assert tuple(found["adult"][name] for name in columns) == (
        700, "none", 20, "medium", ["NO_REPAYMENT_HISTORY", "SMALL_BALANCE"], False,
    )  # fmt: skip
    assert found["age unknown"].finance_risk_tier == "medium"
    # … and with all instalments in time (+60) and more than 5,000 (+40 for +20): 750, nothing to complain of
    assert tuple(found["good"][name] for name in columns) == (5001, "none", 0, "low", [], False)
    # borrower: 40 recent application, 20 two in a year, 20 consult, 20 balance fell by 30 %; -30 for +10: 630
    assert tuple(found["borrower"][name] for name in columns) == (
        700, "none", 100, "medium", ["NO_REPAYMENT_HISTORY", "MANY_APPLICATIONS", "SMALL_BALANCE"], False,
    )  # fmt: skip
    buckets = {days: found[f"overdue {days}"].overdue_bucket for days in (30, 31, 60, 61, 90, 91)}
    assert buckets == {30: "m1", 31: "m2", 60: "m2", 61: "m3", 90: "m3", 91: "m3_plus"}
    # 500 - 40 overdue M1 + 40 no default - 80 never in time + 0 one in a year + 10 + 10 + 20 = 460
    reasons = ["MOSTLY_LATE", "OVERDUE_M1", "ONE_ARREARS", "SMALL_BALANCE"]
    assert tuple(found["overdue 30"][name] for name in columns)[3:] == ("high", reasons, True)
    # 500 - 200 - 150 - 80 + 0 + 10 + 10 + 20 = 110; most points lost first, four of them
    reasons = ["OVERDUE_M3_PLUS", "DEFAULTED", "MOSTLY_LATE", "ONE_ARREARS"]
    assert tuple(found["overdue 91"][name] for name in columns)[3:] == ("very_high", reasons, True)


def test_sensitive_inputs_and_broken_cards_are_refused() -> None:
    card = SECTION["score_card"]
    lines, tiers = card["characteristics"], card["tiers"]
    refusals: list[tuple[dict[str, Any], str]] = [
        *[
            ({"characteristics": [{**lines[0], "fact": name}]}, f"{name}' says who a customer is and may not be an")
            for name in ("gender", "birth_date", "age_band", "city", "province", "is_minor", "member_level")
        ],
        ({"characteristics": [{**lines[0], "fact": "days_overdue"}]}, "nearest: days_overdue_now"),
        ({"characteristics": [lines[0], lines[0]]}, "days_overdue_now is used twice"),
        ({"characteristics": [{**lines[0], "bins": lines[0]["bins"][::-1]}]}, "bins need ascending up_to"),
        ({"tiers": tiers[::-1]}, "tiers need falling from_points"),
        ({"tiers": [{**tiers[0], "is_negative": True}, *tiers[1:]]}, "a tier below a negative one is negative too"),
        ({"tiers": [*tiers[:2], {**tiers[3], "is_negative": False}]}, "the last tier, very_high, must be negative"),
    ]  # fmt: skip
    for change, message in refusals:
        with pytest.raises(ValidationError, match=message):
            ScoreCard(**{**card, **change})
    with pytest.raises(ValidationError, match="'age_band' says who a customer is"):
        FinanceRules(**{**SECTION, "demand": [{**SECTION["demand"][0], "fact": "age_band"}]})
    with pytest.raises(ValidationError, match="give one of at_least and at_most"):
        FinanceRules(**{**SECTION, "demand": [{**SECTION["demand"][0], "at_most": 3}]})
    with pytest.raises(ValidationError, match="overdue_buckets need ascending"):
        FinanceRules(**{**SECTION, "overdue_buckets": SECTION["overdue_buckets"][::-1]})
