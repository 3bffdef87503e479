"""Tags computed from activity: each measure on rows worked out by hand, then all of them against plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from tests.tag_definitions import D, Row, ago, every_measure, expected_value, ratio, rules_of, tag
from transforms.contracts import Table, gold, silver
from transforms.tags import TagRules, compute_tags, tag_columns

SHIPPED = Path(__file__).parents[2] / "conf" / "tags.yaml"
PURCHASE = "event_type = 'order' and day_order_count > 0"


def event(customer: str, event_type: str, days_ago: int, **columns: Any) -> Row:
    """A partial of one event, `days_ago` days before D; money adds nothing unless it is given."""
    on = ago(days_ago)
    defaults = {
        "customer_id": customer,
        "lead_identifier_type": "member",
        "lead_identifier": customer,
        "event_date": on,
        "arrival_date": on,
        "counts_on_date": on,
        "event_type": event_type,
        "channel": "app",
        "event_hour": 12,
        "event_count": 1,
        "order_count": 0,
        "positive_count": 0,
        "negative_count": 0,
    }
    return defaults | columns


def order(customer: str, days_ago: int, amount: str = "100", **columns: Any) -> Row:
    """The first line of an order."""
    money = {"gross_amount": Decimal(amount), "net_amount": Decimal(amount)}
    return event(customer, "order", days_ago, **({"order_count": 1} | money | columns))


def given_back(customer: str, ordered_ago: int, returned_ago: int, amount: str, ends: bool, **columns: Any) -> Row:
    """A return that names an order: it happens on one day and counts on the order's; `ends` takes the purchase off."""
    money = {"returned_amount": Decimal(amount), "net_amount": -Decimal(amount)}
    happened = {"event_date": ago(returned_ago), "arrival_date": ago(returned_ago), "order_count": -1 if ends else 0}
    return event(customer, "return", ordered_ago, **(happened | money | columns))


def activity_of(spark: SparkSession, rows: list[Row]) -> DataFrame:
    schema = T.StructType([T.StructField("customer_id", T.StringType()), *silver.ACTIVITY.schema.fields])
    return spark.createDataFrame([tuple(row.get(name) for name in schema.fieldNames()) for row in rows], schema)


def customers_of(spark: SparkSession, *customers: Row) -> DataFrame:
    table: Table = silver.CUSTOMERS
    return spark.createDataFrame([tuple(c.get(name) for name in table.column_names) for c in customers], table.schema)


def tags_of(spark: SparkSession, rows: list[Row], rules: TagRules, *customers: Row) -> dict[str, Row]:
    """Tags by customer; the population is who has rows, unless it is given."""
    population = customers or [{"customer_id": c} for c in sorted({row["customer_id"] for row in rows})]
    tags = compute_tags(activity_of(spark, rows), customers_of(spark, *population), D, rules)
    return {row["customer_id"]: row.asDict() for row in tags.collect()}


def test_windows_are_the_dates_after_d_minus_w_up_to_d(spark: SparkSession):
    rows = [
        event("C1", "visit", 30),  # D − w: just outside
        event("C1", "visit", 29),  # the first day inside
        event("C1", "visit", 0, event_count=2),  # D itself
        event("C1", "visit", -1),  # after D: not seen
        event("C2", "visit", 30),  # nothing inside the window
        event("C3", "visit", -1),  # known only after D
        event("C4", "visit", 0),  # not in the population
        order("C1", 29, "10.25"),
        order("C1", 30, "1000"),
    ]
    is_visit = "event_type = 'visit'"
    rules = rules_of(
        visits=tag(window=30, where=is_visit),
        visits_ever=tag(where=is_visit),
        spent=tag("sum(net_amount)", window=30),
        last_visit=tag("max(date)", window=30, where=is_visit),
        since_visit=tag("days_since", window=30, where=is_visit),
    )
    population = [{"customer_id": c} for c in ("C1", "C2", "C3", "C5")]
    tags = compute_tags(activity_of(spark, rows), customers_of(spark, *population), D, rules)
    columns = [T.StructField(c.name, T._parse_datatype_string(c.type)) for c in tag_columns(rules).values()]
    expected = spark.createDataFrame(
        [
            ("C1", 1 + 2, 1 + 1 + 2, Decimal("10.25"), D, 0),
            ("C2", 0, 1, Decimal("0.00"), None, None),
            ("C3", 0, 0, Decimal("0.00"), None, None),  # an empty window counts 0; when it was is unknown
            ("C5", 0, 0, Decimal("0.00"), None, None),  # no activity at all
        ],
        T.StructType([T.StructField("customer_id", T.StringType()), *columns]),
    )
    assert_df_equality(tags, expected, ignore_row_order=True, ignore_nullable=True, ignore_metadata=True)


