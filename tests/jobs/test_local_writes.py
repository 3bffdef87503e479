"""Tables on this machine's disk: what delta-rs commits is what Delta would have, and each goes on from the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from chispa import assert_df_equality
from deltalake import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.files import Files
from jobs.runtime.local_writes import OldFiles, OutsideOfSlice, WrittenMeanwhile, slices, takes_commits, write
from jobs.runtime.tables import Tables
from tests.builders import event, frame
from transforms.contracts import Column, Table, gold, silver
from transforms.contracts.bronze import bronze_table

DAYS = [date(2026, 6, day) for day in (1, 2, 3)]
NOTES = Table(
    "gold",
    "notes",
    "笔记",
    "one note",
    ("note_id",),
    (
        Column("note_id", "string", "编号", "Key"),
        Column("stage", "string", "阶段", "What it is about"),
        Column("said_date", "date", "日期", "When; a partition, null where unknown"),
        Column("note_count", "bigint", "数", "How many"),
        Column("words", "array<string>", "词", "Its words"),
    ),
    partition_by=("said_date",),
)
PLAIN = Table("gold", "plain_notes", "笔记", "one note", ("note_id",), NOTES.columns)


@pytest.fixture
def tables(spark: SparkSession, tmp_path: Path) -> Tables:
    return Tables(spark, str(tmp_path / "零 售/lake"), "run", None)


def notes(spark: SparkSession, *rows: tuple[Any, ...]) -> DataFrame:
    return spark.createDataFrame([*rows], NOTES.schema)


def committed(tables: Tables, table: Table, version: int) -> list[dict[str, Any]]:
    log = Path(tables.path(table), f"_delta_log/{version:020}.json")
    return [json.loads(line) for line in log.read_text().splitlines()]


def written_by(tables: Tables, table: Table, version: int) -> str:
    (info,) = (action["commitInfo"] for action in committed(tables, table, version) if "commitInfo" in action)
    return "delta-rs" if "delta-rs" in info["engineInfo"] else "Delta"


def as_read_by_all(tables: Tables, table: Table) -> set[str]:
    """The keys of a table's rows; Delta, delta-rs, DuckDB and `Tables.read` see the same rows."""
    path = tables.path(table)
    delta = tables.spark.read.format("delta").load(path)
    assert_df_equality(tables.read(table), delta, ignore_row_order=True)
    outside = DeltaTable(path).to_pyarrow_dataset()
    by_duckdb = duckdb.connect().register("outside", outside).execute("select * from outside").fetchall()
    rows = sorted(map(repr, (tuple(row) for row in delta.collect())))
    assert sorted(map(repr, by_duckdb)) == rows
    assert tables.count(table) == len(rows)
    key = table.key[0]
    return {row[key] for row in delta.collect()}


