"""A source file's records applied to rows: which events each row makes, and what refuses it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pyspark.sql import DataFrame, Row, SparkSession

from tests.builders import DAY, days_before
from transforms.contracts import conform, silver
from transforms.contracts.bronze import bronze_table
from transforms.events import events_of
from transforms.sources import Source, apply_records, row_arrival_date, with_problems

SHANGHAI = "Asia/Shanghai"

TILL = """
name: till
label: 收银
channel: store_pos
format: csv
columns: [kind, number, line, time, member, phone, pieces, paid, city]
ignore: kind = 'T'
records:
  - name: sale
    when: kind IN ('S', 'G')
    event_type: order
    event_id: [number, line]
    event_at: time
    order_source: chain
    identifiers: {member: member, phone: phone}
    fields: {order_id: number, line_id: line, quantity: pieces, amount: paid, is_gift: kind = 'G'}
    attributes: {city: city, member_level: "'gold'"}
    props: {till: "' '"}
    checks:
      - {name: has_pieces, expression: event.quantity > 0}
      - {name: is_paid, expression: event.amount >= 0}
      - {name: city_known, expression: city IS NOT NULL, severity: warn}
  - name: join
    when: kind = 'S' AND member IS NOT NULL
    event_type: register
    channel: crm
    event_id: [member]
    event_at: time
    identifiers: {member: member}
  - name: back
    when: kind = 'R'
    event_type: return
    event_id: [number]
    event_at: time
    fields: {order_id: number, amount: paid}