def test_returns_count_on_the_date_of_their_order_once_they_happened(spark: SparkSession):
    rows = [
        # C1: an order of 20 days ago, a third of which came back yesterday and the rest the day after D
        order("C1", 20, "90"), given_back("C1", 20, 1, "30", ends=False), given_back("C1", 20, -1, "60", ends=True),
        # C2: bought 25 and 10 days ago; everything of the later order came back on D
        order("C2", 25, "50"), order("C2", 10, "70"), given_back("C2", 10, 0, "70", ends=True),
        # C3: an order outside the window that came back inside it
        order("C3", 40, "80"), given_back("C3", 40, 5, "80", ends=True),
        # C4: a return that names no order counts on its own date, and is no purchase
        event("C4", "return", 3, returned_amount=Decimal(15), net_amount=Decimal(-15)),
        # C5: two orders on one day, one of them returned: the day is still a purchase day
        order("C5", 7, "20"), order("C5", 7, "30", category="shoes"), given_back("C5", 7, 6, "30", ends=True),
    ]  # fmt: skip
    rules = rules_of(
        orders=tag("sum(order_count)", window=30),
        net=tag("sum(net_amount)", window=30),
        last_order=tag("max(date)", where=PURCHASE),
        returned=tag("sum(returned_amount)", window=30),
        gross=tag("sum(gross_amount)", window=30),
        return_rate=tag("ratio(returned, gross)"),
    )
    tags = tags_of(spark, rows, rules)
    seen = {c: (t["orders"], t["net"], t["last_order"], t["return_rate"]) for c, t in tags.items()}
    assert seen == {
        "C1": (1, 90 - 30, ago(20), Decimal("0.333333")),
        "C2": (1, 50, ago(25), ratio(70, 50 + 70)),
        "C3": (0, 0, None, None),  # nothing was paid in the window: no rate
        "C4": (0, -15, None, None),
        "C5": (1, 20, ago(7), ratio(30, 20 + 30)),
    }


def test_the_leads_of_one_customer_add_up(spark: SparkSession):
    rows = [
        # the same day, once by phone and once by cookie; after the merge both belong to C1
        event("C1", "view", 2, lead_identifier_type="phone", lead_identifier="p", category="tea", event_count=2),
        event("C1", "view", 2, lead_identifier_type="cookie", lead_identifier="k", category="tea", event_count=3),
        event("C1", "view", 2, lead_identifier_type="cookie", lead_identifier="k", category="rice", event_count=4),
        # an order led by the phone, returned by the cookie
        order("C1", 9, "40", lead_identifier_type="phone", lead_identifier="p"),
        given_back("C1", 9, 3, "40", ends=True, lead_identifier_type="cookie", lead_identifier="k"),
    ]
    rules = rules_of(
        views=tag(window=7, where="event_type = 'view'"),
        liked=tag("top(category, event_count)", window=7, where="event_type = 'view'"),
        last_order=tag("max(date)", where=PURCHASE),
        view_days=tag("count_distinct(date)", where="event_type = 'view'"),
    )
    tags = tags_of(spark, rows, rules)
    assert tags == {
        "C1": {"customer_id": "C1", "views": 2 + 3 + 4, "liked": "tea", "last_order": None, "view_days": 1}
    }  # tea 5 beats rice 4 only when the leads are added


