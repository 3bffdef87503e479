"""A table purged without Delta keeps the very files that VACUUM leaves; what cannot be judged so is left to Delta."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from jobs.runtime.files import Files
from jobs.runtime.local_purge import purge_on_disk
from jobs.runtime.tables import Tables

SCHEMA = "id bigint, place string"


def files_of(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def rows_of(spark: SparkSession, folder: Path) -> list[tuple[int, str | None]]:
    return sorted((row.id, row.place) for row in spark.read.format("delta").load(str(folder)).collect())


def a_table(spark: SparkSession, folder: Path) -> list[tuple[int, str | None]]:
    """Written twice: one partition gives way, one stays, one comes; their names want encoding, and one has no value."""
    old: list[tuple[int, str | None]] = [(1, "a b"), (2, "100%"), (3, None)]
    new: list[tuple[int, str | None]] = [(4, "a b"), (5, "上海/浦东")]
    for rows in (old, new):
        frame = spark.createDataFrame(rows, SCHEMA)
        frame.write.format("delta").partitionBy("place").option("partitionOverwriteMode", "dynamic").mode(
            "overwrite"
        ).save(str(folder))
    return sorted([*old[1:], *new])


def test_what_stays_is_what_vacuum_leaves(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lake on this machine's disk, and its copy as if it were elsewhere: Delta purges that."""
    ours, other = (Tables(spark, str(tmp_path / name), "run", None) for name in ("零 售", "other"))
    folder, copied = (Path(tables.path("gold.places")) for tables in (ours, other))
    rows = a_table(spark, folder)
    left_by_a_kill = folder / "writing-0f/rows/place=a b/part-0.parquet"
    left_by_a_kill.parent.mkdir(parents=True)
    shutil.copy(next(folder.glob("place=100*/*.parquet")), left_by_a_kill)
    (folder / "notes.txt").write_text("no log names it")
    (folder / "_hidden").mkdir()
    (folder / "_hidden/part-0.parquet").write_text("what VACUUM takes for another program's")
    shutil.copytree(ours.lake, other.lake)
    log = files_of(folder / "_delta_log")
    removed = ours.purge(["gold.places"])
    monkeypatch.setattr(Files, "on_disk", lambda *_: None)
    assert removed == other.purge(["gold.places"]) == {"gold.places": 2}  # what gave way, and what the kill left
    assert {name for name in files_of(folder) if "_delta_log" not in name} == {
        name for name in files_of(copied) if "_delta_log" not in name
    }
    assert (folder / "_hidden/part-0.parquet").exists()
    assert files_of(folder / "_delta_log") == log
    assert rows_of(spark, folder) == rows_of(spark, copied) == rows


def test_a_table_of_a_newer_protocol_is_left_to_delta(spark: SparkSession, tmp_path: Path) -> None:
    """Its log names more than data files: deletion vectors, change feeds."""
    folder = tmp_path / "table"
    spark.createDataFrame([(1, "a"), (2, "b")], SCHEMA).coalesce(1).write.format("delta").option(
        "delta.enableDeletionVectors", "true"
    ).save(str(folder))
    DeltaTable.forPath(spark, str(folder)).delete("id = 1")
    assert next(folder.glob("deletion_vector*"), None) is not None
    before = files_of(folder)
    assert purge_on_disk(str(folder)) is None
    assert files_of(folder) == before
    assert rows_of(spark, folder) == [(2, "b")]


def test_files_that_the_log_names_elsewhere_are_left_to_delta(spark: SparkSession, tmp_path: Path) -> None:
    """A copied log may name files by their whole paths: those that lie below the folder are in use all the same."""
    folder = tmp_path / "table"
    rows = a_table(spark, folder)
    for commit in (folder / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines()]
        for action in actions:
            for said in (action.get("add"), action.get("remove")):
                if said:
                    said["path"] = f"file://{folder}/{said['path']}"
        commit.write_text("\n".join(map(json.dumps, actions)) + "\n", encoding="utf-8")
        (commit.parent / f".{commit.name}.crc").unlink(missing_ok=True)
    before = files_of(folder)
    assert purge_on_disk(str(folder)) is None
    assert files_of(folder) == before
    assert rows_of(spark, folder) == rows
