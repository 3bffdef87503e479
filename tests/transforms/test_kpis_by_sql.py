"""Every shipped KPI against a query of its own, by DuckDB over the same rows: numerators, denominators, every place."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from transforms.contracts import conform, gold, silver
from transforms.kpis import KpiRules, report_kpis
from transforms.kpis.frames import GRAINS
from transforms.kpis.stock import stock_levels
from transforms.kpis.touches import touches
from transforms.stores import Store

D = date(2026, 6, 17)
RULES = KpiRules.model_validate(
    yaml.safe_load((Path(__file__).parents[2] / "conf/kpis.yaml").read_text(encoding="utf-8"))["kpis"]
)
# S3 has no region, S4 is not listed
STORES = {"S1": Store(region="east"), "S2": Store(region="west"), "S3": Store(type="kiosk")}
# start, end, start and end of the period before; days after the first up to the second
PERIODS = {
    "day": (date(2026, 5, 18), D, date(2026, 4, 18), date(2026, 5, 18)),
    "month": (date(2026, 5, 31), D, date(2026, 4, 30), date(2026, 5, 17)),
}
PERIODS_OF_180 = (date(2025, 12, 19), D, None, None)

# `p(x)`: in the period; `q(x)`: in the one before; `b(x)`: before the period; {by}: the columns of a grain.
_CUSTOMERS = "select {by}, count(distinct customer_id) from"
_TRADE = "event_type in ('order', 'return', 'cancel') and p(counts_on_date)"


def acted(*types: str, within: str = "p(counts_on_date)") -> str:
    """Customers with an event of these types."""
    named = ", ".join(f"'{kind}'" for kind in types)
    return f"{_CUSTOMERS} a where event_type in ({named}) and {within} group by all"


def events(kind: str) -> str:
    return f"select {{by}}, sum(event_count) from a where event_type = '{kind}' and p(counts_on_date) group by all"


def both(one: str, other: str, set_operation: str = "intersect") -> str:
    """Customers of a place who are in both selections (`{by}, customer_id`)."""
    return f"{_CUSTOMERS} (({one}) {set_operation} ({other})) group by all"


def who(source: str, where: str) -> str:
    return f"select {{by}}, customer_id from {source} where customer_id is not null and {where}"


BUYERS = f"{_CUSTOMERS} o where is_purchase and p(order_date) group by all"
BOUGHT = who("o", "is_purchase and p(order_date)")
SOLD = "select {by}, sum(net_amount) from a where " + _TRADE + " group by all"
COST_KNOWN = "cost_amount <> 0 and p(counts_on_date)"
MARGIN = f"select {{by}}, sum(net_amount) - sum(cost_amount) from a where {COST_KNOWN} group by all"
PURCHASES = "select {by}, count(*) from o where is_purchase and p(order_date) group by all"
EVERYBODY = "select {by}, count(*) from c group by all"
REGISTERED = acted("register")
REGISTERED_BEFORE = acted("register", within="q(counts_on_date)")
VISITORS = acted("register", "visit")
ACTIVE = acted("visit", "view", "search", "favourite", "cart_add", "order", "review", "share", "checkin", "consult")
REACHABLE = acted("visit", "view", "order")
FIRST_BOUGHT = "select {by}, count(*) from c where p(first_order_date) group by all"
ACTIVE_BEFORE = (
    f"{_CUSTOMERS} o where is_purchase and order_date between date '2025-12-19' - 90 and date '2025-12-19' group by all"
)
WAS_ACTIVE = who("o", "is_purchase and order_date between date '2025-12-19' - 90 and date '2025-12-19'")
NOT_ASLEEP = who("o", f"is_purchase and order_date between date '{D}' - 180 and date '{D}'")
CONSULTED = who("a", "event_type = 'consult' and p(counts_on_date)")
FIRST_CONSULT = both(CONSULTED, who("a", "event_type = 'consult' and b(counts_on_date)"), "except")
ASLEEP = "p(touched_date) and (select max(order_date) from o where o.customer_id = t.customer_id and is_purchase" + (
    " and order_date < touched_date) < touched_date - 180"
)
BOUGHT_SOON = (
    "exists (from o where o.customer_id = t.customer_id and is_purchase"
    " and order_date between touched_date and touched_date + 30)"
)
CAME_SOON = (
    "exists (from a where a.customer_id = t.customer_id and event_type in ('visit', 'open')"
    " and event_date between touched_date and touched_date + 30)"
)
TOUCHED_ASLEEP = f"{_CUSTOMERS} t where {ASLEEP} group by all"
COST = "select {by}, sum(cost) from g where attribution = 'last' group by all"
OF_CAMPAIGNS = "from g where attribution = 'last' and campaign_id <> 'unattributed' group by all"
APPLICANTS = acted("loan_apply")
BALANCE = (
    "select {by}, customer_id from a where customer_id is not null and b(counts_on_date)"
    " and event_type in ('deposit', 'withdraw') group by all having sum(case event_type when 'deposit' then"
    " other_amount else -other_amount end) > 0"
)

SQL: dict[str, tuple[str, str | None]] = {
    "revenue": (SOLD, None),
    "gross_margin": (MARGIN, None),
    "gross_margin_rate": (MARGIN, f"select {{by}}, sum(net_amount) from a where {COST_KNOWN} group by all"),
    "category_share": (SOLD, f"select {{by}}, (select sum(net_amount) from a where {_TRADE}) from a group by all"),
    "order_count": (PURCHASES, None),
    "buyers": (BUYERS, None),
    "average_order_value": (
        "select {by}, sum(net_amount) from o where is_purchase and p(order_date) group by all",
        PURCHASES,
    ),
    "items_per_order": (
        "select {by}, sum(quantity) from o where is_purchase and p(order_date) group by all",
        PURCHASES,
    ),
    "return_rate": (
        "select {by}, sum(returned_amount) from a where " + _TRADE + " group by all",
        "select {by}, sum(gross_amount) from a where " + _TRADE + " group by all",
    ),
    "inventory_turnover_days": (
        "select {by}, sum(cost_amount) from k where p(day) group by all",
        "select {by}, sum(cost_amount) from a where " + _TRADE + " group by all",
    ),
    "customer_count": (EVERYBODY, None),
    "new_members": (REGISTERED, None),
    "new_customer_growth": (
        "select {by}, count(distinct case when p(counts_on_date) then customer_id end)"
        " - count(distinct case when q(counts_on_date) then customer_id end)"
        " from a where event_type = 'register' group by all",
        REGISTERED_BEFORE,
    ),
    "stock_customer_share": ("select {by}, count(*) from c where b(first_order_date) group by all", EVERYBODY),
    "first_purchase_customers": (FIRST_BOUGHT, None),
    "first_purchase_rate": (
        FIRST_BOUGHT,
        "select {by}, count(*) from c where not coalesce(b(first_order_date), false) group by all",
    ),
    "activation_rate": (both(who("a", "event_type = 'register' and p(counts_on_date)"), BOUGHT), REGISTERED),
    "active_customers": (ACTIVE, None),
    "activity_rate": (ACTIVE, EVERYBODY),
    "visitor_to_customer_rate": (BUYERS, VISITORS),
    "cart_conversion_rate": (
        both(who("a", "event_type = 'cart_add' and p(counts_on_date)"), BOUGHT),
        acted("cart_add"),
    ),
    "repurchase_rate": (
        f"{_CUSTOMERS} (select {{by}}, customer_id from o where is_purchase and order_date > date '{D}' - 365"
        " group by all having count(*) >= 2) group by all",
        f"{_CUSTOMERS} o where is_purchase and order_date > date '{D}' - 365 group by all",
    ),
    "churn_rate": (both(WAS_ACTIVE, NOT_ASLEEP, "except"), ACTIVE_BEFORE),
    "retention_rate": (both(WAS_ACTIVE, NOT_ASLEEP), ACTIVE_BEFORE),
    "clv": ("select {by}, sum(clv_365d) from c group by all", "select {by}, count(clv_365d) from c group by all"),
    "interest_tag_coverage": (
        "select {by}, count_if(top_viewed_category_30d is not null or coalesce(interest_event_count_30d, 0) > 0)"
        " from c group by all",
        EVERYBODY,
    ),
    "satisfaction": (
        "select {by}, sum(rating_sum) from a where p(counts_on_date) group by all",
        "select {by}, sum(rating_count) from a where p(counts_on_date) group by all",
    ),
    "first_consult_customers": (FIRST_CONSULT, None),
    "first_consult_rate": (FIRST_CONSULT, VISITORS),
    "consult_conversion_rate": (both(CONSULTED, BOUGHT), acted("consult")),
    "share_rate": (acted("share"), REACHABLE),
    "referral_rate": (acted("refer"), REACHABLE),
    "coupon_redemption_rate": (events("coupon_redeem"), events("coupon_claim")),
    "reach_rate": (acted("deliver"), acted("touch")),
    "delivery_rate": (events("deliver"), events("touch")),
    "open_rate": (events("open"), events("deliver")),
    "click_rate": (events("click"), events("deliver")),
    "unsubscribe_rate": (acted("unsubscribe"), acted("touch")),
    "wake_up_rate": (f"{_CUSTOMERS} t where {ASLEEP} and ({BOUGHT_SOON} or {CAME_SOON}) group by all", TOUCHED_ASLEEP),
    "silent_repurchase_rate": (f"{_CUSTOMERS} t where {ASLEEP} and {BOUGHT_SOON} group by all", TOUCHED_ASLEEP),
    "campaign_cost": (COST, None),
    "campaign_revenue": (f"select {{by}}, sum(revenue) {OF_CAMPAIGNS}", None),
    "campaign_roi": (f"select {{by}}, sum(revenue) - sum(cost) {OF_CAMPAIGNS}", COST),
    "visitor_to_loan_rate": (APPLICANTS, VISITORS),
    "loan_application_rate": (APPLICANTS, ACTIVE),
    "loan_approval_rate": (acted("loan_approve"), APPLICANTS),
    "loan_conversion_rate": (acted("loan_disburse"), APPLICANTS),
    "loan_amount": (
        "select {by}, sum(other_amount) from a where event_type = 'loan_disburse' and p(counts_on_date) group by all",
        None,
    ),
    "finance_penetration_rate": (
        both(
            BOUGHT,
            who(
                "e",
                "p(event_date) and (event_type = 'loan_disburse' or event_type = 'payment'"
                " and try_cast(props['instalments'] as int) > 1)",
            ),
        ),
        BUYERS,
    ),
    "asset_to_loan_rate": (
        both(BALANCE, who("a", "event_type = 'loan_disburse' and p(counts_on_date)")),
        f"{_CUSTOMERS} ({BALANCE}) group by all",
    ),
    "overdue_rate": (acted("overdue"), acted("repay", "overdue")),
}


def test_every_kpi_has_its_query() -> None:
    assert [*SQL] == [*RULES.kpis]


def test_every_kpi_is_what_its_query_says_at_every_place(chain: tuple[DataFrame, duckdb.DuckDBPyConnection]) -> None:
    report, db = chain
    rows = report.collect()
    said: dict[tuple, dict[tuple, Any]] = {}
    for row in rows:
        of = said.setdefault((row.kpi, row.period, row.grain), {})
        of[tuple(row[place] for place in GRAINS[row.grain])] = (row.numerator, row.denominator)
    wrong, empty = [], set(SQL)
    for period, dates in PERIODS.items():
        for code, queries in SQL.items():
            kpi = RULES.kpis[code]
            _macros(db, PERIODS_OF_180 if kpi.period_days else dates)
            for grain in kpi.reported_by:
                reported = said.get((code, period, grain), {})
                asked = [_asked(db, query, GRAINS[grain]) for query in queries if query]
                for place in {*reported, *asked[0], *(asked[1] if len(asked) > 1 else ())}:
                    expected = (
                        asked[0].get(place) or 0,
                        None if len(asked) == 1 else asked[1].get(place) or 0,
                    )
                    if code == "category_share" and len(asked) > 1:
                        expected = (expected[0], next(iter(asked[1].values())))
                    if reported.get(place) != expected:
                        wrong.append((code, period, grain, place, reported.get(place), expected))
                    elif expected[0] > 0:
                        empty.discard(code)
    assert wrong == []
    assert empty == set(), "KPIs whose numerator is nowhere above 0: the rows say nothing about them"


def test_additive_kpis_roll_up_from_stores_to_regions_to_the_chain(
    chain: tuple[DataFrame, duckdb.DuckDBPyConnection],
) -> None:
    """Values of every finer grain add up to the chain's, and stores' to their region's, to the last decimal."""
    rows = [row for row in chain[0].collect() if RULES.kpis[row.kpi].is_additive]
    chains = {(row.kpi, row.period): row.value for row in rows if row.grain == "chain"}
    assert {code for code, _ in chains} >= {"revenue", "gross_margin", "order_count", "loan_amount"}
    for (code, period), total in chains.items():
        mine = [row for row in rows if (row.kpi, row.period) == (code, period)]
        for grain in RULES.kpis[code].reported_by:
            parts = [row.value for row in mine if row.grain == grain]
            assert sum(parts) == total, (code, period, grain)
        regions = {row.region: row.value for row in mine if row.grain == "region"}
        of_stores: dict[str, Decimal] = {}
        for row in mine:
            if row.grain == "store":
                region = STORES.get(row.store_id, Store()).region or "unknown"
                of_stores[region] = of_stores.get(region, Decimal(0)) + row.value
        assert of_stores == regions, (code, period)