def test_ties_follow_their_rules(spark: SparkSession):
    def view(customer: str, days_ago: int, category: str | None, events: int = 1, hour: int | None = 12) -> Row:
        return event(customer, "view", days_ago, category=category, event_count=events, event_hour=hour)

    rows = [
        # more: 3 against 2, although the other is later
        view("more", 5, "b", 3), view("more", 1, "a", 2),
        # later: 2 against 2, b was seen last
        view("later", 6, "b"), view("later", 1, "b"), view("later", 2, "a", 2),
        # smaller: 1 against 1 on the same day; what is unknown is no candidate
        view("smaller", 1, "b"), view("smaller", 1, "a"), view("smaller", 0, None, 9),
        # first and last: the hour decides within a day, then the smaller value
        view("hours", 3, "z", hour=8), view("hours", 3, "a", hour=9), view("hours", 1, "z", hour=21),
        view("hours", 1, "y", hour=21), view("hours", 1, "a", hour=20),
        # an unknown hour loses on both ends
        view("unknown", 3, "a", hour=None), view("unknown", 3, "b", hour=23), view("unknown", 1, "c", hour=0),
        view("unknown", 1, "d", hour=None),
    ]  # fmt: skip
    rules = rules_of(
        liked=tag("top(category, event_count)", window=7),
        first=tag("first(category)"),
        last=tag("last(category)", window=7),
    )
    tags = tags_of(spark, rows, rules)
    assert {customer: tags[customer]["liked"] for customer in ("more", "later", "smaller")} == {
        "more": "b", "later": "b", "smaller": "a",
    }  # fmt: skip
    assert (tags["hours"]["first"], tags["hours"]["last"]) == ("z", "y")
    assert (tags["unknown"]["first"], tags["unknown"]["last"]) == ("b", "c")


def test_tags_over_tags_and_attributes(spark: SparkSession):
    rows = [
        order("C1", 0, "90"), order("C1", 29, "30"),  # 2 in (D − 30, D]: 120
        order("C1", 30, "60"), order("C1", 89, "60"),  # 2 in the 60 days before: 120
        order("C1", 90, "999"),  # before both
        order("C2", 1, "50"),  # nothing to compare with
        order("C3", 50, "50"),  # stopped
    ]  # fmt: skip
    golden = {"customer_id": "C1", "gender": "female", "member_level": "gold", "registered_at": datetime(2024, 1, 2)}
    rules = rules_of(
        level=tag("case", cases=[
            {"when": "is_kept and member_level = 'gold'", "then": "unreachable"},  # is_kept is null
            {"when": "spent > 100 and member_level = 'gold'", "then": "star"},
            {"when": "spent > 10", "then": "buyer"},
        ], otherwise="visitor") | {"allowed": ["unreachable", "star", "buyer", "visitor"]},
        is_kept=tag("attribute(consent_marketing)"),
        spent=tag("sum(net_amount)", window=30),
        growth=tag("trend(spent, 30, 60)"),
        gender=tag("attribute(gender)"),
        days_a_member=tag("case", cases=[{"when": "datediff(as_of, registered_at) > 100", "then": "long"}]),
        gap=tag("interval_mean", where=PURCHASE),
        longest_gap=tag("interval_max", where=PURCHASE),
        variability=tag("ratio(longest_gap, gap)"),
        mean_line=tag("avg(net_amount)", where="event_type = 'order'"),
        mean_hour=tag("avg(event_hour)"),
    )  # fmt: skip
    tags = tags_of(spark, rows, rules, golden, *({"customer_id": c} for c in ("C2", "C3", "C4")))
    assert list(tags["C1"]) == ["customer_id", *rules.tags]  # declared order, although level reads later tags
    assert tags["C1"] == {
        "customer_id": "C1",
        "level": "star",
        "is_kept": None,
        "spent": 120,
        "growth": ratio(120 * 60, 120 * 30) - 1,  # per day, the rate doubled: +1
        "gender": "female",
        "days_a_member": "long",
        "gap": Decimal(90) / 4,  # 90 days between the first and the last of 5 purchase days
        "longest_gap": 89 - 30,
        "variability": ratio(59 * 4, 90),
        "mean_line": (Decimal("90") + 30 + 60 + 60 + 999) / 5,
        "mean_hour": 12,
    }
    assert [tags[c]["level"] for c in ("C2", "C3", "C4")] == ["buyer", "visitor", "visitor"]
    assert [tags[c]["growth"] for c in ("C2", "C3", "C4")] == [None, -1, None]
    assert [tags[c]["gap"] for c in ("C2", "C4")] == [None, None]


