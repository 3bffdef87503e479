"""Feedback: what sentences in two languages say, and topics by product against a brute force by DuckDB."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import Row, SparkSession

from tests.builders import DAY, TIERS, days_before, event, frame
from transforms.activity import build_activity
from transforms.contracts import conform, gold, silver
from transforms.feedback.opinions import with_opinions
from transforms.feedback.reading import Reader
from transforms.feedback.rules import FeedbackRules
from transforms.feedback.topics import feedback_topics
from transforms.simulation.catalogue import COMPLAINTS, PRAISE, QUESTIONS

CONF = Path(__file__).parents[2] / "conf" / "feedback.yaml"


def said() -> dict[str, Any]:
    return yaml.safe_load(CONF.read_text(encoding="utf-8"))["feedback"]


RULES = FeedbackRules.model_validate(said())
READER = Reader(RULES)


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("质量很好", 1), ("Great quality", 1), ("质量差", -1), ("poor quality", -1),
        ("质量不好", -1), ("The quality is not good", -1), ("it isn’t good", -1),  # negated, also by a curly quote
        ("不是很好看", -1), ("not a very good fit", -1),  # a degree between
        ("没有异味", 1), ("no defects at all", 1),  # the absence of something bad
        ("不错", 1), ("不但好看", 1), ("有没有好看的", 1), ("卫生间在哪里", 0),  # 不 and 没有 of other words; 卫生 too
        ("有点贵，但是质量非常好", 1), ("质量非常好，但是有点贵", 1),  # a weak complaint, strong praise
        ("looks nice but broke after a day", -1), ("broke once but they were wonderful about it", 1),
        ("nice, 但是很差", -1), ("love 这个颜色", 1),  # mixed
        ("👍👍", 1), ("😡", -1), ("❤️", 1), ("还行吧 :(", -1),
        ("ＧＲＥＡＴ", 1), ("质量差！！！", -1), ("ｎｏｔ ｇｏｏｄ", -1),  # full-width
        ("disappointing", -1), ("disappointed again", -1), ("a disappointment", -1),  # any ending
        ("bestow", 0), ("the amazon forest", 0), ("badge", 0),  # words within words are none
        ("什么时候到货", 0), ("How do I get an invoice?", 0), ("", 0), ("   ", 0), ("123 456", 0),
        ("我没收到", -1), ("I still have not got it", -1),  # a negation that meets nothing speaks for itself
        ("not. good", 1), ("不，好看", 1),  # a clause's negation ends with it
    ],
)  # fmt: skip
def test_sentences_speak_well_or_badly(text: str, sentiment: int) -> None:
    assert READER.opinion(text).sentiment == sentiment


def test_strength_follows_degrees_and_negation() -> None:
    weak, plain, strong, negated = (READER.score(text) for text in ("有点难看", "难看", "非常难看", "不难看"))
    assert (plain, weak, strong, negated) == (-2, pytest.approx(-2 * 0.6), -2 * 1.5, pytest.approx(-2 * RULES.negated))
    assert READER.score("somewhat ugly") == pytest.approx(-2 * 0.6)
    assert READER.score("ugly but lovely") == pytest.approx(-2 * RULES.before_contrast + 2)


@pytest.mark.parametrize(
    ("rating", "text", "sentiment"),
    [
        (5, "质量差", 1), (4, None, 1), (1, "很好看", -1), (2, None, -1),  # clear stars decide
        (3, "很好看", 1), (3, "质量差", -1), (3, None, 0), (None, None, 0),  # between, the words do
    ],
)  # fmt: skip
def test_stars_decide_where_they_are_clear(rating: int | None, text: str | None, sentiment: int) -> None:
    assert READER.opinion(text, rating).sentiment == sentiment


@pytest.mark.parametrize(
    ("text", "rating", "topic", "mentions"),
    [
        ("物流很快，质量差", None, "delivery", {"delivery": 1, "quality": -1}),  # each by its own clause
        ("Fast delivery. The zip broke", None, "delivery", {"delivery": 1, "quality": -1}),
        ("物流，质量，都很好看", None, "delivery", {"delivery": 1, "quality": 1}),  # without an opinion: that of all
        ("包装", 1, "packaging", {"packaging": -1}),  # … or of the stars
        ("质量好看，物流慢，物流差劲", None, "delivery", {"quality": 1, "delivery": -1}),  # two clauses against one
        ("性价比高", None, "price", {"price": 1}),  # opinion and topic in one word
        ("什么时候到货？优惠券怎么用", None, "delivery", {"delivery": 0, "price": 0}),
        ("很好看", None, None, {}),
    ],
)  # fmt: skip
def test_topics_are_spoken_of_by_their_clause(
    text: str, rating: int | None, topic: str | None, mentions: Mapping[str, int]
) -> None:
    told = READER.opinion(text, rating)
    assert (told.topic, dict(told.mentions)) == (topic, mentions)


def test_the_generated_chain_means_what_it_says() -> None:
    """Praise goes with four and five stars there, complaints with fewer."""
    assert {text for text in PRAISE if READER.opinion(text).sentiment != 1} == set()
    assert {text for text in COMPLAINTS if READER.opinion(text).sentiment != -1} == set()
    assert {text for text in QUESTIONS if READER.opinion(text).sentiment} == {"优惠券用不了"}


def opinions(weight: int) -> dict[str, Any]:
    return {"label": "好", "description": "Good.", "weight": weight, "words": "good"}


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"poor_stars": 4}, "poor_stars is 4; it must be below good_stars (4)"),
        ({"words": "x"}, "Extra inputs are not permitted"),
        ({"topics": {"all": {"label": "全部", "description": "All.", "words": "x"}}}, "cannot be called 'all'"),
        ({"opinions": {"a": opinions(1), "b": opinions(2)}}, "'good' stands under opinions a and b"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(change: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FeedbackRules.model_validate(said() | change)
    assert refusal in str(caught.value)


Spoken = tuple[str | None, int, str | None, int | None]  # product, days ago, text, rating


def feedback() -> list[Spoken]:
    """A steady chain of 120 mentions a day, so that others grow by some 0.18, and products around every border."""
    rows: list[Spoken] = [(f"steady {n % 4}", day, None, 5 - n % 5) for day in range(98) for n in range(120)]

    def product(name: str, now: Mapping[int, int], before: Mapping[int, int] | None = None) -> None:
        for days_ago, ratings in ((3, now), (50, before or {})):
            rows.extend((name, days_ago, None, rating) for rating, count in ratings.items() for _ in range(count))

    product("ten", {5: 10})
    product("nine", {5: 9})
    product("liked", {5: 7, 1: 3})  # 0.7 of the opinions; those between good and bad are none
    product("liked, and neither", {5: 7, 1: 3, 3: 5})
    product("less liked", {5: 13, 1: 7})
    product("twice", {5: 60}, {5: 150})  # some 27 expected
    product("not twice", {5: 60}, {5: 200})  # some 36 expected, and beyond chance
    product("beyond chance", {5: 16}, {5: 30})  # 5 expected
    product("chance", {5: 12}, {5: 30})
    product("five complain", {1: 5})
    product("four complain", {1: 4})
    product("always complain", {1: 5}, {1: 30})
    product("silent now", {}, {5: 3})
    # The first and last day of the window and of the baseline, and those just outside.
    rows.extend(("edges", days, None, 5) for days in (-1, 0, 13, 14, 14, 97, 97, 97, 98))
    words = ("物流很快，质量差", "Great quality, too expensive", "什么时候到货", "性价比高", "包装破损 😡", "no words")
    names, stars = (None, "P1", "P2", "P3"), (None, 1, 3, 5)
    chance = random.Random(5)
    for _ in range(400):
        rows.append((chance.choice(names), chance.randrange(98), chance.choice(words), chance.choice(stars)))
    return rows


def events_of(rows: list[Spoken]) -> list[tuple[Any, ...]]:
    categories = {"P1": "tea", "P2": "rice"}
    typed = [("review", days_before(days), p, categories.get(p or ""), text, stars) for p, days, text, stars in rows]
    ignored = [
        ("order", DAY, "ten", None, "很好看", None),  # not an event that says something
        ("review", DAY, "ten", None, None, None),  # nothing said
        ("consult", DAY, "P1", "cake", "有货吗", None),  # one of many: P1 stays tea
    ]
    return [*typed, *ignored]


SCHEMA = "event_type string, event_date date, product_id string, category string, text string, rating int"


def by_duckdb(events: list[tuple[Any, ...]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The numbers of gold.feedback_topics from mentions listed one by one."""
    listed = []
    for kind, day, product, _, text, rating in events:
        if kind not in RULES.event_types or (text is None and rating is None):
            continue
        told = READER.opinion(text, rating)
        for topic, sentiment in (("all", told.sentiment), *told.mentions):
            listed += [(name, day, topic, sentiment) for name in {product, "all"} - {None}]
    mentions = pa.table(dict(zip(("product", "day", "topic", "s"), map(list, zip(*listed, strict=True)), strict=True)))
    connection = duckdb.connect()
    connection.register("mentions", mentions)
    window, baseline = RULES.window_days, RULES.baseline_days
    query = f"""
        with m as (select *, day > date '{DAY}' - {window} as now from mentions
                   where day <= date '{DAY}' and day > date '{DAY}' - {window + baseline}),
        c as (select product, topic, count(*) filter (now) as x, count(*) filter (not now) as y,
                count(*) filter (now and s = 1) as good, count(*) filter (now and s = -1) as bad,
                count(*) filter (not now and s = 1) as good_before, count(*) filter (not now and s = -1) as bad_before
              from m group by all),
        o as (select *, case when product = 'all' then {window} / {baseline} else
                (select sum(x) / nullif(sum(y), 0) from c as d
                 where d.topic = c.topic and d.product not in ('all', c.product)) end as g from c)
        select product, topic, x as mentions, good as positive_mentions, bad as negative_mentions,
          y as previous_mentions, round(good / nullif(good + bad, 0), 6) as positive_share,
          round(good_before / nullif(good_before + bad_before, 0), 6) as previous_positive_share,
          round(y * g, 6) as expected_mentions,
          round(2 * (sqrt(x + 3/8) - sqrt(g * (y + 3/8))) / sqrt(1 + g), 6) as z,
          round(2 * (sqrt(bad + 3/8) - sqrt(g * (bad_before + 3/8))) / sqrt(1 + g), 6) as negative_z
        from o where x > 0"""
    rows = connection.execute(query).fetchall()
    names = [column[0] for column in connection.description or []]
    return {(row[0], row[1]): dict(zip(names[2:], row[2:], strict=True)) for row in rows}