def _asked(db: duckdb.DuckDBPyConnection, query: str, places: tuple[str, ...]) -> dict[tuple, Decimal]:
    by = ", ".join(places) or "1"
    return {row[: len(places)]: row[-1] for row in db.execute(query.replace("{by}", by)).fetchall()}


def _macros(db: duckdb.DuckDBPyConnection, dates: tuple[date | None, ...]) -> None:
    start, end, before_start, before_end = (f"date '{day}'" for day in dates)
    db.execute(f"create or replace macro p(x) as (x > {start} and x <= {end})")
    db.execute(f"create or replace macro b(x) as (x <= {start})")
    if dates[2]:
        db.execute(f"create or replace macro q(x) as (x > {before_start} and x <= {before_end})")


@pytest.fixture(scope="module")
def chain(spark: SparkSession) -> tuple[DataFrame, duckdb.DuckDBPyConnection]:
    """The report of some 60 customers over two years, and DuckDB views of the same rows with `unknown` in places."""
    rows = _rows()
    arrow = {name: _arrow(rows[name], _FIELDS[name]) for name in rows}
    frames = {name: spark.createDataFrame(arrow[name], T.StructType(_FIELDS[name])) for name in rows}
    read = {
        **{name: frames[name] for name in ("orders", "activity", "events", "customers", "campaigns")},
        "touches": touches(frames["activity"], frames["orders"], date(2026, 4, 1), D),
        "stock": stock_levels(frames["events"], D),
    }
    report = conform(report_kpis(read, D, D, RULES, STORES), gold.KPI_VALUES).localCheckpoint()
    db = duckdb.connect()
    for name, table in arrow.items():
        db.register(f"raw_{name}", table)
    regions = " ".join(f"when '{code}' then '{store.region}'" for code, store in STORES.items() if store.region)
    segment = (
        "coalesce((select segment from raw_customers c where c.customer_id = r.customer_id), 'unknown') as segment"
    )
    places = f"""* replace (coalesce(store_id, 'unknown') as store_id, coalesce(channel, 'unknown') as channel),
        coalesce(case store_id {regions} end, 'unknown') as region"""
    known_category = "* replace (coalesce(category, 'unknown') as category)"
    views = {
        "o": f"select {places}, {segment} from raw_orders r where order_date <= date '{D}'",
        "a": f"select {known_category} from (select {places}, {segment} from raw_activity r)"
        f" where event_date <= date '{D}'",
        "e": f"select {places}, {segment} from raw_events r where event_date <= date '{D}'",
        "c": "select * replace (coalesce(segment, 'unknown') as segment) from raw_customers",
        "t": f"select distinct customer_id, event_date as touched_date, {segment} from raw_activity r"
        f" where event_type = 'touch' and customer_id is not null and event_date <= date '{D}'",
        "g": "select * replace (coalesce(segment, 'unknown') as segment) from raw_campaigns",
        # Every day between two levels of a place, day by day
        "k": f"""with l as (select distinct on (store_id, category, event_date) *
            from raw_events where event_type = 'stock' and event_date <= date '{D}'
            order by store_id, category, event_date, event_at desc, event_id desc)
            select {known_category} from (select {places.replace(", coalesce(channel, 'unknown') as channel", "")}
            from (select store_id, category, cost_amount, d.day::date as day from l,
            generate_series(date '2026-01-01', date '{D}', interval 1 day) as d(day)
            where d.day >= l.event_date and d.day < l.event_date + 35 and not exists (from l as later
            where later.store_id = l.store_id and later.category is not distinct from l.category
            and later.event_date > l.event_date and later.event_date <= d.day)))""",
    }
    for name, query in views.items():
        db.execute(f"create view {name} as {query}")
    return report, db


