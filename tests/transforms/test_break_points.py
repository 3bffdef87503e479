"""Break points on a simulated chain: normal nights are quiet; what breaks is found, and told from missing data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jobs.runtime.settings import load_settings
from tests.builders import DAY, days_before
from transforms.break_points.night import find_break_points

NIGHTS, STORES, HISTORY = 60, 25, 130  # days of history: the nights, a look-back before each and late data before that
WEEKDAYS = np.array([0.80, 0.80, 0.84, 0.90, 1.10, 1.42, 1.30])
OVERDISPERSION = 0.02  # variance = mean + 0.02 mean²: a day differs by a seventh for no reason that anybody knows
LATE = (0.96, 0.02, 0.02)  # known on the day itself, a day later, two days later

# source -> (stage, channel, event type, events a day; in each store, or by whole channel)
FEEDS = {
    "store_pos": [("converted", "store_pos", "order", 120, True)],
    "mini_program": [
        ("reached", "mini_program", "visit", 400, True),
        ("engaged", "mini_program", "checkin", 150, True),
    ],
    "app": [("reached", "app", "visit", 5000, False), ("engaged", "app", "cart_add", 1500, False)],
    "ecommerce": [("engaged", "ecommerce", "search", 3000, False), ("converted", "ecommerce", "order", 900, False)],
    "finance": [("applied", "finance", "loan_apply", 12, True), ("approved", "finance", "loan_approve", 5, True)],
    "marketing": [("reached", "marketing", "touch", 2000, False)],
}


@dataclass
class Chain:
    """Events by date and arrival, and the files that arrived; `days` count from the first of the history."""

    events: pd.DataFrame
    files: set[tuple[str, int]] = field(default_factory=set)

    def night(self, day: int, **rules: Any) -> list[dict[str, Any]]:
        """The rows of the night of a day, as the job would find them."""
        settings = settings_of()
        known = self.events[self.events["arrived"] <= day]
        known = known.assign(age_days=day - known["day"], lag_days=known["arrived"] - known["day"])
        known = known[known["age_days"].between(0, 7 * settings.break_points.look_back_weeks + 7)]
        stages = ["stage", "channel", "store_id", "event_type", "age_days", "lag_days"]
        feeds = ["source", "channel", "event_type", "age_days", "lag_days"]
        came = [(source, day - n, 1) for source, n in sorted(self.files) if 0 <= day - n <= 56]
        return find_break_points(
            known.groupby(stages, as_index=False)["volume"].sum(),
            known.groupby(feeds, as_index=False)["volume"].sum(),
            pd.DataFrame(came, columns=["source", "age_days", "files"]),
            stages=settings.stages,
            rules=settings.break_points.model_copy(update=rules),
            daily=["store_pos"],
            as_of=date_of(day),
        )


@cache
def settings_of() -> Any:
    return load_settings()


def date_of(day: int) -> date:
    return days_before(HISTORY - 1 - day)


@pytest.fixture(scope="module")
def chain() -> Chain:
    chance = np.random.default_rng(20260630)
    days = np.arange(HISTORY)
    rows = []
    for source, cells in FEEDS.items():
        for stage, channel, event_type, usual, by_store in cells:
            for store in [f"S{n:02}" for n in range(STORES)] if by_store else [""]:
                size = usual * (chance.uniform(0.5, 2) if by_store else 1)
                mean = size * WEEKDAYS[days % 7] * chance.gamma(1 / OVERDISPERSION, OVERDISPERSION, HISTORY)
                split = chance.multinomial(chance.poisson(mean), LATE)
                for lag in range(len(LATE)):
                    counted = {"day": days, "arrived": days + lag, "volume": split[:, lag]}
                    named = {"source": source, "stage": stage, "channel": channel, "event_type": event_type}
                    rows.append(pd.DataFrame({**named, "store_id": store, **counted}))
    return Chain(pd.concat(rows, ignore_index=True), {(source, day) for source in FEEDS for day in range(HISTORY)})


def alarms(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What is told: stage, measure, store, channel, source, cause and state of the feed."""
    named = ("stage", "measure", "store_id", "channel", "source", "cause", "feed_state")
    return [tuple(str(row[name]) for name in named) for row in rows if row["status"] == "alarm"]


def test_sixty_normal_nights_are_quiet(chain: Chain) -> None:
    nights = {day: chain.night(day) for day in range(HISTORY - NIGHTS, HISTORY)}
    told = {day: alarms(rows) for day, rows in nights.items() if alarms(rows)}
    judged = [sum(row["status"] == "normal" for row in rows) for rows in nights.values()]
    assert min(judged) > 200  # of 25 stores, their channels and the chain; each night could cry 200 times
    assert len(told) <= 0.02 * NIGHTS, told


