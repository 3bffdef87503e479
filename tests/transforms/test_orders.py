"""Orders: lines together, returns taken off, and what still counts as a purchase."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from tests.builders import DAY, TIERS, at, days_before, event, frame
from tests.stories import Events, many_orders
from transforms.contracts import conform, silver
from transforms.orders import ZeroValueOrders, build_order_lines, build_orders, match_returns, priced_lines

BOUGHT, BACK = days_before(10), days_before(3)  # the stories' day of buying, and of bringing back


def line(story: str, number: int, amount: Any, **said: Any) -> dict[str, Any]:
    return event(
        f"{story} {number}",
        order_id=f"shop:{story}",
        line_id=str(number),
        amount=amount,
        **{"event_date": BOUGHT, **said},
    )


def back(story: str, name: str, amount: Any, **said: Any) -> dict[str, Any]:
    """A return on BACK; an amount of None says nothing about money."""
    row = {"event_date": BACK, "order_id": f"shop:{story}", "event_type": "return", **said}
    return event(f"{story} {name}", amount=amount, **row)


@dataclass
class Story:
    """What happened to one order (lines of 60 and 40 unless said), and what is expected of it."""

    returns: Events
    returned: str
    is_purchase: bool = True
    is_fully_returned: bool = False
    by_line: tuple[str, ...] = ()  # what each line gives back
    lines: Events = field(default_factory=list)


def story(name: str, *returns: dict[str, Any], lines: Events | None = None, **expected: Any) -> tuple[str, Story]:
    usual = [line(name, 1, 60), line(name, 2, 40)]
    return name, Story(list(returns), lines=usual if lines is None else lines, **expected)


STORIES = dict(
    [
        story("kept", returned="0", by_line=("0", "0")),
        story("line back", back("line back", "a", 40, line_id="2", quantity=1), returned="40", by_line=("0", "40")),
        story("part of a line", back("part of a line", "a", 15, line_id="2"), returned="15", by_line=("0", "15")),
        # No line named, or one that the order has not: lines give in turn, each as much as it has.
        story("of the order", back("of the order", "a", 70), returned="70", by_line=("60", "10")),
        story("unknown line", back("unknown line", "a", 70, line_id="9"), returned="70", by_line=("60", "10")),
        story(
            "line, then order",
            back("line, then order", "a", 50, line_id="1"),
            back("line, then order", "b", 30),
            returned="80",
            by_line=("60", "20"),  # the first line has ten left, the second gives the other twenty
        ),
        story("cancelled", back("cancelled", "a", None, event_type="cancel"), returned="100", by_line=("60", "40"),
              is_purchase=False, is_fully_returned=True),  # no amount: all of it
        story("line cancelled", back("line cancelled", "a", None, line_id="1"), returned="60", by_line=("60", "0")),
        story(
            "rest cancelled",
            back("rest cancelled", "a", 25, line_id="2"),
            back("rest cancelled", "b", None, event_at=at(BACK, 13)),
            returned="100", by_line=("60", "40"), is_purchase=False, is_fully_returned=True,
        ),
        story(
            "rest of a line",
            back("rest of a line", "a", 25, line_id="1"),
            back("rest of a line", "b", None, line_id="1", event_at=at(BACK, 13)),
            returned="60", by_line=("60", "0"),
        ),
        story(
            "cancelled twice",
            back("cancelled twice", "a", None),
            back("cancelled twice", "b", None, event_at=at(BACK, 13)),
            returned="100", by_line=("60", "40"), is_purchase=False, is_fully_returned=True,
        ),
        story(
            "cancelled, then its lines",  # some systems write both; nothing is left for the lines
            back("cancelled, then its lines", "a", None),
            back("cancelled, then its lines", "b", None, line_id="1", event_at=at(BACK, 13)),
            back("cancelled, then its lines", "c", None, line_id="2", event_at=at(BACK, 14)),
            returned="100", by_line=("60", "40"), is_purchase=False, is_fully_returned=True,
        ),
        # More money back than was paid: it is said so, on the last line, and the order is no purchase.
        story("over", back("over", "a", 130), returned="130", by_line=("60", "70"),
              is_purchase=False, is_fully_returned=True),
        story("negative amount", back("negative amount", "a", -40, quantity=-1), returned="40", by_line=("40", "0")),
        # All pieces are back but not all money (a restocking fee): no purchase any more.
        story("pieces back", back("pieces back", "a", 90, quantity=2), returned="90", by_line=("60", "30"),
              is_purchase=False, is_fully_returned=True),
        story("money back, goods kept", back("money back, goods kept", "a", 100, quantity=0), returned="100",
              by_line=("60", "40"), is_purchase=False, is_fully_returned=True),
        story("after D", back("after D", "a", 100, event_date=days_before(-1), arrival_date=DAY), returned="0",
              by_line=("0", "0")),
        story("on D", back("on D", "a", 40, event_date=DAY), returned="40", by_line=("40", "0")),
        story("of another", back("nobody's order", "a", 40), returned="0", by_line=("0", "0")),
        story("no pieces", lines=[line("no pieces", 1, 60, quantity=0)], returned="0", by_line=("0",),
              is_purchase=False),
        story("no amount", lines=[line("no amount", 1, None)], returned="0", by_line=("0",), is_purchase=False),
        story("unsaid pieces", lines=[line("unsaid pieces", 1, 60, quantity=None)], returned="0", by_line=("0",)),
        story("free", lines=[line("free", 1, 0)], returned="0", by_line=("0",), is_purchase=False),
        # A gift and what comes back of it: no line of the order, nothing off it, although that return says no amount.
        story(
            "with a gift",
            back("with a gift", "of the gift", None, line_id="3"),
            back("with a gift", "says money", 9, line_id="3", quantity=1),
            back("with a gift", "says so itself", 9, is_gift=True),
            back("with a gift", "of a line", 40, line_id="2", quantity=1),
            lines=[line("with a gift", 1, 60), line("with a gift", 2, 40),
                   # strongest lead, first to be sold, much money: were it a line, all of these would show
                   line("with a gift", 3, 500, is_gift=True, identifiers={"member": "A"}, event_date=days_before(11))],
            returned="40", by_line=("0", "40"),
        ),
        # One number for a gift and a line that was paid: it is the line's.
        story(
            "one number twice",
            back("one number twice", "a", None, line_id="1"),
            lines=[line("one number twice", 1, 60), {**line("one number twice", 2, 0, is_gift=True), "line_id": "1"}],
            returned="60", by_line=("60",), is_purchase=False, is_fully_returned=True,
        ),
        story("cancelled with its gift", back("cancelled with its gift", "a", None, event_type="cancel"),
              lines=[line("cancelled with its gift", 1, 100), line("cancelled with its gift", 2, 0, is_gift=True)],
              returned="100", by_line=("100",), is_purchase=False, is_fully_returned=True),
    ]
)  # fmt: skip

# An order of gifts only is none, and nothing comes back of it: not even in the customer's returned amount.
GIVEN = [line("given", 1, 60, is_gift=True), back("given", "a", 60), back("given", "b", 60, line_id="1")]


def built(spark: SparkSession, events: Events, zero: ZeroValueOrders = "exclude") -> tuple[list[Row], dict[str, Row]]:
    """Lines, and orders by their id."""
    made = build_order_lines(frame(spark, silver.EVENTS, events), DAY, TIERS, zero)
    lines = conform(made, silver.ORDER_LINES).collect()
    kept = spark.createDataFrame(lines, silver.ORDER_LINES.schema)  # as the job reads back what it wrote
    orders = conform(build_orders(kept), silver.ORDERS).collect()
    return lines, {row.order_id: row for row in orders}


@pytest.fixture(scope="module")
def usual(spark: SparkSession) -> tuple[list[Row], dict[str, Row]]:
    """Lines and orders of all stories and of the orders that are about dates and leads, built at once."""
    return built(spark, [row for told in STORIES.values() for row in (*told.lines, *told.returns)] + LED + GIVEN)


def test_returns_are_taken_off_their_order(usual: tuple[list[Row], dict[str, Row]]) -> None:
    lines, orders = usual
    for name, told in STORIES.items():
        order = orders[f"shop:{name}"]
        bought = [row for row in told.lines if not row["is_gift"]]
        gross = sum((row["amount"] or Decimal(0) for row in bought), Decimal(0))
        assert (order.gross_amount, order.returned_amount) == (gross, Decimal(told.returned)), name
        assert order.net_amount == gross - Decimal(told.returned), name
        assert (order.is_purchase, order.is_fully_returned) == (told.is_purchase, told.is_fully_returned), name
        own = sorted((row.line_id, row.returned_amount) for row in lines if row.order_id == f"shop:{name}")
        assert [amount for _, amount in own] == [Decimal(amount) for amount in told.by_line], name
        assert (order.item_count, order.order_date, order.lead_identifier) == (len(bought), BOUGHT, "M1"), name
    late = orders["shop:line back"]
    assert late.known_at_date == BACK  # known since its return arrived
    assert orders["shop:kept"].known_at_date == BOUGHT


def test_zero_value_orders_count_when_told_to(spark: SparkSession) -> None:
    events = [
        line("free", 1, 0),  # given away
        line("part", 1, 0, quantity=2), back("part", "a", 0, quantity=1),  # one of two free pieces back
        line("back", 1, 0), back("back", "a", 0, quantity=1),  # the free piece back
        line("cancelled", 1, 0), back("cancelled", "a", None, event_type="cancel"),
        line("partly free", 1, 0), line("partly free", 2, 10),  # not a zero-value order
        line("returned", 1, 10), back("returned", "a", 10),  # zero in the end, but it had a price
    ]  # fmt: skip
    expected = {"free": True, "part": True, "back": False, "cancelled": False, "partly free": True, "returned": False}
    counted = {order_id: row.is_purchase for order_id, row in built(spark, events, "count")[1].items()}
    assert counted == {f"shop:{name}": counts for name, counts in expected.items()}


LED = [
    # The strongest lead of any line, the date of the first, the place of the first by number.
    line("a", 1, 10, identifiers={"device": "d"}, store_id="S1", coupon_id="c2", event_date=days_before(9)),
    line("a", 2, 10, identifiers={"member": "m"}, store_id="S2", coupon_id="c1", event_date=days_before(8)),
    line("a", 3, 10, identifiers={"phone": "p"}, event_date=days_before(10)),
    # Two members on one order: the lesser value, whichever came first.
    line("b", 1, 10, identifiers={"member": "z"}),
    line("b", 2, 10, identifiers={"member": "y"}),
    line("guest", 1, 10, identifiers=None),
    # One number in two sources is two orders; an event without a number is an order of its own.
    event("pos", order_id="pos:7"),
    event("web", order_id="web:7"),
    event("x1", order_id=None),
    event("x2", order_id=None),
    line("tomorrow", 1, 10, event_date=days_before(-1), arrival_date=DAY),
    event("view", "view"),  # no order at all
]


def test_order_is_dated_and_led_by_its_lines(usual: tuple[list[Row], dict[str, Row]]) -> None:
    lines, orders = usual
    lead = ("lead_identifier_type", "lead_identifier")
    led = {"shop:a", "shop:b", "shop:guest", "pos:7", "web:7", "store_pos:x1", "store_pos:x2"}
    assert set(orders) == led | {f"shop:{name}" for name in STORIES}
    first = orders["shop:a"]
    assert (first.order_date, first.store_id, first.coupon_id, first.item_count) == (days_before(10), "S1", "c1", 3)
    assert tuple(first[name] for name in lead) == ("member", "m")
    assert {tuple(row[name] for name in lead) for row in lines if row.order_id == "shop:a"} == {("member", "m")}
    assert orders["shop:b"].lead_identifier == "y"
    assert orders["shop:guest"].lead_identifier is None
    assert orders["shop:guest"].is_purchase  # stores and the chain count it


def test_returns_carry_their_order(spark: SparkSession) -> None:
    stranger = {"member": "stranger"}
    events = [
        line("a", 1, 60, store_id="S1", category="tea"),
        line("a", 2, 40, store_id="S1", category="cake"),
        back("a", "line", 40, line_id="2", source="service", identifiers=stranger, channel="service"),
        back("a", "whole", None, source="service", identifiers=stranger, event_at=at(BACK, 20)),
        back("unheard", "alone", 9, identifiers=stranger),
        back("unheard", "void", None, identifiers=stranger),  # no order, no amount: nothing
        {**back("a", "nameless", 5, identifiers=stranger), "order_id": None},
        line("later", 1, 10, event_date=days_before(-1), arrival_date=DAY),
        back("later", "early", 5, event_date=DAY, identifiers=stranger),  # its order is not seen yet
        *GIVEN,
        back("unheard", "gift", 9, identifiers=stranger, is_gift=True),  # says so itself: not even a return of nothing
    ]
    seen = frame(spark, silver.EVENTS, events)
    found = {row.event_id: row for row in match_returns(seen, priced_lines(seen, DAY, TIERS, "exclude"), DAY).collect()}
    of_line, whole = found["a line"], found["a whole"]
    assert (of_line.is_matched, of_line.is_line, of_line.order_date, of_line.lead_identifier) == (
        True,
        True,
        BOUGHT,
        "M1",
    )
    assert (of_line.category, of_line.store_id, of_line.channel) == (
        "cake",
        "S1",
        "service",
    )  # what it says itself stays
    assert (of_line.returned_amount, of_line.ends_purchase) == (Decimal(40), False)
    assert (whole.is_line, whole.returned_amount, whole.returned_quantity) == (False, Decimal(60), Decimal(2))
    assert whole.ends_purchase
    for name, amount in (("unheard alone", 9), ("unheard void", 0), ("a nameless", 5), ("later early", 5)):
        lone = found[name]
        assert (lone.is_matched, lone.order_date, lone.lead_identifier) == (False, None, "stranger"), name
        assert (lone.returned_amount, lone.ends_purchase) == (Decimal(amount), False), name
    assert len(found) == 6


# -- the plainest possible telling of the same rules -------------------------------------------------------------------

ZERO = Decimal(0)


@dataclass
class Expected:
    """An order as a person with paper would work it out."""

    lines: Events
    gross: Decimal
    pieces: Decimal
    money_by_line: dict[str, Decimal]
    returned: Decimal = ZERO
    pieces_back: Decimal = ZERO


def worked_out(lines: Events, returns: Events) -> Expected:
    """One return after the other, in time: money and pieces it takes, then the order's share over the lines in turn."""
    price = {row["event_id"]: row["amount"] for row in lines}
    count = {row["event_id"]: row["quantity"] if row["quantity"] is not None else Decimal(1) for row in lines}
    order = Expected(lines, sum(price.values(), ZERO), sum(count.values(), ZERO), dict.fromkeys(price, ZERO))
    of_line: dict[str, list[tuple[Decimal, Decimal]]] = {}
    lines_done: set[str] = set()
    all_done, shared = False, ZERO
    for row in sorted(returns, key=lambda row: (row["event_at"], row["event_id"])):
        own = next((one for one in lines if one["line_id"] is not None and one["line_id"] == row["line_id"]), None)
        says_all = row["amount"] is None
        money, pieces = abs(row["amount"] or ZERO), abs(row["quantity"] or ZERO)
        if says_all and own is None:
            money = ZERO if all_done else max(order.gross - order.returned, ZERO)
            pieces = ZERO if all_done else max(order.pieces - order.pieces_back, ZERO)
            all_done = True
        elif says_all and own is not None:
            gone = all_done or own["event_id"] in lines_done
            earlier = of_line.get(own["event_id"], [])
            money = ZERO if gone else max(price[own["event_id"]] - sum((m for m, _ in earlier), ZERO), ZERO)
            pieces = ZERO if gone else max(count[own["event_id"]] - sum((p for _, p in earlier), ZERO), ZERO)
            lines_done.add(own["event_id"])
        order.returned += money
        order.pieces_back += pieces
        if own is None:
            shared += money
        else:
            of_line.setdefault(own["event_id"], []).append((money, pieces))
            order.money_by_line[own["event_id"]] += money
    in_turn = sorted(lines, key=lambda row: (row["line_id"] is not None, row["line_id"], row["event_id"]))
    for row in in_turn:
        part = min(shared, max(price[row["event_id"]] - order.money_by_line[row["event_id"]], ZERO))
        part = shared if row is in_turn[-1] else part
        order.money_by_line[row["event_id"]] += part
        shared -= part
    return order


