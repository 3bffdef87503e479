"""The certificate of an erasure counts the same values of the persons, with Spark and without."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.runtime import erasure_proof
from jobs.runtime.erasure_proof import LOGS, MODELS, Proof, purge_and_prove
from jobs.runtime.job import JobContext
from jobs.runtime.local_proof import found_in_rows
from jobs.runtime.tombstones import Tombstones
from tests.nights import night

SALT = "5a17"
TOKEN = hashlib.sha256(b"her phone").hexdigest()
CUSTOMER_ID = "C" + hashlib.sha256(b"her").hexdigest()[:32]
ERASED = [("phone", TOKEN), ("email", "王芳@example.com"), ("customer_id", CUSTOMER_ID), ("member", "M1")]
OTHER = hashlib.sha256(b"his phone").hexdigest()

# (a text, a list, a map) -> how many values of hers are in them
TEXTS: list[tuple[tuple[str | None, list[str | None] | None, dict[str, str | None] | None], int]] = [
    ((TOKEN, None, None), 2),  # the text itself, and a word of it
    ((f"moved from {TOKEN} to {CUSTOMER_ID}", None, None), 2),
    (("王芳@example.com", None, None), 1),
    (("write to 王芳@example.com", None, None), 0),  # a word is a token or a customer id; mail addresses are not
    (("M1", None, None), 0),  # too short to be nobody else's
    ((OTHER, None, None), 0),
    ((None, [None, TOKEN, OTHER, TOKEN], None), 4),
    ((None, [], {"referred_by": CUSTOMER_ID, "size": None, "note": "M1"}), 2),
    ((None, None, {TOKEN: "what is in the name of an entry is said by settings"}), 0),
    ((f"x{TOKEN}", [f"{CUSTOMER_ID}0"], None), 0),  # parts of longer words
]
EXPECTED = sum(count for _, count in TEXTS)


@pytest.fixture
def ctx(spark: SparkSession, tmp_path: Path) -> JobContext:
    """A table of two files, the older without the list and the map; a model and a log that name her."""
    ctx = night(tmp_path / "零 售 100%25", tmp_path / "landing", date(2026, 3, 1), [])
    folder = f"{ctx.tables.lake}/gold/notes"
    older = spark.createDataFrame([(1, TOKEN)], "id bigint, text string")
    older.coalesce(1).write.format("delta").save(folder)
    rows = [(place, *columns) for place, (columns, _) in enumerate(TEXTS)]
    newer = spark.createDataFrame(rows, "id bigint, text string, texts array<string>, said map<string, string>")
    newer.coalesce(1).write.format("delta").option("mergeSchema", "true").mode("append").save(folder)
    models = Path(ctx.tables.lake, "models/value")
    models.mkdir(parents=True)
    (models / "2026-03-01.json").write_text(f'{{"customer": "{CUSTOMER_ID}"}}\n{{"phone": "{TOKEN}"}}')
    return ctx


def proofs(spark: SparkSession, ctx: JobContext) -> dict[str, Proof]:
    stones = [(kind, hashlib.sha256((SALT + value).encode()).hexdigest()) for kind, value in ERASED]
    rows = spark.createDataFrame(stones, "identifier_type string, tombstone string")
    return purge_and_prove(ctx, Tombstones(rows, SALT))


def by_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure_proof, "_MOST_LISTED", 0)


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.runtime.local_proof._ROWS_AT_ONCE", 3)


@pytest.mark.parametrize("way", [lambda _: None, in_parts, by_spark])
def test_every_value_is_found(
    spark: SparkSession, ctx: JobContext, monkeypatch: pytest.MonkeyPatch, way: Callable[[pytest.MonkeyPatch], None]
) -> None:
    way(monkeypatch)
    found = proofs(spark, ctx)
    assert found["gold.notes"] == Proof(removed=0, checked=2, found=EXPECTED + 2)  # the older file's token
    assert found[MODELS] == Proof(removed=0, checked=1, found=2)
    # The log's statistics name the first and the last texts, where they are tokens; ids are left to it for a month.
    assert found[LOGS].checked == 2


def test_both_ways_find_the_same_in_logs(spark: SparkSession, ctx: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    without = proofs(spark, ctx)
    by_spark(monkeypatch)
    assert proofs(spark, ctx) == without


def test_large_tables_are_left_to_spark(spark: SparkSession, ctx: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure_proof, "_FEW_BYTES", 0)
    monkeypatch.setattr(erasure_proof, "found_in_rows", None)
    assert proofs(spark, ctx)["gold.notes"].found == EXPECTED + 2


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.map_(pa.string(), pa.large_string()),
    ],
    ids=str,
)
def test_files_of_other_programs_are_looked_through_too(tmp_path: Path, kind: pa.DataType) -> None:
    """delta-rs and pyarrow write down how they kept texts, and read them so again."""
    said = [("phone", TOKEN)] if pa.types.is_map(kind) else [TOKEN] if "list" in str(kind) else TOKEN
    texts = pa.array([said, None], pa.string() if pa.types.is_dictionary(kind) else kind).cast(kind)
    pq.write_table(pa.table({"id": [1, 2], "texts": texts}), tmp_path / "kept.parquet")
    stones = {hashlib.sha256((SALT + TOKEN).encode()).hexdigest()}
    assert found_in_rows([str(tmp_path / "kept.parquet")], stones, SALT) == 2  # the text itself, and a word of it
