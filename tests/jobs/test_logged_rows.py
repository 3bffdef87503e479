"""Rows of tables as their logs say: what Delta counts, for every version, with and without a checkpoint, either way."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.runtime.files import Files
from jobs.runtime.tables import Tables
from tests.builders import frame, order
from tests.nights import night
from transforms.contracts import silver

JUNE = date(2026, 6, 30)
ORDERS, LINES = silver.ORDERS.full_name, silver.ORDER_LINES.full_name


@pytest.fixture(scope="module")
def tables(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A table that nights replaced in part, beyond its checkpoint of version 9, and one that has no row."""
    made = night(tmp_path_factory.mktemp("rows") / "lake", Path("landing"), JUNE).tables
    made.replace(silver.ORDER_LINES, frame(spark, silver.ORDER_LINES, []))
    for number in range(13):
        day = JUNE + timedelta(days=number // 3)  # each date is written three times: its first files are removed again
        rows = [order(f"{day}-{place}", order_date=day) for place in range(number + 1)]
        made.overwrite_where(silver.ORDERS, frame(spark, silver.ORDERS, rows), f"order_date = date'{day}'")
    return made


@pytest.fixture(autouse=True, params=["on this machine's disk", "on another file system"])
def _reached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "on another file system":
        monkeypatch.setattr(Files, "on_disk", lambda *_: None)


@pytest.mark.parametrize("version", [0, 4, 8, 9, 10, 12])  # none removed yet; before, at and after the checkpoint
def test_every_version_has_the_rows_that_delta_counts(tables: Tables, version: int) -> None:
    assert any(name.startswith("00000000000000000009.checkpoint") for name in _log(tables, ORDERS))
    counted = tables.read(ORDERS, version).count()
    assert tables.row_counts({ORDERS: version, LINES: 0}) == {ORDERS: counted, LINES: 0}


def test_delta_counts_where_commits_went_before_a_checkpoint_or_say_no_rows(
    spark: SparkSession, tables: Tables, tmp_path: Path
) -> None:
    """The log of a table whose first commits were cleaned up; and one by a writer who keeps no statistics."""
    for number in range(10):
        (Path(tables.path(ORDERS)) / f"_delta_log/{number:020}.json").unlink(missing_ok=True)
    assert tables.row_counts({ORDERS: 12}) == {ORDERS: tables.read(ORDERS, 12).count()}

    other = night(tmp_path / "lake", tmp_path, JUNE).tables
    spark.conf.set("spark.databricks.delta.stats.collect", "false")
    rows = frame(spark, silver.ORDERS, [order("o1"), order("o2")])
    rows.write.format("delta").save(other.path(silver.ORDERS))
    spark.conf.unset("spark.databricks.delta.stats.collect")
    assert other.row_counts({ORDERS: 0}) == {ORDERS: 2}


def test_an_emptied_commit_is_seen_as_fewer_rows(spark: SparkSession, tmp_path: Path) -> None:
    """Delta reads it silently as the table of before: the audit sees it by what was published."""
    tables = night(tmp_path / "lake", tmp_path, JUNE).tables
    for name in ("o1", "o2"):
        tables.append(silver.ORDERS, frame(spark, silver.ORDERS, [order(name)]))
    (Path(tables.path(ORDERS)) / f"_delta_log/{1:020}.json").write_text("")
    assert tables.row_counts({ORDERS: 1}) == {ORDERS: 1}


def _log(tables: Tables, name: str) -> list[str]:
    return tables.files.names(f"{tables.path(name)}/_delta_log")