"""


def source(text: str, **changes: Any) -> Source:
    return Source.model_validate({**yaml.safe_load(text), **changes})


def received(spark: SparkSession, feed: Source, rows: list[Mapping[str, Any]]) -> DataFrame:
    """Bronze rows: text columns, arrived on DAY in file a.csv, numbered from 1, unless a row says otherwise."""
    schema = bronze_table(feed.name, feed.columns).schema
    lineage = {"_arrival_date": DAY, "_source_file": "a.csv", "_run_id": "run"}
    full = [{**lineage, "_row_number": number, **row} for number, row in enumerate(rows, 1)]
    assert {name for row in full for name in row} <= set(schema.fieldNames())
    return spark.createDataFrame([tuple(row.get(name) for name in schema.fieldNames()) for row in full], schema)


def judged(spark: SparkSession, feed: Source, rows: list[Mapping[str, Any]], **how: Any) -> list[Row]:
    """What becomes of each row; that ingest finds the same problems is asked of all rows of these tests."""
    frame = received(spark, feed, rows)
    place = ["_source_file", "_row_number"]
    told = apply_records(frame, feed, SHANGHAI, **how).orderBy(*place).collect()
    found = with_problems(frame, feed, SHANGHAI, **how).orderBy(*place).collect()
    assert [row._problems for row in found] == [row._problems for row in told]
    return told


def sale(**said: Any) -> dict[str, Any]:
    row = {
        "kind": "S",
        "number": "7",
        "line": "1",
        "time": "2026-06-30 10:00:00",
        "pieces": "1",
        "paid": "9.90",
        "city": "上海",
    }
    return {**row, **said}


def test_row_makes_the_events_of_every_record_that_takes_it(spark: SparkSession) -> None:
    rows = [
        sale(member="M1", phone="token", _blocked={"phone": "null_like"}),  # a sale of a member: two events
        sale(number="8"),  # a sale without a member: one
        sale(kind="R", number="9", pieces="x"),  # a return does not look at pieces
        sale(kind="T", paid="?"),  # training: ignored
        sale(kind="X"),  # nobody takes it, nobody ignores it
        sale(kind=None),  # a rule that is null does not hold, nor does an ignore rule
        sale(number="10", city=" "),  # text of blanks is no text
    ]
    both, lone, back, training, unknown, blank, nowhere = judged(spark, source(TILL), rows)
    assert [event.event_type for event in both._events] == ["order", "register"]
    assert [event.channel for event in both._events] == ["store_pos", "crm"]
    order, join = both._events
    assert (order.order_id, order.line_id) == ("chain:7", "1")  # chain-wide: under the order source it names
    assert (order.quantity, order.amount, order.is_gift) == (Decimal("1.000"), Decimal("9.90"), False)
    assert order.identifiers == {"member": "M1", "phone": "token"}
    assert order.blocked_identifiers == {"phone": "null_like"}
    assert order.attributes == {"city": "上海", "member_level": "gold"}
    assert order.props is None
    assert (order._source_file, order._row_number, order.arrival_date) == ("a.csv", 1, DAY)
    assert join.identifiers == {"member": "M1"}
    assert join.blocked_identifiers is None
    assert [event.event_type for event in lone._events] == ["order"]
    assert lone._events[0].identifiers is None
    assert back._events[0].order_id == "till:9"  # no order source named: the source itself
    assert back._problems == []
    assert (training._problems, training._is_ignored, training._events) == ([], True, [])
    assert (unknown._problems, unknown._is_ignored) == (["no_record"], False)
    assert (blank._problems, blank._is_ignored) == (["no_record"], False)
    assert nowhere._events[0].attributes == {"member_level": "gold"}


def test_checks_refuse_or_warn_and_all_reasons_are_told(spark: SparkSession) -> None:
    rows = [
        sale(),  # nothing wrong
        sale(pieces="0", paid="-1", city=None),  # two checks and a warning
        sale(pieces=None),  # a check that is null does not hold
        sale(paid="9,90"),  # not a number: bad_amount, and no check holds over it
        sale(paid=""),  # empty is missing, not bad; the check refuses it
        sale(paid="99999999999999999999"),  # beyond decimal(18,2)
        sale(time="yesterday", number=None, line=" "),  # no time and no key
        sale(time="10:30:00"),  # a time alone has no date; Spark would take today's
        sale(time="2026"),  # nor has a year alone
        sale(kind="R", paid="x"),  # the reason of one record refuses the row
        sale(member="M1", time="2026-02-30"),  # two events, one reason each: told once
    ]
    found = [(row._problems, row._warnings) for row in judged(spark, source(TILL), rows)]
    assert found == [
        ([], []),
        (["has_pieces", "is_paid"], ["city_known"]),
        (["has_pieces"], []),
        (["is_paid", "bad_amount"], []),
        (["is_paid"], []),
        (["is_paid", "bad_amount"], []),
        (["bad_event_at", "missing_event_id"], []),
        (["bad_event_at"], []),
        (["bad_event_at"], []),
        (["bad_amount"], []),
        (["bad_event_at"], []),
    ]


def test_refused_row_makes_no_event_at_all(spark: SparkSession) -> None:
    till = source(TILL)
    rows = received(spark, till, [sale(member="M1", pieces="0"), sale(number="8", member="M2")])
    events = events_of(apply_records(rows, till, SHANGHAI), ["member", "phone"])
    assert [row._events_of_row for row in events.collect()] == [2, 2]
    kept = conform(events.drop("_events_of_row"), silver.EVENTS).collect()
    assert {event.identifiers["member"] for event in kept} == {"M2"}
    assert sorted(event.event_type for event in kept) == ["order", "register"]


TEN = datetime(2026, 6, 30, 2, 0, 0)  # ten in the morning in Shanghai, as UTC

# (format, timezone of the source, text, UTC or None): what the text means where the business is in Shanghai.
TIMES = [
    ("iso", None, "2026-06-30 10:00:00", TEN),
    ("iso", None, "2026-06-30T10:00:00", TEN),
    ("iso", None, " 2026-06-30T10:00 ", TEN),  # blanks around it, no seconds
    ("iso", None, "2026-06-30T10:00:00.25", TEN.replace(microsecond=250_000)),
    ("iso", None, "2026-06-30T10:00:00+08:00", TEN),
    ("iso", None, "2026-06-30T11:00:00+0900", TEN),
    ("iso", None, "2026-06-30 10:00:00+08", TEN),  # as Postgres prints it
    ("iso", None, "2026-06-30T02:00:00Z", TEN),
    ("iso", None, "2026-06-30T02:00Z", TEN),
    ("iso", None, "2026-06-30T10:00+08:00", TEN),  # as Java prints a full minute
    ("iso", None, "2026-06-30 02:00:00 UTC", TEN),
    ("iso", "America/New_York", "2026-06-29 22:00:00", TEN),  # summer time: UTC-4
    ("iso", "America/New_York", "2026-06-30T10:00:00+08:00", TEN),  # an offset in the text wins
    ("iso", "UTC", "2026-06-30 02:00:00", TEN),
    ("iso", None, "2026-06-30", datetime(2026, 6, 29, 16)),  # a date is its midnight in Shanghai
    ("iso", None, "30/06/2026", None),
    ("iso", None, "T10:00:00", None),
    ("epoch_seconds", None, "1782784800", TEN),
    ("epoch_seconds", "America/New_York", "1782784800", TEN),  # seconds have no timezone
    ("epoch_seconds", None, "1782784800.5", None),
    ("epoch_millis", None, "1782784800250", TEN.replace(microsecond=250_000)),
    ("epoch_millis", None, "soon", None),
    ("yyyyMMddHHmmss", None, "20260630100000", TEN),
    ("yyyyMMddHHmmss", "UTC", "20260630020000", TEN),
    ("yyyyMMddHHmmss", None, "20260631100000", None),  # there is no 31 June
    ("dd/MM/yyyy HH:mm", None, "30/06/2026 10:00", TEN),
    ("yyyy-MM-dd'T'HH:mm:ssZ", "UTC", "2026-06-30T10:00:00+0800", TEN),  # the pattern reads the offset
    ("yyyy-MM-dd'Z'HH:mm", None, "2026-06-30Z10:00", TEN),  # a quoted letter is no offset
]


def test_event_time_follows_format_and_timezone(spark: SparkSession) -> None:
    """One source with a record per case: the case's row is taken by its record alone."""
    records = [
        {
            "name": f"case_{number}",
            "when": f"which = '{number}'",
            "event_type": "visit",
            "event_id": ["which"],
            "event_at": {"column": "time", "format": pattern, **({"timezone": zone} if zone else {})},
        }
        for number, (pattern, zone, _, _) in enumerate(TIMES)
    ]
    feed = source(TILL, name="times", columns=["which", "time"], ignore=False, records=records)
    rows = [{"which": str(number), "time": text} for number, (_, _, text, _) in enumerate(TIMES)]
    found = judged(spark, feed, rows)
    for (pattern, zone, text, expected), row in zip(TIMES, found, strict=True):
        assert row._events[0].event_at == expected, (pattern, zone, text)
        assert ("bad_event_at" in row._problems) == (expected is None), (pattern, zone, text)


