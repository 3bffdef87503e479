"""Segment history over a random sequence of nights: what it says of any date is that date's snapshot; flows follow."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, timedelta

from pyspark.sql import DataFrame, SparkSession

from transforms.contracts import conform, gold
from transforms.segments import change_history, flow_dates, segment_flows

FIRST = date(2026, 5, 20)
Snapshot = dict[tuple[str, str, str], str]  # (segment, kind, customer) to the reason
Stay = tuple[str, str, str, date, date | None, str, int, date | None]

PRIMARY, SECONDARY = ("new", "active", "lost"), ("silent", "loud")


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def snapshot(random_: random.Random, number: int, before: Snapshot) -> Snapshot:
    """40 customers of whom most stay where they are; c0 and c1 are one customer, c1, from day 9 on."""
    found: Snapshot = {}
    for customer in [f"c{n}" for n in range(40) if not (n == 0 and number >= 9)]:
        was = [segment for (segment, kind, whose) in before if whose == customer and kind == "primary"]
        stays = was and random_.random() < 0.7
        found[was[0] if stays else random_.choice(PRIMARY), "primary", customer] = f"rule; {random_.random():.3f}"
        for segment in SECONDARY:
            key = (segment, "secondary", customer)
            if (key in before) != (random_.random() < 0.3):
                found[key] = f"rule; {random_.random():.3f}"
    return found


def brute_force(published: dict[date, Snapshot], newest: date) -> set[Stay]:
    """Stays read from the snapshots, one published date after the other."""
    days = sorted(published)
    stays: set[Stay] = set()
    for key in {key for members in published.values() for key in members}:
        segment, kind, customer = key
        began: date | None = None
        for here in [*days, None]:
            is_member = here is not None and key in published[here]
            if is_member and began is None:
                began = here
            elif not is_member and began is not None:
                last = (here or newest + timedelta(days=1)) - began
                month = here.replace(day=1) if here else None
                reason = published[began][key]
                stays.add((segment, customer, kind, began, here, reason, last.days, month))
                began = None
    return stays


def members_frame(spark: SparkSession, members: Snapshot) -> DataFrame:
    rows = [(*key, reason.split("; ")) for key, reason in members.items()]
    return spark.createDataFrame(rows, "segment string, kind string, customer_id string, reasons array<string>")


def test_history_is_the_snapshots_of_all_published_dates(spark: SparkSession) -> None:
    """15 nights with gaps and a turn of the month, then reruns and backfills among them, one before all of them."""
    spark.conf.set("spark.sql.codegen.wholeStage", "false")
    spark.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    random_ = random.Random(1)
    nights = [day(n) for n in (1, 2, 3, 5, 6, 7, 10, 11, 12, 13, 17, 20, 21, 22, 23)]
    again = [day(23), day(11), day(4), day(11), day(0), day(15), day(22)]  # 4 and 15 were gaps
    rows: list[Stay] = []
    published: dict[date, Snapshot] = {}
    last: Snapshot = {}
    for run_date in [*nights, *again]:
        last = snapshot(random_, (run_date - FIRST).days, last)
        later = min((other for other in published if other > run_date), default=None)
        newest = max([run_date, *published])
        known = spark.createDataFrame(rows, gold.SEGMENT_HISTORY.schema)
        next_members = members_frame(spark, published[later]) if later else None
        members = members_frame(spark, last)
        changed = conform(
            change_history(known, members, run_date, newest, later, next_members), gold.SEGMENT_HISTORY
        ).collect()
        rows = [tuple(row) for row in changed]  # type: ignore[misc]
        published[run_date] = {key: "; ".join(reason.split("; ")) for key, reason in last.items()}
        expected = brute_force(published, newest)
        assert len(rows) == len(expected), run_date
        assert set(rows) == expected, run_date
    assert {stay[1] for stay in rows if stay[4] is None} == {f"c{n}" for n in range(1, 40)}  # c0 is no more

    _assert_flows(spark, rows, published, day(22))


def _assert_flows(spark: SparkSession, rows: list[Stay], published: dict[date, Snapshot], run_date: date) -> None:
    def primary_on(when: date) -> dict[str, str]:
        known = [other for other in published if other <= when]
        return {whose: segment for segment, kind, whose in published[max(known)] if kind == "primary"} if known else {}

    history = spark.createDataFrame(rows, gold.SEGMENT_HISTORY.schema)
    found = conform(segment_flows(history, run_date), gold.SEGMENT_FLOWS).collect()
    now = primary_on(run_date)
    for period, then in flow_dates(run_date).items():
        was = primary_on(then)
        moves = Counter((was.get(who, "none"), now.get(who, "none")) for who in {*was, *now})
        mine = {(row.from_segment, row.to_segment): row.customers for row in found if row.period == period}
        assert mine == moves, period
        assert sum(count for (_, to), count in mine.items() if to != "none") == len(now)
        assert sum(count for (origin, _), count in mine.items() if origin != "none") == len(was)


def test_a_month_before_is_the_same_day_or_the_last_of_a_shorter_month() -> None:
    assert flow_dates(date(2026, 3, 31))["month"] == date(2026, 2, 28)
    assert flow_dates(date(2024, 3, 30))["month"] == date(2024, 2, 29)
    assert flow_dates(date(2026, 1, 15)) == {
        "day": date(2026, 1, 14),
        "week": date(2026, 1, 8),
        "month": date(2025, 12, 15),
    }


def test_a_segment_that_turns_primary_is_left_and_entered(spark: SparkSession) -> None:
    known = spark.createDataFrame(
        [("silent", "c", "secondary", day(0), None, "r", 1, None)], gold.SEGMENT_HISTORY.schema
    )
    members = members_frame(spark, {("silent", "primary", "c"): "s"})
    found = {
        (row.kind, row.entered_date, row.exited_date)
        for row in change_history(known, members, day(1), day(1)).collect()
    }
    assert found == {("secondary", day(0), day(1)), ("primary", day(1), None)}