_CUSTOMER = [T.StructField("customer_id", T.StringType())]
_FIELDS: dict[str, list[T.StructField]] = {
    "orders": [*silver.ORDERS.schema.fields, *_CUSTOMER],
    "activity": [*silver.ACTIVITY.schema.fields, *_CUSTOMER],
    "events": [*silver.EVENTS.schema.fields, *_CUSTOMER],
    "customers": [
        *silver.CUSTOMERS.schema.fields,
        T.StructField("segment", T.StringType()),
        T.StructField("top_viewed_category_30d", T.StringType()),
        T.StructField("interest_event_count_30d", T.LongType()),
        T.StructField("clv_365d", T.DecimalType(18, 2)),
    ],
    "campaigns": [field for field in gold.CAMPAIGN_RESULTS.schema.fields],
}
_MONEY = ("gross_amount", "returned_amount", "net_amount", "cost_amount", "other_amount")
_TYPES = [
    *("visit", "visit", "visit", "view", "search", "favourite", "cart_add", "register", "review", "share", "refer"),
    *("checkin", "consult", "consult", "coupon_claim", "coupon_redeem", "touch", "touch", "touch", "deliver", "open"),
    *("click", "unsubscribe", "loan_apply", "loan_approve", "loan_disburse", "repay", "overdue", "deposit", "deposit"),
    *("withdraw", "order", "order", "order", "return", "cancel"),
]


