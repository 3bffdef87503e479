"""Files and lines as they come when something broke on the way: nothing stops the night, nothing is lost."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.landing import Landing
from tests.nights import night, run_steps
from transforms.contracts import ops, silver

NIGHT = date(2026, 6, 1)
HEADER = "order_no,paid,at\n"
CSV_FILES = {
    "plain.csv": (HEADER + "1,10.00,2026-05-30\n").encode(),
    # A spreadsheet's export: byte order mark, Windows line ends, a quoted comma.
    "excel.csv": b"\xef\xbb\xbf" + (HEADER + '"2, a",20.00,2026-05-30\n').replace("\n", "\r\n").encode(),
    "other_order.csv": b"at,order_no,paid\n2026-05-30,3,30.00\n",
    "more_columns.csv": b"order_no,paid,till,at\n4,40.00,T9,2026-05-30\n",
    "header_only.csv": HEADER.encode(),
    "empty.csv": b"",
    # A download, made again: what its name has are wildcards and escapes elsewhere.
    "订单 [1] {2} 100%+.csv": (HEADER + "16,160.00,2026-05-30\n").encode(),
    "no_paid.csv": b"order_no,at\n5,2026-05-30\n",
    "good.csv.gz": gzip.compress((HEADER + "6,60.00,2026-05-30\n").encode()),
    # A transfer that broke off: the first rows would be readable, but nobody knows what is missing.
    "cut.csv.gz": gzip.compress("".join([HEADER, *[f"9{n},9.00,2026-05-30\n" for n in range(5000)]]).encode())[:-500],
    # Line 2 lacks a column, line 3 has one too many, line 4 is empty, line 5 is not UTF-8, line 6 is right.
    "lines.csv": HEADER.encode() + b"7,70.00\n7,70.00,2026-05-30,x\n\n7,70\xff.00,2026-05-30\n7,70.00,2026-05-30\n",
}
# A till of the nineties, which quotes by apostrophes. Line 3 was cut within a character; what follows is right.
GBK_LINES = [
    b"'order_no','paid',at\n",
    "'13甲',130.00,2026-05-30\n".encode("gbk"),
    "14乙".encode("gbk")[:-1] + b",140.00,2026-05-30\n",
    "15丙,150.00,2026-05-30\n".encode("gbk"),
]
PARQUET_FILES = {
    # The exporter was changed: what had been texts are numbers and a date now. Both are read as texts.
    "texts.parquet": {"id": ["11"], "paid": ["110.00"], "at": ["2026-05-30"]},
    "数 [1] {2} 100%+.parquet": {"id": [12], "paid": [120.0], "at": [date(2026, 5, 30)]},
}
JSON_LINES = [
    b'{"id": "8", "paid": "80.00", "at": "2026-05-30"}',
    b"[]",  # Spark's own JSON reader makes no row at all of this line
    b'{"id": "8", "paid": ',
    b"",
    b'"a string"',
    b'{"id": "9", "unheard": 1, "paid": 90, "at": "2026-05-30"}',  # another key is no fault, a number is read as text
]


@pytest.fixture(scope="module")
def loaded(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> JobContext:
    root = tmp_path_factory.mktemp("bad_input")
    for name, content in CSV_FILES.items():
        _write(root / "landing/till" / f"dt={NIGHT}" / name, content)
    _write(root / "landing/web" / f"dt={NIGHT}" / "orders.jsonl", b"\n".join(JSON_LINES) + b"\n")
    _write(root / "landing/web" / "no_date_folder.jsonl", JSON_LINES[0])
    _write(root / "landing/old_till" / f"dt={NIGHT}" / "gbk.csv", b"".join(GBK_LINES))
    for name, table in PARQUET_FILES.items():
        path = root / "landing/app" / f"dt={NIGHT}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), path)
    cut = root / "landing/app" / f"dt={NIGHT}" / "cut.parquet"
    cut.write_bytes((cut.parent / "texts.parquet").read_bytes()[:-20])
    feeds = {
        "till": ("csv", "order_no"),
        "web": ("json", "id"),
        "app": ("parquet", "id"),
        "old_till": ("csv", "order_no"),
    }
    for name, keys in feeds.items():
        source = {
            "name": name,
            "label": name,
            "channel": "store_pos",
            "format": keys[0],
            "options": {"encoding": "GBK", "quote": "'"} if name == "old_till" else {},
            "columns": [keys[1], "paid", "at"],
            "files": f"{name}/**",
            "records": [
                {
                    "name": "order",
                    "event_type": "order",
                    "event_at": {"column": "at", "format": "yyyy-MM-dd"},
                    "fields": {"order_id": keys[1], "amount": "paid"},
                }
            ],
        }
        _write(root / f"sources/{name}.yaml", yaml.safe_dump(source).encode())
    _write(root / "settings.yaml", b"sources: sources\n")
    ctx = night(root / "lake", root / "landing", NIGHT, [str(root / "settings.yaml")])
    run_steps(ctx, "ingest-events", "clean-events")
    return ctx


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_every_readable_order_arrives_whatever_wrapped_it(loaded: JobContext) -> None:
    rows = loaded.tables.read(silver.EVENTS).select("order_id", "amount").collect()
    till = {"till:1": 10, "till:2, a": 20, "till:3": 30, "till:4": 40, "till:6": 60, "till:7": 70, "till:16": 160}
    expected = {**till, "web:8": 80, "web:9": 90, "app:11": 110, "app:12": 120}
    expected |= {"old_till:13甲": 130, "old_till:15丙": 150}
    assert {row.order_id: int(row.amount) for row in rows} == expected
    assert len(rows) == len(expected)


def test_a_file_that_cannot_be_read_is_rejected_whole_with_its_reason(loaded: JobContext) -> None:
    ledger = loaded.tables.read(ops.LANDING_FILES).where("status = 'rejected'").collect()
    reasons = {Path(row.source_file).name: row.reason for row in ledger}
    assert set(reasons) == {"cut.csv.gz", "no_paid.csv", "no_date_folder.jsonl", "cut.parquet"}
    assert reasons["cut.csv.gz"] == "unreadable_file: java.io.EOFException: Unexpected end of input stream"
    assert reasons["cut.parquet"].startswith("unreadable_file: ")
    assert "is not a Parquet file" in reasons["cut.parquet"]
    assert reasons["no_paid.csv"].startswith("missing_columns: paid")
    assert reasons["no_date_folder.jsonl"].startswith("no_arrival_date: ")


def test_lines_that_cannot_be_read_are_kept_with_place_reason_and_text(loaded: JobContext) -> None:
    rows = loaded.tables.read(silver.REJECTED_RECORDS).collect()
    found = {(Path(row.source_file).name, row.row_number): (row.reasons, row.record) for row in rows}
    assert found == {
        ("lines.csv", 2): (["wrong_number_of_columns"], "7,70.00"),
        ("lines.csv", 3): (["wrong_number_of_columns"], "7,70.00,2026-05-30,x"),
        ("lines.csv", 4): (["empty_line"], ""),
        ("lines.csv", 5): (["invalid_utf8"], "7,70\ufffd.00,2026-05-30"),
        ("gbk.csv", 3): (["invalid_gbk"], "14\ufffd,140.00,2026-05-30"),
        ("orders.jsonl", 2): (["unreadable_json"], "[]"),
        ("orders.jsonl", 3): (["unreadable_json"], '{"id": "8", "paid": '),
        ("orders.jsonl", 4): (["empty_line"], ""),
        ("orders.jsonl", 5): (["unreadable_json"], '"a string"'),
    }


def test_each_file_balances_also_the_broken_ones(loaded: JobContext) -> None:
    rows = loaded.tables.read(ops.LANDING_FILES).collect()
    read = {Path(row.source_file).name: row.rows_read for row in rows}
    assert read.pop("orders.jsonl") == len(JSON_LINES)
    assert read.pop("no_date_folder.jsonl") == 0
    assert read.pop("gbk.csv") == len(GBK_LINES) - 1
    unread = {"cut.csv.gz", "cut.parquet", "no_paid.csv", "header_only.csv", "empty.csv"}
    names = {*CSV_FILES, *PARQUET_FILES, "cut.parquet"}
    assert read == {name: 0 if name in unread else 5 if name == "lines.csv" else 1 for name in names}
    for row in rows:
        assert row.rows_read == row.rows_accepted + row.rows_rejected, row
        assert row.status in ("loaded", "rejected"), row


def test_a_file_is_not_blamed_for_what_fails_around_it(loaded: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that fails for want of memory or disk stops the night: the files would never be taken again."""
    read = Landing._lines

    def failing(self: Landing, *args: Any) -> DataFrame:
        return read(self, *args).withColumn("_text", F.raise_error(F.lit("no space left on device")))

    monkeypatch.setattr(Landing, "_lines", failing)
    till = loaded.settings.sources["till"]
    files = loaded.landing.new_files(till, NIGHT, ())
    with pytest.raises(Exception, match="no space left on device"):
        loaded.landing.survey(till, files)
