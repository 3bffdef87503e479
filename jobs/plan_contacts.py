"""plan-contacts: gold.segment_members, recommendations and touches -> gold.contact_*, experiment_assignments."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.portraits import portraits
from jobs.runtime.side_by_side import side_by_side
from jobs.runtime.suppressions import suppressed_customers
from transforms.contacts.assignments import carried_assignments, drawn_assignments, recorded_variants
from transforms.contacts.history import EVENT_TYPES, contact_history
from transforms.contacts.plan import PLANNED_BY, plan_contacts, summarise_contacts
from transforms.contacts.rules import Strategy, columns_read
from transforms.contracts import gold, silver
from transforms.identity.anchors import is_certain, with_owner


def run(ctx: JobContext) -> None:
    """The plan for the day after the run date, with the reason of everybody left out; what it drew is recorded."""
    identities = ctx.tables.read(silver.IDENTITIES)
    events = with_owner(_events(ctx), identities)
    recorded = ctx.tables.read_or_empty(gold.EXPERIMENT_ASSIGNMENTS)
    carried = ctx.settled(carried_assignments(events, recorded, ctx.run_date), ctx.event_count)
    known = recorded.unionByName(carried)
    people = _people(ctx, events, recorded_variants(known, identities, ctx.run_date))
    plan = plan_contacts(people, ctx.run_date, ctx.settings.strategies, ctx.settings.contacts)
    ctx.tables.overwrite_slice(gold.CONTACT_PLAN, plan, run_date=ctx.run_date)
    written = ctx.of_run_date(gold.CONTACT_PLAN)
    drawn = drawn_assignments(written, known, identities, ctx.run_date)
    side_by_side(lambda: _record(ctx, carried.unionByName(drawn)), lambda: _summarise(ctx, written))


def _events(ctx: JobContext) -> DataFrame:
    """Contacts, answers to them and consents; and what says who is in which experiment."""
    return ctx.events().where(F.col("event_type").isin(*EVENT_TYPES) | F.col("experiment_id").isNotNull())


def _record(ctx: JobContext, new: DataFrame) -> None:
    """Append what is new; nothing that is recorded ever changes, and a rerun finds nothing new."""
    settled = ctx.settled(new, ctx.event_count)
    if not settled.isEmpty() or not ctx.tables.exists(gold.EXPERIMENT_ASSIGNMENTS):
        ctx.tables.append(gold.EXPERIMENT_ASSIGNMENTS, settled.coalesce(1))


def _summarise(ctx: JobContext, plan: DataFrame) -> None:
    """The plan by strategy, channel and reason: a few hundred rows at most."""
    summary = summarise_contacts(plan).coalesce(1)
    ctx.tables.overwrite_slice(gold.CONTACT_SUMMARY, summary, run_date=ctx.run_date)
    rows = ctx.of_run_date(gold.CONTACT_SUMMARY).collect()
    contacts = [row for row in rows if row.suppressed_reason is None]
    ctx.facts["contacts"] = sum(row.customers for row in contacts)
    ctx.facts["left out"] = sum(row.customers for row in rows if row.suppressed_reason is not None)
    ctx.facts["cost"] = sum(row.cost_amount for row in contacts)


def _people(ctx: JobContext, events: DataFrame, variants: DataFrame) -> DataFrame:
    """What `plan_contacts` reads, of every customer whose segments have a strategy."""
    identities, strategies = ctx.tables.read(silver.IDENTITIES), ctx.settings.strategies
    read = sorted({*PLANNED_BY, *columns_read(strategies)} - {"as_of"})
    parts = [
        portraits(ctx).select("customer_id", *read),
        _reach(ctx, identities),
        contact_history(events, ctx.run_date, strategies, ctx.settings.contacts),
        _recommendations(ctx),
        variants,
        suppressed_customers(ctx, identities),
    ]
    people = _segments(ctx, strategies)
    for part in parts:
        people = people.join(part, "customer_id", "left")
    return people.withColumn("as_of", F.lit(ctx.run_date))


def _segments(ctx: JobContext, strategies: Mapping[str, Strategy]) -> DataFrame:
    """(customer_id, `segments`): those for which there is a strategy."""
    served = sorted({name for strategy in strategies.values() for name in strategy.segments})
    members = ctx.of_run_date(gold.SEGMENT_MEMBERS)
    listed = F.sort_array(F.collect_list("segment")).alias("segments")
    return members.where(F.col("segment").isin(served)).groupBy("customer_id").agg(listed)


def _reach(ctx: JobContext, identities: DataFrame) -> DataFrame:
    """(customer_id, `reach`): types of identifiers by which somebody can be reached, and that are theirs for sure."""
    types = sorted({kind for channel in ctx.settings.contacts.channels.values() for kind in channel.reached_by})
    own = identities.where(is_certain() & F.col("identifier_type").isin(types))
    return own.groupBy("customer_id").agg(F.sort_array(F.collect_set("identifier_type")).alias("reach"))


def _recommendations(ctx: JobContext) -> DataFrame:
    """(customer_id, `goods`, `finance`): the best first."""
    rows = ctx.of_run_date(gold.RECOMMENDATIONS)

    def best(kind: str) -> Column:
        of_kind = F.when(F.col("kind") == kind, F.struct("rank", "product_id", "category"))
        ranked = F.sort_array(F.collect_list(of_kind))
        return F.transform(ranked, lambda r: F.struct(r["product_id"], r["category"])).alias(kind)

    return rows.groupBy("customer_id").agg(best("goods"), best("finance"))


if __name__ == "__main__":
    main(run)
