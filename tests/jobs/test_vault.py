"""The vault: plain identifiers of a night, sealed, whatever the order in which files bring them, and nowhere else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.exceptions import InvalidTag
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.runtime import keys
from jobs.runtime.job import JobContext, RunFailed
from jobs.runtime.keys import opened, stored_identifier
from jobs.runtime.settings import SettingsError
from jobs.runtime.vault import keep, readable_vault
from tests.nights import night, run_steps
from transforms.contracts import ops
from transforms.contracts.vault import IDENTIFIERS

DAYS = [date(2026, 6, 1), date(2026, 6, 2)]
ANNA, BEN, HASHED, BLOCKED = "13712605489", "13612097834", "13500001234", "13800138000"
MAIL = "li.na@shop.example"
FILES = {  # source -> arrival date -> lines below the header
    "till": {
        DAYS[0]: [f"1,137 1260 5489,,M1,{DAYS[0]}", f"2,{BLOCKED},,M2,{DAYS[0]}", f"3,call me,null,M3,{DAYS[0]}"],
        DAYS[1]: [f"4,+86{ANNA},{MAIL.upper()},M1,{DAYS[1]}", f"5,{BEN},,M4,{DAYS[1]}", f"6,0086{BEN},,M4,{DAYS[1]}"],
    },
    # A partner that tells hashes only; one of them is a phone that the till brings in plain text too.
    "partner": {DAYS[1]: [f"7,{hashlib.md5(f'+86{phone}'.encode()).hexdigest()},,M5,{DAYS[1]}"
                          for phone in (HASHED, BEN)]},
}  # fmt: skip
KEPT = {("phone", f"+86{ANNA}"): DAYS[0], ("phone", f"+86{BEN}"): DAYS[1], ("email", MAIL): DAYS[1]}
PERSONAL = [ANNA, BEN, HASHED, MAIL, "137 1260 5489", MAIL.upper()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Landing files of two days, their sources, and settings with and without a vault."""
    root = tmp_path_factory.mktemp("vault")
    for name, days in FILES.items():
        phone = {"column": "phone", "hashed": "md5"} if name == "partner" else "phone"
        source = {
            "name": name, "label": name, "channel": "store_pos", "format": "csv",
            "columns": ["order_no", "phone", "mail", "card", "at"],
            "records": [{
                "name": "order", "event_type": "order", "event_id": ["order_no"],
                "event_at": {"column": "at", "format": "yyyy-MM-dd"},
                "identifiers": {"member": "card", "phone": phone, "email": "mail"},
                "fields": {"order_id": "order_no", "amount": "'10.00'"},
            }],
        }  # fmt: skip
        _write(root / f"sources/{name}.yaml", yaml.safe_dump(source))
        for day, lines in days.items():
            text = "\n".join(["order_no,phone,mail,card,at", *lines, ""])
            _write(root / f"landing/{name}/dt={day}/a.csv", text)
    _write(root / "on.yaml", "sources: sources\nvault: {enabled: true}\n")
    _write(root / "off.yaml", "sources: sources\n")
    return root


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ingested(root: Path, lake: Path, day: date, settings: str = "on", full: bool = False) -> JobContext:
    ctx = night(lake, root / "landing", day, [str(root / f"{settings}.yaml")], full)
    run_steps(ctx, "ingest-events")
    ctx.forget()
    return ctx


def kept(ctx: JobContext) -> dict[tuple[str, str], date]:
    """Identifier type and plain value to first arrival date; each under the token that other tables have."""
    rows = ctx.tables.read(IDENTIFIERS).collect()
    found = {}
    for row in rows:
        value = opened(row.value, row.identifier, "local")
        assert row.identifier == stored_identifier(row.identifier_type, value, ctx.settings, "local")
        found[row.identifier_type, value] = row.first_arrival_date
    assert len(found) == len(rows)
    return found


@dataclass
class Story:
    """What the vault held after each ingest of one lake."""

    ctx: JobContext
    entries: dict[str, dict[tuple[str, str], date]] = field(default_factory=dict)
    rows: dict[str, set[Any]] = field(default_factory=dict)

    def note(self, name: str) -> None:
        self.entries[name] = kept(self.ctx)
        self.rows[name] = set(self.ctx.tables.read(IDENTIFIERS).collect())


@pytest.fixture(scope="module")
def story(spark: SparkSession, root: Path) -> Story:
    """A night without a vault, one with it, reruns after kills, and all of it again."""
    lake = root / "lake"
    off = ingested(root, lake, DAYS[0], "off")
    assert not off.tables.exists(IDENTIFIERS)
    story = Story(ingested(root, lake, DAYS[1]))
    story.note("turned on")
    tables = story.ctx.tables
    # Files taken again, as after a kill before the ledger: the first day's now comes later than the second's, and of
    # the second's one value is missing, as after a kill between bronze and vault.
    ledger = tables.read(ops.LANDING_FILES).localCheckpoint()
    tables.replace(ops.LANDING_FILES, ledger.where("false"))
    mail = tables.read(IDENTIFIERS).where("identifier_type = 'email'")
    tables.replace(IDENTIFIERS, tables.read(IDENTIFIERS).join(mail, "identifier", "left_anti").localCheckpoint())
    ingested(root, lake, DAYS[1])
    story.note("taken again")
    tables.replace(IDENTIFIERS, tables.read(IDENTIFIERS).where("false"))
    ingested(root, lake, DAYS[1], full=True)
    story.note("full")
    return story