LAST = HISTORY - 1
LEAF = {"store_id": "S07", "channel": "mini_program"}
# What is taken away on the last day: rows that match, the share that is left, and what must be told of it.
FALLS: dict[str, tuple[Mapping[str, str], float, tuple[str, ...]]] = {
    "a store's stage in one channel": (
        {**LEAF, "stage": "engaged"},
        0.1,
        ("engaged", "volume", "S07", "mini_program", "all", "behaviour", "None"),
    ),
    "a channel's stage": (
        {"channel": "app", "stage": "engaged"},
        0.3,
        ("engaged", "volume", "all", "app", "all", "behaviour", "None"),
    ),
    "a stage everywhere": (
        {"stage": "converted"},
        0.3,
        ("converted", "volume", "all", "all", "all", "behaviour", "None"),
    ),
    "a store in all it does in a channel": (  # whoever does not come does not check in
        LEAF,
        0.1,
        ("reached", "volume", "S07", "mini_program", "all", "behaviour", "None"),
    ),
}


def without(chain: Chain, where: Mapping[str, str], left: float, days: list[int]) -> Chain:
    """The chain with only a share of some events of some days."""
    hit = chain.events["day"].isin(days)
    for column, value in where.items():
        hit &= chain.events[column] == value
    assert hit.any()
    volume = chain.events["volume"].where(~hit, (chain.events["volume"] * left).astype("int64"))
    return Chain(chain.events.assign(volume=volume), chain.files)


@pytest.mark.parametrize("fall", FALLS)
def test_a_fall_is_told_once_and_in_the_scope_that_fell(chain: Chain, fall: str) -> None:
    where, left, told = FALLS[fall]
    rows = without(chain, where, left, [LAST]).night(LAST)
    assert alarms(rows) == [told]
    explained = [row for row in rows if row["status"] == "explained"]
    assert all(row["cause"] == "behaviour" and row["explained_by"] for row in explained)
    (found,) = [row for row in rows if row["status"] == "alarm"]
    assert found["observed"] == found["volume"] < 0.4 * float(found["expected"])
    assert found["look_into"].startswith(f"silver.activity where event_date = '{DAY}'")


def test_fewer_conversions_of_as_many_visits_are_a_fall_of_the_rate(chain: Chain) -> None:
    """Visits differ by a third from day to day, and engagement with them: only its share of them shows a fall."""
    chance = np.random.default_rng(5)
    visits = chance.poisson(5000 * chance.gamma(10, 1 / 10, HISTORY))
    visits[LAST] = 5000

    def night(visits: Any, share: float) -> list[dict[str, Any]]:
        engaged = chance.binomial(visits, 0.3)
        engaged[LAST] = 5000 * share
        parts = []
        for stage, event_type, volume in (("reached", "visit", visits), ("engaged", "cart_add", engaged)):
            named = {"source": "app", "stage": stage, "channel": "app", "event_type": event_type, "store_id": ""}
            dated = {"day": np.arange(HISTORY), "arrived": np.arange(HISTORY)}
            parts.append(pd.DataFrame({**named, **dated, "volume": volume}))
        return Chain(pd.concat(parts), {("app", day) for day in range(HISTORY)}).night(LAST)

    rows = night(visits, 0.18)
    assert alarms(rows) == [("engaged", "rate", "all", "app", "all", "behaviour", "None")]
    (found,) = [row for row in rows if row["status"] == "alarm"]
    assert (float(found["observed"]), found["volume"]) == (0.18, 5000)
    assert float(found["expected"]) == pytest.approx(0.3, abs=0.01)
    assert "18.00% of 5000 events of reached" in found["message"]
    (chain_wide,) = [row for row in rows if row["measure"] == "rate" and row["scope"] == "chain"]
    assert chain_wide["explained_by"] == "engaged in channel app"

    # A day of 4 times the visits, as after a campaign, dilutes the rate and says nothing about engagement.
    flooded = [
        row for row in night(np.where(np.arange(HISTORY) == LAST, 20000, visits), 0.3) if row["measure"] == "rate"
    ]
    assert {row["status"] for row in flooded} == {"base_moved"}


def late(chain: Chain, source: str, days: list[int], by: int) -> Chain:
    """The chain with a source's files of some days arriving later."""
    is_late = (chain.events["source"] == source) & chain.events["arrived"].isin(days)
    arrived = chain.events["arrived"].where(~is_late, chain.events["arrived"] + by)
    files = {(name, day + by if name == source and day in days else day) for name, day in chain.files}
    return Chain(chain.events.assign(arrived=arrived), files)


def dead(chain: Chain, source: str, since: int) -> Chain:
    """The chain with nothing of a source from a day on."""
    gone = (chain.events["source"] == source) & (chain.events["arrived"] >= since)
    files = {(name, day) for name, day in chain.files if name != source or day < since}
    return Chain(chain.events[~gone], files)


def of_feed(source: str, state: str) -> tuple[str, ...]:
    return ("all", "volume", "all", "all", source, "missing_data", state)


