"""The combinations of identifiers on all events known, kept from night to night beside the lake's tables."""

from __future__ import annotations

from pyspark.sql import DataFrame

from jobs.runtime.increments import arrived_since, basis
from jobs.runtime.job import JobContext
from transforms.contracts.state import IDENTITY_COMBINATIONS as KEPT
from transforms.identity.combinations import carrying, combine, straddling, unbound_pairs

# Rows that nights added lie beside those that they repeat; above this share of all events they are put together anew.
_MOST_ADDED = 0.25


def known_combinations(ctx: JobContext) -> DataFrame:
    """`transforms.identity.combinations.combine` of all events known on the run date.

    Kept as `<lake>/_state/identity_combinations`: a night adds those of the events that arrived. A past date's are
    made from the events, and not kept.
    """
    if ctx.tables.is_past:
        return ctx.settled(_of_all(ctx), ctx.event_count)
    arrived = arrived_since(ctx, KEPT)
    if arrived is None or not _added(ctx, arrived):
        ctx.tables.replace(KEPT, _of_all(ctx), {**basis(ctx), "events_added": 0})
    return ctx.tables.read(KEPT)


def _added(ctx: JobContext, arrived: DataFrame) -> bool:
    """Add the combinations of some events; False where an older row must be made again or rows have become many."""
    before = ctx.tables.last_commit(KEPT)
    assert before is not None
    count = arrived.count()
    added = before.metadata["events_added"] + count
    if added > ctx.event_count * _MOST_ADDED:
        return False
    if not count and before.metadata["run_date"] == ctx.run_date.isoformat():
        return True
    kept = ctx.tables.read(KEPT)
    unbinds = ctx.settled(unbound_pairs(kept.unionByName(combine(arrived))), 0)
    if not unbinds.isEmpty() and not straddling(kept, unbinds).isEmpty():
        return False
    new = combine(arrived, None if unbinds.isEmpty() else unbinds)
    ctx.tables.append(KEPT, new, {**basis(ctx), "events_added": added})
    return True


def _of_all(ctx: JobContext) -> DataFrame:
    """Combinations of all events; only where an unbinding falls among the events of one are these told apart."""
    events = ctx.known_events()
    combined = ctx.settled(combine(events), ctx.event_count)
    unbinds = ctx.settled(unbound_pairs(combined), 0)
    if unbinds.isEmpty():
        return combined
    torn = ctx.settled(straddling(combined, unbinds), 0)
    if torn.isEmpty():
        return combined
    return carrying(combined, torn)[1].unionByName(combine(carrying(events, torn)[0], unbinds))
