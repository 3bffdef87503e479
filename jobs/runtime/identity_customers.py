"""How many identifiers each customer has and which channels know it, kept from night to night beside the tables."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.increments import basis
from jobs.runtime.job import JobContext
from jobs.runtime.touched import Part
from transforms.contracts.state import IDENTITY_CUSTOMERS as KEPT
from transforms.contracts.state import IDENTITY_SIZES as SIZES
from transforms.identity.quality import added_up, alike, customers_of

# Rows that nights added take the place of others; above this share of all they are put together anew.
_MOST_ADDED = 0.25


def customer_sizes(
    ctx: JobContext, identities: DataFrame, seen_together: DataFrame, channels: Sequence[str], part: Part | None
) -> DataFrame:
    """`transforms.identity.quality.alike` of all customers.

    Args:
        identities, seen_together: of the part that the night looked at, or of all.
        channels: all channels.

    Kept as `<lake>/_state/identity_sizes`, and customer by customer as `identity_customers`: a night adds to both what
    the part's customers were, less, and what they are. To find 1.9 million of them among the combinations of 30 million
    events took 47 of 152 s.
    """
    found = customers_of(identities, seen_together, channels, ctx.settings.identity.anchors)
    if ctx.tables.is_past:
        return ctx.settled(alike(found), 0)
    if part is None:
        ctx.tables.replace(KEPT, found, {**basis(ctx), "rows_added": 0})
        sizes = alike(ctx.tables.read(KEPT))
    else:
        changes = _added(ctx, found, part)
        sizes = added_up(ctx.tables.read(SIZES).unionByName(alike(changes)))
    settled = ctx.settled(sizes.coalesce(1), 0)
    ctx.tables.replace(SIZES, settled, basis(ctx))
    return settled


def _added(ctx: JobContext, found: DataFrame, part: Part) -> DataFrame:
    """What the night adds to the customers kept: what the part's were, less, and what they are."""
    kept, before = ctx.tables.read(KEPT), ctx.tables.last_commit(KEPT)
    assert before is not None
    had = kept.join(F.broadcast(part.customers), "customer_id", "left_semi").select(*kept.columns)
    changes = ctx.settled(added_up(found.unionByName(had.withColumn("customer_count", -F.col("customer_count")))), 0)
    added = before.metadata["rows_added"] + changes.count()
    if added > kept.count() * _MOST_ADDED:
        ctx.tables.replace(KEPT, added_up(kept.unionByName(changes)), {**basis(ctx), "rows_added": 0})
    else:
        ctx.tables.append(KEPT, changes.coalesce(1), {**basis(ctx), "rows_added": added})
    return changes
