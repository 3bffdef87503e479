"""Reading tables: by Delta, or from the files that their logs name on this machine's disk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.data_files import local_table
from jobs.runtime.files import Files
from jobs.runtime.tables import Tables
from tests.builders import event, frame
from transforms.contracts import MONEY, Column, gold, silver
from transforms.tags import TagRules, timelines_table

TIMELINES = timelines_table(TagRules(tags={}))
COUNTED = "customer_id string, word_count int"


def owners(spark: SparkSession, *customers: str) -> DataFrame:
    rows = [{"identifier_type": "member", "identifier": f"m{n}", "customer_id": c} for n, c in enumerate(customers)]
    return frame(spark, silver.IDENTITIES, rows)


@pytest.fixture(params=["from its log", "by Delta"])
def tables(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Tables:
    if request.param == "by Delta":  # as on another file system
        monkeypatch.setattr(Files, "on_disk", lambda *_: None)
    return Tables(spark, str(tmp_path / "零 售/lake"), "run", None)


def test_a_frame_keeps_the_version_that_it_was_read_at(spark: SparkSession, tables: Tables) -> None:
    """So a command that reads a publication sees one night, also while the next one commits."""
    published = tables.replace(silver.IDENTITIES, owners(spark, "C0", "C1")).version
    seen, as_it_stands = tables.read(silver.IDENTITIES, published), tables.read(silver.IDENTITIES)
    tables.replace(silver.IDENTITIES, owners(spark, "C0", "C1", "C2"))
    for before in (seen, as_it_stands):
        assert {row.customer_id for row in before.collect()} == {"C0", "C1"}
    assert {row.customer_id for row in tables.read(silver.IDENTITIES).collect()} == {"C0", "C1", "C2"}
    assert (tables.count(silver.IDENTITIES, published), tables.count(silver.IDENTITIES)) == (2, 3)


def test_a_function_sees_each_row_once_whoever_reads_the_files(spark: SparkSession, tables: Tables) -> None:
    """Arrays and nulls among them, of two commits; and no rows at all."""
    for commit in ([("C0", ["tea", "rice"], [7]), ("C1", [], [7])], [("C2", None, [7]), ("C3", ["tea"], [])]):
        tables.append(TIMELINES, spark.createDataFrame(commit, TIMELINES.schema))

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            lengths = pc.list_value_length(batch["words"])
            yield pa.RecordBatch.from_pydict({"customer_id": batch["customer_id"], "word_count": lengths})

    def found() -> list[tuple[str, int | None]]:
        return sorted(map(tuple, tables.scan(TIMELINES, counted, COUNTED).collect()))

    assert found() == [("C0", 2), ("C1", 0), ("C2", None), ("C3", 1)]
    tables.replace(TIMELINES, spark.createDataFrame([], TIMELINES.schema))
    assert found() == []


def test_slices_of_before_have_no_value_of_a_later_column(spark: SparkSession, tables: Tables) -> None:
    """A tag that came meanwhile; and only the dates that were asked for."""
    days, columns = [date(2026, 6, 1), date(2026, 6, 2)], [Column(n, MONEY, "标签", "A tag") for n in ("old", "new")]
    for number, day in enumerate(days, 1):
        tags = {column.name: column for column in columns[:number]}
        rows = [(day, "C0", *[Decimal("1.50")] * number)]
        table = gold.customer_tags_table(tags)
        tables.overwrite_slice(table, spark.createDataFrame(rows, table.schema), run_date=day)

    def all_columns(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return (batch.select(["run_date", "old", "new"]) for batch in batches)

    def found(*wanted: date) -> list[tuple[date, Decimal, Decimal | None]]:
        rows = tables.scan(table, all_columns, f"run_date date, old {MONEY}, new {MONEY}", run_date=wanted)
        return sorted(map(tuple, rows.collect()))

    one = Decimal("1.50")
    assert found(*days) == [(days[0], one, None), (days[1], one, one)]
    assert found(days[0]) == [(days[0], one, None)]


def test_rows_above_a_value_are_those_of_that_version(spark: SparkSession, tables: Tables) -> None:
    """Wherever they are: in a file with others, in one of their own; and no file where none has any."""
    first, last = date(2026, 6, 1), date(2026, 6, 9)

    def arrived(name: str, event_date: date, arrival_date: date) -> dict[str, object]:
        return event(name, event_date=event_date, arrival_date=arrival_date)

    rows = [arrived("in time", first, first), arrived("late", first, last), arrived("also", last, last)]
    version = tables.append(silver.EVENTS, frame(spark, silver.EVENTS, rows)).version
    tables.append(silver.EVENTS, frame(spark, silver.EVENTS, [arrived("tomorrow", last, date(2026, 6, 10))]))

    def found(above: date) -> list[str]:
        return sorted(
            row.event_id for row in tables.read_above(silver.EVENTS, "arrival_date", above, version).collect()
        )

    assert found(first) == ["also", "late"]
    assert found(last) == []


def test_both_ways_to_read_give_the_same_rows_and_columns(spark: SparkSession, tables: Tables) -> None:
    """Dates as partitions, one of them replaced and one emptied; more columns than before; no rows at all."""
    days = [date(2026, 6, day) for day in (1, 2, 3)]
    rows = [event(f"e{n}", event_date=day, identifiers={"phone": f"p{n}"}) for n, day in enumerate(days)]
    tables.append(silver.EVENTS, frame(spark, silver.EVENTS, rows))
    tables.overwrite_slice(silver.EVENTS, frame(spark, silver.EVENTS, []), event_date=days[0])
    again = [event("later", event_date=days[1], identifiers={"phone": "p1"})]
    tables.overwrite_slice(silver.EVENTS, frame(spark, silver.EVENTS, again), event_date=days[1])
    for table in (silver.EVENTS, silver.IDENTITIES):
        if table is silver.IDENTITIES:
            tables.replace(table, owners(spark))
        read, delta = tables.read(table), spark.read.format("delta").load(tables.path(table))
        assert read.schema == delta.schema
        assert sorted(map(repr, read.collect())) == sorted(map(repr, delta.collect()))
        assert tables.count(table) == delta.count()
    found = tables.read(silver.EVENTS).where(F.col("event_date") == F.lit(days[1])).collect()
    assert [row.event_id for row in found] == ["later"]


def test_a_table_whose_files_alone_do_not_say_what_its_rows_are_is_left_to_delta(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Another tool put deletion vectors on it, or its folder looks like a pattern to Spark."""
    for name, with_vectors in (("plain", False), ("vectors", True), ("a[b]", False)):
        folder = str(tmp_path / name)
        properties = {"delta.enableDeletionVectors": str(with_vectors).lower()}
        spark.range(4).coalesce(1).write.format("delta").options(**properties).save(folder)
        DeltaTable.forPath(spark, folder).delete("id = 2")
        found = local_table(folder, 1)
        assert (found is not None) == (name == "plain"), name
        if found:
            assert {row.id for row in found.read(spark).collect()} == {0, 1, 3}
