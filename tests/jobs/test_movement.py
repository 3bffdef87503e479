"""gold.segment_history over publications: a refused night, a backfill, and files that are left alone."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from jobs.runtime.movement import write_history
from jobs.runtime.tables import Tables
from tests.builders import frame
from tests.nights import night
from transforms.contracts import gold, ops

JUNE_29, JUNE_30 = date(2026, 6, 29), date(2026, 6, 30)
JULY_1, JULY_2, JULY_3 = date(2026, 7, 1), date(2026, 7, 2), date(2026, 7, 3)
MEMBERS = {
    JUNE_29: "xy",
    JUNE_30: "xz",
    JULY_1: "y",  # refused: x and z are not out, y is not back
    JULY_2: "x",
    JULY_3: "xw",
}
PUBLISHED_AT = datetime(2026, 7, 4)


def publish(tables: Tables, day: date) -> None:
    """As the publish job does: one more publication, which alone is current."""
    entry = {
        "run_id": "r",
        "run_date": day,
        "table": gold.SEGMENT_HISTORY.full_name,
        "delta_version": tables.version(gold.SEGMENT_HISTORY),
        "row_count": 0,
        "published_at": PUBLISHED_AT,
        "is_current": True,
        "settings_digest": "",
    }
    earlier = [{**row.asDict(), "is_current": False} for row in tables.read_or_empty(ops.PUBLICATIONS).collect()]
    tables.replace(ops.PUBLICATIONS, frame(tables.spark, ops.PUBLICATIONS, [*earlier, entry]))


def put(tables: Tables, members: dict[date, str]) -> None:
    """gold.segment_members of some dates, a letter a customer."""
    rows = [
        {"run_date": day, "segment": "s", "customer_id": customer, "kind": "primary", "reasons": [f"on {day}"]}
        for day, customers in members.items()
        for customer in customers
    ]
    tables.overwrite_slice(gold.SEGMENT_MEMBERS, frame(tables.spark, gold.SEGMENT_MEMBERS, rows), run_date=[*members])


def test_history_follows_what_was_published(spark: SparkSession, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    june = lake / "gold/segment_history/exit_month_date=2026-06-01"
    ctx = night(lake, tmp_path, JUNE_29)
    spark.conf.set("spark.sql.shuffle.partitions", "1")
    put(ctx.tables, MEMBERS)

    def ran(day: date, is_published: bool = True) -> dict[str, list[tuple[date, date | None]]]:
        ctx.run_date, ctx.tables = day, Tables(spark, str(lake), "test", day)
        with ctx.interpreted(0):
            write_history(ctx)
            if is_published:
                publish(ctx.tables, day)
            rows = ctx.tables.read(gold.SEGMENT_HISTORY).collect()
        found: dict[str, list[tuple[date, date | None]]] = {}
        for row in sorted(rows, key=lambda row: row.entered_date):
            assert row.entry_reason == f"on {row.entered_date}"
            found.setdefault(row.customer_id, []).append((row.entered_date, row.exited_date))
        return found

    ran(JUNE_29)
    closed_in_june = ran(JUNE_30)
    assert closed_in_june == {"x": [(JUNE_29, None)], "y": [(JUNE_29, JUNE_30)], "z": [(JUNE_30, None)]}
    ran(JULY_1, is_published=False)
    after_refused = ran(JULY_2)
    assert after_refused == {"x": [(JUNE_29, None)], "y": [(JUNE_29, JUNE_30)], "z": [(JUNE_30, JULY_2)]}
    kept = set(june.glob("*.parquet"))
    added = ran(JULY_3)
    assert added == {**after_refused, "w": [(JULY_3, None)]}
    assert set(june.glob("*.parquet")) == kept  # not written again

    put(ctx.tables, {JULY_1: "xy"})  # the refused night, repaired and run at last
    assert ran(JULY_1) == {**added, "y": [(JUNE_29, JUNE_30), (JULY_1, JULY_2)], "z": [(JUNE_30, JULY_1)]}
