"""ops.publications: the versions that readers follow. All tables of a run become visible in one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.runtime.tables import MissingTable, Tables
from transforms.contracts import Table, ops

VERDICT = "audit_verdict"
KEY_CHECK = "key_is_unique"


@dataclass(frozen=True)
class Published:
    """One table of the current publication."""

    table: str
    path: str
    version: int
    rows: int
    run_date: date
    run_id: str
    published_at: datetime


@dataclass(frozen=True)
class Verdict:
    """What the last audit of a run date found: whether it may be published, and the versions that it read."""

    run_id: str
    is_passed: bool
    told: str
    versions: dict[str, int]


@dataclass(frozen=True)
class Counted:
    """Rows that an audit counted in a table, and whether every key was there once."""

    rows: int
    has_unique_keys: bool


def current(tables: Tables) -> list[Published]:
    """The current publication's tables, by name; empty before the first one."""
    rows = tables.read_or_empty(ops.PUBLICATIONS).where("is_current").orderBy("table").collect()
    return [_entry(tables, row) for row in rows]


def publication(tables: Tables, run_date: date) -> list[Published]:
    """The last publication of a run date, as `current`; empty where that date was never published."""
    rows = tables.read_or_empty(ops.PUBLICATIONS).where(F.col("run_date") == F.lit(run_date)).collect()
    newest = max((row.published_at for row in rows), default=None)
    return [_entry(tables, row) for row in sorted(rows, key=lambda row: row.table) if row.published_at == newest]


class PublishedTables:
    """Tables as a publication names them, the current one or the last one of a run date."""

    def __init__(self, tables: Tables, run_date: date | None = None) -> None:
        self._tables = tables
        entries = publication(tables, run_date) if run_date else current(tables)
        _refuse_purged(tables, entries)
        self._versions = {entry.table: entry.version for entry in entries}
        self.run_date = entries[0].run_date if entries else None

    def read(self, table: Table | str) -> DataFrame:
        """The table at its published version, or as it stands where the publication does not know it."""
        name = table if isinstance(table, str) else table.full_name
        return self._tables.read(name, self._versions.get(name))

    def read_or_empty(self, table: Table) -> DataFrame:
        """The table, or no rows of its schema where it is not there yet."""
        return self.read(table) if self._tables.exists(table) else self._tables.read_or_empty(table)


def _refuse_purged(tables: Tables, entries: Sequence[Published]) -> None:
    """The versions that a publication names are gone where an erasure came after it."""
    if not entries or not tables.exists(ops.ERASURES):
        return
    erased = tables.read(ops.ERASURES).agg(F.max("run_date"), F.max("erased_at")).head()
    if erased and erased[1] and entries[0].published_at < erased[1] and entries[0].run_date < erased[0]:
        raise MissingTable(
            f"the tables of {entries[0].run_date} as they were published went with the erasure of {erased[0]}: "
            f"`portraits nightly --date {entries[0].run_date}` builds and publishes that date again"
        )


def last_verdict(tables: Tables, run_date: date) -> Verdict | None:
    """The last audit of a run date; None where there was none."""
    quality = tables.read_or_empty(ops.DATA_QUALITY).where(F.col("run_date") == F.lit(run_date))
    found = quality.where(F.col("check") == VERDICT).orderBy(F.desc("checked_at")).head()
    if found is None:
        return None
    rows = quality.where((F.col("run_id") == found.run_id) & (F.col("checked_at") == F.lit(found.checked_at))).collect()
    versions = {row.table: row.delta_version for row in rows if row.check == KEY_CHECK}
    return Verdict(found.run_id, found.is_passed, found.observed, versions)


def last_findings(tables: Tables, published: Sequence[Published]) -> dict[str, Counted]:
    """What the audit of the current publication counted, by table; of sliced tables its date's slice."""
    if not published:
        return {}
    quality = tables.read(ops.DATA_QUALITY)
    rows = quality.where((F.col("run_id") == published[0].run_id) & (F.col("check") == KEY_CHECK)).collect()
    return {row.table: Counted(int(row.observed.split(" ")[0]), row.is_passed) for row in rows}


def unique_versions(published: Sequence[Published], findings: Mapping[str, Counted]) -> dict[str, int]:
    """By table, the published version where its audit found every key once."""
    return {e.table: e.version for e in published if e.table in findings and findings[e.table].has_unique_keys}


def published_before(tables: Tables, day: date) -> date | None:
    """The greatest published run date before a day; None where there is none."""
    published = tables.read_or_empty(ops.PUBLICATIONS).where(F.col("run_date") < F.lit(day))
    found = published.agg(F.max("run_date")).head()
    return found[0] if found else None


def publications_of(tables: Tables, table: Table) -> list[Row]:
    """All publications of one table, as many as nights."""
    return tables.read_or_empty(ops.PUBLICATIONS).where(F.col("table") == table.full_name).collect()


def today(tables: Tables) -> date | None:
    """The greatest published run date, so that publishing a backfill does not turn readers back."""
    found = tables.read_or_empty(ops.PUBLICATIONS).agg(F.max("run_date")).head()
    return found[0] if found else None


def _entry(tables: Tables, row: Row) -> Published:
    return Published(
        row.table, tables.path(row.table), row.delta_version, row.row_count, row.run_date, row.run_id, row.published_at
    )
