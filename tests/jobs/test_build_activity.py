"""silver.activity, restated where events came: the same rows as when everything is built again."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs import build_activity
from jobs.runtime.job import JobContext
from jobs.runtime.keyed_rows import with_key, without_key
from jobs.runtime.tables import Tables
from tests.builders import DAY, event, frame, identity
from tests.nights import night
from tests.stories import Events, many_orders
from transforms.activity import concerned_places
from transforms.contracts import silver
from transforms.orders import order_events
from transforms.tags import timelines_table

BEFORE = DAY - timedelta(days=1)
BY_PLACES = "timelines: {whole_up_to: 0}"


def context(lake: Path, day: date) -> JobContext:
    """A night that restates by places whatever the events."""
    lake.mkdir(exist_ok=True)
    (lake / "mine.yaml").write_text(BY_PLACES)
    return night(lake, lake / "landing", day, [str(lake / "mine.yaml")])


def lake_of(ctx: JobContext, events: Events) -> None:
    """Who is who of all that the events carry: everybody is themselves."""
    owners = {(kind, name) for row in events for kind, name in (row["identifiers"] or {}).items()}
    known = [identity(kind, name, f"C-{name}") for kind, name in sorted(owners)]
    ctx.tables.replace(silver.IDENTITIES, frame(ctx.spark, silver.IDENTITIES, known))
    for table in (silver.IDENTITY_CHANGES, silver.IDENTITY_BAD_VALUES):
        ctx.tables.replace(table, frame(ctx.spark, table, []))


def spread(events: Events) -> Events:
    """Each lead of the stories stands for twenty people, so that what happens to one leaves others alone."""
    numbers = [int(row["event_id"].split(":")[1]) % 20 for row in events]
    people = [
        {kind: f"{name} {number}" for kind, name in (row["identifiers"] or {}).items()}
        for row, number in zip(events, numbers, strict=True)
    ]
    return [
        {**row, "identifiers": who or None, "lead_identifier": who.get(row["lead_identifier_type"])}
        for row, who in zip(events, people, strict=True)
    ]


def led_by_others(late: date) -> Events:
    """What others than an order's lead did of it, on a day of which a visit of the lead comes late."""
    first, before = late - timedelta(days=2), late - timedelta(days=1)
    ann, bob = {"member": "Ann"}, {"member": "Bob"}
    return [
        event("ann's", order_id="A", event_date=first, identifiers=ann),
        event("brought back", "return", order_id="A", event_date=late, amount=5, identifiers={"cookie": "of a friend"}),
        event("bob's", order_id="B", event_date=before, identifiers=bob),
        event("on his phone", order_id="B", line_id="2", event_date=late, identifiers={"phone": "Bob's"}),
        event("a guest's", order_id="G", event_date=first, identifiers=None),
        event("brought by somebody", "return", order_id="G", event_date=late, identifiers={"member": "Somebody"}),
        *[event(f"late {n}", "visit", event_date=late, arrival_date=DAY, identifiers=who) for n, who in
          enumerate((ann, bob))],
    ]  # fmt: skip


def arriving(events: Events, chance: Random, share: float) -> Events:
    """Some of the events arrive late, on DAY; all of DAY's own do."""
    is_late = [row["event_date"] > BEFORE or chance.random() < share for row in events]
    return [{**row, "arrival_date": DAY if late else BEFORE} for row, late in zip(events, is_late, strict=True)]


@pytest.mark.parametrize("copied_bytes", [0, 1 << 30], ids=["copied", "moved by Spark"])
def test_late_lines_and_returns_restate_what_a_whole_build_gives(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied_bytes: int
) -> None:
    """150 orders whose lines have different leads or none, some lines and returns of them a night late."""
    monkeypatch.setattr("jobs.runtime.tables._COPIED_BYTES", copied_bytes)
    who = [{"member": "member0 1"}, {"phone": "phone1 7", "cookie": "c"}, None]
    visits = [
        event(f"visit {n}", "visit", event_date=DAY - timedelta(days=n % 5), identifiers=who[n % 3]) for n in range(12)
    ]
    stories = [row for row in spread(many_orders(150, seed=8, line_days=1)) if row["event_date"] <= DAY]
    events = arriving([*stories, *visits], Random(5), share=0.02)
    events += led_by_others(DAY - timedelta(days=3))
    first, second = (context(tmp_path / "lake", day) for day in (BEFORE, DAY))
    lake_of(first, events)
    for ctx, day in ((first, BEFORE), (second, DAY)):
        came = [row for row in events if (row["arrival_date"] == DAY) == (day == DAY)]
        ctx.tables.append(silver.EVENTS, frame(spark, silver.EVENTS, came))
        build_activity.run(ctx)
    by_nights = {table: second.tables.read(table).localCheckpoint() for table in tables(second)}
    places = concerned_places(second.events().where(F.col("arrival_date") == F.lit(DAY)), order_events(second.events()))
    dates = places.select("event_date").distinct()
    spared = without_key(with_key(by_nights[silver.ACTIVITY], dates), places)
    assert second.facts["dates restated"] == dates.count() > 5
    assert spared.count() > 50
    whole = context(tmp_path / "lake", DAY)
    whole.full = True
    build_activity.run(whole)
    for table, rows in by_nights.items():
        assert_df_equality(rows, whole.tables.read(table), ignore_row_order=True, ignore_nullable=True)


