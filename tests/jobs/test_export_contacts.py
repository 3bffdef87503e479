"""A published plan as files: who is still to be contacted, where, and what is not given out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs import cli
from jobs.runtime.keys import stored_identifier, vault_seal
from jobs.runtime.settings import load_settings
from jobs.runtime.tables import Tables
from tests.builders import DAY, days_before, event, frame, identity
from transforms.contacts.export import safe_for_spreadsheets
from transforms.contracts import gold, ops, silver
from transforms.contracts.vault import IDENTIFIERS

NEXT_DAY = DAY + timedelta(days=1)
SETTINGS = load_settings()
COPY = ' "您好", 新品\n到店领取 '  # spaces at both ends, quotes, a comma, a line end


def token(kind: str, value: str) -> str:
    return stored_identifier(kind, value, SETTINGS, "local")


def phone(number: int) -> str:
    return f"+86137126054{number}"


def owned(kind: str, value: str, customer: str, **said: Any) -> dict[str, Any]:
    return identity(kind, token(kind, value), customer, **said)


def planned(customer: str, channel: str | None, hour: int = 10, **said: Any) -> dict[str, Any]:
    usual = {"strategy": "wake_up", "content_type": "benefit", "message": "您好", "contact_date": NEXT_DAY}
    return {"run_date": DAY, "customer_id": customer, "channel": channel, "send_hour": hour, **usual, **said}


def unsubscribed(name: str, kind: str, value: str, arrival: date, channel: str | None) -> dict[str, Any]:
    props = {"contact_channel": channel} if channel else None
    said = {"identifiers": {kind: token(kind, value)}, "event_date": days_before(1), "arrival_date": arrival}
    return event(name, "unsubscribe", source="marketing", props=props, **said)


IDENTITIES = [
    # the phone seen last, whichever token is smaller; all of her ways
    owned("phone", phone(11), "C01", last_seen_date=days_before(9)), owned("phone", phone(12), "C01"),
    owned("email", "li@shop.example", "C01"), owned("member", "M1", "C01"),
    owned("openid", "wx:o1", "C01"), owned("unionid", "u1", "C01"),
    owned("unionid", "u2", "C02"),  # no openid: the next type
    owned("email", "=1+1@x.example", "C02"),  # a formula for an address
    owned("phone", phone(31), "C03"), owned("phone", phone(41), "C04"), owned("phone", phone(51), "C05"),
    owned("phone", phone(61), "C06"), owned("phone", phone(62), "C06"),  # seen on one day: the smaller token
    # her last phone came as a hash only, and the one before may be somebody else's by now
    owned("phone", phone(71), "C07", last_seen_date=days_before(9)), owned("phone", phone(72), "C07"),
    owned("phone", phone(81), "C08", status="ambiguous"),
    owned("phone", phone(91), "C09"), owned("phone", phone(10), "C10"), owned("phone", phone(13), "C11"),
    owned("phone", phone(88), "C12", status="alone"),
    owned("phone", phone(14), "C13"), owned("member", "M13", "C13"),  # on the list of people not to be contacted
]  # fmt: skip
VAULT = [11, 12, 31, 41, 51, 61, 62, 71, 81, 91, 10, 13, 14, 88]
PLAN = [
    planned("C12", "sms", 9), planned("C01", "sms", 20, message=COPY, recommended_products=["P1", "P2"]),
    planned("C06", "sms", experiment_id="e1", variant="b", offer="=2+2"),
    planned("C01", "email", strategy="vip_care"), planned("C02", "email"), planned("C01", "store", 8),
    planned("C01", "mini_program"), planned("C02", "mini_program"),
    planned("C03", "sms"), planned("C04", "sms"), planned("C05", "sms"), planned("C07", "sms"), planned("C08", "sms"),
    planned("C09", "sms"), planned("C10", "sms"), planned("C13", "sms"),
    planned("C11", None, None, suppressed_reason="over_cap"),  # the plan left him out: nobody counts him here
    planned("C05", "social"),  # nothing of the kind is known of her
]  # fmt: skip
LEFT_OUT = {
    "sms": {"consent_withdrawn": 2, "no_address": 2, "no_such_customer": 1, "suppressed": 1,
            "unsubscribed": 2},
    "email": {}, "mini_program": {}, "store": {}, "social": {"no_address": 1},
}  # fmt: skip
EVENTS = [
    unsubscribed("u1", "phone", phone(51), NEXT_DAY, "sms"),
    unsubscribed("u2", "phone", phone(61), NEXT_DAY, "email"),  # from another channel
    unsubscribed("u3", "phone", phone(61), DAY, "sms"),  # the plan of that day knew of it
    unsubscribed("u4", "phone", phone(10), NEXT_DAY, None),  # from all
]
SMALLER = min((phone(61), phone(62)), key=lambda value: token("phone", value))
SENT = {  # channel -> (customer, address type, address) in the file's order
    "sms": [("C12", "phone", phone(88)), ("C06", "phone", SMALLER), ("C01", "phone", phone(12))],
    "email": [("C01", "email", "li@shop.example"), ("C02", "email", "=1+1@x.example")],
    "mini_program": [("C01", "openid", "wx:o1"), ("C02", "unionid", "u2")],
    "store": [("C01", "member", "M1")],
    "social": [],
}


def customers(withdrawn: set[str]) -> list[dict[str, Any]]:
    """All but C04, who was merged away; C09 was never asked."""
    names = [f"C{number:02}" for number in range(1, 14) if number != 4]
    return [
        {"customer_id": name, "consent_marketing": None if name == "C09" else name not in withdrawn} for name in names
    ]


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A plan of DAY, published; then the next night, published; then customers that nobody published yet."""
    said = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    before = {key: str(spark.conf.get(key)) for key in said}
    for key, value in said.items():
        spark.conf.set(key, value)
    lake = tmp_path_factory.mktemp("export") / "lake"
    tables = Tables(spark, str(lake), "test", NEXT_DAY)
    seal = vault_seal("local")
    kept = [("phone", phone(number)) for number in VAULT] + [("email", "li@shop.example"), ("email", "=1+1@x.example")]
    sealed = [
        {"identifier_type": kind, "identifier": token(kind, value), "value": seal(value, token(kind, value))}
        for kind, value in kept
    ]
    made = {
        silver.EVENTS: EVENTS, silver.IDENTITIES: IDENTITIES, gold.CONTACT_PLAN: PLAN, IDENTIFIERS: sealed,
        silver.CUSTOMERS: customers(set()),
    }  # fmt: skip
    for table, rows in made.items():
        tables.replace(table, frame(spark, table, rows))
    tables.replace(silver.CUSTOMERS, frame(spark, silver.CUSTOMERS, customers({"C03"})))  # the next night's
    tables.replace(silver.CUSTOMERS, frame(spark, silver.CUSTOMERS, customers({"C01", "C03"})))
    listed = [
        {"run_id": f"r{day}", "run_date": day, "table": table.full_name, "row_count": 0, "settings_digest": "",
         "delta_version": int(table is silver.CUSTOMERS and day == NEXT_DAY),
         "published_at": datetime(day.year, day.month, day.day, 12), "is_current": day == NEXT_DAY}
        for day in (DAY, NEXT_DAY)
        for table in (silver.EVENTS, silver.IDENTITIES, silver.CUSTOMERS, gold.CONTACT_PLAN)
    ]  # fmt: skip
    tables.replace(ops.PUBLICATIONS, frame(spark, ops.PUBLICATIONS, listed))
    (lake.parent / "off.csv").write_text(f"identifier_type,identifier,until_date\nmember,m13,{NEXT_DAY}\n")
    (lake.parent / "list.yaml").write_text("contacts: {suppressed: off.csv}\n")
    (lake.parent / "vault.yaml").write_text("vault: {enabled: true}\ncontacts: {suppressed: off.csv}\n")
    yield lake
    for key, value in before.items():
        spark.conf.set(key, value)


