"""Which part of the identity graph a night works out again: what arrived can reach no other, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.decisions import apart, must_links
from jobs.runtime.increments import arrived_since
from jobs.runtime.job import JobContext
from transforms.contracts import silver
from transforms.contracts.state import IDENTITY_CUSTOMERS, IDENTITY_SIZES
from transforms.identity.links import MAX_HOLDERS
from transforms.identity.nodes import ENDS, KEY, PAIR
from transforms.identity.quality import anchored
from transforms.identity.touched import (
    carried_by,
    carrying_any,
    due,
    led_by,
    newly_over_held,
    owners_around,
    seen_again,
    tied_customers,
    whole_customers,
)

_MOST = 2_000_000  # identifiers that are broadcast, some 100 bytes each


@dataclass(frozen=True)
class Closed:
    """Whole customers, and those that a refused link ties to them.

    Attributes:
        identifiers: (identifier_type, identifier) of them, and those that no customer held the night before.
        count: how many they are.
        new: those that no customer held the night before.
        customers: (customer_id,) of the night before.
        before: (identifier_type, identifier, customer_id) of the night before.
        combinations: of all events that carry one of the identifiers.
        is_lead_of_all: whether one of the identifiers leads each of these.
    """

    identifiers: DataFrame
    count: int
    new: DataFrame
    customers: DataFrame
    before: DataFrame
    combinations: DataFrame
    is_lead_of_all: bool

    def of(self, rows: DataFrame, end: Sequence[str]) -> DataFrame:
        """The rows whose identifier, in the two columns of `end`, is in the part."""
        sought = F.broadcast(self.named(end))  # else the millions of rows that they are sought in are moved
        return rows.join(sought, list(end), "left_semi").select(*rows.columns)

    def named(self, end: Sequence[str]) -> DataFrame:
        """`identifiers` in two columns of these names."""
        return self.identifiers.toDF(*end)


@dataclass(frozen=True)
class Part(Closed):
    """What a night looks at, and what was known of it the night before.

    Attributes:
        repeated: silver.identities' rows of blocked identifiers that were seen again.
        held: (identifier_type, identifier) of all values that too many people hold, in the part or not; None: none.
        recounted: those of `held` whose holders may be others than the night before.
        known: (known,), one row: how many customers had an identifier of an anchor type.
    """

    repeated: DataFrame
    held: DataFrame | None
    recounted: DataFrame
    known: DataFrame

    def of_leads(self, pairs: DataFrame) -> DataFrame:
        """The pairs, worked out from `combinations`, whose first end, the lead, is in the part."""
        leads_stand = self.held is None  # else another identifier of an event leads in place of such a value
        return pairs if leads_stand and self.is_lead_of_all else self.of(pairs, ENDS[0])


def touched_part(ctx: JobContext, combinations: DataFrame, count: int) -> Part | None:
    """The closed part that tonight's events and decisions touch; None: all of it is worked out.

    A part is taken where the last run left all tables of one earlier night, only events came since, and there are
    more combinations than `identity.whole_up_to`: below that, all cost less than finding the few.

    Args:
        combinations, count: of all events, and how many they are.
    """
    rules = ctx.settings.identity
    if rules.match or count <= rules.whole_up_to or not _is_of_one_night(ctx):
        return None
    events = arrived_since(ctx, silver.IDENTITIES)
    if events is None:
        return None
    known = ctx.tables.read(silver.IDENTITIES)
    dates = {"arrival_date": "first_arrival_date", "event_date": "last_seen_date"}
    arrived = ctx.settled(carried_by(events.withColumnsRenamed(dates), known), 0)
    bad = ctx.settled(ctx.tables.read(silver.IDENTITY_BAD_VALUES).select(*KEY, "rule"), 0)
    bad, held = bad.select(*KEY), bad.where(F.col("rule") == MAX_HOLDERS).select(*KEY)
    starts = arrived.where("not is_blocked").select(*KEY).union(_decided(ctx)).distinct()
    closed = _closed(ctx, combinations, starts, known, bad)
    # All events that carry what arrived are in it, so that holders are counted and their events found there.
    found = None if closed is None else newly_over_held(closed.combinations, arrived, rules)
    new = None if found is None else ctx.settled(found, 0)
    recounted = arrived.select(*KEY)
    if closed is not None and new is not None and not new.isEmpty():
        led = carrying_any(closed.combinations, new, rules.limited)
        beside = ctx.settled(carried_by(led, known), 0)
        recounted = recounted.union(beside.select(*KEY))
        starts, held = starts.union(beside.where("not is_blocked").select(*KEY)).distinct(), held.union(new)
        closed = _closed(ctx, combinations, starts, known, bad.union(new))
    if closed is None:
        return None
    ctx.facts["looked at again"] = closed.count
    return Part(
        **vars(closed),
        repeated=ctx.settled(seen_again(arrived).join(F.broadcast(closed.new), KEY, "left_anti"), 0),
        held=None if held.isEmpty() else held,
        recounted=ctx.settled(recounted.join(F.broadcast(held), KEY, "left_semi").distinct(), 0),
        known=ctx.settled(anchored(ctx.tables.read(IDENTITY_SIZES)), 0),
    )


def _closed(
    ctx: JobContext, combinations: DataFrame, starts: DataFrame, known: DataFrame, bad: DataFrame
) -> Closed | None:
    """All that a change at some identifiers can reach; None where it is too much to be broadcast."""
    rules, then = ctx.settings.identity, ctx.tables.last_commit(silver.IDENTITIES)
    assert then is not None
    is_due = due(rules, date.fromisoformat(then.metadata["run_date"]), ctx.run_date)
    refusals = ctx.tables.read(silver.IDENTITY_REFUSALS)
    around = ctx.settled(owners_around(starts, refusals, known, is_due), 0)
    customers = ctx.settled(tied_customers(around, refusals), 0)
    before = ctx.settled(whole_customers(customers, known), 0)
    new = ctx.settled(starts.join(F.broadcast(around), KEY, "left_anti"), 0)
    identifiers = before.select(*KEY).union(new)
    if (count := identifiers.count()) > _MOST:
        return None
    near = ctx.settled(led_by(combinations, identifiers, bad), 0)
    others, columns = near.where("not is_led"), combinations.columns
    inside = near.where("is_led").select(*columns)
    is_lead_of_all = others.isEmpty()
    if not is_lead_of_all:
        carrying = carrying_any(others.select(*columns), identifiers, [kind.type for kind in rules.types])
        inside = inside.union(carrying)
    return Closed(identifiers, count, new, customers, before, inside, is_lead_of_all)


def _decided(ctx: JobContext) -> DataFrame:
    """Identifiers that people decided about; a decision may stand since tonight."""
    pairs = apart(ctx).unionByName(must_links(ctx).select(*PAIR))
    return pairs.select(*ENDS[0]).union(pairs.select(*ENDS[1])).toDF(*KEY)


def _is_of_one_night(ctx: JobContext) -> bool:
    """Whether the tables of identity are those of one run, of an earlier night."""
    commits = [ctx.tables.last_commit(table) for table in (*silver.OF_IDENTITY, IDENTITY_CUSTOMERS, IDENTITY_SIZES)]
    runs = {commit.metadata["run_id"] if commit else None for commit in commits}
    dates = [commit.metadata["run_date"] for commit in commits if commit]
    return len(runs) == 1 and None not in runs and dates[0] < ctx.run_date.isoformat()
