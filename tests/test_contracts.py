"""Contracts keep their own rules, name every fault of a frame at once, and reach the tables that outsiders read."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.runtime.session import build_session
from jobs.runtime.settings import load_settings
from jobs.runtime.tables import Tables
from tests.builders import DAY, event, frame
from transforms import contracts
from transforms.contracts import (
    MONEY,
    Column,
    ContractError,
    Table,
    conform,
    discrepancies,
    gold,
    ops,
    silver,
    vault,
    with_comments,
)
from transforms.contracts.bronze import bronze_table
from transforms.tags import tables_of

SUFFIXES = {"_id": "string", "_at": "timestamp", "_date": "date", "_count": "bigint", "_amount": MONEY}
KINDS = {"timestamp": "_at", "date": "_date"}  # columns of these types end so, and nothing else does

# Names that people know from elsewhere, each with its reason.
OTHERWISE_NAMED = {
    "consent_marketing": "DESIGN section 4 names it so; what is consented to reads better than is_consenting_to_…",
    "consent_personalised": "as above",
    "consent_finance": "as above",
    "cuped_used": "as above",
    "needs_human_review": "DESIGN section 4 names it so",
    "valid_from": "the two ends of an interval, as DESIGN section 4 names them",
    "valid_to": "as above",
    "partition": "holds the value of a partition column, whichever date that is",
}


def all_tables() -> list[Table]:
    """Every table, those that follow configuration as the shipped configuration makes them."""
    settings = load_settings()
    bronze = [bronze_table(source.name, source.columns, source.label) for source in settings.sources.values()]
    return [*bronze, *silver.TABLES, *gold.TABLES, *tables_of(settings.tags), *ops.TABLES, *vault.TABLES]


TABLES = all_tables()


def columns() -> list[tuple[str, Column]]:
    return [(f"{table.full_name}.{column.name}", column) for table in TABLES for column in table.columns]


def test_every_table_says_what_it_is() -> None:
    for table in TABLES:
        assert table.label, table.full_name
        assert table.grain.startswith("one "), table.full_name
        assert table.owner, table.full_name


def test_every_column_has_label_and_comment() -> None:
    assert [name for name, column in columns() if not column.label.strip() or not column.comment.strip()] == []


def test_keys_partitions_and_sort_columns_exist() -> None:
    for table in TABLES:
        assert table.key, table.full_name
        named = [*table.key, *table.partition_by, *table.sorted_by]
        assert set(named) <= set(table.column_names), table.full_name
        assert len(set(table.column_names)) == len(table.columns), table.full_name
        assert len(set(table.key)) == len(table.key), table.full_name


def test_every_declared_table_is_listed() -> None:
    for module in (silver, gold, ops, vault):
        declared = [value for value in vars(module).values() if isinstance(value, Table)]
        assert sorted(t.name for t in declared) == sorted(t.name for t in module.TABLES), module.__name__
    names = [table.full_name for table in TABLES]
    assert len(set(names)) == len(names)


AS_KEPT = ("bronze.", "silver.timelines.")  # text as it came; arrays of what the named column holds


def test_column_names_follow_the_conventions() -> None:
    broken = [
        f"{name} is {column.type}, not {kind}"
        for name, column in columns()
        for suffix, kind in SUFFIXES.items()
        if column.name.endswith(suffix) and column.type != kind and not name.startswith(AS_KEPT)
    ]
    broken += [
        f"{name} is {column.type} and begins with is_: {column.name.startswith('is_')}"
        for name, column in columns()
        if (column.type == "boolean") != column.name.startswith("is_") and column.name not in OTHERWISE_NAMED
    ]
    broken += [
        f"{name} is {column.type} and does not end with {KINDS[column.type]}"
        for name, column in columns()
        if column.type in KINDS and not column.name.endswith(KINDS[column.type]) and column.name not in OTHERWISE_NAMED
    ]
    assert broken == []
    used = {column.name for _, column in columns()}
    assert set(OTHERWISE_NAMED) <= used  # an exception that nothing needs any more goes


def test_personal_classes_are_known() -> None:
    assert {column.personal for _, column in columns()} <= {"none", "token", "attribute", "text", "sealed"}
    unmarked = [
        name
        for name, column in columns()
        if column.name in ("lead_identifier", "identifier", "identifiers", "value_a", "value_b")
        and column.personal != "token"
    ]
    assert unmarked == []


THING = Table(
    layer="silver",
    name="things",
    label="物",
    grain="one thing",
    key=("thing_id",),
    columns=(
        Column("thing_id", "string", "编号", "Its id"),
        Column("seen_date", "date", "日期", "When seen"),
        Column("net_amount", MONEY, "净额", "Its price"),
        Column("is_new", "boolean", "新", "Whether new"),
    ),
)


def test_conform_leaves_arrays_and_maps_as_they_are(spark: SparkSession) -> None:
    """`DataFrame.to` would put each together anew by steps that are never compiled, for every row of a table."""
    table = Table(
        "gold",
        "kept",
        "保留",
        "one row",
        ("row_id",),
        (
            Column("row_id", "string", "行", "Key"),
            Column("words", "array<string>", "词", "Words"),
            Column("said", "map<string,string>", "内容", "What was said"),
        ),
    )
    rows = [("full", {"a": "1", "b": None}, ["x", None]), ("empty", {}, []), ("null", None, None)]
    given = spark.createDataFrame(rows, "row_id string, said map<string,string>, words array<string>")
    made = with_comments(conform(given, table), table)
    assert made.schema == table.schema
    assert sorted(made.select("row_id", "said", "words").collect()) == sorted(given.collect())
    assert "lambda" not in made._jdf.queryExecution().toString()


def test_conform_names_all_discrepancies_at_once(spark: SparkSession) -> None:
    wrong = spark.range(1).select(
        F.lit("a").alias("thing_id"),
        F.lit("b").alias("thing_id"),  # duplicated
        F.lit("2026-06-30").alias("seen_date"),  # wrong type: text
        F.lit(1.5).alias("net_amount"),  # wrong type: double
        F.lit(1).alias("colour"),  # unexpected; and is_new is missing
    )
    assert discrepancies(wrong.schema, THING) == [
        "missing: is_new boolean",
        "unexpected: colour int",
        "duplicated: thing_id",
        "wrong type: seen_date is string, the contract says date",
        "wrong type: net_amount is double, the contract says decimal(18,2)",
    ]
    with pytest.raises(ContractError, match="silver.things would not keep its contract; nothing was written") as told:
        conform(wrong, THING)
    assert all(problem in str(told.value) for problem in discrepancies(wrong.schema, THING))


def test_conform_orders_columns_and_comments_follow(spark: SparkSession) -> None:
    mixed = spark.range(1).select(
        F.lit(True).alias("is_new"),
        F.lit(Decimal("1.50")).cast(MONEY).alias("net_amount"),
        F.lit("a").alias("thing_id"),
        F.lit(DAY).alias("seen_date"),
    )
    conformed = conform(mixed, THING)
    assert conformed.columns == THING.column_names
    assert with_comments(conformed, THING).schema["net_amount"].metadata["comment"] == "净额: Its price"
    assert conformed.head() == ("a", DAY, Decimal("1.50"), True)


def test_every_type_of_every_contract_is_a_spark_type() -> None:
    for table in TABLES:
        assert [field.dataType.simpleString() for field in table.schema] == [column.type for column in table.columns]
    assert contracts.columns_of([THING]) == {"things": THING.column_names}


def link(spark_row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type_a": "member",
        "type_b": "phone",
        "first_arrival_date": DAY,
        "last_seen_at": datetime(2026, 6, 30, 23, 59, 59, 123456, tzinfo=timezone.utc),
        "event_count": 2**40,
        **spark_row,
    }


def test_written_tables_are_the_same_to_outsiders(spark: SparkSession, tmp_path: Path) -> None:
    """delta-rs stands for every reader that is not Spark: version 1, the same values, comments in the schema."""
    tables = Tables(spark, str(tmp_path), "run", DAY)
    events = [
        # text, decimals, maps, a time; and a day of its own, so a partition of its own
        event(
            "a", amount="-0.01", quantity="1.125", text="很好 👍", attributes={"city": "上海"}, rating=5, is_gift=True
        ),
        event("b", event_date=date(2024, 2, 29), identifiers=None),
    ]
    links = [
        link({"value_a": "M1", "value_b": "p1", "sources": ["crm", "app"]}),
        link({"value_a": "M2", "value_b": "p2"}),
    ]
    tables.replace(silver.EVENTS, frame(spark, silver.EVENTS, events))
    tables.replace(silver.IDENTITY_LINKS, frame(spark, silver.IDENTITY_LINKS, links))
    for table, rows in ((silver.EVENTS, events), (silver.IDENTITY_LINKS, links)):
        outside = DeltaTable(tables.path(table))
        assert outside.protocol().min_reader_version == 1, table.full_name
        assert not outside.protocol().reader_features, table.full_name
        schema = json.loads(outside.schema().to_json())
        comments = {field["name"]: field["metadata"].get("comment") for field in schema["fields"]}
        assert comments == {column.name: f"{column.label}: {column.comment}" for column in table.columns}
        read = outside.to_pyarrow_table().select(table.column_names).sort_by(table.key[-1]).to_pylist()
        expected = [{name: row.get(name) for name in table.column_names} for row in rows]
        assert [{key: dict(v) if isinstance(v, list) and v and isinstance(v[0], tuple) else v for key, v in row.items()}
                for row in read] == expected  # fmt: skip
    assert DeltaTable(tables.path(silver.EVENTS)).metadata().partition_columns == ["event_date"]


def test_refused_frame_leaves_nothing_behind(spark: SparkSession, tmp_path: Path) -> None:
    tables = Tables(spark, str(tmp_path), "run", DAY)
    with pytest.raises(ContractError):
        tables.replace(silver.ORDERS, spark.range(1))
    assert not tables.exists(silver.ORDERS)
    assert list(tmp_path.iterdir()) == []


def test_tests_and_jobs_share_one_session(spark: SparkSession) -> None:
    assert build_session(load_settings()) is spark
