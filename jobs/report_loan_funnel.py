"""report-loan-funnel: silver.activity, orders, customers, gold.segment_members, customer_values, recommendations
-> gold.loan_funnel, finance_audience, finance_audience_reasons."""

from __future__ import annotations

from jobs.runtime.job import JobContext, main
from jobs.runtime.portraits import primary_segments
from jobs.runtime.side_by_side import side_by_side
from transforms.contracts import gold, silver
from transforms.loans.audience import finance_audience, finance_audience_reasons, finance_portraits
from transforms.loans.funnel import loan_funnel, stage_dates


def run(ctx: JobContext) -> None:
    """How far customers come on the way to a loan, and whom finance may be offered."""
    side_by_side(lambda: _funnel(ctx), lambda: _audience(ctx))


def _funnel(ctx: JobContext) -> None:
    stages, rules = ctx.settings.stages, ctx.settings.loans
    activity, orders = ctx.owned(silver.ACTIVITY), ctx.owned(silver.ORDERS)
    steps = ctx.settled(stage_dates(activity, orders, ctx.run_date, stages, rules), ctx.event_count)
    counted = loan_funnel(steps, primary_segments(ctx), ctx.run_date, stages, rules).coalesce(1)
    ctx.facts["stages of funnels"] = ctx.tables.overwrite_slice(gold.LOAN_FUNNEL, counted, run_date=ctx.run_date).rows


def _audience(ctx: JobContext) -> None:
    rules, day = ctx.settings.loans, ctx.run_date
    customers, values = ctx.tables.read(silver.CUSTOMERS), ctx.of_run_date(gold.CUSTOMER_VALUES)
    told = finance_portraits(customers, values, primary_segments(ctx), ctx.owned(silver.ACTIVITY), day, rules)
    portraits = ctx.settled(told, ctx.event_count)
    audience = finance_audience(portraits, day).coalesce(1)
    reasons = finance_audience_reasons(portraits, ctx.of_run_date(gold.RECOMMENDATIONS), day).coalesce(1)
    ctx.tables.overwrite_slice(gold.FINANCE_AUDIENCE, audience, run_date=day)
    ctx.tables.overwrite_slice(gold.FINANCE_AUDIENCE_REASONS, reasons, run_date=day)


if __name__ == "__main__":
    main(run)
