"""Events kept for a night are those of silver.events that are known on its date, whichever way they are kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.kept_events import KeptEvents
from tests.nights import night
from transforms.contracts import silver

DAY = date(2026, 3, 1)
ROWS: list[dict[str, Any]] = [
    # as full as an event is: text beyond ASCII, negative money, maps whose values may be missing
    {
        "event_id": "full",
        "event_at": datetime(2026, 2, 27, 23, 59, 59, 999_999),
        "event_date": date(2026, 2, 28),
        "arrival_date": DAY,
        "identifiers": {"phone": "a1", "member": "b2"},
        "attributes": {"颜色": "红", "size": None},
        "quantity": Decimal("-1.500"),
        "amount": Decimal("-9999999999999999.99"),
        "is_gift": True,
        "rating": 5,
    },
    {"event_id": "old", "event_date": date(1970, 1, 1), "arrival_date": date(2026, 2, 1)},  # nothing but dates
    {"event_id": "earlier", "event_date": date(2026, 2, 28), "arrival_date": date(2026, 2, 28)},
    {"event_id": "later", "event_date": date(2026, 2, 28), "arrival_date": date(2026, 3, 2)},  # not known yet
]


@pytest.fixture
def ctx(spark: SparkSession, tmp_path: Path) -> JobContext:
    ctx = night(tmp_path / "lake", tmp_path / "landing", DAY, [])
    columns = silver.EVENTS.column_names
    rows = spark.createDataFrame([[row.get(name) for name in columns] for row in ROWS], silver.EVENTS.schema)
    ctx.tables.replace(silver.EVENTS, rows)
    return ctx


def known(spark: SparkSession, ctx: JobContext) -> DataFrame:
    """By Delta, not by the files that its log names."""
    events = spark.read.format("delta").load(ctx.tables.path(silver.EVENTS))
    return events.where(F.col("event_id") != "later")


def same(these: DataFrame, those: DataFrame) -> None:
    """Maps have no order by which chispa could sort rows."""
    assert_df_equality(these.orderBy("event_id"), those.orderBy("event_id"), ignore_nullable=True)


def kept_files(ctx: JobContext) -> list[Path]:
    return list(Path(ctx.tables.lake, "_scratch").rglob("*.parquet"))


@pytest.fixture
def leftover(ctx: JobContext) -> Path:
    """What a night left that was killed."""
    file = Path(ctx.tables.lake, "_scratch/night/leftover.parquet")
    file.parent.mkdir(parents=True)
    file.touch()
    return file


def test_they_are_gathered_in_one_file_for_as_long_as_the_night_takes(
    spark: SparkSession, ctx: JobContext, leftover: Path
) -> None:
    with ctx.kept_events(len(ROWS)):
        events = ctx.known_events()
        (file,) = {*kept_files(ctx)} - {leftover}
        assert [Path(name).name for name in events.inputFiles()] == [file.name]
        same(events, known(spark, ctx))
    assert kept_files(ctx) == []
    same(ctx.known_events(), known(spark, ctx))


def test_elsewhere_than_on_this_disk_they_are_kept_in_memory(
    spark: SparkSession, ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(ctx.tables), "local", lambda *_: None)
    with ctx.kept_events(len(ROWS)):
        events = ctx.known_events()
        assert events.is_cached
        assert kept_files(ctx) == []
        same(events, known(spark, ctx))
    assert not events.is_cached


def test_threads_that_ask_at_once_get_the_same_file(ctx: JobContext) -> None:
    with ctx.kept_events(len(ROWS)), ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ctx.known_events) for _ in range(4)]
        assert len({id(one.result()) for one in asked}) == 1
        assert len(kept_files(ctx)) == 1


def test_many_events_are_not_kept(ctx: JobContext, leftover: Path) -> None:
    with ctx.kept_events(1_000_001):
        assert not ctx.known_events().is_cached
        assert kept_files(ctx) == [leftover]
    assert kept_files(ctx) == []


def test_a_table_of_no_rows_is_kept_as_no_rows(ctx: JobContext) -> None:
    ctx.tables.replace(silver.EVENTS, ctx.tables.read(silver.EVENTS).where("false"))
    events = KeptEvents(ctx.tables, DAY, lambda: ctx.interpreted(0)).read()
    assert events.columns == silver.EVENTS.column_names
    assert events.count() == 0