def test_tags_do_not_depend_on_partitions_or_order(spark: SparkSession):
    rows = random_rows(random.Random(5), customers=20)
    touchy = ("top_10", "first_10", "last_10", "sum_10")
    rules = TagRules(tags={name: t for name, t in every_measure().tags.items() if name.startswith(touchy)})
    customers = customers_of(spark, *({"customer_id": f"C{n}"} for n in range(20)))
    shuffled = random.Random(6).sample(rows, len(rows))
    one_way = compute_tags(activity_of(spark, rows).coalesce(1), customers, D, rules)
    other_way = compute_tags(activity_of(spark, shuffled).repartition(7), customers, D, rules)
    assert_df_equality(one_way, other_way, ignore_row_order=True)


def test_every_measure_agrees_with_plain_python(spark: SparkSession):
    """Windows, ties and keep_last by definition: step back day by day until the window holds something."""
    rows = random_rows(random.Random(11), customers=150)
    rules = every_measure()
    tags = tags_of(spark, rows, rules)
    by_customer = defaultdict(list)
    for row in rows:
        by_customer[row["customer_id"]].append(row)
    wrong = []
    for customer, mine in by_customer.items():
        for name, declared in rules.tags.items():
            by_definition = expected_value(declared.parsed.name, mine, declared.window, declared.null_policy)
            if tags[customer][name] != by_definition:
                wrong.append((customer, name, tags[customer][name], by_definition))
    assert not wrong, wrong[:5]
    kept = [tags[c][n] for c in by_customer for n in rules.tags if n.endswith("_3_keep_last")]
    cleared = [tags[c][n] for c in by_customer for n in rules.tags if n.endswith("_3_clear")]
    assert kept.count(None) < cleared.count(None)  # otherwise nothing was kept and the comparison says little


