"""resolve-identities: silver.events -> silver.identity_links, identities, identity_refusals, identity_bad_values,
identity_changes, identity_history, gold.identity_quality."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.combinations import known_combinations
from jobs.runtime.components import find_components
from jobs.runtime.decisions import apart, must_links
from jobs.runtime.job import JobContext, main, side_by_side
from jobs.runtime.keys import token_key
from jobs.runtime.match import with_matches
from transforms.contracts import gold, silver
from transforms.events import with_lead
from transforms.identity.anchors import name_customers, with_owner
from transforms.identity.changes import (
    changed_owners,
    extend_history,
    id_change_rate,
    identity_changes,
    identity_history,
    mapping_before,
    mapping_on,
    told_changes,
)
from transforms.identity.identifiers import identified_by_type
from transforms.identity.lawful import (
    lawful_components,
    place,
    refused_links,
    replay_unlawful,
    unlawful_components,
)
from transforms.identity.links import (
    MAX_HOLDERS,
    bad_values,
    blocked_pairs,
    identifiers_seen,
    link_identifiers,
    over_held,
    with_decisions,
    without_linking_power,
)
from transforms.identity.quality import against_truth, as_metrics, component_sizes, match_rates

_ALARM = 0.02
_FEW = 1_000_000


def run(ctx: JobContext) -> None:
    """Find who is who among all events that are known on the run date."""
    combinations = known_combinations(ctx)
    with ctx.interpreted(combinations.count()):
        _resolve(ctx, combinations)


def _resolve(ctx: JobContext, combinations: DataFrame) -> None:
    rules, tables = ctx.settings.identity, ctx.tables
    seen_together = _judged(ctx, combinations)
    bad = bad_values(seen_together, rules.linking).coalesce(1)
    tables.replace(silver.IDENTITY_BAD_VALUES, bad)
    links_written = tables.replace(silver.IDENTITY_LINKS, with_matches(ctx, _evidence(ctx, seen_together)))
    seen = identifiers_seen(seen_together, rules.linking)
    links = tables.read(silver.IDENTITY_LINKS)
    placed = ctx.settled(place(seen, find_components(ctx, links, links_written.rows)), ctx.event_count)
    replayed = _replayed(ctx, placed, links)
    named = name_customers(lawful_components(placed, replayed), rules)
    side_by_side(
        lambda: tables.replace(silver.IDENTITIES, named),
        lambda: _write_refusals(ctx, seen_together, refused_links(replayed)),
    )
    rate, measured = side_by_side(
        lambda: _write_changes(ctx), lambda: _measured(ctx, seen_together, tables.read(silver.IDENTITIES))
    )
    _write_quality(ctx, measured.unionByName(as_metrics(rate)))


def _judged(ctx: JobContext, combinations: DataFrame) -> DataFrame:
    """The combinations of identifiers on all events with their leads; over-held values link and lead nothing."""
    rules = ctx.settings.identity
    held = over_held(combinations, rules)
    held = None if held is None else ctx.settled(held, 0)
    if held is None or held.isEmpty():
        return with_lead(combinations, rules.linking)
    return without_linking_power(combinations, held, rules)


def _evidence(ctx: JobContext, seen_together: DataFrame) -> DataFrame:
    sources = [row.source for row in seen_together.select("source").distinct().collect()]
    return with_decisions(link_identifiers(seen_together, ctx.settings.identity.linking, sources), must_links(ctx))


def _replayed(ctx: JobContext, placed: DataFrame, links: DataFrame) -> DataFrame:
    """What became of the components that break a rule."""
    rules, pairs = ctx.settings.identity, apart(ctx)
    unlawful = ctx.settled(unlawful_components(placed, pairs, ctx.run_date, rules), 0)
    return ctx.settled(replay_unlawful(placed, unlawful, links, pairs, ctx.run_date, rules), 0)


def _write_refusals(ctx: JobContext, seen_together: DataFrame, refused: DataFrame) -> None:
    """Pairs of which nothing follows: a value is blocked or over-held, or a rule of the audit refused the link."""
    is_static = F.when(F.col("rule") == MAX_HOLDERS, F.lit("over_limit")).otherwise(F.lit("blocked_value"))
    blocked = blocked_pairs(seen_together, ctx.settings.identity.linking).withColumn("reason", is_static)
    links = ctx.tables.read(silver.IDENTITY_LINKS).withColumn("rule", F.lit(None).cast("string"))
    audited = links.join(F.broadcast(refused), list(silver.IDENTITY_REFUSALS.key))
    columns = silver.IDENTITY_REFUSALS.column_names
    rows = blocked.select(*columns).unionByName(audited.select(*columns))
    ctx.facts["refused links"] = ctx.tables.replace(silver.IDENTITY_REFUSALS, rows).rows


def _write_changes(ctx: JobContext) -> DataFrame:
    """Today's changes and the history, and the share of ids that changed.

    A past date is rebuilt beside the lake: the lake's log has that date's changes already.
    """
    tables, lake = ctx.tables, ctx.tables.of_lake()
    log, history = lake.read_or_empty(silver.IDENTITY_CHANGES), lake.read_or_empty(silver.IDENTITY_HISTORY)
    is_in_step = _is_in_step(ctx, log)
    before = mapping_on(history, ctx.run_date) if is_in_step else mapping_before(log, ctx.run_date)
    before = ctx.settled(before, ctx.event_count)
    if not tables.is_past:
        identities = tables.read(silver.IDENTITIES)
        changed = ctx.settled(changed_owners(before, identities), ctx.event_count)
        links, refusals = tables.read(silver.IDENTITY_LINKS), tables.read(silver.IDENTITY_REFUSALS)
        is_few = changed.count() <= _FEW
        told = ctx.settled(told_changes(changed, before, identities, is_few), ctx.event_count)
        changes = identity_changes(told, before, identities, links, refusals, ctx.run_date, is_few)
        changes = changes.coalesce(1) if is_few else changes
        tables.overwrite_slice(silver.IDENTITY_CHANGES, changes, run_date=ctx.run_date)
        log = tables.read(silver.IDENTITY_CHANGES)
        new = log.where(F.col("run_date") == F.lit(ctx.run_date))
        extended = extend_history(history, new, ctx.run_date) if is_in_step else identity_history(log)
        tables.replace(silver.IDENTITY_HISTORY, extended)
    anchors = [kind.type for kind in ctx.settings.identity.types if kind.anchor]
    written = lake.read(silver.IDENTITY_CHANGES).where(F.col("run_date") == F.lit(ctx.run_date))
    return id_change_rate(written, before, anchors)


def _is_in_step(ctx: JobContext, log: DataFrame) -> bool:
    """Whether the history holds all that the log says before today: a night may have died between the two."""
    kept = ctx.tables.of_lake().last_commit(silver.IDENTITY_HISTORY)
    if kept is None:
        return False
    later = F.col("run_date") > F.lit(kept.metadata["run_date"]).cast("date")
    return log.where(later & (F.col("run_date") < F.lit(ctx.run_date))).isEmpty()


def _measured(ctx: JobContext, seen_together: DataFrame, identities: DataFrame) -> DataFrame:
    """Sizes, match rates and, where the truth is known, precision and recall, as (metric, value)."""
    measured = [component_sizes(identities), match_rates(with_owner(seen_together, identities))]
    if ctx.settings.truth:
        truth = ctx.settled(_truth(ctx, ctx.settings.truth), ctx.event_count)
        measured.append(against_truth(identities, truth, ctx.tables.read(silver.IDENTITY_LINKS)))
    return ctx.settled(reduce(DataFrame.unionByName, measured).coalesce(1), 0)


def _write_quality(ctx: JobContext, measured: DataFrame) -> None:
    dated = measured.select(F.lit(ctx.run_date).alias("run_date"), "metric", "value").coalesce(1).localCheckpoint()
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
