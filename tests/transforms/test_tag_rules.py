"""Tag declarations: what is refused before Spark starts, and what the contract and the catalogue say of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from transforms.contracts import MONEY, QUANTITY, RATIO, gold
from transforms.tags import TagRules, catalogue_rows, tag_columns
from transforms.tags.measures import expression_type, parse_measure

SHIPPED = Path(__file__).parents[2] / "conf" / "tags.yaml"

# DESIGN 5.4, "always present"; and what primary segments read.
ALWAYS_PRESENT = """\
    gender age_band city source_channel last_order_date last_visit_date order_count_30d order_count_90d return_rate_365d
    mean_order_interval_days purchased_categories_180d net_amount_lifetime net_amount_180d average_order_value_365d
    top_viewed_category_30d favourite_count_30d interest_trend member_level share_count_90d referral_count_365d
    preferred_category preferred_brand promotion_sensitivity preferred_channel preferred_hour lifecycle asset_amount
    asset_trend sentiment_90d
    first_order_date registered_date order_count_365d order_count_lifetime days_since_last_order visit_count_30d
    view_count_14d cart_or_favourite_count_14d review_count_365d mean_rating_365d coupon_redeem_count_180d
    order_trend view_trend_14d net_amount_90d promotion_event_count_30d positive_review_count_90d
