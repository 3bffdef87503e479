"""ops.publications: the versions that readers follow. All tables of a run become visible in one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

from pyspark.sql import functions as F

from jobs.runtime.tables import Tables
from transforms.contracts import ops

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


@dataclass(frozen=True)
class Verdict:
    """What the last audit of a run date found: whether it may be published, and the versions that it read."""

    run_id: str
    is_passed: bool
    told: str
    versions: dict[str, int]


def current(tables: Tables) -> list[Published]:
    """The current publication's tables, by name; empty before the first one."""
    rows = tables.read_or_empty(ops.PUBLICATIONS).where("is_current").orderBy("table").collect()
    return [
        Published(row.table, tables.path(row.table), row.delta_version, row.row_count, row.run_date, row.run_id)
        for row in rows
    ]


def last_verdict(tables: Tables, run_date: date) -> Verdict | None:
    """The last audit of a run date; None where there was none."""
    quality = tables.read_or_empty(ops.DATA_QUALITY).where(F.col("run_date") == F.lit(run_date))
    found = quality.where(F.col("check") == VERDICT).orderBy(F.desc("checked_at")).head()
    if found is None:
        return None
    rows = quality.where((F.col("run_id") == found.run_id) & (F.col("checked_at") == F.lit(found.checked_at))).collect()
    versions = {row.table: row.delta_version for row in rows if row.check == KEY_CHECK}
    return Verdict(found.run_id, found.is_passed, found.observed, versions)


def previous_counts(tables: Tables, published: Sequence[Published]) -> dict[str, int]:
    """Rows that the audit of the current publication counted, by table; of sliced tables its date's slice."""
    if not published:
        return {}
    quality = tables.read(ops.DATA_QUALITY)
    rows = quality.where((F.col("run_id") == published[0].run_id) & (F.col("check") == KEY_CHECK)).collect()
    return {row.table: int(row.observed.split(" ")[0]) for row in rows}


def count_rows(tables: Tables, versions: Mapping[str, int]) -> dict[str, int]:
    """Rows of each table at the given version; Delta answers from its log."""
    with ThreadPoolExecutor(4) as pool:
        counts = pool.map(lambda item: tables.read(*item).count(), versions.items())
        return dict(zip(versions, counts, strict=True))


def published_before(tables: Tables, day: date) -> date | None:
    """The greatest published run date before a day; None where there is none."""
    published = tables.read_or_empty(ops.PUBLICATIONS).where(F.col("run_date") < F.lit(day))
    found = published.agg(F.max("run_date")).head()
    return found[0] if found else None


def today(tables: Tables) -> date | None:
    """The greatest published run date, so that publishing a backfill does not turn readers back."""
    found = tables.read_or_empty(ops.PUBLICATIONS).agg(F.max("run_date")).head()
    return found[0] if found else None
