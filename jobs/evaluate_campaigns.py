"""evaluate-campaigns: silver.events, orders, gold.segment_members, contact_plan -> gold.campaign_results,
campaign_reviews, funnels, path_flows, page_heat."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.portraits import primary_segments
from jobs.runtime.side_by_side import side_by_side
from transforms.campaigns.results import EVENT_TYPES, campaign_purchases, campaign_results, campaign_touches
from transforms.campaigns.reviews import review_campaigns
from transforms.contracts import gold, silver
from transforms.funnels import count_funnels
from transforms.identity.anchors import with_owner
from transforms.visits import find_visits, page_heat, path_flows, ways_taken


def run(ctx: JobContext) -> None:
    """What campaigns brought, each against its predecessors and control; funnels, and the ways within visits."""
    orders = ctx.owned(silver.ORDERS)
    side_by_side(lambda: _campaigns(ctx, orders), lambda: _funnels(ctx, orders))
    _visits(ctx)


def _campaigns(ctx: JobContext, orders: DataFrame) -> None:
    rules, day = ctx.settings.campaigns, ctx.run_date
    events = with_owner(ctx.events().where(F.col("event_type").isin(*EVENT_TYPES)), ctx.tables.read(silver.IDENTITIES))
    touches = ctx.settled(campaign_touches(events, orders, day, rules), ctx.event_count)
    bought = ctx.settled(campaign_purchases(events, orders, day, rules), ctx.event_count)
    results = campaign_results(events, touches, bought, primary_segments(ctx), day, rules).coalesce(1)
    ctx.tables.overwrite_slice(gold.CAMPAIGN_RESULTS, results, run_date=day)
    written = ctx.tables.read(gold.CAMPAIGN_RESULTS).where(F.col("run_date") == F.lit(day))
    reviews = review_campaigns(written, _control(ctx), orders, day, rules).coalesce(1)
    ctx.facts["campaigns"] = ctx.tables.overwrite_slice(gold.CAMPAIGN_REVIEWS, reviews, run_date=day).rows


def _funnels(ctx: JobContext, orders: DataFrame) -> None:
    events = with_owner(ctx.events(), ctx.tables.read(silver.IDENTITIES))
    counted = count_funnels(events, orders, primary_segments(ctx), ctx.run_date, ctx.settings.funnels)
    ctx.facts["steps of funnels"] = ctx.tables.overwrite_slice(
        gold.FUNNELS, counted.coalesce(1), run_date=ctx.run_date
    ).rows


def _visits(ctx: JobContext) -> None:
    visits = ctx.settled(find_visits(ctx.events(), ctx.run_date, ctx.settings.visits), ctx.event_count)
    side_by_side(lambda: _paths(ctx, visits), lambda: _heat(ctx, visits))


def _paths(ctx: JobContext, visits: DataFrame) -> None:
    ways = ctx.settled(ways_taken(visits), ctx.event_count)
    flows = path_flows(ways, ctx.run_date, ctx.settings.visits).coalesce(1)
    ctx.tables.overwrite_slice(gold.PATH_FLOWS, flows, run_date=ctx.run_date)


def _heat(ctx: JobContext, visits: DataFrame) -> None:
    ctx.tables.overwrite_slice(gold.PAGE_HEAT, page_heat(visits, ctx.run_date).coalesce(1), run_date=ctx.run_date)


def _control(ctx: JobContext) -> DataFrame:
    """(strategy, customer_id, contact_date): whom plans up to the run date left alone to judge the others by."""
    plan = ctx.tables.read_or_empty(gold.CONTACT_PLAN).where(F.col("run_date") <= F.lit(ctx.run_date))
    left_alone = plan.where(F.col("suppressed_reason").isin("holdout", "control"))
    return left_alone.select("strategy", "customer_id", "contact_date")


if __name__ == "__main__":
    main(run)