""".split()  # noqa: SIM905 (one name to a quote would be unreadable)


def tag(measure: str = "count", **keys: Any) -> dict[str, Any]:
    return {"label": "标签", "description": "A tag.", "type": "behaviour", "measure": measure} | keys


def refusal(**tags: dict[str, Any]) -> str:
    """What the rules say against these tags."""
    with pytest.raises(ValidationError) as caught:
        TagRules.model_validate({"tags": tags})
    return str(caught.value)


@pytest.fixture(scope="module")
def shipped() -> TagRules:
    return TagRules.model_validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))


def test_unknown_columns_are_refused_with_the_nearest_names():
    message = refusal(
        spent=tag("sum(net_amout)"),
        visits=tag(where="evnt_type = 'visit'"),
        gender=tag("attribute(gendre)"),
    )
    assert "tag spent: measure: 'net_amout' is not a column here; nearest: net_amount" in message
    assert "tag visits: where: 'evnt_type' is not a column here; nearest: event_type" in message
    assert "tag gender: measure: 'gendre' is not a column of silver.customers; nearest: gender" in message


def test_unknown_tags_are_refused_with_the_nearest_names():
    message = refusal(
        orders=tag("sum(order_count)"),
        rate=tag("ratio(orders, visits_30d)"),
        growth=tag("trend(order, 30, 30)"),
        level=tag("case", cases=[{"when": "ordrs > 1", "then": "high"}]),
    )
    assert "tag rate: measure: 'visits_30d' is not a tag" in message
    assert "tag growth: measure: 'order' is not a tag; nearest: orders" in message
    assert "tag level: case high: 'ordrs' is not a column here; nearest: orders" in message


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ("summ(net_amount)", "'summ(net_amount)' is not a measure; nearest: sum; write one of count, sum(column)"),
        ("sum", "has 0 arguments; write sum(column)"),
        ("top(category)", "has 1 arguments; write top(column, column)"),
        ("count(net_amount)", "has 1 arguments; write count"),
        ("sum(net_amount", "is not a measure"),
        ("sum(net_amount +)", "not a Spark SQL expression: 'net_amount +'"),
        ("sum(category)", "'category' is string, and a number is needed"),
        ("top(category, brand)", "'brand' is string, and a number is needed"),
        ("sum(cast(net_amount as double))", "is floating point; wrap it in cast"),
        ("trend(other, 0, 30)", "0 is not a window; write whole days from 1"),
        ("trend(other, 30, -5)", "-5 is not a window"),
    ],
)
def test_bad_measures_are_refused(measure: str, said: str):
    assert said in refusal(other=tag(), bad=tag(measure))


@pytest.mark.parametrize("window", [0, -7, 1.5, True, "7d", "ever"])
def test_impossible_windows_are_refused(window: object):
    said = f"window: {window!r} is not a window; allowed: whole days from 1, or lifetime"
    assert said in refusal(a=tag(window=window))


def test_cyclic_references_are_refused():
    message = refusal(
        a=tag("ratio(b, c)"),
        b=tag("case", cases=[{"when": "a > 1", "then": "high"}]),
        c=tag(),
        d=tag("case", cases=[{"when": "d = 'x'", "then": "x"}]),
    )
    assert "tags read each other in a circle" in message


def test_trend_needs_a_tag_that_adds_up():
    message = refusal(last=tag("max(event_count)"), growth=tag("trend(last, 30, 30)"))
    assert "tag growth: trend needs a tag that adds up (count or sum); last is max(event_count)" in message


def test_a_case_gives_only_allowed_values():
    message = refusal(
        level=tag("case", cases=[{"when": "is_staff", "then": "hihg"}], otherwise="none", allowed=["high", "low"])
    )
    assert "tag level: case gives 'hihg', which is not allowed; nearest: high" in message
    assert "tag level: case gives 'none', which is not allowed" in message


def test_keys_that_would_be_ignored_are_refused():
    message = refusal(
        orders=tag("sum(order_count)", tie_rule="the larger"),
        rate=tag("ratio(orders, orders)", window=30, null_policy="keep_last"),
        kind=tag("case"),
        seen=tag(otherwise="never"),
        run_date=tag(),
        liked=tag("top(category, event_count)", tie_rule="the larger"),
    )
    assert "tag orders: tie_rule of sum is always: none, it has no ties" in message
    assert "tag rate: window does not apply to ratio" in message
    assert "tag rate: null_policy does not apply to ratio" in message
    assert "tag kind: measure case needs `cases`" in message
    assert "tag seen: cases and otherwise belong to `measure: case`" in message
    assert "tag run_date: run_date is the name of another column" in message
    assert "tag liked: tie_rule of top is always: more, then later, then the smaller value" in message


def test_every_problem_is_named_at_once():
    message = refusal(
        a=tag(window=0),  # a value of a wrong kind …
        b={"label": "无", "type": "behaviour", "measure": "count"},  # … a missing key …
        c=tag(colour="red"),  # … a key that does not exist …
        d=tag("sum(net_amout)", where="chanel = 'app'"),  # … and names that do not
    )
    named = ("tag a: window", "tag b: description: Field required", "tag c: colour: Extra", "'net_amout'", "'chanel'")
    assert [problem for problem in named if problem not in message] == []


def test_commas_in_brackets_and_quotes_stay_in_their_argument():
    measure = parse_measure("top(concat(category, ',', brand), greatest(quantity, 1))")
    assert measure.arguments == ("concat(category, ',', brand)", "greatest(quantity, 1)")


def test_types_follow_from_measures():
    rules = TagRules.model_validate(
        {
            "paid": tag("sum(gross_amount - discount_amount)"),
            "pieces": tag("sum(quantity)"),
            "orders": tag("sum(order_count)"),
            "hours": tag("sum(event_hour)"),
            "dwell": tag("avg(dwell_seconds)"),
            "line_amount": tag("avg(net_amount)"),
            "brands": tag("count_distinct(brand)"),
            "first_seen": tag("min(date)"),
            "hour": tag("top(event_hour, event_count)"),
            "store": tag("last(store_id)"),
            "weekday": tag("top(dayofweek(date), event_count)"),
            "gap": tag("interval_max"),
            "mean_gap": tag("interval_mean"),
            "since": tag("days_since"),
            "price": tag("ratio(paid, pieces)"),
            "growth": tag("trend(paid, 30, 60)"),
            "registered": tag("attribute(registered_at)"),
            "level": tag("case", cases=[{"when": "orders > 1", "then": "high"}]),
        }
    )
    assert {name: column.type for name, column in tag_columns(rules).items()} == {
        "paid": MONEY,
        "pieces": QUANTITY,
        "orders": "bigint",
        "hours": "bigint",
        "dwell": RATIO,
        "line_amount": MONEY,
        "brands": "bigint",
        "first_seen": "date",
        "hour": "int",
        "store": "string",
        "weekday": "int",
        "gap": "int",
        "mean_gap": RATIO,
        "since": "int",
        "price": RATIO,
        "growth": RATIO,
        "registered": "timestamp",
        "level": "string",
    }


def test_the_type_of_an_expression_needs_no_spark():
    assert expression_type("case when event_type = 'deposit' then other_amount else -other_amount end") == MONEY
    assert expression_type("net_amount / quantity") == RATIO
    assert expression_type("cast(event_hour as string)") == "string"


def test_shipped_tags_cover_what_the_design_promises(shipped: TagRules):
    assert len(shipped.tags) >= 66
    assert set(ALWAYS_PRESENT) <= set(shipped.tags)
    assert len({t.parsed.name for t in shipped.tags.values()}) >= 12
    assert {t.type for t in shipped.tags.values()} == {
        "basic", "behaviour", "value", "interest", "social", "preference", "channel", "lifecycle", "finance",
    }  # fmt: skip
    assert {7, 30, 90, 180, 365, "lifetime"} <= {t.window for t in shipped.tags.values()}


def test_shipped_tags_make_a_contract(shipped: TagRules):
    table = gold.customer_tags_table(tag_columns(shipped))
    assert table.column_names == ["run_date", "customer_id", *shipped.tags]
    assert len(table.schema.fields) == len(shipped.tags) + 2  # every type is one that contracts know
    assert {c.name for c in table.columns if c.personal == "attribute"} >= {"gender", "age_band", "city"}


def test_the_catalogue_tells_who_reads_a_tag(shipped: TagRules):
    names = gold.TAG_CATALOGUE.column_names
    rows = [dict(zip(names, row, strict=True)) for row in catalogue_rows(shipped, {"lifecycle": ["segment:active"]})]
    by_tag = {row["tag"]: row for row in rows}
    assert [row["tag"] for row in rows] == list(shipped.tags)
    assert by_tag["lifecycle"]["used_by"] == ["segment:active"]
    assert by_tag["order_count_365d"]["used_by"] == [
        "average_order_value_365d", "basket_size_365d", "weekend_order_share_365d",
    ]  # fmt: skip
    assert by_tag["average_order_value_365d"]["window"] == "365"
    assert by_tag["net_amount_lifetime"]["window"] == "lifetime"
    assert by_tag["interest_trend"]["window"] == "30 after 60"
    assert by_tag["preferred_category"]["null_policy"] == "keep_last"
    assert by_tag["preferred_category"]["tie_rule"] == "more, then later, then the smaller value"
    assert "otherwise lost" in by_tag["lifecycle"]["definition"]