def _rows() -> dict[str, list[Mapping[str, Any]]]:
    """Rows by chance, the same each time; a fifth of them are guests', or say no store, channel or category."""
    draw = random.Random(11)
    people = [f"c{number}" for number in range(60)]

    def some(choices: list[str], missing: float = 0.2) -> str | None:
        return None if draw.random() < missing else draw.choice(choices)

    def day(most: int = 100) -> date:
        return D - timedelta(days=draw.choice([0, 1, 17, 29, 30, 31, 60, draw.randint(-3, most), draw.randint(0, 35)]))

    def place() -> dict[str, Any]:
        return {"store_id": some(["S1", "S2", "S3", "S4"]), "channel": some(["app", "store_pos", "finance"], 0.05)}

    orders = [
        {
            **place(),
            "order_id": f"o{number}",
            "customer_id": some(people),
            "order_date": D - timedelta(days=draw.choice([0, 29, 30, 180, 181, 182, 270, 271, draw.randint(-2, 500)])),
            "net_amount": Decimal(draw.randint(0, 50_000)) / 100,
            "quantity": Decimal(draw.randint(1, 5)),
            "is_purchase": draw.random() < 0.9,
        }
        for number in range(260)
    ]
    activity = []
    for _ in range(1_500):
        kind, happened = draw.choice(_TYPES), day()
        is_trade = kind in ("order", "return", "cancel")
        amounts = {name: Decimal(draw.randint(0, 90_000)) / 100 for name in _MONEY}
        activity.append(
            {
                **place(),
                **({name: amounts[name] if is_trade else Decimal(0) for name in _MONEY[:4]}),
                "other_amount": Decimal(0) if is_trade else amounts["other_amount"],
                "customer_id": some(people, 0.1),
                "event_type": kind,
                "event_date": happened,
                "counts_on_date": happened - timedelta(days=draw.choice([0, 0, 20]) if kind == "return" else 0),
                "category": some(["food", "shoes", "kids"]),
                "campaign_id": some(["m1", "m2"]) if kind == "touch" else None,
                "event_count": draw.randint(1, 3),
                "rating_sum": 4 if kind == "review" else 0,
                "rating_count": 1 if kind == "review" else 0,
            }
        )
    events = [
        {
            **place(),
            "event_id": f"e{number}",
            "event_type": draw.choice(["payment", "payment", "loan_disburse"]),
            "customer_id": some(people),
            "event_date": day(),
            "props": {"instalments": draw.choice(["1", "3", "6", "many"])} if draw.random() < 0.8 else None,
        }
        for number in range(120)
    ]
    for number in range(80):  # stock: irregular levels, some days twice, some places silent for longer than a month
        happened = day(70)
        events.append(
            {
                "event_id": f"s{number}",
                "event_type": "stock",
                "channel": "erp",
                "store_id": draw.choice(["S1", "S2"]),
                "category": some(["food", "shoes"], 0.1),
                "event_date": happened,
                "arrival_date": happened,
                "event_at": datetime(happened.year, happened.month, happened.day, draw.randint(0, 23)),
                "cost_amount": Decimal(draw.randint(1_000, 99_000)) / 100,
                "quantity": Decimal(5),
            }
        )
    customers = [
        {
            "customer_id": person,
            "segment": some(["active", "lost", "prospect"], 0.1),
            "first_order_date": draw.choice([None, day(), D - timedelta(days=draw.randint(0, 400))]),
            "top_viewed_category_30d": some(["food"], 0.7),
            "interest_event_count_30d": draw.choice([None, 0, 3]),
            "clv_365d": draw.choice([None, Decimal(draw.randint(1, 99_999)) / 100]),
        }
        for person in people[:55]  # the others only bought or did something
    ]
    campaigns = [
        {
            "campaign_id": campaign,
            "segment": segment,
            "attribution": attribution,
            "cost": Decimal(draw.randint(0, 9_000)) / 100,
            "revenue": Decimal(draw.randint(0, 90_000)) / 100,
        }
        for campaign in ("m1", "m2", "unattributed")
        for segment in ("active", "lost", None)
        for attribution in ("last", "first")
    ]
    return {
        "orders": orders, "activity": activity, "events": events, "customers": customers, "campaigns": campaigns,
    }  # fmt: skip


def _arrow(rows: list[Mapping[str, Any]], fields: list[T.StructField]) -> pa.Table:
    schema = to_arrow_schema(T.StructType(fields), timezone="UTC")
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_map(field.type):
            values = [list(value.items()) if value else None for value in values]
        arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