def exported(lake: Path, to: str, *more: str, settings: str = "vault.yaml") -> int:
    chosen = ["--settings", str(lake.parent / settings)]
    command = ["export-contacts", "--date", str(DAY), "--lake", str(lake), "--to", str(lake.parent / to)]
    return cli.run([*command, *chosen, *more])


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_channel_is_a_file_of_those_who_may_be_contacted(spark: SparkSession, lake: Path) -> None:
    assert exported(lake, "out") == 0
    files = contents(lake.parent / "out")
    assert set(files) == {"manifest.json", *[f"contacts-{channel}-{DAY}.csv" for channel in SENT]}
    for channel, expected in SENT.items():
        rows = read_csv(lake.parent / "out" / f"contacts-{channel}-{DAY}.csv")
        plain = [(row["customer_id"], row["address_type"], row["address"].removeprefix("'")) for row in rows]
        assert plain == expected, channel
    manifest = json.loads(files["manifest.json"])
    assert (manifest["run_date"], manifest["format"]) == (str(DAY), "csv")
    counted = {channel: (file["exported"], file["left_out"]) for channel, file in manifest["channels"].items()}
    assert counted == {channel: (len(SENT[channel]), reasons) for channel, reasons in LEFT_OUT.items()}
    noted = Tables(spark, str(lake), "look", None).read(ops.CONTACT_EXPORTS).collect()
    told = {row.channel: (row.exported_count, {k: int(v) for k, v in row.left_out.items()}) for row in noted}
    assert told == counted
    assert {Path(row.target).name for row in noted} == set(files) - {"manifest.json"}
    assert exported(lake, "out") == 0  # again: the same bytes, and another entry in the books
    assert contents(lake.parent / "out") == files
    assert len({row.run_id for row in Tables(spark, str(lake), "", None).read(ops.CONTACT_EXPORTS).collect()}) == 2
    secrets = [row["identifier"].encode() for row in IDENTITIES if row["identifier_type"] in ("phone", "email")]
    assert [name for name, content in files.items() for secret in secrets if secret in content] == []