def without_gifts(order: Events) -> Events:
    """Events of one order less the lines that were given away and what came back of them."""
    lines = [row for row in order if row["event_type"] == "order"]
    paid = {row["line_id"] for row in lines if not row["is_gift"] and row["line_id"] is not None}
    given = {row["line_id"] for row in lines if row["is_gift"] and row["line_id"] is not None} - paid
    return [
        row for row in order if not row["is_gift"] and (row["event_type"] == "order" or row["line_id"] not in given)
    ]


def counts(order: Expected) -> bool:
    """Whether it is a purchase, where orders that cost nothing are."""
    return (order.gross == 0 or order.gross > order.returned) and order.pieces > order.pieces_back


def test_orders_equal_working_them_out_by_hand(spark: SparkSession) -> None:
    events = many_orders(300, seed=1, line_days=1)
    lines, orders = built(spark, events, "count")
    seen = [row for row in events if row["event_date"] <= DAY]
    given_back = {row.event_id: row.returned_amount for row in lines}
    for order_id in {row["order_id"] for row in seen if row["event_type"] == "order"}:
        own = without_gifts([row for row in seen if row["order_id"] == order_id])
        bought = [row for row in own if row["event_type"] == "order"]
        if not bought:
            continue  # all of it was given away
        expected = worked_out(bought, [row for row in own if row["event_type"] != "order"])
        order = orders.pop(order_id)
        assert (order.gross_amount, order.returned_amount) == (expected.gross, expected.returned), own
        assert order.net_amount == expected.gross - expected.returned
        assert {row["event_id"]: given_back[row["event_id"]] for row in bought} == expected.money_by_line, own
        assert order.is_purchase == counts(expected), own
        strongest = min(
            ((TIERS[row["lead_identifier_type"]], row["lead_identifier"]) for row in bought if row["lead_identifier"]),
            default=(None, None),
        )
        assert order.lead_identifier == strongest[1]
        assert order.order_date == min(row["event_date"] for row in bought)
    assert orders == {}
