"""How many identifiers each customer has and which channels know it, kept from night to night beside the tables."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.increments import basis
from jobs.runtime.job import JobContext
from jobs.runtime.touched import Part
from transforms.contracts.state import IDENTITY_CUSTOMERS as KEPT
from transforms.identity.quality import customers_of


def known_customers(
    ctx: JobContext, identities: DataFrame, seen_together: DataFrame, channels: Sequence[str], part: Part | None
) -> DataFrame:
    """`transforms.identity.quality.customers_of` of all customers.

    Args:
        identities, seen_together: of the part that the night looked at, or of all.
        channels: all channels.

    Kept as `<lake>/_state/identity_customers`, where a night puts the part's customers in the place of those that
    the part had before: to find 1.9 million among the combinations of 30 million events took 47 of 152 s.
    """
    found = customers_of(identities, seen_together, channels)
    if ctx.tables.is_past:
        return ctx.settled(found, ctx.event_count)
    if part is not None:
        had = part.before.select("customer_id").distinct()
        found = ctx.tables.read(KEPT).join(F.broadcast(had), "customer_id", "left_anti").unionByName(found)
    ctx.tables.replace(KEPT, found, basis(ctx))
    return ctx.tables.read(KEPT)