def test_event_date_is_the_business_date(spark: SparkSession) -> None:
    visits = source(
        TILL,
        columns=["time"],
        ignore=False,
        records=[{"name": "visit", "event_type": "visit", "event_at": {"expression": "concat(time, 'Z')"}}],
    )
    rows = [{"time": "2026-06-29T15:59:59"}, {"time": "2026-06-29T16:00:00"}]  # midnight in Shanghai between them
    assert [row._events[0].event_date for row in judged(spark, visits, rows)] == [days_before(1), DAY]


VISITS = """
name: visits
label: 访问
channel: app
format: json
columns: [who, time]
records:
  - {name: visit, event_type: visit, event_at: time, identifiers: {device: who}}
"""


def ids(rows: list[Row]) -> list[str]:
    return [row._events[0].event_id for row in rows]


def test_event_id_of_named_columns_is_their_hash(spark: SparkSession) -> None:
    rows = [
        sale(number="7", line="1"),
        sale(number="7", line="1", paid="1.00", _source_file="b.csv"),  # the same key elsewhere: the same event
        sale(number="71", line=None),  # keys do not run into each other
        sale(number="7", line="11"),
    ]
    found = ids(judged(spark, source(TILL), rows))
    expected = hashlib.sha256("\x1f".join(["till", "sale", "7", "1"]).encode()).hexdigest()[:32]
    assert found[0] == expected
    assert sorted(found.count(one) for one in found) == [1, 1, 2, 2]
    assert ids(judged(spark, source(TILL, name="other"), rows[:1])) != found[:1]  # another source, another event


def test_equal_rows_count_once_per_occurrence_in_a_file(spark: SparkSession) -> None:
    tea, cake = ({"who": who, "time": "2026-06-30 10:00:00"} for who in ("d1", "d2"))
    rows = [
        *[{**row, "_source_file": "a.csv"} for row in (tea, tea, cake)],  # the same visit logged twice: both count
        *[{**row, "_source_file": "b.csv"} for row in (cake, tea, tea, tea)],  # delivered again, and one more
    ]
    numbered = [{**row, "_row_number": place} for place, row in enumerate(rows)]
    by_row = ids(judged(spark, source(VISITS), numbered))
    assert by_row[:3] == [by_row[4], by_row[5], by_row[3]]  # first with first, second with second
    assert len(set(by_row)) == 4  # two visits of d1, one of d2, and the one that only b.csv has
    records = [{**yaml.safe_load(VISITS)["records"][0], "event_id": "row_hash"}]
    by_hash = ids(judged(spark, source(VISITS, records=records), numbered))
    assert len(set(by_hash)) == 2  # what is equal is one


def test_late_and_future_events_are_refused(spark: SparkSession) -> None:
    days = [(0, []), (7, []), (8, ["too_late"]), (-1, []), (-2, ["future_event"])]  # days before arrival, reasons
    rows = [{"who": "d", "time": f"{days_before(age)} 12:00:00"} for age, _ in days]
    expected = [reasons for _, reasons in days]
    week = source(VISITS, lateness_days=7)
    assert [row._problems for row in judged(spark, week, rows)] == expected
    # On a source's first arrival date its whole past comes: lateness is not applied, the future still is.
    first = judged(spark, week, rows, first_arrival_date=DAY)
    assert [row._problems for row in first] == [[], [], [], [], ["future_event"]]
    later = judged(spark, week, rows, first_arrival_date=days_before(1))
    assert [row._problems for row in later] == expected
    # Without a limit, and where the arrival date is fixed by hand, nothing is too late.
    assert [row._problems for row in judged(spark, source(VISITS), rows)][2] == []
    fixed = source(VISITS, lateness_days=7, arrival_date="fixed 2026-06-30")
    assert [row._problems for row in judged(spark, fixed, rows)][2] == []


