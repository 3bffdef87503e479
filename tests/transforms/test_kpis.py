"""KPIs: windows, guests, grains that add up, bands, and the shipped declarations against hand-computed rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pyspark.sql import Row, SparkSession
from pyspark.sql import types as T

from transforms.contracts import conform, gold, silver
from transforms.kpis import KpiRules, catalogue_rows, check_columns, report_kpis

CONF = Path(__file__).parents[2] / "conf"
D = date(2026, 6, 30)
CUSTOMER = T.StructField("customer_id", T.StringType())
SEGMENT = T.StructField("segment", T.StringType())


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
) -> dict[tuple[str, str, str | None], Row]:
    """Rows by (kpi, grain, place), from the named columns of each row and null in the others."""

    def frame(rows: Iterable[dict], fields: list[T.StructField]) -> Any:
        names = [field.name for field in fields]
        return spark.createDataFrame([tuple(row.get(name) for name in names) for row in rows], T.StructType(fields))

    frames = {
        "orders": frame(orders, [*silver.ORDERS.schema.fields, CUSTOMER]),
        "activity": frame(activity, [*silver.ACTIVITY.schema.fields, CUSTOMER]),
        "customers": frame(customers, [*silver.CUSTOMERS.schema.fields, SEGMENT]),
    }
    rows = conform(report_kpis(frames, D, D + timedelta(days=3), rules), gold.KPI_VALUES).collect()
    keyed = {(row.kpi, row.grain, row.store_id or row.channel or row.segment): row for row in rows}
    assert len(keyed) == len(rows)
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


def test_bands_include_their_ends(spark: SparkSession) -> None:
    # each store has four visitors, of whom so many buy: 0, 1, 2, 3 of 4 against the band [0.25, 0.5]
    rules = one(
        "rate",
        numerator={"measure": "customers", "from": "orders"},
        denominator={"measure": "customers", "from": "activity"},
        benchmark=[0.25, 0.5],
        grains=["store"],
    )
    visits = [event("visit", f"s{s}-{c}", 1, store_id=f"s{s}") for s in range(4) for c in range(4)]
    orders = [order(f"o{s}-{c}", f"s{s}-{c}", 1, store_id=f"s{s}") for s in range(4) for c in range(s)]
    orders.append(order("nobody came", "x", 1, store_id="s9"))
    rows = report(spark, rules, orders, visits)
    assert {place: row.status for (_, _, place), row in rows.items()} == {
        "s0": "below",
        "s1": "within",
        "s2": "within",
        "s3": "above",
        "s9": None,
    }
    assert {(row.benchmark_low, row.benchmark_high) for row in rows.values()} == {(Decimal("0.25"), Decimal("0.5"))}


PLACES = st.sampled_from([None, "s1", "s2", "s3"])
PEOPLE = st.sampled_from([None, "a", "b", "c"])


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    placed_orders=st.lists(
        st.tuples(PEOPLE, st.integers(-1, 35), st.integers(-500, 10**12), PLACES, st.booleans()), max_size=12
    ),
    placed_events=st.lists(st.tuples(PEOPLE, st.integers(-1, 35), st.integers(-500, 500), PLACES), max_size=12),
)
def test_plain_sums_and_counts_add_up_to_the_chain(
    spark: SparkSession, placed_orders: list, placed_events: list
) -> None:
    orders = [
        order(f"o{number}", person, days, Decimal(cents) / 100, store_id=place, channel=place, is_purchase=counts)
        for number, (person, days, cents, place, counts) in enumerate(placed_orders)
    ]
    activity = [
        event("order", person, days, net_amount=Decimal(cents) / 100, store_id=place, channel=place)
        for person, days, cents, place in placed_events
    ]
    rules = shipped()
    rows = report(spark, rules, orders, activity, [customer("a"), customer("b", "lost"), customer("c", None)])
    additive = [code for code, kpi in rules.kpis.items() if kpi.is_additive]
    assert {"revenue", "order_count"} <= set(additive)
    for code in additive:
        total = rows[code, "chain", None].value
        for grain in ("store", "channel", "segment"):
            parts = [row.value for (kpi, at, _), row in rows.items() if (kpi, at) == (code, grain)]
            assert sum(parts) == total, (code, grain)
    inside = [cents for _, days, cents, _ in placed_events if 0 <= days < 30]
    assert rows["revenue", "chain", None].value == Decimal(sum(inside)) / 100


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
        customer("ann", first_order_date=D - timedelta(days=200)),
        customer("bob", "prospect"),
        customer("cat", "prospect"),
        customer("dan", "new_customer", first_order_date=D - timedelta(days=29)),
        customer("eve", "lost", first_order_date=D - timedelta(days=30)),  # the day before the period
    ]
    rows = report(spark, shipped(), orders, activity, customers)
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
    }
    chain = {kpi: row.value for (kpi, grain, _), row in rows.items() if grain == "chain"}
    assert {kpi: float(value) for kpi, value in chain.items()} == pytest.approx(expected, abs=1e-6)
    assert rows["visitor_to_customer_rate", "chain", None].status == "within"
    assert rows["finance_penetration_rate", "chain", None].status == "above"
    assert rows["visitor_to_loan_rate", "segment", "prospect"].value == Decimal("0.5")  # cat of bob, cat
    assert ("visitor_to_loan_rate", "store", "s1") not in rows  # not one of its grains
    assert rows["new_members", "channel", "crm"].value == 1


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
        ({"numerator": {**orders, "from": "lines"}}, "Input should be 'orders', 'activity' or 'customers'"),
        ({"numerator": {**orders, "window_days": 0}}, "0 is not a window"),
        ({"numerator": {**orders, "at_least": 2}}, "need measure: customers"),
        ({"numerator": {**orders, "from": "customers", "window_days": 30}}, "customers have no date"),
        ({"numerator": {**orders, "from": "customers"}}, "customers have no store or channel"),
        ({"numerator": orders, "benchmark": [0.5, 0.1]}, "0.5 is above 0.1"),
        ({"numerator": orders, "grains": ["city"]}, "Input should be 'chain', 'store', 'channel' or 'segment'"),
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
    assert [code for code, row in by_code.items() if row.is_additive] == ["revenue", "order_count"]
    assert check_columns(rules) == []
