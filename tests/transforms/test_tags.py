"""Tags computed from activity: each measure on rows worked out by hand, then all of them against plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from transforms.contracts import Table, gold, silver
from transforms.tags import TagRules, compute_tags, tag_columns

D = date(2024, 6, 30)
SHIPPED = Path(__file__).parents[2] / "conf" / "tags.yaml"
PURCHASE = "event_type = 'order' and day_order_count > 0"
Row = dict[str, Any]


def tag(measure: str = "count", **keys: Any) -> dict[str, Any]:
    return {"label": "标签", "description": "A tag.", "type": "behaviour", "measure": measure} | keys


def rules_of(**tags: dict[str, Any]) -> TagRules:
    return TagRules.model_validate({"tags": tags})


def ago(days: int) -> date:
    return D - timedelta(days)


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


def test_every_shipped_tag_has_a_value_for_somebody(spark: SparkSession):
    shipped = TagRules.model_validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    goods = {"category": "tea", "brand": "leaf", "store_id": "S1", "discount_amount": Decimal(5)}
    attributes = {
        "gender": "female", "age_band": "30-39", "city": "杭州", "city_tier": "新一线", "source_channel": "app",
        "member_level": "gold",
    }  # fmt: skip
    rows = [
        event("C1", "register", 400),
        *[order("C1", days, **goods) for days in (100, 60, 40, 5)],  # the first before the last 90 days
        given_back("C1", 5, 2, "20", ends=False, **goods),
        *[event("C1", kind, 1, category="tea") for kind in ("visit", "favourite", "cart_add", "share", "refer")],
        *[event("C1", "view", day, category="tea", dwell_seconds=30) for day in (1, 2, 45)],
        event("C1", "coupon_redeem", 5), event("C1", "review", 3, rating_sum=4, rating_count=1),
        event("C1", "deposit", 80, other_amount=Decimal(500)), event("C1", "withdraw", 10, other_amount=Decimal(100)),
        # one customer for each later stage of life, bought once or twice so many days ago
        order("active", 60), order("cooling", 130), order("sleeping", 200), order("lost", 500), order("new", 30),
        order("overdue", 60), order("overdue", 50),  # 50 days since, and usually 10 between
    ]  # fmt: skip
    population = [{"customer_id": c} for c in ("active", "cooling", "sleeping", "lost", "new", "overdue", "prospect")]
    tags = tags_of(spark, rows, shipped, {"customer_id": "C1"} | attributes, *population)
    silent = [name for name in shipped.tags if tags["C1"][name] in (None, 0)]
    assert not silent
    assert {c: t["lifecycle"] for c, t in tags.items()} == {
        "C1": "active", "active": "active", "cooling": "cooling", "sleeping": "sleeping", "lost": "lost", "new": "new",
        "overdue": "active", "prospect": "prospect",
    }  # fmt: skip
    c1 = tags["C1"]
    assert (c1["asset_amount"], c1["asset_trend"]) == (500 - 100, ratio(400, 400))
    assert (c1["return_rate_365d"], c1["promotion_sensitivity"]) == (ratio(20, 400), 1)
    assert (c1["average_order_value_365d"], c1["order_trend"]) == (ratio(400 - 20, 4), 3 / 1 - 1)
    # 2 views, a favourite and a cart addition in 30 days; 1 view in the 60 days before
    assert c1["interest_trend"] == ratio(4 * 60, 1 * 30) - 1


def test_shipped_tags_keep_the_contract(spark: SparkSession):
    shipped = TagRules.model_validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    tags = compute_tags(activity_of(spark, []), customers_of(spark, {"customer_id": "C1"}), D, shipped)
    table = gold.customer_tags_table(tag_columns(shipped))
    declared = {field.name: field.dataType for field in table.schema.fields if field.name != "run_date"}
    assert {field.name: field.dataType for field in tags.schema.fields} == declared


# What the tags mean, in plain Python


def every_measure() -> TagRules:
    """Each measure over activity, in windows of 3 and 10 days with both null policies, and for ever."""
    measures = (
        "count", "sum(net_amount)", "avg(net_amount)", "min(net_amount)", "max(net_amount)", "count_distinct(category)",
        "top(category, net_amount)", "first(category)", "last(category)", "days_since", "interval_mean", "interval_max",
    )  # fmt: skip
    return rules_of(
        **{
            f"{measure.split('(')[0]}_{window}_{policy}": tag(
                measure, window=window, null_policy=policy, where="event_type = 'view'"
            )
            for measure in measures
            for window in (3, 10, "lifetime")
            for policy in (("clear",) if window == "lifetime" else ("clear", "keep_last"))
        }
    )


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


def expected_value(measure: str, rows: list[Row], window: int | str, policy: str) -> Any:
    """A measure by definition: over the window at D, or with keep_last at the latest day on which it held a row."""
    column = "net_amount" if measure in ("sum", "avg", "min", "max") else "category"
    needs = None if measure in ("count", "days_since", "interval_mean", "interval_max") else column
    qualifying = [
        row
        for row in rows
        if row["event_date"] <= D and row["counts_on_date"] <= D and row["event_type"] == "view"
        and (needs is None or row[needs] is not None)
    ]  # fmt: skip
    days = [D]
    if policy == "keep_last" and window != "lifetime":
        days += [ago(n) for n in range(1, 40)]
    for day in days:
        begins_after = date.min if window == "lifetime" else day - timedelta(int(window))
        inside = [row for row in qualifying if begins_after < row["counts_on_date"] <= day]
        if inside:
            return measured(measure, inside, needs, day)
    return 0 if measure in ("count", "sum", "count_distinct") else None


def measured(measure: str, rows: list[Row], column: str | None, day: date) -> Any:
    """A measure over the rows of a window that ends on `day` and is not empty."""
    values = [row[column] for row in rows] if column else []
    dates = sorted({row["counts_on_date"] for row in rows})
    gaps = [(later - earlier).days for earlier, later in zip(dates, dates[1:], strict=False)]
    match measure:
        case "count":
            return sum(row["event_count"] for row in rows)
        case "sum":
            return sum(values)
        case "avg":
            return rounded(Decimal(sum(values)) / sum(row["event_count"] for row in rows), "0.01")
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "count_distinct":
            return len(set(values))
        case "top":
            totals: dict[str, Decimal] = defaultdict(Decimal)
            latest: dict[str, date] = {}
            for row in rows:
                totals[row["category"]] += row["net_amount"] or 0
                latest[row["category"]] = max(latest.get(row["category"], date.min), row["counts_on_date"])
            return min(totals, key=lambda v: (-totals[v], -latest[v].toordinal(), v))
        case "first":
            return min(rows, key=lambda r: (r["counts_on_date"], hour_or(r, 24), r["category"]))["category"]
        case "last":
            return min(rows, key=lambda r: (-r["counts_on_date"].toordinal(), -hour_or(r, -1), r["category"]))[
                "category"
            ]
        case "days_since":
            return (day - dates[-1]).days
        case "interval_mean":
            return ratio(sum(gaps), len(gaps)) if gaps else None
        case "interval_max":
            return max(gaps) if gaps else None
    raise AssertionError(measure)


def hour_or(row: Row, unknown: int) -> int:
    return unknown if row["event_hour"] is None else row["event_hour"]


def ratio(numerator: int, denominator: int) -> Decimal:
    return rounded(Decimal(numerator) / denominator, "0.000001")


def rounded(value: Decimal, to: str) -> Decimal:
    return value.quantize(Decimal(to), ROUND_HALF_UP)


@pytest.mark.parametrize("null_policy", ["clear", "keep_last"])
def test_days_since_never_exceeds_its_window(spark: SparkSession, null_policy: str):
    rows = [event("C1", "view", 50)]  # last held by the 10-day window of 41 days ago, when it was 9 days old
    tags = tags_of(spark, rows, rules_of(since=tag("days_since", window=10, null_policy=null_policy)))
    assert tags["C1"]["since"] == (9 if null_policy == "keep_last" else None)
