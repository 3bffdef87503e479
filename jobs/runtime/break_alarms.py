"""Break points are told, never a reason to stop: warnings of the night, and in ops.data_quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.runtime.job import JobContext
from transforms.contracts import gold

Found = tuple[
    str, str, str, str, bool
]  # as the audit's findings: check, what was looked at, observed, expected, passed


def warn_of_break_points(ctx: JobContext, rows: Sequence[dict[str, Any]]) -> int:
    """A warning for each alarm that no other explains; how many."""
    alarms = [row for row in rows if row["status"] == "alarm"]
    for row in alarms:
        ctx.progress.warn(f"break point: {row['message']}: look at {row['look_into']}")
    return len(alarms)


def break_points_found(ctx: JobContext) -> list[Found]:
    """One finding for each alarm of the run date, for ops.data_quality; as many rows as alarms."""
    alarms = ctx.of_run_date(gold.BREAK_POINTS).where("status = 'alarm'").orderBy(*gold.BREAK_POINTS.key)
    return [
        (
            "break_point",
            " ".join([row.stage, row.measure, row.store_id, row.channel, row.source, str(row.event_date)]),
            f"{row.message}: look at {row.look_into}",
            f"about {row.expected}",
            False,
        )
        for row in alarms.collect()
    ]