def test_delta_goes_on_from_a_log_of_delta_rs_and_the_other_way_round(
    spark: SparkSession, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appends and replaced slices by turns, over more commits than make a checkpoint; one of the dates is not known."""
    expected: dict[date | None, set[str]] = {}
    for turn in range(13):
        day = [*DAYS, None][turn % 4]
        ids = {f"{turn}.{n}" for n in range(turn % 3 + 1)}
        rows = notes(spark, *[(note_id, "a", day, n, ["x"] if n else None) for n, note_id in enumerate(sorted(ids))])
        by_delta = turn in (2, 5, 11)
        with monkeypatch.context() as patch:
            if by_delta:
                patch.setattr(Files, "on_disk", lambda *_: None)
            if turn % 5 == 0:
                tables.append(NOTES, rows)
            else:
                tables.overwrite_slice(NOTES, rows, said_date=day)
        expected[day] = ids | (expected.get(day, set()) if turn % 5 == 0 else set())
        assert written_by(tables, NOTES, turn) == ("Delta" if by_delta else "delta-rs")
        assert tables.last_commit(NOTES).rows == turn % 3 + 1  # type: ignore[union-attr]
    assert as_read_by_all(tables, NOTES) == set().union(*expected.values())


@pytest.mark.parametrize("copied_bytes", [1, 1 << 30], ids=["copied", "moved by Spark"])
def test_other_dates_stay_when_dates_of_a_table_in_months_are_replaced(
    spark: SparkSession, tables: Tables, monkeypatch: pytest.MonkeyPatch, copied_bytes: int
) -> None:
    """Two nights replace dates of one file, the second one a date that the first has replaced already."""
    monkeypatch.setattr("jobs.runtime.tables._COPIED_BYTES", copied_bytes)
    table = replace(PLAIN, clustered_by="said_date")
    rows = [(f"{day}", "a", day, 1, ["x"]) for day in DAYS]
    tables.replace(table, notes(spark, *rows, ("no date", "a", None, 1, None)).coalesce(1))
    tables.overwrite_slice(table, notes(spark, ("second", "b", DAYS[1], 2, [])), said_date=DAYS[1:2])
    assert as_read_by_all(tables, table) == {f"{DAYS[0]}", "second", f"{DAYS[2]}", "no date"}
    new = [("second again", "b", DAYS[1], 2, []), ("third", "b", DAYS[2], 2, None)]
    tables.overwrite_slice(table, notes(spark, *new), said_date=DAYS[1:])
    assert as_read_by_all(tables, table) == {f"{DAYS[0]}", "second again", "third", "no date"}
    files = [Path(file).name for file in tables.local(table).files]  # type: ignore[union-attr]
    assert any(name.startswith("kept-") for name in files) == (copied_bytes == 1)
    with pytest.raises(PySparkException, match="not of those that are replaced"):
        tables.overwrite_slice(table, notes(spark, ("else", "b", DAYS[0], 2, [])), said_date=DAYS[1:])


@pytest.mark.parametrize("table", [NOTES, PLAIN], ids=["in slices", "in one piece"])
def test_only_the_rows_of_a_predicate_are_replaced(spark: SparkSession, tables: Tables, table: Table) -> None:
    """Of two stages in the same files one gives way; rows without a stage stay, as `replaceWhere` has it."""
    first, second = DAYS[:2]
    tables.append(
        table,
        notes(
            spark,
            ("gives way", "read", first, 1, []),
            ("other stage", "judged", first, 1, []),
            ("no stage", None, first, 1, []),
            ("other day", "read", second, 1, []),
        ).coalesce(1),
    )
    new = notes(spark, ("new", "read", first, 2, None))
    tables.overwrite_slice(table, new, stage="read", said_date=[first])
    assert as_read_by_all(tables, table) == {"new", "other stage", "no stage", "other day"}
    tables.overwrite_where(table, new.limit(0), "stage = 'judged' or note_count = 2")
    assert as_read_by_all(tables, table) == {"no stage", "other day"}
    assert {written_by(tables, table, version) for version in (0, 1, 2)} == {"delta-rs"}


def test_rows_that_stay_keep_columns_that_are_not_received_any_more(spark: SparkSession, tables: Tables) -> None:
    """A source's mapping lost a column: rows of before still have it, also beside rows that are taken again."""
    wide = bronze_table("till", ["order_no", "colour"])
    columns = "order_no string, colour string, _arrival_date date, _source_file string, _row_number long"
    rows = [("1", "red", DAYS[0], "a.csv", 1), ("2", "blue", DAYS[0], "b.csv", 1)]
    nothing = [F.lit(None).cast(wide.schema[name].dataType).alias(name) for name in ("_run_id", "_blocked", "_record")]
    received = spark.createDataFrame(rows, columns).select("*", *nothing)
    tables.append(wide, received.coalesce(1))
    again = received.where("_source_file = 'a.csv'").drop("colour")
    tables.overwrite_where(bronze_table("till", ["order_no"]), again, "_source_file in ('a.csv')")
    assert written_by(tables, wide, 1) == "delta-rs"
    assert {(row.order_no, row.colour) for row in tables.read(wide).collect()} == {("1", None), ("2", "blue")}


def test_the_log_tells_the_same_of_files_as_delta_does(
    spark: SparkSession, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, nulls, least and greatest values of keys and dates, by which readers leave files out; nothing personal."""
    rows = [event("é" * 40), event("b", event_at=None, event_date=date(2024, 2, 29))]
    told: list[dict[str, Any]] = []
    for number, is_local in enumerate((True, False)):
        lake = Tables(spark, f"{tables.lake}{number}", "run", None)
        if not is_local:
            monkeypatch.setattr(Files, "on_disk", lambda *_: None)
        lake.append(silver.EVENTS, frame(spark, silver.EVENTS, rows))
        added = [action["add"] for action in committed(lake, silver.EVENTS, 0) if "add" in action]
        told.append({add["partitionValues"]["event_date"]: json.loads(add["stats"]) for add in added})
    ours, deltas = told
    assert set(ours) == set(deltas) == {"2026-06-30", "2024-02-29"}
    assert ours["2024-02-29"] == deltas["2024-02-29"]
    assert deltas["2026-06-30"]["minValues"]["event_id"] == "é" * 32  # cut by Delta; whole in the other
    assert ours["2026-06-30"] == {**deltas["2026-06-30"], **_whole(deltas["2026-06-30"], event_id="é" * 40)}


def _whole(told: Mapping[str, Any], **values: str) -> dict[str, Any]:
    return {kind: {**told[kind], **values} for kind in ("minValues", "maxValues")}


def test_rows_outside_of_what_is_replaced_are_refused(spark: SparkSession, tables: Tables) -> None:
    for table in (NOTES, PLAIN):
        tables.append(table, notes(spark, ("old", "read", DAYS[0], 1, [])))
    stray = notes(spark, ("in", "read", DAYS[0], 1, []), ("out", "read", DAYS[1], 1, []), ("?", "read", None, 1, []))
    with pytest.raises(OutsideOfSlice, match=r"gold.notes: rows for said_date=\S+ are not of the slice"):
        tables.overwrite_slice(NOTES, stray, said_date=DAYS[0])
    for table in (NOTES, PLAIN):
        with pytest.raises(PySparkException, match=f"{table.full_name}: a row is not of those that are replaced"):
            tables.overwrite_where(table, stray, f"stage = 'read' and said_date = date'{DAYS[0]}'")
        assert as_read_by_all(tables, table) == {"old"}
        assert not [*Path(tables.path(table)).glob("writing-*")]


def test_a_write_of_no_rows_is_a_commit_too(spark: SparkSession, tables: Tables) -> None:
    """Its stamp says which run it was; a table that never had rows has its columns all the same."""
    for _ in range(2):
        tables.replace(PLAIN, notes(spark), {"built_by": "x"})
    tables.overwrite_slice(NOTES, notes(spark), said_date=DAYS[0])
    tables.overwrite_where(PLAIN, notes(spark), "stage = 'read'")
    assert (tables.version(PLAIN), tables.version(NOTES)) == (2, 0)
    commit = tables.last_commit(PLAIN)
    assert commit and commit.rows == 0 and commit.metadata["run_id"] == "run"
    assert as_read_by_all(tables, PLAIN) == as_read_by_all(tables, NOTES) == set()


def test_what_another_program_committed_meanwhile_is_not_lost(spark: SparkSession, tables: Tables) -> None:
    """OPTIMIZE at the same moment: slices are looked up again; rows made from old files are not put over newer ones."""
    tables.append(PLAIN, notes(spark, ("a", "read", None, 1, [])))
    tables.append(PLAIN, notes(spark, ("b", "read", None, 1, [])))
    folder, new = tables.path(PLAIN), notes(spark, ("c", "read", None, 1, []))
    DeltaTable(folder).optimize.compact()
    with pytest.raises(WrittenMeanwhile, match="wrote version 2 while rows of version 1 were being replaced"):
        write(new, folder, PLAIN, OldFiles(frozenset(), 1), "{}")
    assert as_read_by_all(tables, PLAIN) == {"a", "b"}
    write(new, folder, PLAIN, slices(PLAIN, {}), "{}")
    assert as_read_by_all(tables, PLAIN) == {"c"}


def test_what_other_tools_turned_on_is_left_to_delta(spark: SparkSession, tables: Tables) -> None:
    """A change feed must hear of the write, a constraint must be checked, new columns must be added."""
    rows = notes(spark, ("a", "read", None, 1, []))
    folder = tables.path(PLAIN)
    assert takes_commits(folder, PLAIN)
    tables.append(PLAIN, rows)
    assert takes_commits(folder, PLAIN)
    more = Table("gold", "plain_notes", "", "", ("note_id",), (*PLAIN.columns, Column("extra", "string", "", "")))
    assert not takes_commits(folder, more)
    assert not takes_commits(folder, NOTES)  # in slices, which the table is not
    spark.sql(f"alter table delta.`{folder}` set tblproperties (delta.enableChangeDataFeed = true)")
    assert not takes_commits(folder, PLAIN)
    tables.replace(PLAIN, rows.withColumn("note_id", F.lit("b")))
    assert written_by(tables, PLAIN, 2) == "Delta"
    changes = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 2).load(folder)
    assert {(row.note_id, row._change_type) for row in changes.collect()} == {("a", "delete"), ("b", "insert")}


def test_tables_of_text_partitions_are_left_to_delta(tables: Tables) -> None:
    """Each writer encodes such values in its own way in names of folders; none of ours has any."""
    by_stage = Table("gold", "by_stage", "", "", ("note_id",), NOTES.columns, partition_by=("stage",))
    assert not takes_commits(tables.path(by_stage), by_stage)
    assert all(takes_commits(tables.path(table), table) for table in gold.TABLES)


def test_state_of_another_release_is_shaped_anew(spark: SparkSession, tables: Tables) -> None:
    """A column more or less than before: state is replaced with its columns, where other tables keep those they had."""
    rows = notes(spark, ("a", "read", None, 1, []))
    for columns in (PLAIN.columns, PLAIN.columns[:3], PLAIN.columns[:4]):
        state = Table("_state", "notes", "", "", ("note_id",), columns)
        tables.replace(state, rows.select(*state.column_names))
        assert tables.read(state).columns == state.column_names
    fewer = Table("gold", "plain_notes", "", "", ("note_id",), PLAIN.columns[:2])
    tables.replace(PLAIN, rows)
    tables.replace(fewer, rows.select(*fewer.column_names))
    assert tables.read(fewer).columns == PLAIN.column_names