def test_each_plain_value_is_kept_once_from_the_day_it_came(story: Story) -> None:
    """No hash, no blocked value, nothing that is no phone; two spellings are one."""
    assert story.entries["full"] == KEPT
    assert story.entries["taken again"] == KEPT  # added to, and an earlier date put right
    assert story.rows["taken again"] == story.rows["full"]  # the sealed texts too


def test_a_vault_knows_what_comes_after_it_was_turned_on(story: Story) -> None:
    assert story.entries["turned on"] == dict.fromkeys(KEPT, DAYS[1])  # all of them came again that day


def test_only_what_is_new_is_written(spark: SparkSession, root: Path) -> None:
    """Received rows as ingest-events hands them over, a frame of each source."""
    ctx = night(root / "small", root / "landing", DAYS[1], [str(root / "on.yaml")])
    schema = "_arrival_date date, _brought array<struct<identifier_type: string, identifier: string, value: string>>"

    def kept_after(*rows: tuple[date | None, list[tuple[str, str, str]]]) -> tuple[int, set[tuple[Any, ...]]]:
        keep(ctx, [spark.createDataFrame([row], schema) for row in rows])
        return ctx.tables.version(IDENTIFIERS), {tuple(row) for row in ctx.tables.read(IDENTIFIERS).collect()}

    seal = keys.vault_seal("local")
    a, b, c = (("phone", name, seal(name, name)) for name in "abc")
    first = {(*a, DAYS[0]), (*b, DAYS[1])}
    assert kept_after((DAYS[1], [a, b, a]), (DAYS[0], [a]), (None, [c])) == (0, first)  # no date, no event
    assert kept_after((DAYS[1], [a, b])) == (0, first)
    assert kept_after((DAYS[1], [c, a])) == (1, {*first, (*c, DAYS[1])})
    commit = ctx.tables.last_commit(IDENTIFIERS)
    assert commit is not None and commit.rows == 1  # a night adds its few and leaves the many as they lie
    assert kept_after((DAYS[0], [b])) == (2, {(*a, DAYS[0]), (*b, DAYS[0]), (*c, DAYS[1])})


def test_plain_values_are_nowhere_in_the_lake(story: Story, root: Path) -> None:
    paths = [path for path in (root / "lake").rglob("*") if path.is_file()]
    assert any("/vault/identifiers/" in str(path) and path.suffix == ".parquet" for path in paths)
    for path in paths:
        content = path.read_bytes()
        assert [value for value in PERSONAL if value.encode() in content] == [], path
    columns = {name: story.ctx.tables.read(name).columns for name in story.ctx.tables.names()}
    texts = {  # Parquet compresses: so what is stored is looked at as well
        name: str(story.ctx.tables.read(name).collect()) for name in columns
    }
    assert [(name, value) for name, text in texts.items() for value in PERSONAL if value in text] == []


def test_what_workers_seal_the_driver_opens(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejected text outside --env local, and a value of the vault, each by a function that runs in Spark's workers."""
    monkeypatch.setenv("PORTRAITS_VAULT_KEY", "a key")
    token, value = "a" * 64, keys.vault_seal("cluster")(MAIL, "a" * 64)
    row = spark.range(1).select(
        keys.sealed(F.lit("7,李娜"), "cluster").alias("text"),
        keys.sealed(F.lit(None).cast("string"), "cluster").alias("nothing"),
        keys.opened_column(F.lit(value), F.lit(token), "cluster").alias("mail"),
    ).head()  # fmt: skip
    assert row is not None
    assert (row.nothing, row.mail) == (None, MAIL)
    assert "李" not in row.text
    assert keys.unseal(row.text, "cluster") == "7,李娜"
    with pytest.raises(InvalidTag):
        opened(value, "b" * 64, "cluster")  # moved to another token: nobody is sent another one's mail


def test_the_wrong_key_is_said_before_anything_is_read_or_written(
    story: Story, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTRAITS_VAULT_KEY", "another key")
    with pytest.raises(RunFailed, match="sealed under another key"):
        readable_vault(story.ctx.tables, "local")
    monkeypatch.delenv("PORTRAITS_VAULT_KEY")
    with pytest.raises(SettingsError, match="PORTRAITS_VAULT_KEY is not set"):
        keys.vault_seal("cluster")
    monkeypatch.setenv("PORTRAITS_TOKEN_KEY", "a key")
    story.ctx.env = "cluster"
    try:
        with pytest.raises(SettingsError, match="PORTRAITS_VAULT_KEY is not set"):
            run_steps(story.ctx, "ingest-events")
    finally:
        story.ctx.env = "local"
