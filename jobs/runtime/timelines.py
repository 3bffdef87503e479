"""silver.timelines: made for everybody, or on a night only for those to whom something happened."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.increments import basis
from jobs.runtime.job import JobContext
from jobs.runtime.publications import current
from jobs.runtime.tables import Basis
from transforms.contracts import Table, silver
from transforms.identity.anchors import with_owner
from transforms.tags import build_timelines, timelines_table

# Above this share of customers all cost less than finding the others.
_MOST_TOUCHED = 0.25


def write_timelines(ctx: JobContext, places: DataFrame | None, activity_version: int) -> None:
    """Timelines as silver.activity now is.

    Args:
        places: `concerned_places` of what silver.activity was restated for tonight, from its `activity_version`; None:
            all timelines are made.
    """
    table = timelines_table(ctx.settings.tags)
    touched = None if places is None else _touched(ctx, table, places, activity_version)
    owners = ctx.tables.read(silver.IDENTITIES).where("customer_id is not null")
    if touched is None:
        made = ctx.tables.replace(table, _timelines(ctx, owners), _basis(ctx))
        ctx.facts["timelines"] = made.rows
        return
    again = _timelines(ctx, F.broadcast(owners.join(F.broadcast(touched), "customer_id", "left_semi")))
    made = ctx.tables.replace_rows(table, again, [touched], _basis(ctx))
    ctx.facts["timelines"], ctx.facts["made again"] = made.rows, touched.count()


def _timelines(ctx: JobContext, owners: DataFrame) -> DataFrame:
    """Timelines of the customers of silver.identities' rows."""
    owned = with_owner(ctx.tables.read(silver.ACTIVITY), owners).where("customer_id is not null")
    return build_timelines(owned, ctx.settings.tags)


def _basis(ctx: JobContext) -> Basis:
    versions = {table.name: ctx.tables.version(table) for table in (silver.ACTIVITY, silver.IDENTITIES)}
    return {**basis(ctx), "activity_version": versions["activity"], "identities_version": versions["identities"]}


def _touched(ctx: JobContext, table: Table, places: DataFrame, activity_version: int) -> DataFrame | None:
    """(customer_id,): customers whose timelines are others now; None: make all.

    These own, or owned when timelines were last made, an identifier on an event in question or on another event of its
    order; or they were given or lost an identifier since, as silver.identity_changes says from publication to
    publication. An event's lead is one of its identifiers, whichever of them may lead tonight.
    """
    then = ctx.tables.last_commit(table)
    if then is None or then.metadata.get("built_by") != basis(ctx)["built_by"]:
        return None
    published = {entry.run_id for entry in current(ctx.tables)}
    if then.metadata.get("activity_version") != activity_version or published != {then.metadata["run_id"]}:
        return None
    owners = [
        ctx.tables.read(silver.IDENTITIES, version).where("customer_id is not null")
        for version in (None, then.metadata["identities_version"])
    ]
    leads = places.where("lead_identifier is not null").select("lead_identifier_type", "lead_identifier").distinct()
    named = ctx.settled(leads.toDF("identifier_type", "identifier"), ctx.event_count)
    changes = ctx.tables.read(silver.IDENTITY_CHANGES).where(F.col("run_date") == F.lit(ctx.run_date))
    customers = [
        *[
            of.join(F.broadcast(named), ["identifier_type", "identifier"], "left_semi").select("customer_id")
            for of in owners
        ],
        *[changes.select(F.col(name).alias("customer_id")) for name in ("customer_id", "previous_customer_id")],
    ]
    found = customers[0].union(customers[1]).union(customers[2]).union(customers[3])
    touched = ctx.settled(found.where("customer_id is not null").distinct(), ctx.event_count)
    return touched if touched.count() <= _MOST_TOUCHED * then.rows else None
