"""resolve-identities: silver.events -> silver.identity_links, identities, identity_refusals, identity_bad_values,
identity_changes, identity_history, gold.identity_quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.combinations import known_combinations
from jobs.runtime.components import find_components
from jobs.runtime.decisions import apart, must_links
from jobs.runtime.identity_customers import known_customers
from jobs.runtime.increments import basis
from jobs.runtime.job import JobContext, main, side_by_side
from jobs.runtime.keys import token_key
from jobs.runtime.match import with_matches
from jobs.runtime.session import narrow_rows
from jobs.runtime.tables import Basis, Commit
from jobs.runtime.touched import Part, touched_part
from transforms.contracts import Table, gold, silver
from transforms.identity.anchors import name_customers
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
from transforms.identity.nodes import ENDS, KEY, PAIR
from transforms.identity.quality import against_truth, alike, as_metrics, component_sizes, match_rates
from transforms.identity.touched import carrying_any

_ALARM = 0.02
_FEW = 1_000_000
_OF_PART = 0  # rows of a part are settled as few, whatever the lake holds


def run(ctx: JobContext) -> None:
    """Find who is who among all events that are known on the run date, looking again where something came."""
    known = known_combinations(ctx)
    combinations = known.rows
    with ctx.interpreted(combinations.count()):
        part = touched_part(ctx, combinations)
        held = _held(ctx, combinations) if part is None else part.held
        judged = _judged(ctx, combinations if part is None else part.combinations, held)
        inside = judged if part is None else ctx.settled(judged, 0)
        bad = _bad_values(ctx, combinations, held, part)
        resolved = _resolve(ctx, inside, known.sources, bad, part)
        before = _mapping_before(ctx) if part is None else part.before
        with ctx.interpreted(None if part is None else 0):
            is_few = _write_changes(ctx, resolved, before, ctx.event_count if part is None else _OF_PART)
        _, measured = side_by_side(
            lambda: _write_history(ctx, is_few),
            lambda: _measured(ctx, known_customers(ctx, resolved.identities, inside, known.channels, part)),
        )
        everybody = before if part is None else ctx.tables.read(silver.IDENTITIES, part.version)
        _write_quality(ctx, measured.unionByName(_change_rate(ctx, everybody)))


@dataclass(frozen=True)
class _Resolved:
    """What the night worked out: of the part that it looked at, or of all, in the columns of the tables."""

    links: DataFrame
    identities: DataFrame
    refusals: DataFrame


def _bad_values(ctx: JobContext, combinations: DataFrame, held: DataFrame | None, part: Part | None) -> DataFrame:
    """silver.identity_bad_values: counted again among all combinations that are not plain, held values where they may
    have other holders."""
    linking = ctx.settings.identity.linking
    if part is None:
        return bad_values(_judged(ctx, combinations, held), linking)
    some, is_held = combinations.where("not is_plain"), F.col("rule") == MAX_HOLDERS
    if not part.recounted.isEmpty():
        limited = [kind.type for kind in ctx.settings.identity.types if kind.max_holders]
        some = some.unionByName(carrying_any(combinations.where("is_plain"), part.recounted, limited))
    found = bad_values(_judged(ctx, some, part.held), linking)
    of_recounted = found.where(is_held).join(F.broadcast(part.recounted), KEY, "left_semi")
    others = ctx.tables.read(silver.IDENTITY_BAD_VALUES).where(is_held)
    as_before = others.join(F.broadcast(part.recounted), KEY, "left_anti")
    return found.where(~is_held).unionByName(of_recounted).unionByName(as_before)


def _resolve(
    ctx: JobContext, inside: DataFrame, sources: Sequence[str], bad: DataFrame, part: Part | None
) -> _Resolved:
    """Links, components, what the rules refuse, and owners.

    Args:
        inside: the combinations of the part's events, or of all.
        bad: silver.identity_bad_values.
    """
    rules = ctx.settings.identity
    evidence = with_decisions(link_identifiers(inside, rules.linking, sources), must_links(ctx))
    evidence = with_matches(ctx, evidence)
    seen = identifiers_seen(inside, rules.linking)
    seen, repeated = (seen, None) if part is None else (part.of(seen, KEY), part.repeated)

    def write_bad() -> Commit:
        return ctx.tables.replace(silver.IDENTITY_BAD_VALUES, bad.coalesce(1))

    if part is None:
        side_by_side(write_bad, lambda: ctx.tables.replace(silver.IDENTITY_LINKS, evidence))
        links = ctx.tables.read(silver.IDENTITY_LINKS)
        placed, replayed = _audited(ctx, seen, links, ctx.event_count)
    else:
        links = ctx.settled(part.of(evidence.select(*silver.IDENTITY_LINKS.column_names), ENDS[0]), 0)
        (placed, replayed), _ = side_by_side(
            lambda: _audited(ctx, seen, links, _OF_PART),
            lambda: (write_bad(), _renewed(ctx, silver.IDENTITY_LINKS, links, part, ENDS[0])),
        )
    named = name_customers(lawful_components(placed, replayed), rules)
    refused = _refusals(ctx, inside, links, refused_links(replayed))
    (identities, _), (refusals, refusal_count) = side_by_side(
        lambda: _put(ctx, silver.IDENTITIES, named, part, KEY, repeated, basis(ctx)),
        lambda: _put(ctx, silver.IDENTITY_REFUSALS, refused, part, ENDS[0]),
    )
    ctx.facts["refused links"] = refusal_count
    return _Resolved(links, identities, refusals)


def _held(ctx: JobContext, combinations: DataFrame) -> DataFrame | None:
    """Over-held values, if any."""
    found = over_held(combinations, ctx.settings.identity)
    held = None if found is None else ctx.settled(found, 0)
    return None if held is None or held.isEmpty() else held


def _judged(ctx: JobContext, combinations: DataFrame, held: DataFrame | None) -> DataFrame:
    """Combinations on which over-held values are blocked, and lead nothing."""
    rules = ctx.settings.identity
    return combinations if held is None else without_linking_power(combinations, held, rules)


def _put(
    ctx: JobContext,
    table: Table,
    rows: DataFrame,
    part: Part | None,
    end: Sequence[str],
    renewed: DataFrame | None = None,
    basis: Basis | None = None,
) -> tuple[DataFrame, int]:
    """Write rows as the whole table, or as its rows of the part; given back with the number of rows in the table.

    Args:
        end: the table's columns that name the identifier by which its rows belong to the part.
        renewed: rows beyond the part that take the place of those with their key.
    """
    if part is None:
        written = ctx.tables.replace(table, rows, basis)
        return ctx.tables.read(table), written.rows
    mine = ctx.settled(part.of(rows.select(*table.column_names), end), 0)
    return mine, _renewed(ctx, table, mine, part, end, renewed, basis)


def _renewed(
    ctx: JobContext,
    table: Table,
    mine: DataFrame,
    part: Part,
    end: Sequence[str],
    renewed: DataFrame | None = None,
    basis: Basis | None = None,
) -> int:
    """Write the table with these rows as its rows of the part, as in `_put`; the number of rows in it."""
    together = part.beside(ctx.tables.read(table), end).unionByName(mine)
    if renewed is not None:
        keys = F.broadcast(renewed.select(*table.key))
        together = together.join(keys, list(table.key), "left_anti").unionByName(renewed)
    return ctx.tables.replace(table, together, basis).rows


def _audited(ctx: JobContext, seen: DataFrame, links: DataFrame, rows: int) -> tuple[DataFrame, DataFrame]:
    """Every identifier with its component, and what became of the components that break a rule.

    Args:
        rows: as `ctx.settled` takes them.
    """
    rules, pairs = ctx.settings.identity, apart(ctx)
    with narrow_rows(ctx.spark):
        placed = ctx.settled(place(seen, find_components(ctx, links, links.count())), rows)
        unlawful = ctx.settled(unlawful_components(placed, pairs, ctx.run_date, rules), 0)
        return placed, ctx.settled(replay_unlawful(placed, unlawful, links, pairs, ctx.run_date, rules), 0)


def _refusals(ctx: JobContext, seen_together: DataFrame, links: DataFrame, refused: DataFrame) -> DataFrame:
    """Pairs of which nothing follows: a value is blocked or over-held, or a rule of the audit refused the link."""
    is_static = F.when(F.col("rule") == MAX_HOLDERS, F.lit("over_limit")).otherwise(F.lit("blocked_value"))
    blocked = blocked_pairs(seen_together, ctx.settings.identity.linking).withColumn("reason", is_static)
    ruled = links.withColumn("rule", F.lit(None).cast("string"))
    audited = ruled.join(F.broadcast(refused), PAIR)
    columns = silver.IDENTITY_REFUSALS.column_names
    return blocked.select(*columns).unionByName(audited.select(*columns))


def _write_changes(ctx: JobContext, now: _Resolved, before: DataFrame, rows: int) -> bool:
    """Who has another owner than before, and why; whether they are few.

    Args:
        rows: as `ctx.settled` takes them.

    A past date is rebuilt beside the lake, whose log has it already.
    """
    if ctx.tables.is_past:
        return True
    changed = ctx.settled(changed_owners(before, now.identities), rows)
    is_few = changed.count() <= _FEW
    told = ctx.settled(told_changes(changed, before, now.identities, is_few), rows)
    kinds = {row.change for row in told.select("change").distinct().collect()}
    changes = identity_changes(told, before, now.identities, now.links, now.refusals, ctx.run_date, is_few, kinds)
    changes = changes.coalesce(1) if is_few else changes
    ctx.tables.overwrite_slice(silver.IDENTITY_CHANGES, changes, run_date=ctx.run_date)
    return is_few


def _write_history(ctx: JobContext, is_few: bool) -> None:
    """The log as days: extended by today's changes where it holds all before them."""
    if ctx.tables.is_past:
        return
    log, history = ctx.tables.read(silver.IDENTITY_CHANGES), ctx.tables.read_or_empty(silver.IDENTITY_HISTORY)
    new = log.where(F.col("run_date") == F.lit(ctx.run_date))
    is_whole = _is_in_step(ctx, log)
    extended = extend_history(history, new, ctx.run_date, is_few) if is_whole else identity_history(log)
    ctx.tables.replace(silver.IDENTITY_HISTORY, extended)