def tables(ctx: JobContext) -> list[Any]:
    return [silver.ACTIVITY, timelines_table(ctx.settings.tags)]


def test_places_are_those_of_all_identifiers_of_an_order(spark: SparkSession) -> None:
    """A return tells of its order's return on another day, whoever brought it; a line also of the other lines."""
    days = [DAY - timedelta(days=n) for n in range(4)]
    known = [
        event("o1", order_id="O", event_date=days[3], identifiers={"member": "M"}),
        event("o2", order_id="O", event_date=days[2], identifiers={"phone": "P"}),
        event("back", "return", order_id="O", event_date=days[1], identifiers={"cookie": "C"}),
        event("other", order_id="X", event_date=days[3], identifiers={"member": "X"}),
    ]
    carried = {("member", "M"), ("phone", "P"), ("cookie", "C")}

    def places(*came: dict[str, Any]) -> set[tuple[Any, ...]]:
        events = frame(spark, silver.EVENTS, [*came])
        found = concerned_places(events, order_events(frame(spark, silver.EVENTS, [*known, *came])))
        assert found.distinct().count() == found.count()
        return {tuple(row) for row in found.collect()}

    def of(day: date, leads: set[tuple[str, str]]) -> set[tuple[Any, ...]]:
        return {(day, *lead) for lead in leads} | {(day, None, None)}

    again = event("again", "return", order_id="O", event_date=days[0], identifiers={"device": "D"})
    assert places(again) == of(days[0], carried | {("device", "D")}) | of(days[1], carried | {("device", "D")})
    line = event("o3", order_id="O", event_date=days[0], identifiers=None)
    assert places(line) == set().union(*(of(day, carried) for day in days))
    assert places(event("v", "visit", event_date=days[0], identifiers=None)) == of(days[0], set())


@pytest.mark.parametrize("way", ["copied", "moved by Spark", "Delta"])
def test_of_a_slice_only_rows_with_a_key_give_way(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Partials of a lead and of guests on two days are replaced; others of these days, and other days, stay."""
    monkeypatch.setattr("jobs.runtime.tables._COPIED_BYTES", 0 if way == "copied" else 1 << 30)
    if way == "Delta":
        monkeypatch.setattr("jobs.runtime.tables.takes_commits", lambda *_: False)
    lake, days = Tables(spark, str(tmp_path / "lake"), "run", None), [DAY - timedelta(days=n) for n in range(3)]

    def partial(day: date, member: str | None, **said: Any) -> dict[str, Any]:
        lead = {"lead_identifier_type": member and "member", "lead_identifier": member}
        return {"event_date": day, "counts_on_date": day, "event_type": "visit", "event_count": 1, **lead, **said}

    old = [partial(day, member) for day in days for member in ("M1", "M2", None)]
    lake.replace(silver.ACTIVITY, frame(spark, silver.ACTIVITY, old))
    gone = [(day, kind, name) for day in days[:2] for kind, name in (("member", "M1"), (None, None))]
    keys = spark.createDataFrame(gone, "event_date date, lead_identifier_type string, lead_identifier string")
    new = [partial(days[0], "M1", event_count=7), partial(days[1], None, event_count=9)]
    lake.overwrite_keys(silver.ACTIVITY, frame(spark, silver.ACTIVITY, new), keys, event_date=days[:2])
    found = {(r.event_date, r.lead_identifier, r.event_count) for r in lake.read(silver.ACTIVITY).collect()}
    assert found == {
        *((day, "M2", 1) for day in days),
        *((days[2], member, 1) for member in ("M1", None)),
        (days[0], "M1", 7),
        (days[1], None, 9),
    }