def test_every_shipped_tag_has_the_value_that_a_person_works_out(spark: SparkSession):
    """One customer's two years, with something just outside each window; and one customer for each stage of life."""
    shipped = TagRules.model_validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    attributes = {
        "gender": "female", "age_band": "30-39", "city": "杭州", "province": "浙江", "city_tier": "新一线",
        "source_channel": "app", "member_level": "gold",
    }  # fmt: skip
    till = {
        "channel": "store_pos", "event_hour": 9, "quantity": Decimal(1), "product_id": "p1", "store_id": "S1",
        "discount_amount": Decimal(0),
    }  # fmt: skip
    rice, tea, cake = ({"category": c, "brand": b} for c, b in (("rice", "grain"), ("tea", "leaf"), ("cake", "oven")))
    saved = {"discount_amount": Decimal(5)}
    bought = [
        order("C1", 400, "800", **till, **rice),  # before every window
        order("C1", 120, "60", **till, **rice),  # a Saturday
        order("C1", 60, "100", **{**till, "channel": "app", "event_hour": 12, "quantity": Decimal(2), **saved}, **tea),
        order("C1", 36, "90", **{**till, "event_hour": 23}, **tea),  # a Saturday night
        order("C1", 5, "110", product_id="p2", store_id="S2", quantity=Decimal(3), coupon_id="c", **cake, **saved),
        given_back("C1", 5, 2, "20", ends=False, product_id="p2", store_id="S2", quantity=-Decimal(1), **cake,
                   channel="service"),
    ]  # fmt: skip
    own = [  # of the last 90 days 15 beside the three orders
        *[event("C1", "visit", day, **place) for day, place in ((1, {}), (8, {"channel": "store_pos"}), (31, {}))],
        event("C1", "view", 1, dwell_seconds=30, **tea), event("C1", "view", 2, dwell_seconds=50, event_hour=5, **tea),
        event("C1", "view", 14, dwell_seconds=10, **rice), event("C1", "view", 45, dwell_seconds=70, **rice),
        event("C1", "search", 3), event("C1", "search", 30),
        event("C1", "favourite", 1, **tea), event("C1", "favourite", 14, **tea),
        event("C1", "cart_add", 1, **tea), event("C1", "cart_add", 7, **tea),
        event("C1", "checkin", 20, channel="mini_program"), event("C1", "consult", 10), event("C1", "consult", 90),
    ]  # fmt: skip
    others = [
        event("C1", "register", 400),
        event("C1", "share", 1), event("C1", "share", 90), event("C1", "refer", 1), event("C1", "refer", 365),
        event("C1", "review", 3, rating_sum=5, rating_count=1, positive_count=1, topic="price"),
        event("C1", "review", 100, rating_sum=2, rating_count=1, negative_count=1, topic="quality"),
        event("C1", "coupon_claim", 6), event("C1", "coupon_claim", 179), event("C1", "coupon_claim", 180),
        event("C1", "coupon_redeem", 5), event("C1", "coupon_redeem", 180),
        event("C1", "touch", 4), event("C1", "touch", 50), event("C1", "touch", 90),
        event("C1", "open", 4), event("C1", "open", 90), event("C1", "click", 3), event("C1", "click", 90),
        event("C1", "deposit", 80, other_amount=Decimal(500)), event("C1", "deposit", 90, other_amount=Decimal(200)),
        event("C1", "withdraw", 10, other_amount=Decimal(100)),
        event("C1", "loan_apply", 100), event("C1", "loan_apply", 365),
        event("C1", "repay", 69, other_amount=Decimal(50)), event("C1", "repay", 39, other_amount=Decimal(60)),
        event("C1", "repay", 365, other_amount=Decimal(10)), event("C1", "overdue", 34), event("C1", "overdue", 365),
    ]  # fmt: skip
    stages = [  # one customer for each later stage of life, bought once or twice so many days ago
        order("active", 60), order("cooling", 130), order("sleeping", 200), order("lost", 500), order("new", 30),
        order("overdue", 60), order("overdue", 50),  # 50 days since, and usually 10 between
    ]  # fmt: skip
    population = [{"customer_id": c} for c in ("active", "cooling", "sleeping", "lost", "new", "overdue", "prospect")]
    rows = [*bought, *own, *others, *stages]
    tags = tags_of(spark, rows, shipped, {"customer_id": "C1"} | attributes, *population)
    expected = attributes | {
        "registered_date": ago(400), "first_order_date": ago(400), "last_order_date": ago(5),
        "days_since_last_order": 5,
        "order_count_30d": 1, "order_count_90d": 3, "order_count_365d": 4, "order_count_lifetime": 5,
        "mean_order_interval_days": Decimal(400 - 5) / 4, "max_order_interval_days": 400 - 120,
        "order_interval_variability": ratio(280 * 4, 395),
        "purchased_categories_180d": 3, "gross_amount_365d": 60 + 100 + 90 + 110, "returned_amount_365d": 20,
        "return_rate_365d": ratio(20, 360), "last_store": "S2", "first_order_channel": "store_pos",
        "quantity_365d": 1 + 2 + 1 + 3 - 1, "basket_size_365d": ratio(6, 4), "distinct_stores_365d": 2,
        "distinct_products_365d": 2, "product_repeat_365d": 4 / 2,
        "weekend_order_count_365d": 2, "weekend_order_share_365d": ratio(2, 4),
        "order_trend": (3 * 90) / (1 * 90) - 1,  # 3 in 90 days, 1 in the 90 before
        "last_visit_date": ago(1), "visit_count_7d": 1, "visit_count_30d": 2, "view_count_14d": 2,
        "mean_dwell_seconds_30d": (30 + 50 + 10) / 3, "cart_or_favourite_count_14d": 3, "coupon_redeem_count_180d": 1,
        "last_active_date": ago(1), "active_days_30d": len({1, 2, 3, 5, 7, 8, 10, 14, 20}), "cart_add_count_7d": 1,
        "consult_count_90d": 1, "coupon_claim_count_180d": 2, "coupon_redeem_rate_180d": ratio(1, 2),
        "touch_count_90d": 2, "open_count_90d": 1, "click_count_90d": 1, "open_rate_90d": ratio(1, 2),
        "days_since_last_open": 4,
        "net_amount_lifetime": 800 + 360 - 20, "net_amount_180d": 340, "net_amount_365d": 340, "net_amount_30d": 90,
        "average_order_value_365d": 340 / 4,
        "discount_amount_365d": 10, "list_amount_365d": 370, "discount_rate_365d": ratio(10, 370),
        "largest_line_amount_365d": 110,
        "top_viewed_category_30d": "tea", "favourite_count_30d": 2, "search_count_30d": 1,
        "interest_event_count_30d": 3 + 1 + 2 + 2,
        "interest_trend": (8 * 60) / (2 * 30) - 1,  # a view and a search in the 60 days before
        "share_count_90d": 1, "referral_count_365d": 1,
        "review_count_365d": 2, "rating_sum_365d": 5 + 2, "rating_count_365d": 2, "mean_rating_365d": ratio(7, 2),
        "positive_review_count_365d": 1, "rating_sum_90d": 5, "rating_count_90d": 1, "mean_rating_90d": 5,
        "opinion_balance_90d": 1, "opinion_count_90d": 1, "sentiment_score_90d": 1, "sentiment_90d": "positive",
        "negative_feedback_count_90d": 0, "top_feedback_topic_365d": "price",  # one review each; seen later
        "top_complaint_topic_365d": "quality",
        "preferred_category": "tea", "preferred_brand": "leaf",  # 190 against 90
        "preferred_store": "S1",  # 250 against 90
        "order_line_count_365d": 4, "promoted_line_count_365d": 2, "promotion_sensitivity": ratio(2, 4),
        "preferred_channel": "app", "preferred_hour": 12,
        "own_event_count_90d": 15 + 3, "night_event_count_90d": 2, "night_share_90d": ratio(2, 18),
        "distinct_channels_90d": len({"app", "store_pos", "mini_program"}),
        "online_line_count_365d": 2, "online_share_365d": ratio(2, 4),
        "lifecycle": "active",
        "view_trend_14d": (2 * 56) / (2 * 14) - 1,  # 2 views in 14 days, 2 in the 56 before
        "net_amount_90d": 100 + 90 + 110 - 20, "promotion_event_count_30d": 1 + 1 + 1, "positive_review_count_90d": 1,
        "asset_amount": 500 + 200 - 100, "asset_inflow_90d": 400, "asset_trend": ratio(400, 600),
        "loan_apply_count_365d": 1, "repay_count_365d": 2, "repaid_amount_365d": 110, "overdue_count_365d": 1,
    }  # fmt: skip
    c1 = tags["C1"]
    assert set(expected) == set(shipped.tags), "each shipped tag has a value here that somebody worked out"
    assert {name: (c1[name], value) for name, value in expected.items() if c1[name] != value} == {}
    assert {c: t["lifecycle"] for c, t in tags.items()} == {
        "C1": "active", "active": "active", "cooling": "cooling", "sleeping": "sleeping", "lost": "lost", "new": "new",
        "overdue": "active", "prospect": "prospect",
    }  # fmt: skip
    zero = {name for name, value in tags["prospect"].items() if value == 0}
    known = {"customer_id", "lifecycle"}  # of nobody's activity, counts and sums are 0 and everything else is unknown
    counted = {name for name, tag in shipped.tags.items() if tag.parsed.name in ("count", "sum", "count_distinct")}
    assert zero == counted
    assert {name for name, value in tags["prospect"].items() if value is not None} == known | counted


