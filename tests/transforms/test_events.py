"""One row per event: which identifier leads, and which copy stays, whatever the order in which copies turn up."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests.builders import DAY, at, days_before, event, frame
from transforms.contracts import conform, silver
from transforms.events import ORDER_OF_COPIES, content_hash, drop_copies, repeated_ids, with_ids, with_lead

Rows = list[dict[str, Any]]
LINKING = ["member", "phone", "device"]


def test_lead_is_the_strongest_usable_identifier(spark: SparkSession) -> None:
    cases = {
        "strongest": ({"device": "d", "phone": "p", "member": "m"}, None, ("member", "m")),
        "blocked gives way": ({"member": "m", "phone": "p"}, {"member": "null_like"}, ("phone", "p")),
        "blocked elsewhere": ({"phone": "p"}, {"device": "blocked_value"}, ("phone", "p")),
        "all blocked": ({"phone": "p"}, {"phone": "blocked_value"}, (None, None)),
        "shared never leads": ({"store_tablet": "t"}, None, (None, None)),
        "shared beside another": ({"store_tablet": "t", "device": "d"}, None, ("device", "d")),
        "guest": (None, None, (None, None)),
    }
    rows = [event(name, identifiers=held, blocked_identifiers=rules) for name, (held, rules, _) in cases.items()]
    led = conform(with_lead(frame(spark, silver.EVENTS, rows), LINKING), silver.EVENTS).collect()
    found = {row.event_id: (row.lead_identifier_type, row.lead_identifier) for row in led}
    assert found == {name: lead for name, (_, _, lead) in cases.items()}


def marked(spark: SparkSession, incoming: Rows, known: Rows | None) -> dict[tuple[str, str, int], tuple[str, bool]]:
    """(event, file, row) to (status, whether the copy in the table gives way)."""
    table = None if known is None else known_copies(frame(spark, silver.EVENTS, known))
    events = frame(spark, silver.EVENTS, incoming)
    ids = repeated_ids(events, table)
    copies = drop_copies(with_ids(events, ids, True), table).collect()
    alone = with_ids(events, ids, False).collect()
    assert len(copies) + len(alone) == len(incoming)
    found = {(r.event_id, r._source_file, r._row_number): (r._status, r._replaces_known) for r in copies}
    return found | {(r.event_id, r._source_file, r._row_number): ("accepted", False) for r in alone}


def known_copies(events: DataFrame) -> DataFrame:
    return events.withColumn("_content_hash", content_hash()).select("event_id", *ORDER_OF_COPIES)


def copy(event_id: str, file: str = "a.csv", row: int = 1, **said: Any) -> dict[str, Any]:
    return event(event_id, "view", _source_file=file, _row_number=row, **said)


def test_earliest_copy_stays(spark: SparkSession) -> None:
    rows = [
        copy("arrival", "a", arrival_date=DAY),
        copy("arrival", "b", arrival_date=days_before(1), event_at=at(DAY, 23)),  # arrived first, whatever its time
        copy("time", "a", event_at=at(DAY, 9)),
        copy("time", "b", event_at=at(DAY, 8)),
        copy("place", "b", 1),  # equal to the letter: the place it was read from decides
        copy("place", "a", 2),
        copy("place", "a", 1),
        copy("lone", "a"),
    ]
    stays = {key for key, (status, _) in marked(spark, rows, None).items() if status == "accepted"}
    assert stays == {("arrival", "b", 1), ("time", "b", 1), ("place", "a", 1), ("lone", "a", 1)}


def test_content_decides_between_copies_of_one_time(spark: SparkSession) -> None:
    """Which one is arbitrary, but it is the same one in whatever file or order they come."""
    says = ({"page": "home"}, {"page": "cart"}, {"props": {"k": "1"}})
    one = [copy("e", file, **said) for file, said in zip("abc", says, strict=True)]
    other = [copy("f", file, **said) for file, said in zip("cba", says, strict=True)]
    hashes = frame(spark, silver.EVENTS, one + other).select("event_id", "_source_file", content_hash().alias("h"))
    # An event's content names its id: hashes of `e` and `f` differ, so each is judged against its own copies.
    expected = {
        (row.event_id, row._source_file)
        for row in hashes.groupBy("event_id").agg(F.min_by("_source_file", "h").alias("_source_file")).collect()
    }
    accepted = {key[:2] for key, (status, _) in marked(spark, one + other, None).items() if status == "accepted"}
    assert accepted == expected


def test_copies_meet_the_table(spark: SparkSession) -> None:
    table = [copy(name, "old.csv", 5) for name in ("same", "later", "earlier", "both")]
    incoming = [
        copy("same", "old.csv", 5),  # the very row again, as after a kill: known, not a duplicate
        copy("later", "new.csv", arrival_date=DAY, event_at=at(DAY, 13)),  # the table has a better one
        copy("earlier", "new.csv", event_at=at(DAY, 11)),  # it has a worse one, which gives way
        copy("both", "x.csv", event_at=at(DAY, 10)),  # of two better ones the best
        copy("both", "y.csv", event_at=at(DAY, 11)),
        copy("fresh", "new.csv"),  # it has none
    ]
    assert marked(spark, incoming, table) == {
        ("same", "old.csv", 5): ("known", False),
        ("later", "new.csv", 1): ("duplicate", False),
        ("earlier", "new.csv", 1): ("accepted", True),
        ("both", "x.csv", 1): ("accepted", True),
        ("both", "y.csv", 1): ("duplicate", False),
        ("fresh", "new.csv", 1): ("accepted", False),
    }


def survivors_in_batches(spark: SparkSession, batches: list[Rows]) -> set[tuple[str, str, int]]:
    """The table after the batches came one by one, as clean-events writes it."""
    held: dict[tuple[str, str, int], dict[str, Any]] = {}
    for batch in batches:
        rows = {(row["event_id"], row["_source_file"], row["_row_number"]): row for row in batch}
        found = marked(spark, batch, list(held.values()))
        replaced = {key[0] for key, (_, replaces) in found.items() if replaces}
        held = {key: row for key, row in held.items() if key[0] not in replaced}
        held |= {key: rows[key] for key, (status, _) in found.items() if status == "accepted"}
    return set(held)


COPIES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", "e", "f"]),  # event
        st.integers(0, 1),  # days before DAY that it arrived
        st.integers(8, 9),  # hour
        st.sampled_from(["home", "cart"]),  # content
        st.integers(0, 2),  # batch in which it is found, in either order
    ),
    min_size=30,
    max_size=40,
)


@given(COPIES)
@settings(max_examples=2, phases=[Phase.generate])  # a job each; shrinking would run hundreds
def test_survivors_do_not_depend_on_the_order_of_batches(spark: SparkSession, drawn: list[Any]) -> None:
    rows = [
        (batch, copy(name, f"{n % 7}.csv", n, arrival_date=days_before(days), event_at=at(DAY, hour), page=page))
        for n, (name, days, hour, page, batch) in enumerate(drawn)
    ]
    batches = [[row for place, row in rows if place == number] for number in range(3)]
    at_once = survivors_in_batches(spark, [[row for _, row in reversed(rows)]])
    assert {key[0] for key in at_once} == {name for name, *_ in drawn}  # every event has one copy
    assert len(at_once) == len({key[0] for key in at_once})
    assert survivors_in_batches(spark, batches) == at_once
    assert survivors_in_batches(spark, batches[::-1]) == at_once
    assert survivors_in_batches(spark, [*batches, *batches]) == at_once  # twice equals once
