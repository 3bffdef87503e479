"""Campaign results against a plain reckoning of random customers and a story by hand; reviews against their rules."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, Row, SparkSession

from tests.builders import DAY, at, days_before, event, frame, order
from transforms.campaigns.attribution import METHODS
from transforms.campaigns.results import UNATTRIBUTED, campaign_purchases, campaign_results, campaign_touches
from transforms.campaigns.reviews import review_campaigns
from transforms.campaigns.rules import CampaignRules, check_columns
from transforms.contracts import conform, gold, silver

CONF = Path(__file__).parents[2] / "conf"
MEMBER = "member"


def shipped() -> CampaignRules:
    said = yaml.safe_load((CONF / "campaigns.yaml").read_text(encoding="utf-8"))["campaigns"]
    return CampaignRules.model_validate(said)


def owned(rows: DataFrame) -> DataFrame:
    """A customer is the member who leads."""
    return rows.selectExpr("*", "lead_identifier as customer_id")


def by_hand(touches: list[tuple[datetime, str, str]], cents: int, method: str) -> list[tuple[str, int]]:
    """(campaign, cents) of each touch that an order is shared by, as the docstring of `shares` says."""
    names = [campaign for _, _, campaign in sorted(touches)]
    count = len(names)
    if not names:
        return [(UNATTRIBUTED, cents)]
    if method in ("last", "first") or count == 1:
        return [(names[-1 if method == "last" else 0], cents)]
    if method == "linear":
        parts = [cents // count] * count
    elif count == 2:
        parts = [cents // 2] * 2
    else:
        parts = [cents * 40 // 100, *[cents * 20 // (100 * (count - 2))] * (count - 2), 0]
    return [*zip(names[:-1], parts[:-1], strict=True), (names[-1], cents - sum(parts[:-1]))]


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """Random touches and orders of 40 members and some guests in 30 days, in ticks of four hours."""
    chance = random.Random(7)
    events: list[dict[str, Any]] = []
    orders: list[dict[str, Any]] = []
    touches: dict[str, list[tuple[datetime, str, str]]] = defaultdict(list)
    bought: list[tuple[str | None, datetime, str, int]] = []
    start = at(days_before(29), 0)
    for number in range(46):
        name = f"M{number}" if number < 40 else None
        for place in range(chance.randint(0, 6) if name else 0):
            when, key = start + timedelta(hours=4 * chance.randint(0, 170)), f"T{number}-{place}"
            campaign = f"spring-{chance.randint(1, 4)}"
            touches[str(name)].append((when, key, campaign))
            props = {"contact_channel": chance.choice(["sms", "email"]), "cost": "0.05"}
            events.append(
                event(key, "touch", identifiers={MEMBER: name}, event_at=when, campaign_id=campaign, props=props)
            )
        for place in range(chance.randint(1, 4)):
            when, key = start + timedelta(hours=4 * chance.randint(0, 170)), f"O{number}-{place}"
            cents = chance.randint(1, 99_999)
            lead = {MEMBER: name} if name else None
            events.append(event(key, identifiers=lead, event_at=when, order_id=key))
            orders.append(
                order(
                    key,
                    lead_identifier=name,
                    order_date=when.date(),
                    gross_amount=Decimal(cents) / 100,
                )
            )
            bought.append((name, when, key, cents))
    return {"events": events, "orders": orders, "touches": touches, "bought": bought}


def test_every_cent_goes_where_the_method_says(spark: SparkSession, world: dict[str, Any]) -> None:
    rules = CampaignRules(window_days=7, look_back_days=30, asleep_days=180, wake_up_days=30, predecessors=3)
    people = sorted({str(name) for name, *_ in world["bought"]} - {"None"})
    segments = [(name, "odd" if int(name[1:]) % 2 else "even") for name in people]
    rows = _results(spark, world["events"], world["orders"], segments, rules)
    expected: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for name, when, key, cents in world["bought"]:
        near = [t for t in world["touches"].get(str(name), []) if t[0] <= when <= t[0] + timedelta(days=7)]
        segment = dict(segments).get(str(name), "none")
        for method in METHODS:
            for campaign, part in by_hand(near, cents, method):
                for place in ("all", segment):
                    expected[campaign, place, method].append((name, key, part))
    total = {(r.campaign_id, r.segment, r.attribution): r for r in rows if r.channel == "all"}
    for key, parts in expected.items():
        orders_of: dict[Any, set[str]] = defaultdict(set)
        for name, order_id, _ in parts:
            orders_of[name].add(order_id)
        orders_of.pop(None, None)  # guests bring money, but are nobody
        row = total.pop(key)
        assert row.revenue == Decimal(sum(part for *_, part in parts)) / 100, key
        assert row.converted == len(orders_of), key
        assert row.repurchased == sum(len(ids) > 1 for ids in orders_of.values()), key
    assert {row.revenue for row in total.values()} <= {Decimal("0.00")}
    revenue = Decimal(sum(cents for *_, cents in world["bought"])) / 100
    for method in METHODS:
        of_method = [r for r in rows if r.attribution == method and r.channel == "all"]
        assert sum(r.revenue for r in of_method if r.segment == "all") == revenue
        assert sum(r.revenue for r in of_method if r.segment != "all") == revenue
        by_channel = [r for r in rows if r.attribution == method and r.channel != "all" and r.segment == "all"]
        assert sum(r.revenue for r in by_channel) == revenue - total_of(rows, method).revenue
        sent = sum(len(touched) for touched in world["touches"].values())
        assert sum(r.cost for r in by_channel) == sent * Decimal("0.05")
    assert sum(len(near) > 2 for near in world["touches"].values()) > 5  # enough for the middle of 40/20/40


def total_of(rows: list[Row], method: str) -> Row:
    """The unattributed row of a method."""
    (found,) = [r for r in rows if (r.campaign_id, r.segment, r.attribution) == (UNATTRIBUTED, "all", method)]
    return found


def test_answers_belong_to_their_touch(spark: SparkSession) -> None:
    def did(name: str, kind: str, days_ago: int, **said: Any) -> dict[str, Any]:
        key = f"{name}-{kind}-{days_ago}-{len(said)}"
        return event(key, kind, identifiers={MEMBER: name}, event_at=at(days_before(days_ago)), **said)

    def sent(name: str, days_ago: int, campaign: str, via: str = "sms", cost: str | None = "0.50") -> dict[str, Any]:
        props = {"contact_channel": via, **({"cost": cost} if cost else {})}
        return did(name, "touch", days_ago, campaign_id=campaign, content_type="recall", props=props)

    def by(via: str) -> dict[str, str]:
        return {"contact_channel": via}

    events = [
        # touched by sms and mail in one campaign: the mail is opened, the click names no channel and follows the mail
        sent("both", 10, "a-1"), sent("both", 9, "a-1", "email", cost=None),
        did("both", "deliver", 10, campaign_id="a-1", props=by("sms")),
        did("both", "open", 8, campaign_id="a-1", props=by("email")),
        did("both", "click", 8, campaign_id="a-1"),
        # an answer before the touch, or of another campaign, is none
        sent("early", 10, "a-1"),
        did("early", "open", 11, campaign_id="a-1"), did("early", "click", 9, campaign_id="b-1"),
        # a coupon without a campaign within 14 days of the touch, and one after them
        sent("saver", 20, "a-1"), did("saver", "coupon_claim", 6), did("saver", "coupon_redeem", 5),
        # asleep, and woken by a visit on the 30th day; asleep, and only wrote to the service
        sent("sleeper", 40, "c-1"), did("sleeper", "visit", 10),
        sent("sleeper2", 40, "c-1"), did("sleeper2", "consult", 39), did("sleeper2", "visit", 9),
        # never bought before, bought within the window: at the touch's own instant
        sent("fresh", 3, "c-1"), did("fresh", "order", 3, order_id="f"),
        # bought before, so not activated
        sent("old", 3, "c-1"), did("old", "order", 2, order_id="g"),
        # touched before the period of 60 days; unsubscribed after
        sent("past", 60, "d-1"), did("past", "unsubscribe", 5, campaign_id="d-1"),
        sent("gone", 59, "d-1"), did("gone", "unsubscribe", 5, campaign_id="d-1"),
    ]  # fmt: skip

    def past(name: str, key: str, days_ago: int, **said: Any) -> dict[str, Any]:
        return order(key, lead_identifier=name, order_date=days_before(days_ago), **said)

    orders = [
        *[past("sleeper", "p", 221), past("sleeper2", "q", 221)],  # 181 days before the touch
        *[past("fresh", "f", 3), past("old", "h", 100), past("old", "g", 2, gross_amount=50)],
        past("old", "r", 1, returned_amount=100),  # given back: no purchase, no revenue
    ]
    rules = shipped().model_copy(update={"look_back_days": 60})
    rows = _results(spark, events, orders, [("both", "vip")], rules)
    last = {(r.campaign_id, r.segment, r.channel): r for r in rows if r.attribution == "last"}

    def told(*key: str) -> dict[str, int]:
        counted = last[key].asDict()
        names = ("targeted", *gold.CAMPAIGN_RESULTS.column_names[8:18])
        return {name: counted[name] for name in names if isinstance(counted[name], int) and counted[name]}

    assert told("a-1", "all", "all") == {
        "targeted": 3, "reached": 1, "opened": 1, "clicked": 1, "coupons_claimed": 1
    }  # fmt: skip
    assert told("a-1", "vip", "sms") == {"targeted": 1, "reached": 1}
    assert told("a-1", "vip", "email") == {"targeted": 1, "opened": 1, "clicked": 1}
    assert last["a-1", "all", "all"].cost == Decimal("1.50")
    assert last["a-1", "vip", "email"].cost == 0
    assert last["a-1", "vip", "email"].roi is None
    assert told("c-1", "all", "all") == {"targeted": 4, "woken_up": 1, "activated": 1, "converted": 2}
    won = last["c-1", "all", "all"]
    assert (won.cost, won.revenue, won.roi) == (Decimal("2.00"), Decimal("150.00"), Decimal(74))
    assert won.started_date == days_before(40)
    assert told("d-1", "all", "all") == {"targeted": 1, "unsubscribed": 1}
    assert (UNATTRIBUTED, "all", "all") not in last  # what was bought earlier is not of the period


def _results(
    spark: SparkSession, events: list[Any], orders: list[Any], segments: list[tuple[str, str]], rules: CampaignRules
) -> list[Row]:
    happened, sold = owned(frame(spark, silver.EVENTS, events)), owned(frame(spark, silver.ORDERS, orders))
    touches, bought = campaign_touches(happened, sold, DAY, rules), campaign_purchases(happened, sold, DAY, rules)
    known = spark.createDataFrame(segments, "customer_id string, segment string")
    rows = campaign_results(happened, touches, bought, known, DAY, rules)
    found = conform(rows, gold.CAMPAIGN_RESULTS).collect()
    keys = [tuple(row[name] for name in gold.CAMPAIGN_RESULTS.key) for row in found]
    assert len({*keys}) == len(keys)
    return found


def result(campaign_id: str, days_ago: int, method: str = "last", **said: Any) -> dict[str, Any]:
    """A total of gold.campaign_results: of 1,000 customers 900 reached, 300 opened, 60 clicked, 30 converted."""
    counts = {name: 0 for name in gold.CAMPAIGN_RESULTS.column_names[7:18]}
    usual = {"targeted": 1000, "reached": 900, "opened": 300, "clicked": 60, "unsubscribed": 5, "converted": 30}
    place = {"run_date": DAY, "segment": "all", "channel": "all", "content_type": "all"}
    money = {"cost": Decimal("50.00"), "revenue": Decimal("3000.00"), "roi": Decimal("59.000000")}
    named = {"campaign_id": campaign_id, "attribution": method, "started_date": days_before(days_ago)}
    return {**place, **counts, **usual, **money, **named, **said}


def test_reviews_say_what_fell_and_where_to_look(spark: SparkSession) -> None:
    both = ("last", "linear")
    results = [
        *[result("care-1", 120, method) for method in both],
        *[result("care-2", 90, method, targeted=3000, reached=2700, opened=900, clicked=180) for method in both],
        # opened by 180 of 1,000: less than 80 % of what the two before had, 1,200 of 4,000
        *[result("care-3", 60, method, opened=180, clicked=40) for method in both],
        # clicked as before and bought by 12 of 1,000; 31 left
        *[result("care-4", 30, method, converted=12, unsubscribed=31) for method in both],
        *[result("18", 30, method, roi=Decimal("-0.500000")) for method in both],  # no strategy in its name
        result("care-4", 30, segment="vip"),
        result(UNATTRIBUTED, 0, started_date=None),
    ]
    # 200 whom the strategy left alone: half of them for care-3, of whom 4 bought; the others for care-4, 1 of them
    control = [
        *[("care", f"h{n}", days_before(60 - n % 20)) for n in range(100)],
        *[("care", f"i{n}", days_before(30)) for n in range(100)],
        ("care", "h0", days_before(41)),  # planned again: their first day counts
        ("care", "tomorrow", days_before(-1)),
    ]
    orders = [
        *[order(f"o{n}", lead_identifier=f"h{n}", order_date=days_before(60 - n - 14)) for n in range(4)],
        order("late", lead_identifier="h7", order_date=days_before(60 - 7 - 15)),
        order("on the day", lead_identifier="i1", order_date=days_before(30)),
        order("before", lead_identifier="i2", order_date=days_before(31)),
        order("back", lead_identifier="i3", order_date=days_before(29), returned_amount=100),
    ]
    reviewed = review_campaigns(
        frame(spark, gold.CAMPAIGN_RESULTS, results),
        spark.createDataFrame(control, "strategy string, customer_id string, contact_date date"),
        owned(frame(spark, silver.ORDERS, orders)),
        DAY,
        shipped(),
    )
    found = {row.campaign_id: row for row in conform(reviewed, gold.CAMPAIGN_REVIEWS).collect()}
    assert {name: (row.strategy, row.predecessors) for name, row in found.items()} == {
        "care-1": ("care", []),
        "care-2": ("care", ["care-1"]),
        "care-3": ("care", ["care-1", "care-2"]),
        "care-4": ("care", ["care-1", "care-2", "care-3"]),
        "18": ("18", []),
    }
    assert {name: row.rules for name, row in found.items()} == {
        "care-1": [],
        "care-2": ["clicked_not_bought"],  # 30 of 3,000
        "care-3": ["opened_less", "no_better_than_control"],  # 3 % bought, of the control 4 %
        "care-4": ["clicked_not_bought", "too_many_left"],
        "18": ["costs_more_than_it_brings"],
    }
    third = found["care-3"]
    assert (third.open_rate, third.previous_open_rate, third.previous_targeted) == (
        Decimal("0.180000"), Decimal("0.300000"), 4000
    )  # fmt: skip
    assert (third.control_customers, third.control_bought_rate) == (100, Decimal("0.040000"))
    assert (found["care-4"].control_customers, found["care-4"].control_bought_rate) == (100, Decimal("0.010000"))
    assert third.proposals[0] == (
        "打开率下降: look at message, hour and channel of the strategy "
        "(targeted 1000, previous_targeted 4000, open_rate 0.1800, previous_open_rate 0.3000)"
    )
    assert (found["18"].control_customers, found["18"].previous_targeted, found["18"].previous_open_rate) == (
        0,
        0,
        None,
    )


def test_review_rules_read_what_reviews_have() -> None:
    rules = shipped()
    assert check_columns(rules) == []
    wrong = next(iter(rules.reviews.values())).model_copy(update={"when": "open_rat < 0.1"})
    told = check_columns(rules.model_copy(update={"reviews": {"x": wrong}}))
    assert [sentence.split(";")[0] for sentence in told] == [
        "campaigns.reviews.x.when: 'open_rat' is not a column here"
    ]
