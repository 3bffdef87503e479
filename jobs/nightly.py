"""nightly: every step, in one Spark application; `--from STEP` resumes, `--dates A..B` backfills."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date, timedelta

from jobs import (
    audit,
    build_activity,
    build_customers,
    build_orders,
    build_segments,
    clean_events,
    compute_tags,
    evaluate_campaigns,
    evaluate_experiments,
    find_break_points,
    ingest_events,
    plan_contacts,
    publish,
    read_feedback,
    recommend_products,
    report_kpis,
    report_loan_funnel,
    report_trade,
    resolve_identities,
    score_rfm,
    value_customers,
)
from jobs.runtime.job import DONE, Job, JobContext, a_date, add_arguments, context, guarded, lake_tables
from jobs.runtime.run_log import RunLog
from jobs.runtime.side_by_side import in_order_of_need, own_sessions

# Orders come before customers, whose first_order_date is read from them.
STEPS: dict[str, Job] = {
    "ingest-events": ingest_events.run,
    "clean-events": clean_events.run,
    "resolve-identities": resolve_identities.run,
    "build-orders": build_orders.run,
    "build-customers": build_customers.run,
    "build-activity": build_activity.run,
    "read-feedback": read_feedback.run,
    "compute-tags": compute_tags.run,
    "score-rfm": score_rfm.run,
    "value-customers": value_customers.run,
    "build-segments": build_segments.run,
    "recommend-products": recommend_products.run,
    "plan-contacts": plan_contacts.run,
    "report-loan-funnel": report_loan_funnel.run,
    "evaluate-experiments": evaluate_experiments.run,
    "evaluate-campaigns": evaluate_campaigns.run,
    "report-kpis": report_kpis.run,
    "report-trade": report_trade.run,
    "find-break-points": find_break_points.run,
    "audit": audit.run,
    "publish": publish.run,
}


# The steps whose tables each reads: side by side, each runs once these are done.
NEEDS: dict[str, tuple[str, ...]] = {
    "ingest-events": (),
    "clean-events": ("ingest-events",),
    "resolve-identities": ("clean-events",),
    "build-orders": ("resolve-identities",),
    "build-customers": ("build-orders",),
    "build-activity": ("resolve-identities",),
    "read-feedback": ("resolve-identities",),
    "compute-tags": ("build-customers", "build-activity"),
    "score-rfm": ("build-customers", "build-activity"),
    "value-customers": ("compute-tags",),
    "build-segments": ("score-rfm", "value-customers"),
    "recommend-products": ("score-rfm", "value-customers"),
    "plan-contacts": ("build-segments", "recommend-products"),
    "report-loan-funnel": ("build-segments", "recommend-products"),
    "evaluate-experiments": ("plan-contacts",),
    "evaluate-campaigns": ("plan-contacts",),
    "report-kpis": ("evaluate-campaigns",),
    "report-trade": ("build-segments",),
    "find-break-points": ("build-activity",),
    "audit": (
        "read-feedback", "report-loan-funnel", "evaluate-experiments", "report-kpis", "report-trade",
        "find-break-points",
    ),
    "publish": ("audit",),
}  # fmt: skip

# They see only what arrived, and judge by that whether their plans are worth compiling.
_READ_RAW = ("ingest-events", "clean-events")
# Below this share of new events a night restates; above, it builds.
_FEW_NEW = 0.25


def add_nightly_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every job, and those of a whole night."""
    add_arguments(parser)
    next(action for action in parser._actions if action.dest == "date").required = False
    parser.add_argument("--from", dest="first", choices=list(STEPS), metavar="STEP", help="resume at this step")
    parser.add_argument("--dates", type=_date_range, metavar="A..B", help="run every date from A to B, in order")


def run_nightly(arguments: argparse.Namespace) -> int:
    """Run one night, or one after another; stops at the first that fails."""
    dates = arguments.dates or [arguments.date]
    if dates == [None]:
        raise SystemExit("nightly: give --date D or --dates A..B")
    arguments.date = dates[0]
    ctx = context(arguments)
    for number, day in enumerate(dates):
        ctx.run_date = day
        ctx.run_id = f"{day.isoformat()}-{ctx.run_id[11:]}"
        ctx.tables = lake_tables(ctx.spark, arguments.lake, ctx.run_id, day)
        ctx.full, ctx.arrived = arguments.full and number == 0, {}
        run_night(ctx, arguments.first)
    return DONE


def run_night(ctx: JobContext, first: str | None = None) -> None:
    """All steps of one date, from `first` on."""
    names = [*STEPS]
    left = names[names.index(first) if first else 0 :]
    skipped = [name for name in names if name not in left]
    _announce(ctx, skipped)
    with RunLog(ctx, steps=len(names), done=len(skipped)) as log, ExitStack() as whole_night:
        whole_night.enter_context(ctx.interpreted(0))  # but for what turns out to be large
        raw = {name: log.step(name, STEPS[name]) for name in left if name in _READ_RAW}
        rows = ctx.event_count  # which does not change after clean-events
        new = [*raw.values()][-1].get("events", 0) if raw else rows
        is_restating = new < rows * _FEW_NEW
        whole_night.enter_context(ctx.restating() if is_restating else ctx.interpreted(rows))
        whole_night.enter_context(ctx.kept_events(rows))
        _run_rest(ctx, log, [name for name in left if name not in raw], rows)


def _announce(ctx: JobContext, skipped: Sequence[str]) -> None:
    beside = " (a past date: silver's state is built beside the lake)" if ctx.tables.is_past else ""
    ctx.progress.note(f"night of {ctx.run_date}{beside}")
    if skipped:
        ctx.progress.note(f"skipped, as --from says: {', '.join(skipped)}")


def _run_rest(ctx: JobContext, log: RunLog, names: Sequence[str], rows: int) -> None:
    """The steps that read silver.events, side by side where these are few."""
    rules, done = ctx.settings.nightly, set[str]()
    at_once = rules.steps_at_once if rows <= rules.one_by_one_above else 1
    try:
        with own_sessions(ctx.spark) as session:

            def run(name: str) -> None:
                log.step(name, STEPS[name], session())
                done.add(name)

            in_order_of_need(names, NEEDS, at_once, run)
    except Exception:
        if not ctx.is_erasing:  # whose command goes on by itself
            missing = next(name for name in names if name not in done)
            ctx.progress.warn(f"the night stopped: once mended, go on with `--date {ctx.run_date} --from {missing}`")
        raise


def _date_range(text: str) -> list[date]:
    first, _, last = text.partition("..")
    start, end = a_date(first), a_date(last or first)
    if end < start:
        raise argparse.ArgumentTypeError(f"{text}: the first date comes after the last")
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def main() -> None:
    """Entry for spark-submit."""
    parser = argparse.ArgumentParser(prog="nightly", description=__doc__)
    add_nightly_arguments(parser)
    sys.exit(guarded(lambda: run_nightly(parser.parse_args())))


if __name__ == "__main__":
    main()
