"""ops.job_runs: what each step of a run read, wrote and took, kept also when a step fails."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Any

from pyspark.sql import SparkSession

from jobs.runtime.job import AuditRefused, Job, JobContext
from transforms.contracts import ops


class RunLog:
    """Runs steps and keeps one row for each; all rows are written at once when the run ends (a write costs 1 s)."""

    def __init__(self, ctx: JobContext, steps: int = 1, done: int = 0) -> None:
        """
        Args:
            steps: how many the whole has, of which a person is told how many are done.
            done: how many are before the first of this run.
        """
        self._ctx = ctx
        self._steps, self._done = steps, done
        self._lock = threading.Lock()
        self._rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows and (error is None or isinstance(error, Exception)):
            frame = self._ctx.small_frame(self._rows, ops.JOB_RUNS)
            self._ctx.tables.append(ops.JOB_RUNS, frame)
        self._ctx.tables.files.remove(f"{self._ctx.tables.lake}/_scratch/step")  # what a run left that was killed

    def step(self, name: str, job: Job, spark: SparkSession | None = None) -> dict[str, Any]:
        """Run one step, note how it went, and say its facts; another may run beside it.

        Args:
            spark: the session that the step is to use, if not the run's.
        """
        ctx = self._ctx.of_step(spark)
        started, clock, status, message = ctx.now(), time.monotonic(), "failed", ""
        try:
            with ctx.spread():
                job(ctx)
            ctx.facts.setdefault("rows written", sum(commit.rows for commit in ctx.tables.written.values()))
            status = "done"
        except Exception as error:
            status = "refused" if isinstance(error, AuditRefused) else "failed"
            message = f"{type(error).__name__}: {str(error)[:500]}"
            raise
        finally:
            ctx.forget()
            self._keep(ctx, name, status, started, time.monotonic() - clock, message)
        return ctx.facts

    def _keep(self, ctx: JobContext, name: str, status: str, started: datetime, seconds: float, message: str) -> None:
        written = [(table, str(commit.version)) for table, commit in sorted(ctx.tables.written.items())]
        facts, rows_out = ctx.facts, sum(commit.rows for commit in ctx.tables.written.values())
        read, rejected = facts.get("rows read"), facts.get("rejected")
        row = (
            ctx.run_id, ctx.run_date, name, status, started, round(seconds, 3), read, rows_out, rejected, written,
            message, ctx.settings_digest,
        )  # fmt: skip
        with self._lock:
            self._rows.append(row)
            if status == "done":
                self._done += 1
                ctx.progress.done(name, self._done, self._steps, seconds, facts)
