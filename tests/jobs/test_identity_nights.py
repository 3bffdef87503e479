"""A night works out only the part of the identity graph that it touches: row for row what all of it would give."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import SparkSession

from jobs import resolve_identities
from jobs.runtime import tables
from jobs.runtime.job import JobContext
from tests.builders import DAY, at, event, frame
from tests.nights import night
from transforms.contracts import gold, silver
from transforms.contracts.state import IDENTITY_CUSTOMERS, IDENTITY_SIZES
from transforms.identity.changes import mapping_before
from transforms.identity.quality import added_up

Events = list[dict[str, Any]]
# Limits so low that a few people break each of them.
IDENTITY: dict[str, Any] = {
    "whole_up_to": 0,
    "max_customer_size": 6,
    "types": [
        {"type": "member", "label": "会员", "anchor": True, "unique": True},
        {"type": "phone", "label": "手机", "anchor": True, "max_per_customer": 2, "period_days": 3},
        {"type": "device", "label": "设备", "max_holders": 2},
        {"type": "cookie", "label": "浏览器"},
        {"type": "wifi", "label": "网络", "shared": True},
    ],
}


# Settings need a source; the events are put into silver.events as if it had brought them.
SOURCE: dict[str, Any] = {
    "name": "till",
    "label": "收银",
    "channel": "store_pos",
    "format": "csv",
    "columns": ["id", "member"],
    "files": "*.csv",
    "arrival_date": "fixed 2026-01-01",
    "records": [
        {
            "name": "sale",
            "event_type": "view",
            "event_id": ["id"],
            "event_at": {"expression": "'2026-01-01'", "format": "yyyy-MM-dd"},
            "identifiers": {"member": "member"},
        }
    ],
}


# Whose each identifier of `events_of` is; a shared device is one person's.
TRUTH = [
    {"identifier_type": kind, "raw_value": value, "person_id": str(person)}
    for person in range(41)
    for kind, values in {
        "member": [f"m{person}"],
        "phone": [f"p{person}", f"p{person}b", f"p{person}c"],
        "device": [f"d{person // 2}"] if person < 12 and person % 2 == 0 else [],
        "cookie": [f"c{person}.{number}" for number in range(3)],
    }.items()
    for value in values
]


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are written as those of a large lake are: what stays is copied."""
    monkeypatch.setattr(tables, "_COPIED_BYTES", 0)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/till.yaml").write_text(yaml.safe_dump(SOURCE))
    pq.write_table(pa.Table.from_pylist(TRUTH), tmp_path / "truth.parquet")
    said = {"sources": "sources", "identity": IDENTITY, "truth": str(tmp_path / "truth.parquet")}
    written = tmp_path / "settings.yaml"
    written.write_text(yaml.safe_dump(said))
    return written


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak), pytest.param(3, marks=pytest.mark.soak)])
def test_nights_leave_what_a_full_pass_leaves(spark: SparkSession, tmp_path: Path, settings: Path, seed: int) -> None:
    chance, lake = Random(seed), tmp_path / "lake"
    for number in range(3):
        day = DAY + timedelta(days=number)
        ctx = resolved(spark, lake, day, settings, events_of(chance, number, 150 if number == 0 else 20 // number))
        assert ("looked at again" in ctx.facts) == (number > 0)
    assert differing(ctx, settings) == []
    reasons = {row.reason for row in ctx.tables.read(silver.IDENTITY_REFUSALS).collect()}
    assert {"blocked_value", "over_limit", "ambiguous"} <= reasons  # else little was tried


def test_a_night_looks_only_at_whom_it_touches(spark: SparkSession, tmp_path: Path, settings: Path) -> None:
    """Thirty people of two identifiers each; on the next night two of them turn out to be one."""
    people = [event(f"e{n}", identifiers={"phone": f"p{n}", "cookie": f"c{n}"}) for n in range(30)]
    resolved(spark, tmp_path / "lake", DAY, settings, people)
    tomorrow = DAY + timedelta(days=1)
    ctx = resolved(
        spark,
        tmp_path / "lake",
        tomorrow,
        settings,
        [event("m", event_date=tomorrow, identifiers={"phone": "p1", "cookie": "c2"})],
    )
    assert ctx.facts["looked at again"] == 4
    changes = ctx.tables.read(silver.IDENTITY_CHANGES).where(f"run_date = date'{tomorrow}'").collect()
    assert {(row.identifier, row.change) for row in changes} == {("p2", "merged"), ("c2", "merged")}


def test_what_ends_with_the_date_alone_is_looked_at_again(spark: SparkSession, tmp_path: Path, settings: Path) -> None:
    """A third phone is refused while two others count; when these are three days old, it is the member's after all.

    Nothing of this member arrives in the nights between; the others' refusals stay as they are.
    """
    phones = {f"p{n}": DAY - timedelta(days=n > 0) for n in range(3)}
    once = [
        event(f"e{phone}", event_date=day, identifiers={"member": "m1", "phone": phone})
        for phone, day in phones.items()
    ]
    shared = [event(f"s{n}", identifiers={"member": f"m{n}", "device": "d"}) for n in (7, 8)]
    ctx = resolved(spark, tmp_path / "lake", DAY, settings, once + shared)
    refused = {(row.value_b, row.reason) for row in ctx.tables.read(silver.IDENTITY_REFUSALS).collect()}
    assert len(refused) == 2 and ("d", "ambiguous") in refused
    for number in (1, 2):
        day = DAY + timedelta(days=number)
        other = [event(f"o{number}", event_date=day, identifiers={"member": f"m9{number}", "cookie": f"c{number}"})]
        ctx = resolved(spark, tmp_path / "lake", day, settings, other)
    assert ctx.facts["looked at again"] == 6  # the member and three phones, and tonight's two
    assert {row.value_b for row in ctx.tables.read(silver.IDENTITY_REFUSALS).collect()} == {"d"}
    assert differing(ctx, settings) == []


def test_a_night_that_died_before_its_changes_is_told_by_the_next(
    spark: SparkSession, tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History and log are written side by side: who has one of them only is not left out of the log for ever."""
    lake, days = tmp_path / "lake", [DAY + timedelta(days=number) for number in range(4)]
    came = [[event(f"e{n}", event_date=day, identifiers={"member": f"m{n}"})] for n, day in enumerate(days)]
    resolved(spark, lake, days[0], settings, came[0])

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    ctx = night(lake, lake, days[1], [str(settings)])
    ctx.tables.append(silver.EVENTS, frame(spark, silver.EVENTS, came[1]))
    monkeypatch.setattr(ctx.tables, "overwrite_slice", dies)
    with pytest.raises(RuntimeError, match="killed"):
        resolve_identities.run(ctx)
    assert not ctx.tables.read(silver.IDENTITY_HISTORY).where("identifier = 'm1'").isEmpty()
    ctx = resolved(spark, lake, days[2], settings, came[2])
    told = mapping_before(ctx.tables.read(silver.IDENTITY_CHANGES), days[3])
    assert {row.identifier for row in told.collect()} == {"m0", "m1", "m2"}


def resolved(spark: SparkSession, lake: Path, day: date, settings: Path, events: Events) -> JobContext:
    """The night after some events came."""
    ctx = night(lake, lake, day, [str(settings)])
    ctx.tables.append(silver.EVENTS, frame(spark, silver.EVENTS, events))
    resolve_identities.run(ctx)
    return ctx


def differing(ctx: JobContext, settings: Path) -> list[str]:
    """Tables in which the night's rows are not those of a full pass of the same date, which replaces them."""
    compared = (*silver.OF_IDENTITY, gold.IDENTITY_QUALITY, IDENTITY_CUSTOMERS, IDENTITY_SIZES)
    versions = {table: ctx.tables.version(table) for table in compared}
    again = night(Path(ctx.tables.lake), Path(ctx.tables.lake), ctx.run_date, [str(settings)], full=True)
    resolve_identities.run(again)
    assert "looked at again" not in again.facts
    found = []
    for table, version in versions.items():
        one, other = again.tables.read(table, version), again.tables.read(table)
        if table is IDENTITY_CUSTOMERS:
            one = added_up(one)
        if not one.exceptAll(other).isEmpty() or not other.exceptAll(one).isEmpty():
            found.append(table.full_name)
    return found


def events_of(chance: Random, number: int, count: int) -> Events:
    """Random events of one night: shared devices, placeholder phones, unbindings, and some that come days late."""
    day = DAY + timedelta(days=number)
    return [_event(chance, f"n{number}:{place}", day) for place in range(count)]


def _event(chance: Random, event_id: str, day: date) -> dict[str, Any]:
    person = chance.randint(0, 40)
    held = {
        "member": f"m{person}",
        "phone": chance.choice([f"p{person}", f"p{person}", f"p{person}b", f"p{person}c", "p0", f"p{person - 1}"]),
        "device": f"d{person // 2 if person < 12 else person // 6}",
        "cookie": f"c{person}.{chance.randint(0, 2)}",
        "wifi": f"w{person % 2}",
    }
    carried = {kind: value for kind, value in held.items() if chance.random() < 0.45}
    blocked = {"phone": "blocked_value"} if carried.get("phone") == "p0" else {}
    happened = day - timedelta(days=chance.choice([0, 0, 0, 1, 4]))
    return event(
        event_id,
        chance.choice(["view"] * 9 + ["unbind"]),
        channel=chance.choice(["app", "store_pos"]),
        identifiers=carried,
        blocked_identifiers=blocked or None,
        event_at=at(happened, chance.randint(0, 23)),
        arrival_date=day,
    )