def test_shipped_tags_keep_the_contract(spark: SparkSession):
    shipped = TagRules.model_validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    tags = compute_tags(activity_of(spark, []), customers_of(spark, {"customer_id": "C1"}), D, shipped)
    table = gold.customer_tags_table(tag_columns(shipped))
    declared = {field.name: field.dataType for field in table.schema.fields if field.name != "run_date"}
    assert {field.name: field.dataType for field in tags.schema.fields} == declared


def random_rows(rng: random.Random, customers: int) -> list[Row]:
    """Few days, categories and amounts, so that ties and empty windows are common; some rows lie after D."""
    return [
        event(
            f"C{n}",
            rng.choice(["view", "view", "visit"]),
            days_ago,
            event_date=ago(days_ago - rng.choice([0, 0, 0, 2, 30])),  # some are known only later, or after D
            category=rng.choice(["a", "b", "c", None]),
            event_hour=rng.choice([None, 8, 8, 20]),
            event_count=rng.choice([1, 1, 2]),
            net_amount=rng.choice([None, Decimal("1.00"), Decimal("2.50"), Decimal("-1.00")]),
        )
        for n in range(customers)
        for days_ago in rng.choices(range(-2, 25), k=rng.randint(1, 9))
    ]


@pytest.mark.parametrize("null_policy", ["clear", "keep_last"])
def test_days_since_never_exceeds_its_window(spark: SparkSession, null_policy: str):
    rows = [event("C1", "view", 50)]  # last held by the 10-day window of 41 days ago, when it was 9 days old
    tags = tags_of(spark, rows, rules_of(since=tag("days_since", window=10, null_policy=null_policy)))
    assert tags["C1"]["since"] == (9 if null_policy == "keep_last" else None)