@pytest.mark.parametrize("source", ["store_pos", "app", "finance"])
def test_a_dead_feed_is_told_as_such_and_not_as_lost_customers(chain: Chain, source: str) -> None:
    for nights in (1, 3, 20):  # also when half of the weeks that the level follows are dark
        rows = dead(chain, source, LAST - nights + 1).night(LAST)
        assert alarms(rows) == [of_feed(source, "stopped")], nights
        fallen = [row for row in rows if row["status"] == "explained"]
        assert {(row["cause"], row["explained_by"]) for row in fallen} <= {("missing_data", f"source {source}")}
        (told,) = [row["message"] for row in rows if row["status"] == "alarm"]
        assert f"the last {nights} days ago" in told


def test_a_late_feed_is_told_from_a_dead_one_by_what_comes_on_the_next_night(chain: Chain) -> None:
    once = late(chain, "app", [LAST - 1], 1)
    assert alarms(once.night(LAST - 1)) == [of_feed("app", "stopped")]  # that evening nobody knows yet
    (filled,) = [row for row in once.night(LAST) if row["status"] == "alarm"]
    assert (filled["source"], filled["feed_state"], filled["event_date"]) == ("app", "late", days_before(1))
    assert filled["observed"] < 0.1 * float(filled["expected"]) < filled["volume"]
    assert f"of {days_before(1)}" in filled["message"]

    for nights in (2, 5):  # each file a day late from some day on: tonight's dates are missing, yesterday's are filled
        always = late(chain, "app", list(range(LAST - nights + 1, LAST + 1)), 1)
        told = [(row["feed_state"], row["event_date"]) for row in always.night(LAST) if row["status"] == "alarm"]
        assert told == [("late", days_before(1)), ("late", DAY)]


def test_a_feed_that_always_comes_the_next_day_is_judged_by_the_day_before(chain: Chain) -> None:
    next_day = late(chain, "finance", list(range(HISTORY)), 1)
    rows = next_day.night(LAST)
    assert alarms(rows) == []
    assert {row["event_date"] for row in rows if row["source"] == "finance" or row["channel"] == "finance"} == {
        days_before(1)
    }
    dropped = without(next_day, {"stage": "applied"}, 0.1, [LAST - 1]).night(LAST)
    assert alarms(dropped) == [("applied", "volume", "all", "finance", "all", "behaviour", "None")]


def test_files_that_come_empty_or_too_few_are_missing_data(chain: Chain) -> None:
    refused = without(chain, {"source": "app"}, 0.0, [LAST])
    assert alarms(refused.night(LAST)) == [of_feed("app", "empty")]
    half = without(chain, {"source": "app"}, 0.4, [LAST])  # four files a night, of which some come

    def night(files_tonight: int) -> list[tuple[str, ...]]:
        came = [("app", age, 4 if age else files_tonight) for age in range(57)]
        others = [(source, LAST - day, 1) for source, day in chain.files if source != "app" and LAST - day <= 56]
        settings = settings_of()
        known = half.events[half.events["arrived"] <= LAST]
        known = known.assign(age_days=LAST - known["day"], lag_days=known["arrived"] - known["day"])
        known = known[known["age_days"].between(0, 63)]
        return alarms(
            find_break_points(
                known.drop(columns=["source", "day", "arrived"]),
                known.drop(columns=["stage", "store_id", "day", "arrived"]),
                pd.DataFrame(came + others, columns=["source", "age_days", "files"]),
                stages=settings.stages,
                rules=settings.break_points,
                daily=[],
                as_of=DAY,
            )
        )

    assert night(1) == [of_feed("app", "partial")]
    assert {row[5] for row in night(4)} == {"behaviour"}  # all files came: customers did less


def test_a_history_that_came_at_once_is_a_baseline_and_two_weeks_are_none(chain: Chain) -> None:
    """The first nights of a lake: everything before arrived as one load."""
    loaded = chain.events.assign(arrived=chain.events["arrived"].clip(lower=LAST - 1))
    loaded = loaded[loaded["day"] <= loaded["arrived"]]
    young = Chain(loaded, {(source, day) for source in FEEDS for day in (LAST - 1, LAST)})
    assert alarms(young.night(LAST)) == []
    assert alarms(dead(young, "app", LAST).night(LAST)) == [of_feed("app", "stopped")]
    fallen = without(young, {"channel": "app", "stage": "engaged"}, 0.3, [LAST]).night(LAST)
    assert alarms(fallen) == [FALLS["a channel's stage"][2]]
    for days in (15, 8, 1):  # two, one and none of each weekday
        short = Chain(chain.events[chain.events["day"] > LAST - days], chain.files).night(LAST)
        assert {row["status"] for row in short} == {"too_few"}
        assert {row["z"] for row in short} == {None}


def test_a_lake_without_recent_events_has_no_break_points(chain: Chain) -> None:
    assert Chain(chain.events[:0], set()).night(LAST) == []
    assert Chain(chain.events[chain.events["day"] < LAST - 70], chain.files).night(LAST) == []
