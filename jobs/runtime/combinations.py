"""The combinations of identifiers on all events known, kept from night to night beside the lake's tables."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame

from jobs.runtime.increments import arrived_since, basis
from jobs.runtime.job import JobContext
from jobs.runtime.tables import Basis
from transforms.contracts.state import IDENTITY_COMBINATIONS as KEPT
from transforms.identity.combinations import carrying, combine, straddling, unbound_pairs, with_static_lead

# Rows that nights added lie beside those that they repeat; above this share of all events they are put together anew.
_MOST_ADDED = 0.25


@dataclass(frozen=True)
class Combinations:
    """`transforms.identity.combinations.combine` of all events known on the run date, with their static leads.

    Attributes:
        sources, channels: all that are among them, sorted.
    """

    rows: DataFrame
    sources: list[str]
    channels: list[str]


def known_combinations(ctx: JobContext) -> Combinations:
    """The combinations on the run date.

    Kept as `<lake>/_state/identity_combinations`: a night adds those of the events that arrived. A past date's are
    made from the events, and not kept.
    """
    if ctx.tables.is_past:
        return _named(ctx.settled(_of_all(ctx), ctx.event_count))
    arrived = arrived_since(ctx, KEPT)
    if arrived is None or not _added(ctx, arrived):
        made = _named(_of_all(ctx))
        ctx.tables.replace(KEPT, made.rows, {**_stamp(ctx, made), "events_added": 0})
    last = ctx.tables.last_commit(KEPT)
    assert last is not None
    return Combinations(ctx.tables.read(KEPT), last.metadata["sources"], last.metadata["channels"])


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
    kept, rows = ctx.tables.read(KEPT), ctx.settled(_combined(ctx, arrived), 0)
    unbinds = ctx.settled(unbound_pairs(kept.unionByName(rows)), 0)
    if not unbinds.isEmpty():
        if not straddling(kept, unbinds).isEmpty():
            return False
        rows = ctx.settled(_combined(ctx, arrived, unbinds), 0)
    new = _named(rows)
    sources, channels = (sorted({*before.metadata[name], *getattr(new, name)}) for name in ("sources", "channels"))
    stamp = _stamp(ctx, Combinations(new.rows, sources, channels))
    ctx.tables.append(KEPT, new.rows, {**stamp, "events_added": added})
    return True


def _of_all(ctx: JobContext) -> DataFrame:
    """Combinations of all events; only where an unbinding falls among the events of one are these told apart."""
    events = ctx.known_events()
    combined = ctx.settled(_combined(ctx, events), ctx.event_count)
    unbinds = ctx.settled(unbound_pairs(combined), 0)
    if unbinds.isEmpty():
        return combined
    torn = ctx.settled(straddling(combined, unbinds), 0)
    if torn.isEmpty():
        return combined
    return carrying(combined, torn)[1].unionByName(_combined(ctx, carrying(events, torn)[0], unbinds))


def _combined(ctx: JobContext, events: DataFrame, unbinds: DataFrame | None = None) -> DataFrame:
    return with_static_lead(combine(events, unbinds), ctx.settings.identity.linking)


def _named(combinations: DataFrame) -> Combinations:
    rows = combinations.select("source", "channel").distinct().collect()
    sources, channels = ({row[name] for row in rows} for name in ("source", "channel"))
    return Combinations(combinations, sorted(sources), sorted(channels))


def _stamp(ctx: JobContext, combinations: Combinations) -> Basis:
    return {**basis(ctx), "sources": combinations.sources, "channels": combinations.channels}
