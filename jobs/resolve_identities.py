"""resolve-identities: silver.events -> silver.identity_links, identity_bad_values, identities; gold.identity_quality."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.keys import token_key
from transforms.contracts import gold, silver
from transforms.identity.anchors import name_customers
from transforms.identity.components import connected_components
from transforms.identity.identifiers import identified
from transforms.identity.links import identifiers_seen, link_identifiers
from transforms.identity.quality import against_truth, component_sizes


def run(ctx: JobContext) -> None:
    """Find who is who among all events that are known on the run date."""
    rules = ctx.settings.identity
    events = ctx.events()
    ctx.tables.replace(silver.IDENTITY_LINKS, link_identifiers(events, rules.linking))
    seen = identifiers_seen(events, rules.linking).persist()
    bad = seen.where("rule is not null").select(*silver.IDENTITY_BAD_VALUES.column_names)
    ctx.tables.replace(silver.IDENTITY_BAD_VALUES, bad.coalesce(1))
    components = connected_components(ctx.tables.read(silver.IDENTITY_LINKS))
    ctx.tables.replace(silver.IDENTITIES, name_customers(seen, components, rules))
    seen.unpersist()
    _write_quality(ctx, ctx.tables.read(silver.IDENTITIES))


def _write_quality(ctx: JobContext, identities: DataFrame) -> None:
    measured = component_sizes(identities)
    if ctx.settings.truth:
        measured = measured.unionByName(against_truth(identities, _truth(ctx, ctx.settings.truth)))
    dated = measured.select(F.lit(ctx.run_date).alias("run_date"), "metric", "value").coalesce(1).localCheckpoint()
    ctx.tables.overwrite_slice(gold.IDENTITY_QUALITY, dated, run_date=ctx.run_date)
    known = {row.metric: row.value for row in dated.collect()}
    ctx.facts["identifiers"] = int(known.get("identifiers", 0))
    ctx.facts["customers"] = int(known.get("customers", 0))


def _truth(ctx: JobContext, path: str) -> DataFrame:
    """Which identifiers are one person, in stored form: (identifier_type, identifier, person_id)."""
    truth = ctx.spark.read.parquet(path)
    stored = None
    for kind in ctx.settings.identity.types:
        found = identified(
            F.col("raw_value"),
            kind,
            region=ctx.settings.identity.default_region,
            key=token_key(ctx.env),
            common_hash=ctx.settings.common_hash(kind.type),
        )
        part = truth.where(F.col("identifier_type") == kind.type).select(
            "identifier_type", found["value"].alias("identifier"), "person_id"
        )
        stored = part if stored is None else stored.unionByName(part)
    assert stored is not None
    return stored.distinct()


if __name__ == "__main__":
    main(run)
