"""Timelines: what is kept of a customer's partials, whatever the order and the pieces in which they come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from transforms.contracts import silver
from transforms.tags import TagRules, build_timelines, compute_tags, timelines_table
from transforms.tags import timelines as packing
from transforms.tags.streams import BITS, conditions, mask_names
from transforms.tags.timelines import UNKNOWN

D = date(2024, 6, 30)


def rules_of(**tags: dict) -> TagRules:
    common = {"label": "标签", "description": "A tag.", "type": "behaviour"}
    return TagRules.model_validate({"tags": {name: common | tag for name, tag in tags.items()}})


def partial(customer: str, days_ago: int, event_type: str = "view", **columns: object) -> dict:
    on = D - timedelta(days_ago)
    dates = {"event_date": on, "arrival_date": on, "counts_on_date": on}
    return {"customer_id": customer, "event_type": event_type, "event_count": 1, "order_count": 0, **dates, **columns}


def activity_of(spark: SparkSession, rows: list[dict]):
    schema = T.StructType([T.StructField("customer_id", T.StringType()), *silver.ACTIVITY.schema.fields])
    return spark.createDataFrame([tuple(row.get(name) for name in schema.fieldNames()) for row in rows], schema)


def test_a_timeline_holds_what_tags_may_ask(spark: SparkSession):
    rules = rules_of(
        liked={"measure": "top(category, event_count)", "window": 30, "where": "event_type = 'view'"},
        spent={"measure": "sum(net_amount)"},  # of rows that add nothing a sum needs none
        dwell={"measure": "avg(event_hour)", "where": "event_type = 'view'"},
    )
    rows = [
        partial("C1", 1, category="tea", event_count=2, event_hour=9, net_amount=Decimal(0)),
        partial("C1", 400, category="rice", net_amount=Decimal(0)),  # outside every window of today: windows come later
        partial("C1", 1, "order", category="tea", net_amount=Decimal("12.34")),
        partial("C1", 0, "share", net_amount=Decimal(0)),  # no tag counts it
        partial("C2", 0, "share", net_amount=Decimal(0)),  # a customer of whom tags know nothing
    ]
    told = conditions(rules)
    likes, money, hours = (
        1 << next(place for place, sql in enumerate(told) if part in sql) for part in ("category", "<> 0", "event_hour")
    )
    one, day = build_timelines(activity_of(spark, rows), rules).collect(), (D - date(1970, 1, 1)).days
    assert [row.customer_id for row in one] == ["C1"]
    found = one[0].asDict()
    by_event = next(name for name in found if name.startswith("value_"))
    elements = list(zip(*(found[name] for name in ("day", "holds_0", "category", "net_amount", by_event)), strict=True))
    assert found["words"] == ["rice", "tea"]
    assert found["day"] == sorted(found["day"])
    assert set(elements) == {
        (day - 400, likes, 0, 0, UNKNOWN),  # no hour is known, so the mean of hours does not count it
        (day - 1, money, 1, 1234, UNKNOWN),
        (day - 1, likes | hours, 1, 0, 9 * 2),  # each of its two events has the hour
    }


def test_many_conditions_take_several_numbers(spark: SparkSession):
    types = [f"kind_{number}" for number in range(BITS + 3)]
    rules = rules_of(**{kind: {"measure": "count", "where": f"event_type = '{kind}'"} for kind in types})
    assert mask_names(rules) == ["holds_0", "holds_1"]
    activity = activity_of(spark, [partial("C1", 3, kind, event_count=place) for place, kind in enumerate(types)])
    customers = spark.createDataFrame([("C1",)], "customer_id string")
    counted = compute_tags(activity, customers, D, rules).collect()[0].asDict()
    assert [counted[kind] for kind in types] == list(range(BITS + 3))


@given(
    st.lists(st.tuples(st.sampled_from("ABCD"), st.sampled_from([None, "x", "yy", "é"])), min_size=1, max_size=30),
    st.integers(1, 7),
    st.integers(1, 9),
)
def test_pieces_do_not_matter(rows: list[tuple[str, str | None]], piece: int, at_once: int):
    """Rows sorted by customer come in batches of any size; a customer may stand in several."""
    rows = sorted(rows, key=lambda row: (row[0], row[1] or ""))
    ids, words = (pa.array([row[place] for row in rows], pa.string()) for place in (0, 1))
    table = pa.table({"customer_id": ids, "day": pa.array(range(len(rows)), pa.int32()), "word": words})

    def packed(batches: Iterator[pa.RecordBatch]) -> list[dict]:
        return [row for batch in packing._packed(batches, ["word"]) for row in batch.to_pylist()]

    whole = packed(iter(table.to_batches()))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packing, "_ROWS_AT_ONCE", at_once)
        assert packed(iter(table.to_batches(max_chunksize=piece))) == whole
    for row in whole:  # and this is what was packed
        mine = [(place, word) for place, (owner, word) in enumerate(rows) if owner == row["customer_id"]]
        assert row["words"] == sorted({word for _, word in mine if word}, key=str.encode)
        assert row["day"] == [place for place, _ in mine]
        assert [None if place < 0 else row["words"][place] for place in row["word"]] == [word for _, word in mine]


def test_the_contract_tells_what_each_array_is():
    rules = rules_of(spent={"measure": "sum(net_amount)"}, liked={"measure": "top(brand, event_count)"})
    table = timelines_table(rules)
    assert table.column_names == ["customer_id", "words", "day", "holds_0", "brand", "event_count", "net_amount"]
    comments = {column.name: column.comment for column in table.columns}
    assert comments["net_amount"] == "net_amount × 100; the least number where it is not known"
    assert comments["brand"] == "place in words of brand; -1 where it is not known"
