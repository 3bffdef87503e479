"""find-break-points over a small lake: what is counted of which date, what is written, warned of and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs import find_break_points
from jobs.runtime.break_alarms import break_points_found
from tests.builders import DAY, days_before, event, frame
from tests.nights import night
from transforms.activity import build_activity
from transforms.contracts import gold, ops, silver

TIERS = {"member": 0}
ORDERS = 40
EACH_DAY = 9 * 7


def events_of(days_ago: int) -> list[dict[str, Any]]:
    """40 orders in two stores, of which S2 sells nothing tonight, and 40 visits by app that are not there tonight."""
    date_ = days_before(days_ago)
    stores = ("S1",) if days_ago == 0 else ("S1", "S2")
    dated: dict[str, Any] = {"event_date": date_, "identifiers": {}}
    orders = [event(f"{s}/{days_ago}/{n}", store_id=s, **dated) for s in stores for n in range(ORDERS)]
    app: dict[str, Any] = {"source": "app", "channel": "app"}
    visits = [event(f"v/{days_ago}/{n}", "visit", **app, **dated) for n in range(ORDERS)] if days_ago else []
    return [*orders, *visits]


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Any:
    ctx = night(tmp_path / "lake", tmp_path, DAY)
    # A day at the edge of the look-back and one beyond it, an event that arrives tomorrow, and one of tomorrow.
    unseen = [
        event("later", arrival_date=days_before(-1), store_id="S2"),
        event("tomorrow", event_date=days_before(-1), arrival_date=DAY),
        event("old", event_date=days_before(EACH_DAY + 1), store_id="S9"),
    ]
    rows = [row for days_ago in range(EACH_DAY + 1) for row in events_of(days_ago)]
    events = frame(spark, silver.EVENTS, [*rows, *unseen])
    ctx.tables.replace(silver.EVENTS, events)
    known = ctx.events()
    ctx.tables.replace(silver.ACTIVITY, build_activity(known, DAY, "Asia/Shanghai", TIERS, "exclude"))
    files = [
        {
            "source": source,
            "source_file": f"{source}/{days_ago}",
            "arrival_date": days_before(days_ago),
            "status": "loaded",
        }
        for source in ("app", "store_pos")
        for days_ago in range(EACH_DAY + 1)
        if (source, days_ago) != ("app", 0)
    ]
    ctx.tables.replace(ops.LANDING_FILES, frame(spark, ops.LANDING_FILES, files))
    return ctx


def test_a_fall_and_a_dead_feed_are_written_warned_of_and_kept(lake: Any, capsys: pytest.CaptureFixture[str]) -> None:
    find_break_points.run(lake)
    find_break_points.run(lake)  # twice equals once
    rows = {
        (row.stage, row.measure, row.scope, row.store_id, row.channel, row.source): row
        for row in lake.tables.read(gold.BREAK_POINTS).collect()
    }
    assert {row.run_date for row in rows.values()} == {DAY}
    assert not any("S9" in key for key in rows)
    sold = rows["converted", "volume", "store_channel", "S1", "store_pos", "all"]
    assert (sold.status, sold.observed, sold.expected, sold.volume, sold.z) == ("normal", ORDERS, ORDERS, ORDERS, 0)
    fallen = rows["converted", "volume", "store_channel", "S2", "store_pos", "all"]
    assert (fallen.status, fallen.cause, fallen.observed, fallen.expected) == ("alarm", "behaviour", 0, ORDERS)
    store = rows["converted", "volume", "store", "S2", "all", "all"]
    assert (store.status, store.explained_by) == ("explained", "converted in store S2, channel store_pos")
    dead = rows["all", "volume", "source", "all", "all", "app"]
    assert (dead.status, dead.cause, dead.feed_state, dead.observed) == ("alarm", "missing_data", "stopped", 0)
    visits = rows["reached", "volume", "channel", "all", "app", "all"]
    assert (visits.status, visits.cause, visits.explained_by) == ("explained", "missing_data", "source app")

    warned = [line for line in capsys.readouterr().err.splitlines() if "break point" in line]
    assert len(warned) == 2 * 2  # of either run: the store, and the feed
    assert any("source app stopped: nothing came" in line and "ops.landing_files" in line for line in warned)
    assert any("0 events, expected 40" in line and "store_id = 'S2'" in line for line in warned)
    kept = break_points_found(lake)
    assert [(check, is_passed) for check, _, _, _, is_passed in kept] == [("break_point", False)] * 2
    assert len({looked_at for _, looked_at, _, _, _ in kept}) == 2