def test_arrival_on_the_event_date_is_never_late_or_early(spark: SparkSession) -> None:
    feed = source(VISITS, lateness_days=1, arrival_date="event_date")
    rows = [{"who": "d", "time": "2026-06-29T17:00:00Z"}, {"who": "d", "time": "?"}]  # the 30th in Shanghai
    frame = received(spark, feed, rows)
    dated = frame.withColumn("_arrival_date", row_arrival_date(feed, SHANGHAI))
    assert [row._arrival_date for row in dated.orderBy("_row_number").collect()] == [DAY, None]
    far = [{"who": "d", "time": "2019-01-01 00:00:00"}, {"who": "d", "time": "2030-01-01 00:00:00"}]
    assert [row._problems for row in judged(spark, feed, far)] == [[], []]


# -- what is told before Spark starts --------------------------------------------------------------------------------


def told(text: str, **changes: Any) -> str:
    with pytest.raises(ValidationError) as error:
        source(text, **changes)
    return str(error.value)


def record(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(TILL)["records"][0], **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"when": "knid = 'S'"}, ["record sale", "'knid' is not a column here", "nearest: kind"]),
        ({"fields": {"amount": "piad / 100"}}, ["'piad' is not a column here", "nearest: paid"]),
        ({"event_at": "tiem"}, ["'tiem' is not a column here", "nearest: time"]),
        ({"event_id": ["nmuber"]}, ["'nmuber' is not a column here", "nearest: number"]),
        ({"identifiers": {"member": "membre"}}, ["'membre' is not a column here", "nearest: member"]),
        ({"checks": [{"name": "a", "expression": "xyz > 0"}]}, ["'xyz' is not a column here", "allowed: ", "kind"]),
        ({"fields": {"colour": "kind"}}, ["colour: not a column of silver.events; allowed: order_id, line_id"]),
        ({"fields": {"event_date": "time"}}, ["event_date: not a column of silver.events"]),  # the engine's own
        ({"when": "kind = = 'S'"}, ["not a Spark SQL expression", "kind = = 'S'"]),
        ({"event_at": {"format": "iso"}}, ["give either column or expression"]),
        ({"identifiers": {"member": "phone", "phone": "phone"}}, ["column phone is used as member", "and as phone"]),
    ],
)
def test_misspelt_names_are_told_with_their_nearest(changes: dict[str, Any], expected: list[str]) -> None:
    message = told(TILL, records=[record(**changes)])
    assert all(part in message for part in expected), message


def test_all_faults_of_a_source_are_told_at_once() -> None:
    message = told(TILL, ignore="kidn = 'T'", records=[record(when="knid = 'S'"), record(event_at="tiem")])
    for part in ("ignore: 'kidn'", "record sale: 'knid'", "record sale: 'tiem'", "record sale is declared twice"):
        assert part in message


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("folder", ("folder", "")),
        ("event_date", ("event_date", "")),
        ("fixed 2018-01-02", ("fixed", "2018-01-02")),
        (r"from_path (\d{4}-\d{2}-\d{2})", ("from_path", r"(\d{4}-\d{2}-\d{2})")),
    ],
)
def test_arrival_rules_are_read(rule: str, expected: tuple[str, str]) -> None:
    assert source(VISITS, arrival_date=rule).arrival_rule == expected


@pytest.mark.parametrize("rule", ["folders", "fixed", "fixed soon", r"from_path \d+", "event_date x"])
def test_unknown_arrival_rules_are_refused(rule: str) -> None:
    assert "arrival_date" in told(VISITS, arrival_date=rule)


@pytest.mark.parametrize("encoding", ["gkb", "utf-16", "hex"])  # unknown, lines of two bytes, no text
def test_encodings_without_lines_are_refused(encoding: str) -> None:
    assert f"encoding '{encoding}': allowed are utf-8" in told(VISITS, options={"encoding": encoding})


@pytest.mark.parametrize(
    ("given", "known"), [({}, "utf-8"), ({"encoding": "UTF8"}, "utf-8"), ({"encoding": "GBK"}, "GBK")]
)
def test_encodings_are_read(given: dict[str, str], known: str) -> None:
    assert source(VISITS, options=given).encoding == known


def test_identifier_columns_say_how_they_are_delivered() -> None:
    spec = {"openid": {"column": "who", "app_id": "wx1"}}
    feed = source(VISITS, records=[{**yaml.safe_load(VISITS)["records"][0], "identifiers": spec}])
    kind, how = feed.identifier_columns()["who"]
    assert (kind, how.app_id, how.hashed) == ("openid", "wx1", None)
    assert feed.pattern == "visits/dt=*/*"
