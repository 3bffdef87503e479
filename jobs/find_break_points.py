"""find-break-points: silver.activity, silver.events, ops.landing_files -> gold.break_points."""

from __future__ import annotations

from jobs.runtime.break_alarms import warn_of_break_points
from jobs.runtime.job import JobContext, main
from jobs.runtime.side_by_side import side_by_side
from transforms.break_points.night import find_break_points
from transforms.break_points.volumes import arrivals, feed_volumes, stage_volumes
from transforms.contracts import gold, ops, silver


def run(ctx: JobContext) -> None:
    """Count by Spark, as many rows as stages, stores, channels and days; judge them here; warn of alarms."""
    rules, stages, day = ctx.settings.break_points, ctx.settings.stages, ctx.run_date
    files = arrivals(ctx.tables.read_or_empty(ops.LANDING_FILES), day, rules)
    volumes, of_feeds = side_by_side(
        lambda: stage_volumes(ctx.tables.read(silver.ACTIVITY), stages, day, rules).toArrow().to_pandas(),
        lambda: feed_volumes(ctx.known_events(), day, rules).toArrow().to_pandas(),
    )
    rows = find_break_points(
        volumes,
        of_feeds,
        files.toArrow().to_pandas(),
        stages=stages,
        rules=rules,
        daily=[source.name for source in ctx.settings.sources.values() if source.expected == "daily"],
        as_of=day,
    )
    frame = ctx.small_frame(rows, gold.BREAK_POINTS)
    ctx.tables.overwrite_slice(gold.BREAK_POINTS, frame, run_date=day)
    ctx.facts["judged"] = sum(row["status"] not in ("too_few", "base_moved") for row in rows)
    ctx.facts["alarms"] = warn_of_break_points(ctx, rows)


if __name__ == "__main__":
    main(run)