@pytest.fixture(scope="module")
def topics(spark: SparkSession) -> dict[tuple[str, str], Row]:
    rows = feedback_topics(spark.createDataFrame(events_of(feedback()), SCHEMA), DAY, RULES)
    found = conform(rows, gold.FEEDBACK_TOPICS).collect()
    assert len({(row.run_date, row.product_id, row.topic) for row in found}) == len(found)
    return {(row.product_id, row.topic): row for row in found}


def test_counts_shares_and_z_agree_with_duckdb(topics: dict[tuple[str, str], Row]) -> None:
    expected = by_duckdb(events_of(feedback()))
    assert set(topics) == set(expected)
    for key, values in expected.items():
        row = topics[key]
        for name, value in values.items():
            found = float(row[name]) if isinstance(row[name], Decimal) else row[name]
            assert found == (value if value is None else pytest.approx(value, abs=2e-6)), (key, name)


def test_products_break_out_inside_every_border_only(topics: dict[tuple[str, str], Row]) -> None:
    rows = {product: row for (product, topic), row in topics.items() if topic == "all"}
    inside = {"ten", "liked", "liked, and neither", "twice", "beyond chance"}
    assert {product for product, row in rows.items() if row.is_breakout} == inside
    complained = {"five complain", "less liked"}
    assert {product for product, row in rows.items() if row.is_complained_of} == complained
    assert "silent now" not in rows
    edges = rows["edges"]
    assert (edges.mentions, edges.previous_mentions) == (2, 2 + 3)
    assert (rows["P1"].category, rows["P3"].category, rows["all"].category) == ("tea", None, None)
    assert rows["all"].label == "全部" and topics["P1", "delivery"].label == "物流"
    assert rows["not twice"].z > 3 and rows["chance"].mentions > 2 * rows["chance"].expected_mentions


