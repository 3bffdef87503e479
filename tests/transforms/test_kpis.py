"""KPIs: windows and periods, guests, grains, conditions, bands, and the shipped declarations on hand-computed rows.

That every shipped KPI is what a query says, at every place, is in test_kpis_by_sql.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import Row, SparkSession
from pyspark.sql import types as T

from transforms.contracts import conform, gold, silver
from transforms.kpis import KpiRules, catalogue_rows, check_bands, check_columns, report_kpis
from transforms.kpis.frames import FRAMES
from transforms.kpis.periods import period_of
from transforms.kpis.stock import stock_levels
from transforms.kpis.touches import touches
from transforms.stores import Store

CONF = Path(__file__).parents[2] / "conf"
D = date(2026, 6, 30)
CUSTOMER = T.StructField("customer_id", T.StringType())
SEGMENT = T.StructField("segment", T.StringType())
PORTRAIT = [  # tags and values that shipped KPIs read
    T.StructField("top_viewed_category_30d", T.StringType()),
    T.StructField("interest_event_count_30d", T.LongType()),
    T.StructField("clv_365d", T.DecimalType(18, 2)),
]


def shipped() -> KpiRules:
    return KpiRules.model_validate(yaml.safe_load((CONF / "kpis.yaml").read_text(encoding="utf-8"))["kpis"])


def order(order_id: str, customer: str | None, days_ago: int, net: Any = 0, **over: Any) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "customer_id": customer,
        "order_date": D - timedelta(days=days_ago),
        "store_id": "s1",
        "channel": "store_pos",
        "net_amount": Decimal(str(net)),
        "is_purchase": True,
        **over,
    }


def event(event_type: str, customer: str | None, days_ago: int, **over: Any) -> dict[str, Any]:
    day = D - timedelta(days=days_ago)
    return {
        "event_type": event_type,
        "customer_id": customer,
        "event_date": day,
        "counts_on_date": day,
        "store_id": "s1",
        "channel": "store_pos",
        "event_count": 1,
        **{name: Decimal(0) for name in ("gross_amount", "returned_amount", "net_amount", "cost_amount")},
        "rating_sum": 0,
        "rating_count": 0,
        **over,
    }


def customer(customer_id: str, segment: str | None = "active", **over: Any) -> dict[str, Any]:
    return {"customer_id": customer_id, "segment": segment, **over}


def report(
    spark: SparkSession,
    rules: KpiRules,
    orders: Iterable[dict] = (),
    activity: Iterable[dict] = (),
    customers: Iterable[dict] = (),
    events: Iterable[dict] = (),
    stores: dict[str, Store] | None = None,
    period: str = "day",
) -> dict[tuple[str, str, str | None], Row]:
    """Rows of one place by (kpi, grain, place), from the named columns of each row and null in the others."""

    def frame(rows: Iterable[dict], fields: list[T.StructField]) -> Any:
        names = [field.name for field in fields]
        return spark.createDataFrame([tuple(row.get(name) for name in names) for row in rows], T.StructType(fields))

    frames = {
        "orders": frame(orders, [*silver.ORDERS.schema.fields, CUSTOMER]),
        "activity": frame(activity, [*silver.ACTIVITY.schema.fields, CUSTOMER]),
        "customers": frame(customers, [*silver.CUSTOMERS.schema.fields, SEGMENT, *PORTRAIT]),
        "events": frame(events, [*silver.EVENTS.schema.fields, CUSTOMER]),
        "campaigns": frame([], list(gold.CAMPAIGN_RESULTS.schema.fields)),
    }
    frames["touches"] = touches(frames["activity"], frames["orders"], D - timedelta(days=62), D)
    frames["stock"] = stock_levels(frames["events"], D)
    known_at = D + timedelta(days=3)
    rows = (
        conform(report_kpis(frames, D, known_at, rules, stores), gold.KPI_VALUES)
        .where(f"period = '{period}'")
        .collect()
    )
    single = [row for row in rows if row.grain in ("chain", "region", "store", "channel", "segment", "category")]
    keyed = {(r.kpi, r.grain, r.store_id or r.channel or r.segment or r.region or r.category): r for r in single}
    assert len(keyed) == len(single)
    return keyed


def one(code: str, **kpi: Any) -> KpiRules:
    kpi = {"label": "指标", "description": "test", "direction": "up", "unit": "ratio", **kpi}
    return KpiRules(kpis={code: kpi})


def test_measures_count_inside_their_windows_only(spark: SparkSession) -> None:
    def declared(numerator: dict[str, Any]) -> dict[str, Any]:
        return {"label": "", "description": "", "numerator": numerator, "direction": "up", "unit": "count"}

    rules = KpiRules(
        kpis={
            "orders_30d": declared({"measure": "count", "from": "orders"}),
            "orders_ever": declared({"measure": "count", "from": "orders", "window_days": "lifetime"}),
            "net_10d": declared({"measure": "sum(net_amount)", "from": "orders", "window_days": 10}),
            "buyers_30d": declared({"measure": "customers", "from": "orders"}),
            "twice_ever": declared(
                {"measure": "customers", "from": "orders", "window_days": "lifetime", "at_least": 2}
            ),
            "visits_30d": declared({"measure": "count", "from": "activity", "where": "event_type = 'visit'"}),
            "net_of_all": declared({"measure": "sum(net_amount)", "from": "activity"}),
        }
    )
    orders = [
        order("on D", "a", 0, 1),
        order("first day of 10", "a", 9, 2),
        order("first day of 30", "b", 29, 4),
        order("day before it", "c", 30, 8),
        order("tomorrow", "d", -1, 16),
        order("guest", None, 1, 32),
        order("guest again", None, 1, 64),  # two guest orders are not one customer with two
    ]
    activity = [
        event("visit", "a", 29, event_count=2),
        event("visit", None, 3),
        event("visit", "a", 30),
        # returned in July: not known to have happened on D, though it counts on a day of June
        event("return", "a", -2, counts_on_date=D, net_amount=Decimal(-5)),
        # returned in June for an order of 40 days ago: counts there, outside the window
        event("return", "a", 2, counts_on_date=D - timedelta(days=40), net_amount=Decimal(-7)),
        # returned in June without an order: counts on its own date
        event("return", "a", 2, net_amount=Decimal(-9)),
    ]
    rows = report(spark, rules, orders, activity, [customer(c) for c in "abcd"])
    chain = {kpi: row.value for (kpi, grain, _), row in rows.items() if grain == "chain"}
    assert chain == {
        "orders_30d": 5,
        "orders_ever": 6,
        "net_10d": 1 + 2 + 32 + 64,
        "buyers_30d": 2,  # a, b
        "twice_ever": 1,  # a
        "visits_30d": 3,
        "net_of_all": -9,
    }
    some = rows["orders_30d", "chain", None]
    assert (some.kpi_date, some.known_at_date, some.denominator) == (D, D + timedelta(days=3), None)


def test_grains_place_each_row_once(spark: SparkSession) -> None:
    rules = one(
        "repurchase",
        numerator={"measure": "customers", "from": "orders", "at_least": 2},
        denominator={"measure": "customers", "from": "orders"},
    )
    orders = [
        order("o1", "a", 1),
        order("o2", "a", 2, store_id="s2"),  # twice in the chain, once in each store
        order("o3", "b", 1),
        order("o4", "b", 1),  # twice in one store
        order("o5", "stranger", 1, store_id=None, channel="app"),  # not (yet) in the customers: no segment either
        order("o6", None, 1),
    ]
    rows = report(spark, rules, orders, customers=[customer("a"), customer("b", "lost"), customer("idle", "prospect")])
    found = {key[1:]: (row.numerator, row.denominator) for key, row in rows.items()}
    assert found == {
        ("chain", None): (2, 3),
        ("store", "s1"): (1, 2),
        ("store", "s2"): (0, 1),
        ("store", "unknown"): (0, 1),
        ("channel", "store_pos"): (2, 2),
        ("channel", "app"): (0, 1),
        ("segment", "active"): (1, 1),
        ("segment", "lost"): (1, 1),
        ("segment", "unknown"): (0, 1),
        ("segment", "prospect"): (0, 0),  # nobody to divide by
    }
    assert rows["repurchase", "chain", None].value == Decimal("0.666667")
    assert rows["repurchase", "segment", "prospect"].value is None


def test_periods_end_on_the_date() -> None:
    def dates(name: str, day: date, days: int | None = None) -> tuple[date, ...]:
        period = period_of(name, day, days)
        return period.start, period.end, period.before_start, period.before_end

    def told(*days: str) -> tuple[date, ...]:
        return tuple(date.fromisoformat(day) for day in days)

    assert dates("day", D) == told("2026-05-31", "2026-06-30", "2026-05-01", "2026-05-31")
    # June up to its end is compared with all of May, up to the 17th with May up to the 17th
    assert dates("month", D) == told("2026-05-31", "2026-06-30", "2026-04-30", "2026-05-31")
    assert dates("month", date(2026, 6, 17)) == told("2026-05-31", "2026-06-17", "2026-04-30", "2026-05-17")
    # February has no 30th
    assert dates("month", date(2026, 3, 30)) == told("2026-02-28", "2026-03-30", "2026-01-31", "2026-02-28")
    # a KPI with a period of its own has it in both
    assert dates("month", D, 90) == dates("day", D, 90) == told("2026-04-01", "2026-06-30", "2026-01-01", "2026-04-01")


def test_conditions_ask_for_rows_totals_and_their_absence(spark: SparkSession) -> None:
    def asked(**numerator: Any) -> dict[str, Any]:
        numerator = {"measure": "customers", "from": "activity", **numerator}
        return {"label": "", "description": "", "numerator": numerator, "direction": "up", "unit": "count"}

    visit, consult = (
        {"from": "activity", "where": "event_type = 'visit'"},
        {"from": "activity", "where": "event_type = 'consult'"},
    )
    rules = KpiRules(
        kpis={
            "came_twice": asked(**visit, at_least=2),
            "came_and_asked": asked(**visit, also=consult),
            "came_and_asked_and_bought": asked(**visit, also=[consult, {"from": "orders"}]),
            "came_without_asking": asked(**visit, unless=consult),
            "first_came": asked(**visit, unless={**visit, "window_days": "lifetime", "ends": "period_start"}),
            "fewer_than_before": {
                **asked(**visit),
                "less": {**visit, "measure": "customers", "window_days": "previous"},
            },
            "saved": asked(total="other_amount", above=10, where="event_type = 'deposit'"),
        }
    )
    activity = [
        event("visit", "ann", 1, event_count=2),
        event("consult", "ann", 2),
        event("visit", "bob", 1),
        event("visit", "bob", 31),
        event("visit", "cat", 59, store_id="s2"),
        event("visit", "dan", 60),  # before the period before
        event("consult", "cat", 1),
        event("deposit", "ann", 1, other_amount=Decimal(10)),  # not above 10
        event("deposit", "bob", 1, other_amount=Decimal(6)),
        event("deposit", "bob", 2, other_amount=Decimal(6)),
    ]
    rows = report(spark, rules, [order("o1", "ann", 3)], activity, [customer(c) for c in ("ann", "bob", "cat", "dan")])
    chain = {kpi: row.value for (kpi, grain, _), row in rows.items() if grain == "chain"}
    assert chain == {
        "came_twice": 1,  # ann
        "came_and_asked": 1,  # ann
        "came_and_asked_and_bought": 1,  # ann
        "came_without_asking": 1,  # bob
        "first_came": 1,  # ann; bob had come before
        "fewer_than_before": 2 - 2,  # ann and bob, less bob and cat
        "saved": 1,  # bob
    }
    assert rows["fewer_than_before", "store", "s2"].value == -1


def test_bands_include_their_ends_and_may_be_of_a_store_type_or_category(spark: SparkSession) -> None:
    # each store has four visitors, of whom so many buy: 0, 1, 2, 3 of 4 against the band [0.25, 0.5]; s4 is a kiosk
    bands = {"default": [0.25, 0.5], "store_type": {"kiosk": [0.7, 1]}}
    rules = KpiRules(
        kpis={
            **one(
                "rate",
                numerator={"measure": "customers", "from": "orders"},
                denominator={"measure": "customers", "from": "activity"},
                benchmark=bands,
                grains=["store", "region"],
            ).kpis,
            **one(
                "looked_at",
                numerator={"measure": "count", "from": "activity"},
                benchmark={"category": {"food": [0, 3]}},
                grains=["category"],
            ).kpis,
        }
    )
    stores = {"s4": Store(type="kiosk", region="east"), "s3": Store(type="mall", region="east")}
    visits = [
        event("visit", f"s{s}-{c}", 1, store_id=f"s{s}", category="food" if s == 4 else "shoes")
        for s in range(5)
        for c in range(4)
    ]
    orders = [order(f"o{s}-{c}", f"s{s}-{c}", 1, store_id=f"s{s}") for s in range(5) for c in range(min(s, 3))]
    orders.append(order("nobody came", "x", 1, store_id="s9"))
    rows = report(spark, rules, orders, visits, stores=stores)
    assert {place: row.status for (kpi, grain, place), row in rows.items() if grain == "store"} == {
        "s0": "below",
        "s1": "within",
        "s2": "within",
        "s3": "above",
        "s4": "within",  # 3 of 4 in a kiosk
        "s9": None,
    }
    of_default = {(row.benchmark_low, row.benchmark_high) for (*_, place), row in rows.items() if place in ("s0", "s9")}
    assert of_default == {(Decimal("0.25"), Decimal("0.5"))}
    assert {place: row.status for (kpi, *_, place), row in rows.items() if kpi == "looked_at"} == {
        "food": "above",
        "shoes": None,
    }
    assert {place: row.value for (_, grain, place), row in rows.items() if grain == "region"} == {
        "east": Decimal("0.75"),
        "unknown": Decimal("0.333333"),  # 0 + 1 + 2 + 1 of 12
    }
    assert check_bands(rules, stores) == []
    assert check_bands(rules, {"s4": Store(type="kiosc")}) == [
        "kpis.rate.benchmark.store_type: 'kiosk' is the type of no store; nearest: kiosc"
    ]


def test_shipped_kpis_of_a_small_chain(spark: SparkSession) -> None:
    back_on_order = {
        "counts_on_date": D - timedelta(days=5),
        "returned_amount": Decimal(20),
        "net_amount": Decimal(-20),
    }
    sold = {"gross_amount": Decimal(100), "net_amount": Decimal(100), "cost_amount": Decimal(60)}
    guest = {"gross_amount": Decimal(50), "net_amount": Decimal(50)}  # its cost is not known
    orders = [
        order("o1", "ann", 5, 80),  # paid 100, gave back 20
        order("o2", "ann", 200, 40),  # the second purchase of the year
        order("o3", None, 4, 50),
        order("o4", "bob", 3, 0, is_purchase=False),  # all given back: neither order nor buyer
    ]
    activity = [
        event("order", "ann", 5, **sold),
        event("return", "ann", 2, **back_on_order),
        event("order", None, 4, **guest),
        *[event("visit", person, 6) for person in ("ann", "bob", "cat")],
        event("register", "dan", 1, channel="crm", store_id=None),
        event("review", "ann", 2, rating_sum=4, rating_count=1),
        event("review", "bob", 2, rating_sum=3, rating_count=1),
        event("consult", "ann", 7),
        event("consult", "bob", 7),
        event("share", "cat", 1),
        event("coupon_claim", "ann", 9, event_count=4),
        event("coupon_redeem", "ann", 5),
        event("touch", "ann", 8, event_count=5),
        event("deliver", "ann", 8, event_count=4),
        event("click", "ann", 8),
        event("loan_apply", "ann", 8),
        event("loan_apply", "cat", 8),
        event("loan_approve", "ann", 7),
        event("loan_disburse", "ann", 6),
    ]
    customers = [
        customer("ann", first_order_date=D - timedelta(days=200), clv_365d=Decimal(120), interest_event_count_30d=1),
        customer("bob", "prospect", top_viewed_category_30d="food"),
        customer("cat", "prospect"),
        customer("dan", "new_customer", first_order_date=D - timedelta(days=29)),
        customer("eve", "lost", first_order_date=D - timedelta(days=30)),  # the day before the period
    ]
    instalments = {"event_type": "payment", "event_date": D, "props": {"instalments": "3"}}
    at_once = {"event_type": "payment", "event_date": D, "props": {"instalments": "1"}}
    stock = [  # 200.00 for 10 days, then 100.00 for 35: it stands no longer without another record
        {
            "event_type": "stock",
            "event_id": f"k{n}",
            "store_id": "s1",
            "event_date": D - timedelta(days=n),
            "cost_amount": v,
        }
        for n, v in ((45, Decimal(200)), (35, Decimal(100)))
    ]
    events = [{**instalments, "customer_id": "ann"}, {**at_once, "customer_id": "ann"}, *stock]
    rows = report(spark, shipped(), orders, activity, customers, events)
    expected = {
        "revenue": 100 - 20 + 50,
        "order_count": 2,
        "buyers": 1,  # ann
        "average_order_value": (80 + 50) / 2,
        "gross_margin_rate": (100 - 60) / 100,
        "return_rate": 20 / 150,
        "new_members": 1,  # dan
        "first_purchase_customers": 1,  # dan
        "repurchase_rate": 1 / 1,  # ann bought twice in 365 days
        "activity_rate": 3 / 5,  # ann, bob, cat; dan only registered
        "visitor_to_customer_rate": 1 / 4,  # ann of ann, bob, cat, dan
        "satisfaction": (4 + 3) / 2,
        "consult_conversion_rate": 1 / 2,  # ann of ann, bob
        "share_rate": 1 / 3,  # cat of ann, bob, cat
        "coupon_redemption_rate": 1 / 4,
        "delivery_rate": 4 / 5,
        "click_rate": 1 / 4,
        "visitor_to_loan_rate": 2 / 4,  # ann, cat
        "loan_approval_rate": 1 / 2,
        "finance_penetration_rate": 1 / 1,
        "inventory_turnover_days": 29 * 100 / 60,  # all days of the period but the last; the cost of what ann bought
        "stock_customer_share": 2 / 5,  # ann and eve bought before the period
        "first_purchase_rate": 1 / 3,  # dan of bob, cat, dan
        "activation_rate": 0,  # dan registered; what he bought is not among the orders
        "clv": 120,
        "interest_tag_coverage": 2 / 5,
        "loan_conversion_rate": 1 / 2,
        "first_consult_customers": 2,
        "reach_rate": 1 / 1,
    }
    chain = {kpi: row.value for (kpi, grain, _), row in rows.items() if grain == "chain"}
    assert {kpi: float(chain[kpi]) for kpi in expected} == pytest.approx(expected, abs=1e-6)
    assert rows["inventory_turnover_days", "chain", None].status == "within"
    assert rows["visitor_to_customer_rate", "chain", None].status == "within"
    assert rows["finance_penetration_rate", "chain", None].status == "above"
    assert rows["visitor_to_loan_rate", "segment", "prospect"].value == Decimal("0.5")  # cat of bob, cat
    assert ("visitor_to_loan_rate", "store", "s1") not in rows  # not one of its grains
    assert rows["new_members", "channel", "crm"].value == 1


def test_places_of_which_the_window_says_nothing_have_no_row(spark: SparkSession) -> None:
    """A store that closed has stock of long ago and visits of long ago: it is not reported with zeros for ever."""
    held = {"measure": "sum(cost_amount)", "from": "stock", "window_days": 30}
    visits = {"measure": "count", "from": "activity", "window_days": 30}
    said = {"label": "指标", "description": "test", "direction": "up", "unit": "amount"}
    rules = KpiRules(kpis={"held": {**said, "numerator": held}, "visits": {**said, "numerator": visits}})
    seen = [("s1", 0), ("closed", 100)]
    stock = [
        {**event("stock", None, days), "event_id": store, "store_id": store, "cost_amount": Decimal(10)}
        for store, days in seen
    ]
    came = [event("visit", "ann", days, store_id=store) for store, days in seen]
    rows = report(spark, rules, activity=came, customers=[customer("ann")], events=stock)
    assert {place for _, grain, place in rows if grain == "store"} == {"s1"}


def test_declarations_that_cannot_work_are_refused() -> None:
    orders = {"measure": "count", "from": "orders"}
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"numerator": {**orders, "measure": "total"}}, "'total' is not a measure; allowed: customers, count, sum"),
        ({"numerator": {**orders, "measure": "sum(net_amount +)"}}, "not a Spark SQL expression"),
        (
            {"numerator": {**orders, "measure": "sum(net_amout)"}},
            r"kpi k: 'net_amout' .*nearest: net_amount.*\(orders\)",
        ),
        ({"numerator": {**orders, "where": "is_purchas"}}, "'is_purchas' is not a column here; nearest: is_purchase"),
        ({"numerator": {**orders, "from": "lines"}}, "Input should be 'orders', 'activity', 'events'"),
        ({"numerator": {**orders, "window_days": 0}}, "0 is not a window"),
        ({"numerator": {**orders, "at_least": 2}}, "need measure: customers"),
        ({"numerator": {**orders, "from": "customers", "window_days": 30}}, "customers have no date"),
        (
            {"numerator": {**orders, "from": "customers"}, "grains": ["store"]},
            "customers have no store; allowed: chain, seg",
        ),
        ({"numerator": {**orders, "ends": "period_start"}}, "ends: period_start needs window_days"),
        (
            {"numerator": {"measure": "customers", "from": "stock"}},
            "stock know no customers; allowed: orders, activity",
        ),
        ({"numerator": {**orders, "unless": {"from": "orders"}}}, "unless need measure: customers"),
        ({"numerator": orders, "benchmark": [0.5, 0.1]}, "0.5 is above 0.1"),
        ({"numerator": orders, "benchmark": {"kind": {}}}, "benchmark.kind"),
        ({"numerator": orders, "grains": ["city"]}, "Input should be 'chain', 'region', 'store'"),
    ]
    for declared, message in refusals:
        with pytest.raises(ValidationError, match=message):
            one("k", **declared)


def test_catalogue_has_every_kpi_in_the_columns_of_its_table(spark: SparkSession) -> None:
    rules = shipped()
    rows = catalogue_rows(rules)
    frame = conform(spark.createDataFrame(rows, gold.KPI_CATALOGUE.schema), gold.KPI_CATALOGUE)
    assert frame.columns == gold.KPI_CATALOGUE.column_names
    by_code = {row[0]: Row(*gold.KPI_CATALOGUE.column_names)(*row) for row in rows}
    assert list(by_code) == list(rules.kpis)
    assert by_code["repurchase_rate"].numerator == "customers from orders where is_purchase, last 365 days, at least 2"
    assert [code for code, row in by_code.items() if row.is_additive] == [
        "revenue", "gross_margin", "order_count", "campaign_cost", "campaign_revenue", "loan_amount",
    ]  # fmt: skip
    was_active = "customers from orders where is_purchase, 91 days before the period"
    assert by_code["churn_rate"].numerator == f"{was_active}; not in orders where is_purchase, last 181 days"
    assert by_code["inventory_turnover_days"].benchmark == "default 30 to 90; food 15 to 45; jewellery 60 to 180"
    portrait = [field.name for field in PORTRAIT]
    assert check_columns(rules, portrait) == []
    assert check_columns(rules, portrait[:2]) != []
    assert set(rules.frames) == set(FRAMES)
