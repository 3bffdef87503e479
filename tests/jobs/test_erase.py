"""An erasure: the lake is as if the person's rows had never come, in every file, and they may not come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from jobs import cli, erase, nightly
from jobs.runtime.job import JobContext
from jobs.runtime.keys import stored_identifier
from jobs.runtime.sweep import sweep
from jobs.runtime.tombstones import known_tombstones
from tests.nights import differences, night, run_steps
from transforms.contracts import ops, silver
from transforms.identity.anchors import customer_id

DAYS = [date(2026, 6, 1), date(2026, 6, 2)]
ANNA, BEN, CORA = "13712605489", "13612097834", "13512097835"
STEPS = (
    "ingest-events", "clean-events", "resolve-identities", "build-orders", "build-customers", "build-activity",
    "read-feedback", "compute-tags",
)  # fmt: skip
# What the nights of the lake have besides; whole ones would take twice as long.
MORE = ("score-rfm", "value-customers", "build-segments", "audit", "publish")
HEADER = "order_no,card,phone,device,sponsor,at"
# Anna's rows stand last in each file, so that the others keep their line numbers without them.
OTHERS = {
    DAYS[0]: [
        f"1,BEN0000001,{BEN},,,{DAYS[0]}",
        f"2,CORA000001,{CORA},dev-cora-0001,anna000001,{DAYS[0]}",  # brought by Anna
    ],
    DAYS[1]: [f"3,BEN0000001,,,,{DAYS[1]}", "unreadable,line"],
}
# Ben's own order, on which Anna's phone stands, and the unbinding by which it stays hers: he keeps both without the
# phone. And once more, refused by a check.
NAMING = {
    DAYS[0]: [
        f"4,BEN0000001,{ANNA},,,{DAYS[0]}",
        f"U1,BEN0000001,{ANNA},,,{DAYS[0]}",
        f",BEN0000001,{ANNA},,,{DAYS[0]}",
    ]
}
ANNAS = {
    DAYS[0]: [
        f"5,ANNA000001,{ANNA},dev-anna-0001,,{DAYS[0]}",
        f"6,,,DEV-ANNA-0001,,{DAYS[0]}",  # at her device, which her first order ties to her
        f",,{ANNA},,,{DAYS[0]}",  # refused by a check: her phone is in its text
        f"too,few,0086 {ANNA}",  # a line that cannot be read
    ],
    DAYS[1]: [f"7,,+86{ANNA},,,{DAYS[1]}", f"8,anna000001,,,,{DAYS[1]}", f"nothing,{ANNA}"],  # she comes again
}  # fmt: skip


def landing(root: Path, name: str, days: dict[date, list[str]]) -> Path:
    for day, lines in days.items():
        file = root / name / f"till/dt={day}/a.csv"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join([HEADER, *lines, ""]))
    return root / name


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("erase")
    said = {
        "event_id": ["order_no"], "event_at": {"column": "at", "format": "yyyy-MM-dd"},
        "identifiers": {"member": "card", "phone": "phone", "device": "device"},
    }  # fmt: skip
    source: dict[str, Any] = {
        "name": "till", "label": "收银", "channel": "store_pos", "format": "csv", "columns": HEADER.split(","),
        "records": [
            {**said, "name": "order", "when": "coalesce(order_no, '') not like 'U%'",
             "event_type": "order", "fields": {"order_id": "order_no", "amount": "'10.00'"},
             "attributes": {"referred_by": "upper(sponsor)"}},
            {**said, "name": "unbind", "when": "order_no like 'U%'", "event_type": "unbind"},
        ],
    }  # fmt: skip
    (root / "sources").mkdir()
    (root / "sources/till.yaml").write_text(yaml.safe_dump(source, allow_unicode=True))
    (root / "settings.yaml").write_text("sources: sources\nvault: {enabled: true}\naudit: {most_rejected_share: 1}\n")
    return root


@pytest.fixture(scope="module")
def erased(spark: SparkSession, root: Path) -> JobContext:
    """A lake of the first day, from which Anna was erased on the second, when she came again."""
    came = landing(root, "all", {day: [*OTHERS[day], *NAMING.get(day, []), *ANNAS[day]] for day in DAYS})
    settings, accepted = str(root / "settings.yaml"), ["--accept", "a lake of three people"]
    place = ["--lake", str(root / "lake"), "--landing", str(came), "--settings", settings]
    only = {name: job for name, job in nightly.STEPS.items() if name in (*STEPS, *MORE)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nightly, "STEPS", only)
        assert cli.run(["nightly", "--date", str(DAYS[0]), *place, *accepted]) == 0
        first = night(root / "lake", came, DAYS[0], [settings])
        assert annas(first) == {("member", "ANNA000001"), ("phone", stored(first)), ("device", "dev-anna-0001")}
        assert cli.run(["erase", f"phone:{ANNA}", "--date", str(DAYS[1]), *place, *accepted]) == 0
    return night(root / "lake", came, DAYS[1], [str(root / "settings.yaml")])


def stored(ctx: JobContext, phone: str = ANNA) -> str:
    return stored_identifier("phone", phone, ctx.settings, "local")


def annas(ctx: JobContext) -> set[tuple[str, str]]:
    identities = ctx.tables.read(silver.IDENTITIES)
    owner = identities.where(F.col("identifier") == stored(ctx)).select("customer_id")
    return {(row.identifier_type, row.identifier) for row in identities.join(owner, "customer_id").collect()}


def test_no_file_of_the_lake_says_anything_of_her(erased: JobContext, root: Path) -> None:
    ids = erased.spark.range(1).select(customer_id(F.lit("member"), F.lit("ANNA000001")).alias("of_member"))
    sought = ["anna000001", "ANNA000001", ANNA, stored(erased), "dev-anna-0001"]
    sought += [row.of_member for row in ids.collect()]
    texts = {path: text for path, text in texts_of(root / "lake")}
    assert any(path.suffix == ".parquet" for path in texts) and any("_delta_log" in str(path) for path in texts)
    assert any(stored(erased, BEN) in text for text in texts.values())  # what is there would be found
    found = [(path.name, word) for path, text in texts.items() for word in sought if word in text]
    assert [said for said in found if not said[0].endswith((".json", ".crc"))] == []
    # Delta's log may keep a customer id as a statistic, for a month; never what stands behind it.
    assert [said for said in found if not said[1].startswith("C")] == []


def texts_of(lake: Path) -> Iterator[tuple[Path, str]]:
    for path in lake.rglob("*"):
        if path.is_file() and path.suffix == ".parquet":
            yield path, json.dumps(pq.read_table(path).to_pylist(), default=str)
        elif path.is_file():
            yield path, path.read_text("utf-8", "replace")


def test_the_lake_is_as_if_her_rows_had_never_come(erased: JobContext, root: Path) -> None:
    blank = {day: [line.replace(ANNA, "") for line in NAMING.get(day, [])] for day in DAYS}
    less = landing(
        root, "less", {day: [x.replace("anna000001", "") for x in [*OTHERS[day], *blank[day]]] for day in DAYS}
    )
    for day in DAYS:
        ctx = night(root / "without", less, day, [str(root / "settings.yaml")])
        run_steps(ctx, *STEPS)
    only = {name for name in erased.tables.names() if not ctx.tables.exists(name)}
    told = differences(ctx, root / "lake", root / "without", DAYS[1], [str(root / "settings.yaml")], without=[*only])
    assert {line.split(":")[0] for line in told} == {
        # The text of the refused row still had her phone: kept is what bronze stores of it.
        "bronze.till._record",
        "silver.rejected_records.record",
        # Tags are held against the night published before; the other lake published none.
        "gold.tag_health.psi",
        "gold.tag_health.unused_since_date",
    }
    reasons = [
        {(row.source_file, row.row_number, *row.reasons) for row in lake.tables.read(silver.REJECTED_RECORDS).collect()}
        for lake in (erased, ctx)
    ]
    assert reasons[0] == reasons[1] and len(reasons[0]) == 2  # Ben's without a number, and the unreadable line


def test_every_row_is_accounted_for(erased: JobContext) -> None:
    ledger = {row.arrival_date: row for row in erased.tables.read(ops.LANDING_FILES).collect()}
    rows = {day: (ledger[day].rows_read, ledger[day].rows_accepted, ledger[day].rows_rejected) for day in DAYS}
    assert rows == {DAYS[0]: (9, 4, 1), DAYS[1]: (5, 1, 1)}
    assert {day: ledger[day].rows_suppressed for day in DAYS} == {day: len(ANNAS[day]) for day in DAYS}


def test_requests_and_certificate_name_nobody(erased: JobContext) -> None:
    (request,) = erased.tables.read(ops.ERASURE_REQUESTS).collect()
    assert (request.identifier_type, request.status, request.is_known) == ("phone", "done", True)
    assert (request.requested_date, request.erased_date) == (DAYS[1], DAYS[1])
    proofs: dict[str, Row] = {row.table: row for row in erased.tables.read(ops.ERASURES).collect()}
    assert {*erased.tables.names()} - {"ops.erasures"} <= {*proofs}
    assert sum(row.values_found for row in proofs.values()) == 0
    assert all(row.files_checked for row in proofs.values() if row.table in ("silver.events", "logs"))
    bronze = proofs["bronze.till"]
    # Of the first day, three of her rows that could be read, and the values on three of Ben's and one of Cora's.
    assert (bronze.action, bronze.rows_erased, bronze.rows_blanked) == ("erased", 3, 4)
    assert bronze.files_removed > 0
    vault = proofs["vault.identifiers"]
    assert (vault.rows_erased, proofs["silver.rejected_records"].rows_erased) == (1, 1)


def test_a_sweep_that_ran_finds_nothing_more(erased: JobContext) -> None:
    gone = known_tombstones(erased)
    assert gone is not None
    again = sweep(erased, gone)
    assert {(found.erased, found.blanked) for found in again.values()} == {(0, 0)}


@pytest.mark.parametrize(
    ("said", "code", "why"),
    [
        (["phone:13912345678x", "--date", str(DAYS[0])], 1, "give --date 2026-06-02"),  # an earlier date
        (["shoe:44", "--date", str(DAYS[1])], 2, "TYPE:VALUE"),  # no such type
        (["--date", str(DAYS[1])], 2, "name a person"),  # nobody
    ],
)
def test_what_cannot_be_done_is_told(
    erased: JobContext, root: Path, capsys: pytest.CaptureFixture[str], said: list[str], code: int, why: str
) -> None:
    place = ["--lake", str(root / "lake"), "--landing", str(root / "all"), "--settings", str(root / "settings.yaml")]
    assert cli.run(["erase", *said, *place]) == code
    assert why in capsys.readouterr().err


def test_an_identifier_of_several_people_names_nobody(spark: SparkSession) -> None:
    named = spark.createDataFrame([("phone", "p1")], "identifier_type string, identifier string")
    held = named.withColumn("status", F.lit("blocked"))
    with pytest.raises(erase.RunFailed, match="held by several people"):
        erase._refuse_shared(named, held)
