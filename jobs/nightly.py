"""nightly: every step in order, in one Spark application; `--from STEP` resumes, `--dates A..B` backfills."""

from __future__ import annotations

import argparse
import sys
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


# These see only what arrived, and judge by that whether their plans are worth compiling.
_READS_RAW = ("ingest-events", "clean-events")
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
    names = list(STEPS)
    skipped = names[: names.index(first)] if first else []
    beside = (
        " (a past date: silver's state is built beside the lake)"
        if ctx.tables.path("silver.orders").find("_scratch") > 0
        else ""
    )
    ctx.progress.note(f"night of {ctx.run_date}{beside}")
    if skipped:
        ctx.progress.note(f"skipped, as --from says: {', '.join(skipped)}")
    with RunLog(ctx) as log, ExitStack() as whole_night:
        whole_night.enter_context(ctx.interpreted(0))  # but for what turns out to be large
        is_known = False
        for number, (name, job) in enumerate(STEPS.items(), start=1):
            if name in skipped:
                continue
            if not is_known and name not in _READS_RAW:  # once: events do not change after clean-events
                rows, is_known = ctx.event_count, True
                new = rows if skipped else ctx.facts.get("events", 0)  # as clean-events said just now
                whole_night.enter_context(ctx.restating() if new < rows * _FEW_NEW else ctx.interpreted(rows))
                whole_night.enter_context(ctx.kept_events(rows))
            log.step(name, job, number, len(STEPS))


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
