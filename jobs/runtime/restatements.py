"""ops.restatements: which business dates of a table changed their rows or money since the last run, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from types import TracebackType

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.tables import among
from transforms.contracts import Table, ops


class Restatements:
    """Wraps a write: compares the table's business dates before and after it, and logs those that changed.

    Dates after the previous run's date are new, not restated. A rebuild of a past date happens beside the lake and
    restates nothing. `dates` are the only ones that the write touches, where that is known; `cause` is why they change,
    where it is not to be told from their rows.
    """

    def __init__(
        self,
        ctx: JobContext,
        table: Table,
        date_column: str,
        amount_column: str,
        dates: Sequence[date] | None = None,
        cause: str | None = None,
    ) -> None:
        self._ctx = ctx
        self._table = table
        self._date = date_column
        self._amount = amount_column
        self._written = "true" if dates is None else among(date_column, dates)
        self._cause = "erasure" if ctx.is_erasing else cause
        self._before = ctx.tables.last_commit(table)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = self._before
        if error is not None or before is None or not before.metadata.get("run_date"):
            return
        ctx, name = self._ctx, self._table.full_name
        then = self._by_date(ctx.tables.read(self._table, before.version), "before")
        now = self._by_date(ctx.tables.read(self._table), "after")
        both = then.join(now, "partition", "full").na.fill(0)
        changed = (F.col("rows_before") != F.col("rows_after")) | (F.col("amount_before") != F.col("amount_after"))
        old = F.col("partition") <= F.lit(before.metadata["run_date"]).cast("date")
        told = F.when(F.col("rows_before") != F.col("rows_after"), F.lit("late_events")).otherwise(F.lit("returns"))
        cause = F.lit(self._cause) if self._cause else told
        rows = both.where(changed & old).select(
            F.lit(ctx.run_id).alias("run_id"),
            F.lit(ctx.run_date).alias("run_date"),
            F.lit(name).alias("table"),
            *[F.col(c) for c in ("partition", "rows_before", "rows_after", "amount_before", "amount_after")],
            cause.alias("cause"),
        )
        found = rows.localCheckpoint()
        count = found.count()
        if count:
            ctx.tables.append(ops.RESTATEMENTS, found.coalesce(1))
            ctx.progress.note(f"{name}: {count} earlier dates were restated (ops.restatements)")

    def _by_date(self, frame: DataFrame, suffix: str) -> DataFrame:
        return (
            frame.where(self._written)
            .groupBy(F.col(self._date).alias("partition"))
            .agg(
                F.count("*").alias(f"rows_{suffix}"),
                F.coalesce(F.sum(self._amount), F.lit(0)).cast("decimal(18,2)").alias(f"amount_{suffix}"),
            )
        )
