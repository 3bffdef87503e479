"""The contact plan: every reason for leaving a customer out, channels, hours, caps, priorities and words."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import DataFrame, Row, SparkSession

from transforms.contacts.assignments import CONFLICT, HOLDOUT
from transforms.contacts.plan import plan_contacts, summarise_contacts
from transforms.contacts.rules import ContactRules, Strategy
from transforms.contracts import conform, gold

D = date(2026, 6, 29)
CONTACT_DAY = D + timedelta(days=1)
HOURS = {"first_hour": 9, "last_hour": 20, "usual_hour": 10}

RULES = {
    "days_ahead": 1,
    "contacts_per_day": 1,
    "answered_days": 180,
    "holdout": {"share": 0, "salt": "s"},
    "channels": {
        "sms": {"label": "短信", "reached_by": ["phone"], "cost": 0.05, **HOURS},
        "email": {"label": "邮件", "reached_by": ["email"], "cost": 0.01, **HOURS, "preferred_as": "ecommerce"},
        "app": {"label": "应用", "reached_by": ["member", "device"], "cost": 0, **HOURS, "preferred_as": "app"},
    },
    "caps": [{"channels": ["sms"], "contacts": 2, "days": 7}, {"channels": ["sms", "email"], "contacts": 3, "days": 7}],
    "calendar": {"member_days": [30], "festivals": {"tomorrow": {"label": "节", "dates": [CONTACT_DAY]}}},
    "words": {"skincare": "护肤"},
}
STRATEGY = {
    "label": "策略",
    "description": "d",
    "goal": "g",
    "kpi": "k",
    "segments": ["gold"],
    "content_type": "benefit",
    "channels": ["sms", "email", "app"],
    "offer": "券",
    "priority": 1,
    "message": "您好{member_level|会员}，{offer}",
    "generic_message": "您好",
}

PERSON = {
    "segments": ("array<string>", ["gold"]),
    "as_of": ("date", D),
    "birth_date": ("date", date(1990, 1, 1)),
    "consent_marketing": ("boolean", True),
    "consent_personalised": ("boolean", True),
    "consent_finance": ("boolean", True),
    "is_staff": ("boolean", None),
    "is_minor": ("boolean", False),
    "needs_human_review": ("boolean", None),
    "preferred_channel": ("string", None),
    "preferred_hour": ("int", None),
    "member_level": ("string", "gold"),
    "net_amount_lifetime": ("decimal(18,2)", Decimal("1234.56")),
    "reach": ("array<string>", ["email", "member", "phone"]),
    "touched": ("array<int>", [0, 0]),
    "answers": ("map<string,int>", {}),
    "closed": ("array<string>", []),
    "goods": ("array<struct<product_id:string,category:string>>", [("P1", "skincare"), ("P2", "food"), ("P3", "food")]),
    "finance": ("array<struct<product_id:string,category:string>>", [("LOAN", None)]),
    "variants": ("map<string,string>", {}),
    "is_suppressed": ("boolean", None),
}


def rules(**over: Any) -> ContactRules:
    return ContactRules(**{**RULES, **over})


def strategy(**over: Any) -> Strategy:
    return Strategy(**{**STRATEGY, **over})


def people(spark: SparkSession, customers: dict[str, dict[str, Any]], strategies: dict[str, Strategy]) -> DataFrame:
    contacted = {f"contacted_{code}": ("date", None) for code in strategies}
    kinds = {**PERSON, **contacted}
    schema = ", ".join(["customer_id string", *[f"{name} {kind}" for name, (kind, _) in kinds.items()]])
    usual = {name: value for name, (_, value) in kinds.items()}
    return spark.createDataFrame([Row(customer_id=c, **{**usual, **over}) for c, over in customers.items()], schema)


def planned(
    spark: SparkSession,
    customers: dict[str, dict[str, Any]],
    strategies: dict[str, Strategy],
    contact_rules: ContactRules | None = None,
) -> dict[tuple[str, str], Row]:
    plan = plan_contacts(people(spark, customers, strategies), D, strategies, contact_rules or rules())
    rows = conform(plan, gold.CONTACT_PLAN).collect()
    found = {(row.customer_id, row.strategy): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_who_is_left_out_and_why_on_each_side_of_every_border(spark: SparkSession) -> None:
    """The reason of customer and strategy, None a contact: `rest` rests 10 days, `loan` is finance, `mail` e-mail."""
    strategies = {
        "rest": strategy(rest_days=10),
        "loan": strategy(segments=["rich"], needs_finance=True, priority=2),
        "mail": strategy(segments=["mail"], channels=["email"], priority=3),
    }
    rich, mail = {"segments": ["rich"]}, {"segments": ["mail"]}
    cases: dict[str, tuple[str, str | None, dict[str, Any]]] = {
        "usual": ("rest", None, {}),
        "staff": ("rest", "staff", {"is_staff": True}),
        "refused": ("rest", "no_consent", {"consent_marketing": False}),
        "never asked": ("rest", "no_consent", {"consent_marketing": None}),
        "listed": ("rest", "suppressed", {"is_suppressed": True}),
        "recorded as held out": ("rest", "holdout", {"variants": {HOLDOUT: "holdout"}}),
        "held out and not, equally old": ("rest", "holdout", {"variants": {HOLDOUT: CONFLICT}}),
        "recorded as contacted": ("rest", None, {"variants": {HOLDOUT: "contact"}}),
        "contacted 9 days ago": ("rest", "contacted_recently", {"contacted_rest": D - timedelta(days=9)}),
        "contacted 10 days ago": ("rest", None, {"contacted_rest": D - timedelta(days=10)}),
        "no way to reach": ("rest", "unreachable", {"reach": ["cookie"]}),
        "nothing known": ("rest", "unreachable", {"reach": None, "touched": None, "closed": None, "answers": None}),
        "left every channel": ("rest", "unsubscribed", {"closed": ["sms", "email", "app"]}),
        "left what reaches": ("rest", "unsubscribed", {"reach": ["phone"], "closed": ["sms"]}),
        "finance": ("loan", None, rich),
        "no finance consent": ("loan", "no_finance_consent", {**rich, "consent_finance": None}),
        "minor": ("loan", "minor", {**rich, "is_minor": True}),
        "minor, no finance": ("rest", None, {"is_minor": True}),
        "to be reviewed": ("loan", "human_review", {**rich, "needs_human_review": True}),
        "one contact below the cap": ("mail", None, {**mail, "touched": [0, 2]}),
        "at the cap": ("mail", "over_cap", {**mail, "touched": [0, 3]}),
        "at another channel's cap": ("mail", None, {**mail, "touched": [2, 2]}),
    }
    plan = planned(spark, {name: over for name, (_, _, over) in cases.items()}, strategies)
    assert {name: (code, row.suppressed_reason) for (name, code), row in plan.items()} == {
        name: (code, reason) for name, (code, reason, _) in cases.items()
    }
    for row in plan.values():
        is_contact = row.suppressed_reason is None
        told = (row.channel, row.send_hour, row.message)
        assert all((value is not None) == is_contact for value in told), row
        assert row.contact_date == CONTACT_DAY
        assert is_contact or row.cost_amount == 0


def test_channel_follows_answers_then_preference_then_the_list(spark: SparkSession) -> None:
    strategies = {"s": strategy()}
    cases: dict[str, tuple[str, int, dict[str, Any]]] = {
        "first of the list, at its usual hour": ("sms", 10, {}),
        "answered e-mail": ("email", 10, {"answers": {"email": 2, "sms": 1}}),
        "answers before preference": ("email", 10, {"answers": {"email": 1}, "preferred_channel": "app"}),
        "prefers the app": ("app", 10, {"preferred_channel": "app"}),
        "prefers what is no contact": ("sms", 10, {"preferred_channel": "marketplace"}),
        "prefers e-mail, left it": ("sms", 10, {"preferred_channel": "ecommerce", "closed": ["email"]}),
        "no phone": ("email", 10, {"reach": ["email", "member"]}),
        "only a device": ("app", 10, {"reach": ["device"]}),
        "sms at its cap": ("email", 10, {"touched": [2, 2]}),
        "both at their cap": ("app", 10, {"touched": [1, 3]}),
        "in the evening": ("sms", 19, {"preferred_hour": 19}),
        "at night": ("sms", 20, {"preferred_hour": 23}),
        "before dawn": ("sms", 9, {"preferred_hour": 4}),
    }
    plan = planned(spark, {name: over for name, (_, _, over) in cases.items()}, strategies)
    assert {name: (row.channel, row.send_hour) for (name, _), row in plan.items()} == {
        name: (channel, hour) for name, (channel, hour, _) in cases.items()
    }
    costs = {row.channel: row.cost_amount for row in plan.values()}
    assert costs == {"sms": Decimal("0.05"), "email": Decimal("0.01"), "app": Decimal("0.00")}


def test_the_least_priority_number_goes_first_and_caps_count_tonight(spark: SparkSession) -> None:
    strategies = {
        "third": strategy(priority=9, channels=["sms", "app"]),
        "first": strategy(priority=1, channels=["sms"], cost_per_contact=3),
        "second": strategy(priority=5, channels=["sms", "email"]),
    }
    customers = {
        "fresh": {},  # one sms may follow
        "one sms left": {"touched": [1, 1]},  # first takes it, second goes to e-mail, third to the app
        "none left": {"touched": [2, 3]},  # all but the app is at a cap
        "resting": {"contacted_first": D, "touched": [0, 2]},  # first rests, second takes the last of both together
        "refused": {"consent_marketing": False},
    }
    strategies["first"] = strategies["first"].model_copy(update={"rest_days": 1})

    def decided(per_day: int) -> dict[tuple[str, str], str]:
        plan = planned(spark, customers, strategies, rules(contacts_per_day=per_day))
        assert {row.cost_amount for (_, code), row in plan.items() if code == "first" and row.channel} <= {Decimal(3)}
        return {key: row.channel or row.suppressed_reason for key, row in plan.items()}

    one, three = decided(1), decided(3)
    assert one == {
        ("fresh", "first"): "sms",
        ("fresh", "second"): "lower_priority",
        ("fresh", "third"): "lower_priority",
        ("one sms left", "first"): "sms",
        ("one sms left", "second"): "lower_priority",
        ("one sms left", "third"): "lower_priority",
        ("none left", "first"): "over_cap",
        ("none left", "second"): "over_cap",
        ("none left", "third"): "app",
        ("resting", "first"): "contacted_recently",
        ("resting", "second"): "sms",
        ("resting", "third"): "lower_priority",
        **{("refused", code): "no_consent" for code in strategies},
    }
    assert three == {
        **one,
        ("fresh", "second"): "sms",
        ("fresh", "third"): "app",  # two sms tonight are the week's
        ("one sms left", "second"): "email",
        ("one sms left", "third"): "app",
        ("resting", "third"): "app",
    }


def test_triggers_dates_and_conditions_choose_the_day(spark: SparkSession) -> None:
    """Which strategies take up each customer; the contact date is 30 June, a member day and a festival."""
    many = {"priority": range(1, 20)}
    said: dict[str, dict[str, Any]] = {
        "birthday": {"trigger": {"kind": "birthday"}},
        "birthday_in_3": {"trigger": {"kind": "birthday", "days_before": 3}},
        "member_day": {"trigger": {"kind": "member_day"}},
        "member_day_in_2": {"trigger": {"kind": "member_day", "days_before": 2}},
        "festival": {"trigger": {"kind": "festival", "festivals": ["tomorrow"]}},
        "festival_in_1": {"trigger": {"kind": "festival", "festivals": ["tomorrow"], "days_before": 1}},
        "until_today": {"valid_to": D},
        "until_tomorrow": {"valid_to": CONTACT_DAY},
        "from_tomorrow": {"valid_from": CONTACT_DAY},
        "from_after": {"valid_from": CONTACT_DAY + timedelta(days=1)},
        "big": {"when": "net_amount_lifetime > 1000"},
    }
    strategies = {code: strategy(priority=n, **said[code]) for n, code in zip(many["priority"], said, strict=False)}
    always = {"member_day", "festival", "until_tomorrow", "from_tomorrow"}
    cases: dict[str, tuple[set[str], dict[str, Any]]] = {
        "no birthday": ({*always, "big"}, {}),
        "birthday": ({*always, "big", "birthday"}, {"birth_date": date(1984, 6, 30)}),
        "birthday in three days": ({*always, "big", "birthday_in_3"}, {"birth_date": date(2001, 7, 3)}),
        "unknown": (always, {"birth_date": None, "net_amount_lifetime": None}),
        "small": (always, {"net_amount_lifetime": Decimal("1000.00")}),
    }
    plan = planned(spark, {name: over for name, (_, over) in cases.items()}, strategies)
    found = {name: {code for customer, code in plan if customer == name} for name in cases}
    assert found == {name: codes for name, (codes, _) in cases.items()}


def test_born_on_29_february(spark: SparkSession) -> None:
    strategies = {"birthday": strategy(trigger={"kind": "birthday"})}
    born = {"leapling": {"birth_date": date(2004, 2, 29)}, "the 28th": {"birth_date": date(2001, 2, 28)}}

    def celebrated(day: date) -> set[str]:
        frame = people(spark, born, strategies)
        plan = plan_contacts(frame, day - timedelta(days=1), strategies, rules())
        return {row.customer_id for row in plan.select("customer_id").collect()}

    assert celebrated(date(2027, 2, 28)) == {"leapling", "the 28th"}
    assert celebrated(date(2028, 2, 28)) == {"the 28th"}
    assert celebrated(date(2028, 2, 29)) == {"leapling"}


def test_words_are_personal_only_with_consent_to_that(spark: SparkSession) -> None:
    strategies = {
        "goods": strategy(
            message="{member_level|会员}：{category|好物}，{offer}，已购 {net_amount_lifetime} 元",
            products={"kind": "goods", "count": 2},
        ),
        "loan": strategy(segments=["rich"], message="{category} {product}", products={"kind": "finance"}, priority=2),
    }
    cases = {
        "known": (["P1", "P2"], "gold：护肤，券，已购 1234 元", {}),
        "no level": (["P1", "P2"], "会员：护肤，券，已购 1234 元", {"member_level": None}),
        "no recommendation": (None, "gold：好物，券，已购 1234 元", {"goods": None}),
        "a null without otherwise": (["P1", "P2"], "您好", {"net_amount_lifetime": None}),
        "nothing personal": (None, "您好", {"consent_personalised": False}),
        "never asked": (None, "您好", {"consent_personalised": None}),
        "finance": (["LOAN"], "您好", {"segments": ["rich"]}),  # a finance product has no category
    }
    plan = planned(spark, {name: over for name, (_, _, over) in cases.items()}, strategies)
    assert {name: (row.recommended_products, row.message) for (name, _), row in plan.items()} == {
        name: (products, message) for name, (products, message, _) in cases.items()
    }


def test_variants_are_drawn_once_and_say_what_they_say(spark: SparkSession) -> None:
    variants = {
        "A": {"share": 0.5},
        "B": {"share": 0.25, "offer": "大券", "message": "给您{offer}"},
        "none": {"share": 0.25, "is_contacted": False},
    }
    strategies = {"s": strategy(experiment={"id": "E", "salt": "salt", "variants": variants})}
    customers: dict[str, dict[str, Any]] = {f"C{n}": {} for n in range(400)}
    customers |= {
        "recorded": {"variants": {"E": "B"}},
        "by an event, unheard of": {"variants": {"E": "Z"}},
        "conflict": {"variants": {"E": CONFLICT}},
        "refused": {"consent_marketing": False},
    }
    held = rules(holdout={"share": 0.1, "salt": "h"})
    plan = {customer: row for (customer, _), row in planned(spark, customers, strategies, held).items()}

    assert (plan["recorded"].variant, plan["recorded"].offer, plan["recorded"].message) == ("B", "大券", "给您大券")
    assert (plan["by an event, unheard of"].variant, plan["by an event, unheard of"].offer) == ("Z", "券")
    assert plan["conflict"].suppressed_reason == "experiment_conflict"
    assert (plan["refused"].variant, plan["refused"].suppressed_reason) == (None, "no_consent")
    for n in range(400):  # the definition: 52 bits of SHA-256 of salt:experiment:customer
        row = plan[f"C{n}"]
        if share(f"h:{HOLDOUT}:C{n}") < Decimal("0.1"):
            assert (row.suppressed_reason, row.variant) == ("holdout", None)
            continue
        place = share(f"salt:E:C{n}")
        expected = "A" if place < Decimal("0.5") else "B" if place < Decimal("0.75") else "none"
        assert row.variant == expected
        assert row.suppressed_reason == ("control" if expected == "none" else None)
    assert {row.suppressed_reason for row in plan.values()} >= {"holdout", "control"}


def share(text: str) -> Decimal:
    return Decimal(int(sha256(text.encode()).hexdigest()[:13], 16)) / 16**13


def test_the_summary_is_the_plan_and_no_strategy_means_no_plan(spark: SparkSession) -> None:
    strategies = {"s": strategy(), "later": strategy(valid_from=D + timedelta(days=9), priority=2)}
    customers = {"a": {}, "b": {}, "c": {"consent_marketing": False}}
    plan = plan_contacts(people(spark, customers, strategies), D, strategies, rules())
    found = conform(summarise_contacts(plan), gold.CONTACT_SUMMARY).collect()
    assert {(row.strategy, row.channel, row.suppressed_reason, row.customers, row.cost_amount) for row in found} == {
        ("s", "sms", None, 2, Decimal("0.10")),
        ("s", None, "no_consent", 1, Decimal(0)),
    }
    only_later = {"later": strategies["later"]}
    nobody = plan_contacts(people(spark, customers, only_later), D, only_later, rules())
    assert conform(nobody, gold.CONTACT_PLAN).count() == 0


def test_what_ships_names_the_strategies_of_the_mission() -> None:
    shipped = yaml.safe_load((Path(__file__).parents[2] / "conf/strategies.yaml").read_text(encoding="utf-8"))
    strategies = {code: Strategy(**said) for code, said in shipped["strategies"].items()}
    ContactRules(**shipped["contacts"])
    mission = {
        "vip_care": ({"high_value"}, {"app", "sms", "store"}),
        "welcome": ({"new_customer"}, {"email", "app", "mini_program"}),
        "wake_up": ({"sleeping", "churn_warning"}, {"sms", "call", "push"}),
        "social_spread": ({"potential", "socially_active"}, {"wechat", "social"}),
        "value_activation": ({"finance_high_value"}, set()),
        "potential_nurture": ({"finance_potential"}, set()),
        "churn_intervention": ({"finance_churn"}, set()),
    }
    for code, (segments, channels) in mission.items():
        assert segments <= {*strategies[code].segments}, code
        assert channels <= {*strategies[code].channels}, code
        assert strategies[code].needs_finance == code.endswith(("activation", "nurture", "intervention"))
    assert {s.trigger.kind for s in strategies.values() if s.trigger} == {"birthday", "member_day", "festival"}