def _change_rate(ctx: JobContext, before: DataFrame) -> DataFrame:
    """The share of ids that changed since the run before, as (metric, value)."""
    anchors = [kind.type for kind in ctx.settings.identity.types if kind.anchor]
    changes = ctx.tables.of_lake().read(silver.IDENTITY_CHANGES).where(F.col("run_date") == F.lit(ctx.run_date))
    return as_metrics(id_change_rate(changes, before.where("customer_id is not null"), anchors))


def _mapping_before(ctx: JobContext) -> DataFrame:
    """(identifier_type, identifier, customer_id) as the run before left it."""
    lake = ctx.tables.of_lake()
    log, history = lake.read_or_empty(silver.IDENTITY_CHANGES), lake.read_or_empty(silver.IDENTITY_HISTORY)
    known = mapping_on(history, ctx.run_date) if _is_in_step(ctx, log) else mapping_before(log, ctx.run_date)
    return ctx.settled(known, ctx.event_count)


def _is_in_step(ctx: JobContext, log: DataFrame) -> bool:
    """Whether the history holds all that the log says before today: a night may have died between the two."""
    kept = ctx.tables.of_lake().last_commit(silver.IDENTITY_HISTORY)
    if kept is None:
        return False
    later = F.col("run_date") > F.lit(kept.metadata["run_date"]).cast("date")
    return log.where(later & (F.col("run_date") < F.lit(ctx.run_date))).isEmpty()


def _measured(ctx: JobContext, customers: DataFrame) -> DataFrame:
    """Sizes, match rates and, where the truth is known, precision and recall, as (metric, value)."""
    counted = ctx.settled(alike(customers), 0)
    measured = [component_sizes(counted), match_rates(counted)]
    if ctx.settings.truth:
        truth = ctx.settled(_truth(ctx, ctx.settings.truth), ctx.event_count)
        identities, links = ctx.tables.read(silver.IDENTITIES), ctx.tables.read(silver.IDENTITY_LINKS)
        measured.append(against_truth(identities, truth, links))
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
