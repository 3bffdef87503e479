"""ops.job_runs: what each step of a run read, wrote and took, kept also when a step fails."""

from __future__ import annotations

import time
from datetime import datetime
from types import TracebackType
from typing import Any

from jobs.runtime.job import AuditRefused, Job, JobContext
from transforms.contracts import ops


class RunLog:
    """Runs steps and keeps one row for each; all rows are written at once when the run ends (a write costs 1 s)."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx
        self._rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows and (error is None or isinstance(error, Exception)):
            frame = self._ctx.small_frame(self._rows, ops.JOB_RUNS)
            self._ctx.tables.append(ops.JOB_RUNS, frame)

    def step(self, name: str, job: Job, number: int, total: int) -> None:
        """Run one step and note how it went."""
        ctx = self._ctx
        ctx.facts, ctx.tables.written = {}, {}
        started, clock, status, message = ctx.now(), time.monotonic(), "failed", ""
        try:
            with ctx.progress.step(name, number, total) as facts, ctx.spread():
                job(ctx)
                ctx.facts.setdefault("rows written", sum(commit.rows for commit in ctx.tables.written.values()))
                facts.update(ctx.facts)
            status = "done"
        except Exception as error:
            status = "refused" if isinstance(error, AuditRefused) else "failed"
            message = f"{type(error).__name__}: {str(error)[:500]}"
            raise
        finally:
            ctx.forget()
            self._keep(name, status, started, time.monotonic() - clock, message)

    def _keep(self, name: str, status: str, started: datetime, seconds: float, message: str) -> None:
        ctx = self._ctx
        written = [(table, str(commit.version)) for table, commit in sorted(ctx.tables.written.items())]
        rows_out = sum(commit.rows for commit in ctx.tables.written.values())
        facts = ctx.facts
        self._rows.append(
            (
                ctx.run_id,
                ctx.run_date,
                name,
                status,
                started,
                round(seconds, 3),
                facts.get("rows read"),
                rows_out,
                facts.get("rejected"),
                written,
                message,
                ctx.settings_digest,
            )
        )
