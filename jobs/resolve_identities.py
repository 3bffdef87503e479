"""resolve-identities: silver.events -> silver.identity_links, identity_bad_values, identities, identity_quality."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.keys import token_key
from transforms.contracts import gold, silver
from transforms.identity.anchors import name_customers
from transforms.identity.components import connected_components
from transforms.identity.identifiers import identified_by_type
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
    rules, key = ctx.settings.identity, token_key(ctx.env)
    hashes = {kind.type: ctx.settings.common_hash(kind.type) for kind in rules.types}
    stored = identified_by_type(F.col("identifier_type"), F.col("raw_value"), rules, key, hashes)
    return truth.select("identifier_type", stored.alias("identifier"), "person_id").distinct()


if __name__ == "__main__":
    main(run)
