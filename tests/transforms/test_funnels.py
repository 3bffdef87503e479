"""Funnels: against a search over all ways of random stories, and the shipped ones against a story told by hand."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import DataFrame, SparkSession

from tests.builders import DAY, at, days_before, event, frame, order
from transforms.contracts import conform, gold, silver
from transforms.funnels import Funnel, Funnels, check_columns, count_funnels

CONF = Path(__file__).parents[2] / "conf"
WINDOW = timedelta(days=2)
STEPS = {"looked": "a", "asked": "b", "bought": "order", "again": "order", "told": "c"}  # step to its event type
Happening = tuple[datetime, str, str]  # when, what, and the event or order that it is


def funnel(mode: str, **more: Any) -> Funnel:
    steps = [{"name": name, "label": name, "when": f"event_type = '{kind}'"} for name, kind in STEPS.items()]
    said = {"label": "漏斗", "description": "test", "mode": mode, "window_days": WINDOW.days, "look_back_days": 10}
    return Funnel.model_validate({**said, "steps": steps, **more})


def counted(
    spark: SparkSession,
    funnels: Funnels,
    events: Iterable[dict[str, Any]],
    orders: Iterable[dict[str, Any]] = (),
    segments: Iterable[tuple[str, str]] = (),
) -> dict[tuple[str, str, str], list[int]]:
    """Customers of each step by (funnel, scope, value); a customer is the member who leads."""

    def owned(rows: DataFrame) -> DataFrame:
        return rows.withColumnRenamed("customer_id", "_").selectExpr("*", "lead_identifier as customer_id")

    placed = spark.createDataFrame([*segments], "customer_id string, segment string")
    rows = count_funnels(
        owned(frame(spark, silver.EVENTS, events)), owned(frame(spark, silver.ORDERS, orders)), placed, DAY, funnels
    )
    found: dict[tuple[str, str, str], list[int]] = {}
    for row in sorted(conform(rows, gold.FUNNELS).collect(), key=lambda row: row.step_number):
        steps = found.setdefault((row.funnel, row.scope, row.scope_value), [])
        before = steps[-1] if steps else None
        steps.append(row.customers)
        assert row.step_number == len(steps)
        assert row.rate_from_first == share(row.customers, steps[0])
        assert row.rate_from_previous == (None if before is None else share(row.customers, before))
        assert row.drop_off == (None if row.rate_from_previous is None else 1 - row.rate_from_previous)
    return found


def share(part: int, whole: int) -> Decimal | None:
    return Decimal(f"{part / whole:.6f}") if whole else None


def furthest(story: Sequence[Happening], mode: str) -> int:
    """The most steps, from the first on, that different happenings can be: every choice is tried."""
    kinds = [*STEPS.values()]
    starts = [happening for happening in story if happening[1] == kinds[0]]
    if not starts:
        return 0
    begin = min(starts)[0]
    near = [happening for happening in story if begin <= happening[0] <= begin + WINDOW]

    def on(step: int, taken: frozenset[Happening], since: datetime) -> int:
        if step == len(kinds):
            return step
        fit = [h for h in near if h not in taken and h[1] == kinds[step] and (mode == "any" or h[0] >= since)]
        return max([on(step + 1, taken | {h}, h[0]) for h in fit], default=step)

    return max(on(1, frozenset([h]), begin) for h in starts if h[0] == begin)


def test_nobody_comes_further_or_less_far_than_their_events_allow(spark: SparkSession) -> None:
    """Random stories of 120 people in ticks of half a day, so that many happen at once; orders have several lines."""
    chance = random.Random(20_260_630)
    first = at(days_before(6))
    stories: dict[str, list[Happening]] = {}
    events, segments = [], []
    for number in range(120):
        name = f"M{number:03}"
        likely = chance.choice([("a", "b", "c", "order"), ("a", "a", "b", "order", "order", "order", "c")])
        for place in range(chance.randint(1, 14)):
            when = first + timedelta(hours=12 * chance.randint(0, 6))
            kind, key = chance.choice(likely), f"{name}-{place}"
            stories.setdefault(name, []).append((when, kind, key))
            lines = chance.randint(1, 2) if kind == "order" else 1
            events += [
                event(
                    f"{key}-{line}",
                    kind,
                    identifiers={"member": name},
                    event_at=when + timedelta(seconds=line * 5),  # the order is where its first line is
                    **({"order_id": key} if kind == "order" else {}),
                )
                for line in range(lines)
            ]
        segments.append((name, name))  # everybody a segment of their own, so that each is seen
    funnels = {mode: funnel(mode) for mode in ("ordered", "any")}
    found = counted(spark, funnels, events, segments=segments)
    for mode in funnels:
        expected = {name: furthest(story, mode) for name, story in stories.items()}
        seen = {name: sum(found.get((mode, "segment", name), [])) for name in stories}
        assert seen == expected
        assert found[mode, "chain", "all"] == [
            sum(steps >= n for steps in expected.values()) for n in range(1, len(STEPS) + 1)
        ]
        assert {0, 1, 2, 3, 4, 5} <= {*expected.values()}  # the stories are of all lengths


def shipped() -> Funnels:
    said = yaml.safe_load((CONF / "funnels.yaml").read_text(encoding="utf-8"))["funnels"]
    return {code: Funnel.model_validate(funnel) for code, funnel in said.items()}


def test_shipped_funnels_tell_a_story_right(spark: SparkSession) -> None:
    def did(name: str, kind: str, days_ago: int, hour: int = 12, **said: Any) -> dict[str, Any]:
        key = f"{name}-{kind}-{days_ago}-{hour}-{said.get('line_id', 1)}"
        lead = {"member": name} if name else None
        return event(key, kind, identifiers=lead, event_at=at(days_before(days_ago), hour), **said)

    def sent(name: str, days_ago: int, via: str = "sms") -> dict[str, Any]:
        return did(
            name, "touch", days_ago, campaign_id="wake_up-1", content_type="recall", props={"contact_channel": via}
        )

    def past(name: str, order_id: str, days_ago: int, **said: Any) -> dict[str, Any]:
        return order(order_id, lead_identifier=name, order_date=days_before(days_ago), **said)

    events = [
        # last bought 181 days before the touch; all the way, on one day, all but the touch at noon
        *[did("asleep", "order", 201), sent("asleep", 20), *[did("asleep", kind, 20) for kind in ("deliver", "open")]],
        *[did("asleep", "visit", 20), did("asleep", "order", 19, order_id="o1")],
        did("asleep", "order", 18, order_id="o2"),
        # last bought 180 days before: not asleep; opens without a delivery, so stops there
        *[did("awake", "order", 200), sent("awake", 20, "email"), did("awake", "open", 19)],
        # never bought, touched 90 days ago: one day before the look-back of campaigns, and touched again
        *[sent("late", 90), did("late", "deliver", 89), sent("late", 31), did("late", "deliver", 30)],
        # an order with two lines is one order; the second was given back, the third a gift
        *[sent("returner", 10), *[did("returner", kind, 9) for kind in ("deliver", "open", "click")]],
        *[did("returner", "order", 8, order_id="two", line_id=str(line)) for line in (1, 2)],
        *[did("returner", "order", 7, order_id="back"), did("returner", "order", 6, order_id="gift", is_gift=True)],
        # a guest, and someone who looked in the wrong order
        *[did("", "view", 5), did("hasty", "order", 5), did("hasty", "cart_add", 4), did("hasty", "view", 3)],
        # carted when the window of 7 days ends, and ordered a minute later
        *[did("slow", "view", 9, 12), did("slow", "cart_add", 2, 12), did("slow", "order", 2, 13)],
        # the purchase in which a coupon is redeemed is not the one after it
        *[did("saver", "coupon_claim", 9), did("saver", "coupon_redeem", 8, 10)],
        *[did("saver", "order", 8, 10, order_id="c", coupon_id="CP"), did("saver", "order", 1, order_id="d")],
        *[did("thrifty", "coupon_claim", 9), did("thrifty", "coupon_redeem", 8, 10)],
        did("thrifty", "order", 8, 10, coupon_id="CP"),
    ]
    orders = [
        *[past("asleep", "o0", 201), past("asleep", "o1", 19), past("awake", "o9", 200)],
        past("returner", "back", 7, returned_amount=100),
    ]
    segments = [("asleep", "sleeping"), ("awake", "lost"), ("returner", "active")]
    found = counted(spark, shipped(), events, orders, segments)
    assert found["campaign", "chain", "all"] == [4, 3, 2, 1, 1, 0]  # asleep did not click; awake was not delivered
    assert found["campaign", "contact_channel", "email"] == [1, 0, 0, 0, 0, 0]
    assert found["campaign", "segment", "active"] == [1, 1, 1, 1, 1, 0]
    assert found["campaign", "segment", "none"] == [1, 1, 0, 0, 0, 0]  # late
    assert found["wake_up", "chain", "all"] == [1, 1, 1, 1, 1, 1]
    assert found["wake_up", "campaign", "wake_up-1"] == [1, 1, 1, 1, 1, 1]
    assert found["coupon", "chain", "all"] == [2, 2, 1]
    assert found["purchase", "chain", "all"] == [2, 1, 0]
    assert {scope for _, scope, _ in found} == {
        "chain", "segment", "channel", "contact_channel", "campaign", "content_type"
    }  # fmt: skip


def test_a_column_that_events_do_not_have_is_told() -> None:
    wrong = funnel("any", scopes={"shop": "store"})
    assert [told.split(";")[0] for told in check_columns({"f": wrong})] == [
        "funnels.f.scopes.shop: 'store' is not a column here"
    ]
    assert check_columns(shipped()) == []
