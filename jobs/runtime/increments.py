"""What a night has to look at again: events that came since a table was last built from them.

A table that follows silver.events is stamped with what it was built from. While nothing but new files came since, the
events in them say which of its rows change; after anything else (a rewritten date, other settings, another release)
it is built whole. Both give the same rows, so the choice is only one of cost.
"""

from __future__ import annotations

from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import jobs
from jobs.runtime.job import JobContext
from jobs.runtime.tables import Basis, Commit
from transforms.contracts import Table, silver
from transforms.identity.links import MAX_HOLDERS
from transforms.identity.touched import carrying_any

# Above this share of new events a rebuild is cheaper: nearly every date and order is touched.
_MOST_NEW = 0.25


def basis(ctx: JobContext) -> Basis:
    """What a table that is built now from silver.events is built from."""
    return {
        "events_version": ctx.tables.version(silver.EVENTS),
        "held_version": ctx.tables.version(silver.IDENTITY_BAD_VALUES),
        "built_by": f"{ctx.settings_digest} {jobs.__version__}",
    }


def arrived_since(ctx: JobContext, table: Table) -> DataFrame | None:
    """silver.events' rows that became known after the table's last commit; None: build it whole.

    They are in files that came since, or came before and are due only now (a reload takes all that ever arrived).
    """
    then = _last_built(ctx, table)
    since = (then.metadata["events_version"], _run_date(then)) if then else None
    with ctx.arrived_lock:
        if since and since not in ctx.arrived:  # tables that were built together have the same
            ctx.arrived[since] = _arrived(ctx, *since)
    return ctx.arrived[since] if since else None


def _arrived(ctx: JobContext, version: int, until: date) -> DataFrame | None:
    files = ctx.tables.files_added(silver.EVENTS, version)
    if files is None:
        return None
    new = ctx.tables.read_files(silver.EVENTS, files).select(*silver.EVENTS.column_names)
    due = ctx.tables.read_above(silver.EVENTS, "arrival_date", until, version)
    known = new.unionByName(due).where(F.col("arrival_date") <= F.lit(ctx.run_date))
    arrived = ctx.settled(known, 0)
    return arrived if arrived.count() <= ctx.event_count * _MOST_NEW else None


def events_in_question(ctx: JobContext, table: Table) -> DataFrame | None:
    """Events up to the run date that arrived, whose date came, or whose lead changed, since the table's last commit.

    Returns:
        silver.events' columns, rows possibly twice; None: build the table whole.
    """
    arrived, then = arrived_since(ctx, table), _last_built(ctx, table)
    if arrived is None or then is None:
        return None
    came = ctx.known_events().where(F.col("event_date") > F.lit(_run_date(then)))
    concerned = [arrived, came]
    versions = (then.metadata["held_version"], basis(ctx)["held_version"])
    if -1 in versions and len({*versions}) > 1:
        return None
    if len({*versions}) > 1 and not (held := _held_differently(ctx, *versions)).isEmpty():
        concerned.append(carrying_any(ctx.known_events(), held, ctx.settings.identity.limited))
    together = reduce(DataFrame.unionByName, concerned)
    return together.where(F.col("event_date") <= F.lit(ctx.run_date))


def _last_built(ctx: JobContext, table: Table) -> Commit | None:
    """The table's last commit, where rows of today can be built on it."""
    then = None if ctx.full or ctx.tables.is_past else ctx.tables.last_commit(table)
    if then is None or then.metadata.get("built_by") != basis(ctx)["built_by"]:
        return None
    return then if _run_date(then) <= ctx.run_date else None  # a later night died before it was through


def _run_date(then: Commit) -> date:
    return date.fromisoformat(then.metadata["run_date"])


def _held_differently(ctx: JobContext, *versions: int) -> DataFrame:
    """Values that too many people hold at one of two versions and not at the other."""
    held = [
        ctx.tables.read(silver.IDENTITY_BAD_VALUES, version)
        .where(F.col("rule") == MAX_HOLDERS)
        .select("identifier_type", "identifier")
        for version in versions
    ]
    return ctx.settled(held[0].exceptAll(held[1]).unionByName(held[1].exceptAll(held[0])), 0)