def test_a_spreadsheet_reads_the_text_and_runs_none_of_it(lake: Path) -> None:
    header = (lake.parent / f"out/contacts-social-{DAY}.csv").read_bytes()
    names = ("customer_id,strategy,send_date,send_hour,address_type,address,offer,message,recommended_products,"
             "content_type,experiment_id,variant,tracking_key\n")  # fmt: skip
    assert header == b"\xef\xbb\xbf" + names.encode()
    first, second, third = read_csv(lake.parent / f"out/contacts-sms-{DAY}.csv")
    assert third["message"] == COPY
    assert third["recommended_products"] == "P1|P2"
    assert (third["send_date"], third["send_hour"], third["tracking_key"]) == (str(NEXT_DAY), "20", f"wake_up-{DAY}")
    assert (second["offer"], second["experiment_id"], second["variant"]) == ("'=2+2", "e1", "b")
    assert (first["offer"], first["address"]) == ("", phone(88))  # a phone begins with a plus and stays so
    mails = read_csv(lake.parent / f"out/contacts-email-{DAY}.csv")
    assert [row["address"] for row in mails] == ["li@shop.example", "'=1+1@x.example"]


def test_json_lines_of_chosen_channels_say_the_same_as_it_is(lake: Path) -> None:
    assert exported(lake, "lines", "--format", "jsonl", "--channel", "sms,email,call") == 0
    files = contents(lake.parent / "lines")
    assert set(files) == {"manifest.json", *[f"contacts-{name}-{DAY}.jsonl" for name in ("sms", "email", "call")]}
    assert files[f"contacts-call-{DAY}.jsonl"] == b""  # nobody is planned there
    rows = {
        channel: [json.loads(line) for line in files[f"contacts-{channel}-{DAY}.jsonl"].decode().splitlines()]
        for channel in ("sms", "email")
    }
    for channel, listed in rows.items():
        assert [(row["customer_id"], row["address_type"], row["address"]) for row in listed] == SENT[channel]
    assert {tuple(row) for listed in rows.values() for row in listed} == {tuple(rows["sms"][0])}  # all keys, always
    assert rows["sms"][2]["message"] == COPY
    assert (rows["sms"][1]["offer"], rows["sms"][0]["offer"]) == ("=2+2", None)


def test_without_a_vault_nobody_is_reached_by_what_is_personal(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exported(lake, "no_vault", settings="list.yaml") == 0
    assert "email, sms: people are reached by phone, email" in (told := capsys.readouterr().err)
    assert "vault: {enabled: true}" in told
    found = json.loads((lake.parent / "no_vault/manifest.json").read_text())["channels"]
    expected = {channel: 0 if channel in ("sms", "email") else len(rows) for channel, rows in SENT.items()}
    assert {channel: file["exported"] for channel, file in found.items()} == expected
    assert found["sms"]["left_out"] == {**LEFT_OUT["sms"], "no_address": 2 + len(SENT["sms"])}


def test_what_cannot_be_exported_is_said(
    lake: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exported(lake, "never", "--date", "2020-01-01") == 1
    assert "2020-01-01 was never published" in capsys.readouterr().err
    assert exported(lake, "never", "--channel", "pigeon") == 2
    assert "pigeon: not a contact channel; allowed: app, push, sms" in capsys.readouterr().err
    assert exported(lake, "never", "--env", "cluster") == 2
    assert "PORTRAITS_VAULT_KEY is not set" in capsys.readouterr().err
    monkeypatch.setenv("PORTRAITS_VAULT_KEY", "another key")
    assert exported(lake, "never") == 1
    assert "sealed under another key" in capsys.readouterr().err
    assert not (lake.parent / "never").exists()


def test_cells_that_a_spreadsheet_would_run(spark: SparkSession) -> None:
    cells = ["=1", "+1", "-1", "@a", "\ta", "\ra", "+1a", "+86 1", "1=1", " =1", "'=1", "", None]
    rows = spark.createDataFrame([(number, cell) for number, cell in enumerate(cells)], "n int, cell string")
    safe = [row.cell for row in safe_for_spreadsheets(rows).orderBy("n").collect()]
    assert safe == ["'=1", "+1", "'-1", "'@a", "'\ta", "'\ra", "'+1a", "'+86 1", "1=1", " =1", "'=1", "", None]
