"""Daily partials: rows that add up to the orders, whatever the date they are filtered to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from tests.builders import DAY, TIERS, at, days_before, event, frame
from tests.stories import Events, many_orders
from transforms.activity import build_activity
from transforms.contracts import conform, silver
from transforms.orders import ZeroValueOrders, build_order_lines, build_orders

SHANGHAI = "Asia/Shanghai"
EARLIER = days_before(2)


def partials(spark: SparkSession, events: Events, as_of: date = DAY, zero: ZeroValueOrders = "exclude") -> list[Row]:
    built = build_activity(frame(spark, silver.EVENTS, events), as_of, SHANGHAI, TIERS, zero)
    return conform(built, silver.ACTIVITY).collect()


def test_every_kind_of_event_adds_its_own_measures(spark: SparkSession) -> None:
    day = days_before(5)
    usual = {"order_id": "pos:1", "event_date": day}
    events = [
        event("l1", line_id="1", amount=60, discount_amount=5, cost_amount=30, category="tea", **usual),
        event("l2", line_id="2", amount=40, cost_amount=20, category="cake", **usual),
        event("r", "return", order_id="pos:1", line_id="2", amount=40, quantity=1, cost_amount=20, event_date=DAY,
              identifiers={"phone": "p"}),
        event("lost", "return", order_id="pos:?", amount=7, event_date=DAY),
        event("v1", "view", category="tea", dwell_seconds=10),
        event("v2", "view", category="tea", dwell_seconds=5),
        event("late view", "view", category="tea", event_at=at(DAY, 16), event_date=DAY),  # 00 h in Shanghai
        event("review", "review", rating=4),
        event("poor review", "review", rating=1),
        event("silent review", "review"),  # no rating is not a rating of nothing
        event("deposit", "deposit", amount=1000),
        event("guest", order_id="pos:2", amount=10, identifiers=None),
        event("after D", "view", event_date=days_before(-1), arrival_date=DAY),
    ]  # fmt: skip
    rows = partials(spark, events)
    key = silver.ACTIVITY.key
    assert len({tuple(row[name] for name in key) for row in rows}) == len(rows)
    found = {(row.event_type, row.category, row.event_hour, row.is_matched, row.lead_identifier): row for row in rows}
    assert set(found) == {
        ("order", "tea", 20, None, "M1"),  # noon UTC is eight in the evening in Shanghai
        ("order", "cake", 20, None, "M1"),
        ("return", "cake", 20, True, "M1"),  # its line's category, its order's customer
        ("return", None, 20, False, "M1"),
        ("view", "tea", 20, None, "M1"),
        ("view", "tea", 0, None, "M1"),
        ("review", None, 20, None, "M1"),
        ("deposit", None, 20, None, "M1"),
        ("order", None, 20, None, None),
    }
    tea, cake = found["order", "tea", 20, None, "M1"], found["order", "cake", 20, None, "M1"]
    assert (tea.order_count + cake.order_count, tea.event_count, cake.event_count) == (1, 1, 1)  # one order, two lines
    assert measures(tea) == {
        "quantity": 1,
        "gross_amount": 60,
        "discount_amount": 5,
        "net_amount": 60,
        "cost_amount": 30,
    }
    back = found["return", "cake", 20, True, "M1"]
    assert measures(back) == {"quantity": -1, "returned_amount": 40, "net_amount": -40, "cost_amount": -20}
    assert (back.event_date, back.counts_on_date, back.order_count) == (DAY, day, 0)  # counts on its order's date
    lost = found["return", None, 20, False, "M1"]
    assert measures(lost) == {"returned_amount": 7, "net_amount": -7}
    assert (lost.counts_on_date, lost.order_count) == (DAY, 0)  # names no order: its own date, no purchase less
    views = found["view", "tea", 20, None, "M1"]
    assert (views.event_count, views.dwell_seconds, measures(views)) == (2, 15, {})
    reviews = found["review", None, 20, None, "M1"]
    assert (reviews.event_count, reviews.rating_count, reviews.rating_sum) == (3, 2, 5)
    assert measures(found["deposit", None, 20, None, "M1"]) == {"other_amount": 1000}
    assert found["order", None, 20, None, None].order_count == 1


def measures(row: Row) -> dict[str, Any]:
    """Money and pieces that are not zero."""
    names = [name for name in row.asDict() if name.endswith("_amount") or name == "quantity"]
    assert None not in [row[name] for name in names]
    return {name: row[name] for name in names if row[name]}


Totals = dict[Any, tuple[int, Decimal, Decimal]]


def totals(rows: Iterable[Row], *by: str) -> Totals:
    """Purchases, net amount and amount given back, of partials that orders and returns made."""
    summed: defaultdict[Any, list[Any]] = defaultdict(lambda: [0, Decimal(0), Decimal(0)])
    for row in rows:
        if row.event_type in ("order", "return", "cancel"):
            cell = summed[tuple(row[name] for name in by)]
            for place, name in enumerate(("order_count", "net_amount", "returned_amount")):
                cell[place] += row[name]
    return {key: tuple(cell) for key, cell in summed.items() if any(cell)}  # type: ignore[misc]


def test_parts_of_a_month_change_no_row(spark: SparkSession) -> None:
    """Guests too, who all have no lead; two events of one partial are in one part."""
    days = [days_before(n) for n in range(40)]  # of two months
    events = [
        event(
            f"{kind} {day} {n}",
            "view",
            event_date=day,
            event_at=at(day),
            identifiers=None if kind == "guest" else {"member": f"M{n}"},
        )
        for day in days
        for kind in ("guest", "member")
        for n in range(3)
    ] + [event(f"again {day}", "view", event_date=day, event_at=at(day), identifiers={"member": "M0"}) for day in days]
    whole, parts = (
        build_activity(frame(spark, silver.EVENTS, events), DAY, SHANGHAI, TIERS, "exclude", month_parts=month_parts)
        for month_parts in (1, 3)
    )
    assert_df_equality(whole, parts, ignore_row_order=True)
    assert whole.count() == 40 * 4


def test_any_date_is_a_filter_and_rows_add_up_to_the_orders(spark: SparkSession) -> None:
    """Orders of one day each, with returns up to four days later: the partials of D hold those of every date before."""
    events = many_orders(300, seed=2)
    by = ("lead_identifier_type", "lead_identifier", "counts_on_date")
    rows = partials(spark, events, zero="count")
    earlier = partials(spark, events, as_of=EARLIER, zero="count")
    assert totals((row for row in rows if row.event_date <= EARLIER), *by) == totals(earlier, *by)

    lines = build_order_lines(frame(spark, silver.EVENTS, events), DAY, TIERS, "count")
    orders = build_orders(lines).select(
        "lead_identifier_type",
        "lead_identifier",
        F.col("order_date").alias("counts_on_date"),
        F.lit("order").alias("event_type"),
        F.col("is_purchase").cast("int").alias("order_count"),
        "net_amount",
        "returned_amount",
    )
    of_orders = (row for row in rows if row.is_matched is not False)  # those that name no order are no order's
    assert totals(of_orders, *by) == totals(orders.collect(), *by)


def test_a_purchase_ends_once_on_the_return_that_ends_it(spark: SparkSession) -> None:
    day = days_before(5)
    events = [
        event("o", order_id="pos:1", amount=100, event_date=day),
        event("r1", "return", order_id="pos:1", amount=60, event_date=days_before(3)),
        event("r2", "return", order_id="pos:1", amount=40, event_date=days_before(2)),  # nothing is left from here on
        event("r3", "return", order_id="pos:1", amount=10, event_date=days_before(1)),  # too much back, no second end
        event("free", order_id="pos:2", amount=0, quantity=2, event_date=day),
        event("f1", "return", order_id="pos:2", amount=0, quantity=1, event_date=days_before(3)),
        event("f2", "return", order_id="pos:2", amount=0, quantity=1, event_date=days_before(1)),  # the second of two
    ]
    rows = partials(spark, events, zero="count")
    by_date = {(day,): count for (day,), (count, _, _) in totals(rows, "event_date").items()}
    assert by_date == {(day,): 2, (days_before(3),): 0, (days_before(2),): -1, (days_before(1),): -1}
    assert {row.counts_on_date for row in rows} == {day}
