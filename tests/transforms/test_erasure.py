"""Whose row it is, what other people's rows lose, and who stands behind an identifier."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests.builders import frame, identity
from transforms.contracts import gold, silver
from transforms.erasure import (
    blanked,
    found_among,
    marked_rows,
    naming_erased,
    references,
    tombstone,
    tombstones_of,
    without_erased,
    words_of,
)
from transforms.identity.identifiers import IdentityRules, converter
from transforms.sources import Source

SALT = "salt"
TOKEN = "ab" * 32
RULES = IdentityRules.model_validate(
    {
        "types": [
            {"type": "member", "label": "会员"},
            {"type": "phone", "label": "手机", "kind": "phone", "personal": True},
            {"type": "device", "label": "设备"},
            {"type": "store_tablet", "label": "平板", "shared": True},
        ]
    }
)
SOURCE = Source.model_validate(
    {
        "name": "till", "label": "收银", "channel": "store_pos", "format": "csv",
        "columns": ["card", "phone", "device", "tablet", "sponsor", "sponsored"],
        "records": [{
            "name": "order", "event_type": "order", "event_at": "card",
            "identifiers": {"member": "card", "phone": "phone", "device": "device", "store_tablet": "tablet"},
            "attributes": {"referred_by": "upper(sponsor)"},
        }],
    }
)  # fmt: skip


def stones(spark: SparkSession, *pairs: tuple[str, str]) -> DataFrame:
    rows = spark.createDataFrame([*pairs], "identifier_type string, value string")
    return rows.select("identifier_type", tombstone(F.col("value"), SALT).alias("tombstone"))


ANNA = [("member", "ANNA"), ("phone", TOKEN), ("device", "dev-1")]


@pytest.mark.parametrize(
    ("row", "is_erased", "lost"),
    [
        ({"card": "ANNA", "phone": "other"}, True, None),  # led by her number
        ({"phone": TOKEN}, True, None),  # by her phone, where nothing stronger stands
        ({"card": "BEN", "phone": TOKEN, "device": "dev-1"}, False, ["device", "phone"]),  # Ben's
        ({"card": "BEN", "phone": "other"}, False, None),  # nothing of hers
        ({"card": "BLOCKED", "phone": TOKEN}, True, None),  # a blocked value leads nothing
        ({"tablet": "T1", "device": "dev-1"}, True, None),  # what is shared leads nothing
        ({"card": "CORA", "sponsor": " anna "}, False, ["sponsor"]),  # brought by her
        ({"card": "CORA", "sponsored": "ANNA"}, False, None),  # a column that says nobody's number
        ({"card": TOKEN}, False, None),  # her phone's value as another type
        ({}, False, None),  # a guest
    ],
)
def test_a_row_is_its_strongest_identifiers(
    spark: SparkSession, row: dict[str, str], is_erased: bool, lost: list[str] | None
) -> None:
    rows = spark.createDataFrame(
        [[row.get(name) for name in SOURCE.columns]], ", ".join(f"{name} string" for name in SOURCE.columns)
    )
    rule = F.when(F.col("card") == "BLOCKED", F.lit("blocked_value"))
    values = {
        name: (F.col(name), rule if name == "card" else F.lit(None).cast("string"))
        for name in SOURCE.identifier_columns()
    }
    marked = marked_rows(rows, SOURCE, values, RULES, stones(spark, *ANNA), SALT)
    (found,) = marked.collect()
    assert (found._is_erased, found._lost) == (is_erased, lost)
    (kept,) = marked.select(*[blanked(name, name) for name in SOURCE.columns]).collect()
    assert {name for name in row if kept[name] is None} == {*(lost or ())}


def test_references_are_the_columns_that_an_attribute_is_made_of() -> None:
    assert references(SOURCE) == ["sponsor"]  # not `sponsored`, which only begins like it


def test_all_that_is_hers_for_certain_goes_with_one_identifier(spark: SparkSession) -> None:
    identities = frame(spark, silver.IDENTITIES, [
        identity("member", "ANNA", "C_ANNA"), identity("device", "dev-1", "C_ANNA"),
        identity("device", "dev-2", "C_DEV", status="ambiguous"),  # of two people
        identity("phone", "placeholder", None), identity("member", "BEN", "C_BEN"),
    ])  # fmt: skip
    since = date(2026, 6, 1)
    history = frame(spark, silver.IDENTITY_HISTORY, [
        _owned("device", "dev-1", "C_OLD", since),  # an anonymous visitor's id, before she registered
        _owned("device", "dev-1", "C_BEN", since),  # Ben's for a while: his id stays his
        _owned("member", "BEN", "C_BEN", since),
    ])  # fmt: skip
    asked = spark.createDataFrame([("device", "dev-1")], "identifier_type string, identifier string")
    expected = stones(spark, *ANNA[::2], ("customer_id", "C_ANNA"), ("customer_id", "C_OLD"))
    found = tombstones_of(asked, identities, history, SALT)
    assert {*found.collect()} == {*expected.collect()} and found.count() == 4


def _owned(kind: str, value: str, customer: str, since: date) -> dict[str, Any]:
    return {"identifier_type": kind, "identifier": value, "customer_id": customer, "valid_from": since}


def test_an_unknown_identifier_is_entombed_itself(spark: SparkSession) -> None:
    nothing = frame(spark, silver.IDENTITIES, []), frame(spark, silver.IDENTITY_HISTORY, [])
    asked = spark.createDataFrame([("member", "ANNA")], "identifier_type string, identifier string")
    assert tombstones_of(asked, *nothing, SALT).collect() == stones(spark, ANNA[0]).collect()


def test_rows_of_tables_go_by_key_and_customer_and_others_lose_the_value(spark: SparkSession) -> None:
    table = silver.IDENTITY_CHANGES
    rows = frame(spark, table, [
        _change("ANNA", "C_ANNA"),
        _change("dev-9", "C_ANNA"),  # another's device, that was hers then
        _change("BEN", "C_BEN", previous_customer_id="C_ANNA"),  # parted from her
        _change("CORA", "C_CORA", cause_identifier="member:ANNA"),  # because of her
        _change("DORA", "C_DORA", cause_identifier="member:BEN"),
    ])  # fmt: skip
    gone = stones(spark, *ANNA, ("customer_id", "C_ANNA"))
    left = {row.identifier: row for row in without_erased(rows, table, gone, SALT).collect()}
    assert {name for name, row in left.items() if row._is_erased} == {"ANNA", "dev-9"}
    assert {name for name, row in left.items() if row._is_blanked} == {"BEN", "CORA"}
    assert (left["BEN"].previous_customer_id, left["CORA"].cause_identifier) == (None, None)
    assert left["DORA"].cause_identifier == "member:BEN"


def _change(identifier: str, customer: str, **said: str) -> dict[str, Any]:
    return {"run_date": date(2026, 6, 1), "identifier_type": "member", "identifier": identifier,
            "customer_id": customer, **said}  # fmt: skip


def test_an_assignment_goes_by_its_anchor(spark: SparkSession) -> None:
    table = gold.EXPERIMENT_ASSIGNMENTS
    rows = frame(spark, table, [{"experiment_id": "e", "anchor": f"member:{who}"} for who in ("ANNA", "BEN")])
    kept = without_erased(rows, table, stones(spark, *ANNA), SALT).where("not _is_erased")
    assert [row.anchor for row in kept.collect()] == ["member:BEN"]


@pytest.mark.parametrize(
    ("text", "is_hers"),
    [
        ("7;137 1260 5489;x", True),  # a field, however the phone is written
        ("call 13712605489 today", True),  # a word
        ('{"tel": "+8613712605489"', True),  # JSON that was cut off
        ("13712605480", False),  # another phone
        ("113712605489", False),  # digits of another number
    ],
)
def test_a_line_that_cannot_be_read_is_hers_by_a_word_of_it(spark: SparkSession, text: str, is_hers: bool) -> None:
    read = converter(RULES.named("phone"), "CN", b"key")
    gone = stones(spark, ("phone", str(read("13712605489")[0])))
    lines = spark.createDataFrame([(1, text)], "row_number int, _text string")
    assert naming_erased(lines, ["row_number"], [read], gone, SALT).count() == int(is_hers)


@pytest.mark.parametrize(
    ("text", "count"),
    [(f"phone:{TOKEN}", 1), (TOKEN, 2), ("ANNA-00001", 1), (f"x{TOKEN}", 0), ("dev-1", 0)],  # short ones are skipped
)
def test_what_is_left_is_read_word_by_word(spark: SparkSession, text: str, count: int) -> None:
    gone = stones(spark, ("phone", TOKEN), ("member", "ANNA-00001"), ("device", "dev-1"))
    texts = spark.createDataFrame([(text,)], "text string")
    words = texts.select(F.explode(words_of(F.col("text"))).alias("word"))
    assert found_among(words, gone, SALT).count() == count
