"""resolve-identities: silver.events -> silver.identity_links, identities, identity_refusals, identity_bad_values,
identity_changes, identity_history, gold.identity_quality."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.components import find_components
from jobs.runtime.decisions import apart, must_links
from jobs.runtime.job import JobContext, main
from jobs.runtime.keys import token_key
from jobs.runtime.match import with_matches
from transforms.contracts import gold, silver
from transforms.identity.anchors import name_customers, with_owner
from transforms.identity.changes import id_change_rate, identity_changes, identity_history, mapping_before
from transforms.identity.identifiers import identified_by_type
from transforms.identity.lawful import lawful_components, refused_links, replay_unlawful
from transforms.identity.links import (
    MAX_HOLDERS,
    identifiers_seen,
    link_identifiers,
    over_held,
    with_decisions,
    without_linking_power,
)
from transforms.identity.quality import against_truth, as_metrics, component_sizes, match_rates

_ALARM = 0.02


def run(ctx: JobContext) -> None:
    """Find who is who among all events that are known on the run date."""
    rules, tables = ctx.settings.identity, ctx.tables
    events = _judged(ctx)
    pairs = ctx.settled(link_identifiers(events, rules.linking), ctx.event_count)
    links = with_decisions(pairs.where("rule is null"), must_links(ctx))
    links_written = tables.replace(silver.IDENTITY_LINKS, with_matches(ctx, events, links))
    seen = ctx.settled(identifiers_seen(events, rules.linking), ctx.event_count)
    bad = seen.where("rule is not null").select(*silver.IDENTITY_BAD_VALUES.column_names)
    tables.replace(silver.IDENTITY_BAD_VALUES, bad.coalesce(1))
    links = tables.read(silver.IDENTITY_LINKS)
    components = ctx.settled(find_components(ctx, links, links_written.rows), ctx.event_count)
    replayed = ctx.settled(replay_unlawful(components, links, seen, apart(ctx), ctx.run_date, rules), 0)
    _write_refusals(ctx, pairs, refused_links(replayed))
    tables.replace(silver.IDENTITIES, name_customers(seen, lawful_components(components, replayed), rules))
    rate = _write_changes(ctx)
    _write_quality(ctx, events, tables.read(silver.IDENTITIES), rate)


def _judged(ctx: JobContext) -> DataFrame:
    """Events on which over-held values link and lead nothing."""
    rules, events = ctx.settings.identity, ctx.known_events()
    held = over_held(events, rules)
    if held is None:
        return events
    held = ctx.settled(held, 0)
    return events if held.isEmpty() else without_linking_power(events, held, rules)


def _write_refusals(ctx: JobContext, pairs: DataFrame, refused: DataFrame) -> None:
    """Pairs of which nothing follows: a value is blocked or over-held, or a rule of the audit refused the link."""
    is_static = F.when(F.col("rule") == MAX_HOLDERS, F.lit("over_limit")).otherwise(F.lit("blocked_value"))
    blocked = pairs.where("rule is not null").withColumn("reason", is_static)
    key = list(silver.IDENTITY_REFUSALS.key)
    links = ctx.tables.read(silver.IDENTITY_LINKS)  # likenesses too
    audited = links.withColumn("rule", F.lit(None).cast("string")).join(refused, key)
    rows = blocked.unionByName(audited).select(*silver.IDENTITY_REFUSALS.column_names)
    ctx.facts["refused links"] = ctx.tables.replace(silver.IDENTITY_REFUSALS, rows.coalesce(1)).rows


def _write_changes(ctx: JobContext) -> DataFrame:
    """Today's changes and the history, and the share of ids that changed.

    A past date is rebuilt beside the lake: the lake's log has that date's changes already.
    """
    tables, lake = ctx.tables, ctx.tables.of_lake()
    before = ctx.settled(mapping_before(lake.read_or_empty(silver.IDENTITY_CHANGES), ctx.run_date), ctx.event_count)
    if not tables.is_past:
        links, refusals = tables.read(silver.IDENTITY_LINKS), tables.read(silver.IDENTITY_REFUSALS)
        changes = identity_changes(before, tables.read(silver.IDENTITIES), links, refusals, ctx.run_date)
        tables.overwrite_slice(silver.IDENTITY_CHANGES, changes.coalesce(1), run_date=ctx.run_date)
        tables.replace(silver.IDENTITY_HISTORY, identity_history(tables.read(silver.IDENTITY_CHANGES)).coalesce(1))
    anchors = [kind.type for kind in ctx.settings.identity.types if kind.anchor]
    written = lake.read(silver.IDENTITY_CHANGES).where(F.col("run_date") == F.lit(ctx.run_date))
    return id_change_rate(written, before, anchors)


def _write_quality(ctx: JobContext, events: DataFrame, identities: DataFrame, rate: DataFrame) -> None:
    rates = match_rates(with_owner(events, identities))
    measured = [component_sizes(identities), rates, as_metrics(rate)]
    if ctx.settings.truth:
        truth = ctx.settled(_truth(ctx, ctx.settings.truth), ctx.event_count)
        measured.append(against_truth(identities, truth, ctx.tables.read(silver.IDENTITY_LINKS)))
    together = reduce(DataFrame.unionByName, measured)
    dated = together.select(F.lit(ctx.run_date).alias("run_date"), "metric", "value").coalesce(1).localCheckpoint()
    ctx.tables.overwrite_slice(gold.IDENTITY_QUALITY, dated, run_date=ctx.run_date)
    known = {row.metric: row.value for row in dated.collect()}
    ctx.facts["identifiers"] = int(known.get("identifiers", 0))
    ctx.facts["customers"] = int(known.get("customers", 0))
    changed = known.get("id_change_rate", 0)
    if changed > _ALARM:
        ctx.progress.warn(
            f"{changed:.1%} of the known customers have another id than yesterday (alarm at {_ALARM:.0%}): "
            f"look at silver.identity_changes of {ctx.run_date}"
        )


def _truth(ctx: JobContext, path: str) -> DataFrame:
    """Which identifiers are one person, in stored form: (identifier_type, identifier, person_id)."""
    truth = ctx.spark.read.parquet(path)
    rules, key = ctx.settings.identity, token_key(ctx.env)
    hashes = {kind.type: ctx.settings.common_hash(kind.type) for kind in rules.types}
    stored = identified_by_type(F.col("identifier_type"), F.col("raw_value"), rules, key, hashes)
    return truth.select("identifier_type", stored.alias("identifier"), "person_id").distinct()


if __name__ == "__main__":
    main(run)
