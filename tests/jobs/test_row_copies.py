"""Rows that stay while others go: copied without Spark, they are the rows that Spark would keep."""

from __future__ import annotations

from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.runtime import row_copies
from jobs.runtime import tables as runtime_tables
from jobs.runtime.local_writes import WrittenMeanwhile
from jobs.runtime.row_copies import copy_rows
from jobs.runtime.tables import Tables
from transforms.contracts import Column, Table

NOTES = Table(
    "silver",
    "notes",
    "笔记",
    "one note of an owner",
    ("owner_id", "note_id"),
    (
        Column("owner_id", "string", "主", "Who wrote it"),
        Column("note_id", "string", "编号", "Which of theirs; null is one too"),
        Column("said_date", "date", "日期", "When"),
        Column("said_at", "timestamp", "时刻", "When, in UTC"),
        Column("paid_amount", "decimal(18,2)", "金额", "What it was worth"),
        Column("words", "array<string>", "词", "Its words"),
    ),
)
DAY, AT = date(2026, 6, 1), datetime(2026, 6, 1, 12, 30, 0, 123456)

# Separators, empty texts and nulls: what could make two keys look alike.
TEXT = st.none() | st.text("a1,\x1f", max_size=3)
KEY = st.tuples(TEXT, TEXT)


@pytest.fixture
def tables(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """A lake whose tables are copied however few rows they have."""
    monkeypatch.setattr(runtime_tables, "_COPIED_BYTES", 0)
    return Tables(spark, str(tmp_path / "零 售/lake"), "run", None)


def notes(spark: SparkSession, *keys: tuple[Any, Any]) -> DataFrame:
    return spark.createDataFrame([(*key, DAY, AT, None, ["a", None]) for key in keys], NOTES.schema)


def keys(spark: SparkSession, columns: list[str], *rows: tuple[Any, ...]) -> DataFrame:
    return spark.createDataFrame([*rows], ", ".join(f"{name} string" for name in columns))


@given(rows=st.lists(KEY, max_size=20), gone=st.lists(KEY, max_size=6), owners=st.lists(TEXT, max_size=2))
def test_a_row_stays_unless_all_columns_of_a_key_are_its_own(
    tmp_path_factory: pytest.TempPathFactory, rows: list, gone: list, owners: list
) -> None:
    folder = tmp_path_factory.mktemp("copies")
    for name, names, held in (
        ("rows", ["owner", "note"], rows),
        ("gone", ["owner", "note"], gone),
        ("owners", ["owner"], [(o,) for o in owners]),
    ):
        (folder / name).mkdir()
        columns = [pa.array([row[place] for row in held], pa.string()) for place in range(len(names))]
        pq.write_table(pa.table(columns, names=names), folder / name / "all.parquet")
    for name in ("target", "others"):
        (folder / name).mkdir()
    keys = [folder / "gone", folder / "owners"]
    copy_rows([str(folder / "rows/all.parquet")], keys, folder / "target", threads=2, others=folder / "others")
    stay, go = ([(row["owner"], row["note"]) for row in read(folder / name)] for name in ("target", "others"))
    assert stay == [row for row in rows if row not in gone and row[0] not in owners]
    assert go == [row for row in rows if row in gone or row[0] in owners]


def test_small_files_of_many_nights_become_few(tmp_path: Path) -> None:
    """A night adds some; else after a year a table would have a thousand. As many remain as threads copy at once."""
    for number in range(9):
        pq.write_table(pa.table({"n": [number]}), tmp_path / f"{number}.parquet")
    (tmp_path / "target").mkdir()
    copy_rows([str(file) for file in tmp_path.glob("*.parquet")], [], tmp_path / "target", threads=2)
    assert len([*(tmp_path / "target").iterdir()]) == 2
    assert sorted(row["n"] for row in read(tmp_path / "target")) == [*range(9)]


def test_a_large_row_group_is_copied_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else of rows of arrays a GB is decoded at once; rows keep their order."""
    monkeypatch.setattr(row_copies, "_AT_ONCE", 1_000)
    numbers = [*range(1_000)]
    (tmp_path / "target").mkdir()
    (tmp_path / "gone").mkdir()
    pq.write_table(pa.table({"n": numbers, "words": [[n] * 9 for n in numbers]}), tmp_path / "all.parquet")
    pq.write_table(pa.table({"n": [*range(0, 1_000, 3)]}), tmp_path / "gone/keys.parquet")
    copy_rows([str(tmp_path / "all.parquet")], [tmp_path / "gone"], tmp_path / "target", threads=2)
    (copy,) = (tmp_path / "target").iterdir()
    assert pq.read_metadata(copy).num_row_groups > 3
    assert read(tmp_path / "target") == [{"n": n, "words": [n] * 9} for n in numbers if n % 3]


def test_files_with_other_columns_are_not_put_together(tmp_path: Path) -> None:
    """A release gave the table a column that files of before do not have."""
    pq.write_table(pa.table({"n": [1]}), tmp_path / "old.parquet")
    pq.write_table(pa.table({"n": [2], "new": ["x"]}), tmp_path / "new.parquet")
    (tmp_path / "target").mkdir()
    copy_rows([str(tmp_path / name) for name in ("old.parquet", "new.parquet")], [], tmp_path / "target", threads=1)
    copies = [pq.read_table(file) for file in (tmp_path / "target").iterdir()]
    assert sorted(copy.column_names for copy in copies) == [["n"], ["n", "new"]]


@pytest.mark.parametrize("kind", ["INT96", "TIMESTAMP_MICROS"])
def test_replaced_rows_are_those_with_a_key_and_the_others_are_what_they_were(
    spark: SparkSession, tables: Tables, kind: str
) -> None:
    spark.conf.set("spark.sql.parquet.outputTimestampType", kind)
    try:
        tables.replace(NOTES, notes(spark, ("ann", "1"), ("ann", "2"), ("bob", "1"), ("cid", None)))
    finally:
        spark.conf.unset("spark.sql.parquet.outputTimestampType")
    before = {(row.owner_id, row.note_id): row for row in tables.read(NOTES).collect()}
    bob = keys(spark, ["owner_id"], ("bob",))
    pairs = keys(spark, ["owner_id", "note_id"], ("ann", "2"), ("cid", None), ("bob", "9"))
    made = tables.replace_rows(NOTES, notes(spark, ("bob", "3")), [bob, pairs], {"events_version": 7})
    assert (made.version, made.rows, made.metadata["events_version"]) == (1, 2, 7)
    after = {(row.owner_id, row.note_id): row for row in tables.read(NOTES).collect()}
    assert {*after} == {("ann", "1"), ("bob", "3")}
    assert after["ann", "1"] == before["ann", "1"]
    assert owners(tables) == {"ann", "bob"}


def test_copied_or_replaced_by_spark_the_rows_are_the_same(
    spark: SparkSession, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(owner, note) for owner in ("ann", "bob", "", None) for note in ("1", "2", "", None)]
    found = []
    for least in (0, 1 << 30):
        monkeypatch.setattr(runtime_tables, "_COPIED_BYTES", least)
        tables.replace(NOTES, notes(spark, *rows))
        tables.upsert(NOTES, notes(spark, ("ann", None), ("", "1"), ("new", "1")))
        names = [Path(row.file) for row in tables.read(NOTES).selectExpr("_metadata.file_path as file").collect()]
        assert any(name.name.startswith("kept-") for name in names) == (least == 0)
        found.append(sorted(map(repr, tables.read(NOTES).collect())))
    assert found[0] == found[1] and len(found[0]) == 17


@pytest.mark.parametrize("least", [0, 1 << 30])
def test_what_takes_their_place_may_follow_from_the_rows_that_go(
    spark: SparkSession, tables: Tables, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    """Each once, also where two keys name it; copied or replaced by Spark."""
    monkeypatch.setattr(runtime_tables, "_COPIED_BYTES", least)
    tables.replace(NOTES, notes(spark, ("ann", "1"), ("ann", None), ("bob", "1"), ("cid", "1")))
    gone = [keys(spark, ["owner_id"], ("ann",)), keys(spark, ["owner_id", "note_id"], ("ann", None), ("bob", "1"))]

    def said_again(going: DataFrame) -> DataFrame:
        return going.withColumn("owner_id", F.concat("owner_id", F.lit("!")))

    tables.replace_rows(NOTES, said_again, gone)
    found = sorted((row.owner_id, str(row.note_id)) for row in tables.read(NOTES).collect())
    assert found == [("ann!", "1"), ("ann!", "None"), ("bob!", "1"), ("cid", "1")]
    tables.replace_rows(NOTES, said_again, [keys(spark, ["owner_id"], ("nobody",))])
    assert owners(tables) == {"ann!", "bob!", "cid"}


def test_all_rows_may_go_or_none(spark: SparkSession, tables: Tables) -> None:
    tables.replace(NOTES, notes(spark, ("ann", "1"), ("bob", "1")))
    tables.replace_rows(NOTES, notes(spark), [keys(spark, ["owner_id"], ("nobody",))])
    assert owners(tables) == {"ann", "bob"}
    tables.replace_rows(NOTES, notes(spark), [keys(spark, ["owner_id"], ("ann",), ("bob",))])
    assert owners(tables) == set()


def test_rows_that_another_program_added_meanwhile_are_not_lost(
    spark: SparkSession, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.replace(NOTES, notes(spark, ("ann", "1")))
    version = tables.version

    def read_before_the_other_wrote(table: Table | str) -> int:
        found = version(table)
        monkeypatch.setattr(tables, "version", version)
        tables.append(NOTES, notes(spark, ("bob", "1")))
        return found

    monkeypatch.setattr(tables, "version", read_before_the_other_wrote)
    with pytest.raises(WrittenMeanwhile, match="silver.notes"):
        tables.replace_rows(NOTES, notes(spark, ("cid", "1")), [keys(spark, ["owner_id"], ("ann",))])
    assert owners(tables) == {"ann", "bob"}


def owners(tables: Tables) -> set[str]:
    """The owners of a lake's notes, which Spark's reader, Delta, delta-rs and DuckDB see alike."""
    path = tables.path(NOTES)
    said = ["owner_id", "note_id", "unix_micros(said_at)", "said_date", "words"]
    readers = [tables.read(NOTES), tables.spark.read.format("delta").load(path)]
    found = [{*map(repr, (tuple(row) for row in frame.selectExpr(*said).collect()))} for frame in readers]
    outside = DeltaTable(path).to_pyarrow_dataset()
    said[2] = "epoch_us(said_at)"
    by_duckdb = duckdb.connect().register("notes", outside).execute(f"select {', '.join(said)} from notes").fetchall()
    assert found[0] == found[1] == {*map(repr, by_duckdb)}
    assert all(row["said_at"] == AT.replace(tzinfo=timezone.utc) for row in outside.to_table().to_pylist())
    return {row.owner_id for row in readers[0].collect()}


def read(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.iterdir()) for row in pq.read_table(file).to_pylist()]