def test_topics_do_not_depend_on_partitions_or_order(spark: SparkSession, topics: dict[tuple[str, str], Row]) -> None:
    shuffled = events_of(feedback())
    random.Random(1).shuffle(shuffled)
    again = feedback_topics(spark.createDataFrame(shuffled, SCHEMA).repartition(7), DAY, RULES)
    found = {(row.product_id, row.topic): row for row in conform(again, gold.FEEDBACK_TOPICS).collect()}
    assert found == topics


def test_activity_says_what_it_is_about_and_no_text_goes_on(spark: SparkSession) -> None:
    tea: dict[str, Any] = {"category": "tea"}
    events = frame(
        spark,
        silver.EVENTS,
        [
            event("words", "review", text="物流很快", **tea),
            event("words and stars", "review", text="物流", rating=1, **tea),
            event("stars", "review", rating=5, **tea),
            event("question", "consult", text="什么时候到货", **tea),
            event("complaint", "consult", text="优惠券用不了", **tea),
            event("search", "search", text="好看", **tea),  # not feedback
            event("order", text="很好看", **tea),
        ],
    )
    rows = build_activity(events, DAY, "Asia/Shanghai", TIERS, "exclude", RULES)
    found = {
        (row.event_type, row.topic): (row.event_count, row.rating_count, row.positive_count, row.negative_count)
        for row in conform(rows, silver.ACTIVITY).collect()
    }
    assert found == {
        ("review", "delivery"): (2, 1, 1, 1),
        ("review", None): (1, 1, 1, 0),
        ("consult", "delivery"): (1, 0, 0, 0),
        ("consult", "price"): (1, 0, 0, 1),
        ("search", None): (1, 0, 0, 0),
        ("order", None): (1, 0, 0, 0),
    }
    assert "text" not in rows.columns
    told = with_opinions(events, RULES).select("event_id", "sentiment", "mentions").collect()
    assert {row.event_id for row in told if row.sentiment is None} == {"search", "order"}
    assert {row.event_id: dict(map(tuple, row.mentions)) for row in told if row.mentions} == {
        "words": {"delivery": 1},
        "words and stars": {"delivery": -1},
        "question": {"delivery": 0},
        "complaint": {"price": -1},
    }


def test_a_past_date_sees_nothing_later(spark: SparkSession, topics: dict[tuple[str, str], Row]) -> None:
    """The slice of an earlier date is that of the same feedback without what came after it."""
    earlier: date = days_before(5)
    events = events_of(feedback())
    known = [row for row in events if row[1] <= earlier]
    both = [
        {*feedback_topics(spark.createDataFrame(rows, SCHEMA), earlier, RULES).collect()} for rows in (events, known)
    ]
    assert both[0] == both[1] and both[0]
