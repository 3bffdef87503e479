"""resolve-identities: silver.events -> silver.identity_links, identities, identity_refusals, identity_bad_values,
identity_changes, identity_history, gold.identity_quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.combinations import known_combinations
from jobs.runtime.components import find_components
from jobs.runtime.decisions import apart, must_links
from jobs.runtime.identity_customers import customer_sizes
from jobs.runtime.increments import basis
from jobs.runtime.job import JobContext, main
from jobs.runtime.keys import token_key
from jobs.runtime.leads import led
from jobs.runtime.match import with_matches
from jobs.runtime.session import narrow_rows
from jobs.runtime.side_by_side import side_by_side
from jobs.runtime.tables import Commit
from jobs.runtime.touched import Part, touched_part
from transforms.contracts import gold, silver
from transforms.identity.anchors import name_customers
from transforms.identity.changes import (
    anchored_customers,
    changed_owners,
    extend_history,
    id_change_rate,
    identity_changes,
    identity_history,
    links_of_changed,
    mapping_before,
    mapping_on,
    told_changes,
    with_other_rows,
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
)
from transforms.identity.nodes import ENDS, KEY, PAIR
from transforms.identity.quality import against_truth, as_metrics, component_sizes, match_rates
from transforms.identity.touched import carrying_any

_ALARM = 0.02
_FEW = 1_000_000
_OF_PART = 0  # rows of a part are settled as few, whatever the lake holds


def run(ctx: JobContext) -> None:
    """Find who is who among all events that are known on the run date, looking again where something came."""
    known = known_combinations(ctx)
    combinations, count = known.rows, known.rows.count()
    with ctx.interpreted(count):
        part = touched_part(ctx, combinations, count)
        held = _held(ctx, combinations) if part is None else part.held
        judged = _judged(ctx, combinations if part is None else part.combinations, held)
        inside = judged if part is None or held is None else ctx.settled(judged, _OF_PART)
        resolved = _resolve(ctx, inside, known.sources, _bad_values(ctx, combinations, held, part), part)
        before = _mapping_before(ctx) if part is None else part.before
        _, measured = side_by_side(
            resolved.write_rest,
            lambda: side_by_side(
                lambda: _write_changes(ctx, resolved, before, part),
                lambda: _measured(ctx, customer_sizes(ctx, resolved.identities, inside, known.channels, part)),
            ),
        )
        _write_quality(ctx, [*measured, *_against_truth(ctx)])


@dataclass(frozen=True)
class _Resolved:
    """What the night worked out: of the part that it looked at, or of all, in the columns of the tables.

    Attributes:
        write_rest: writes of the tables what is not written yet.
    """

    links: DataFrame
    identities: DataFrame
    refusals: DataFrame
    write_rest: Callable[[], object]


def _bad_values(ctx: JobContext, combinations: DataFrame, held: DataFrame | None, part: Part | None) -> DataFrame:
    """silver.identity_bad_values: counted again among all combinations that are not plain, held values where they may
    have other holders."""
    linking = ctx.settings.identity.linking
    if part is None:
        return bad_values(_judged(ctx, combinations, held), linking)
    some, is_held = combinations.where("not is_plain"), F.col("rule") == MAX_HOLDERS
    if not part.recounted.isEmpty():
        some = some.unionByName(
            carrying_any(combinations.where("is_plain"), part.recounted, ctx.settings.identity.limited)
        )
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

    def write_bad() -> Commit:
        return ctx.tables.replace(silver.IDENTITY_BAD_VALUES, bad.coalesce(1))

    if part is None:
        side_by_side(write_bad, lambda: ctx.tables.replace(silver.IDENTITY_LINKS, evidence))
        links = ctx.tables.read(silver.IDENTITY_LINKS)
        placed, replayed = _audited(ctx, seen, links, ctx.event_count)
    else:
        columns = silver.IDENTITY_LINKS.column_names
        links, _ = side_by_side(lambda: ctx.settled(part.of_leads(evidence.select(*columns)), _OF_PART), write_bad)
        (placed, replayed), _ = side_by_side(
            lambda: _audited(ctx, part.of(seen, KEY), links, _OF_PART),
            lambda: ctx.tables.replace_rows(silver.IDENTITY_LINKS, links, [part.named(ENDS[0])]),
        )
    named = name_customers(lawful_components(placed, replayed), rules)
    refused = _refusals(ctx, inside, links, refused_links(replayed))
    if part is None:
        side_by_side(
            lambda: ctx.tables.replace(silver.IDENTITIES, named, basis(ctx)),
            lambda: ctx.tables.replace(silver.IDENTITY_REFUSALS, refused),
        )
        identities, refusals = (ctx.tables.read(table) for table in (silver.IDENTITIES, silver.IDENTITY_REFUSALS))
        return _Resolved(links, identities, refusals, write_rest=lambda: None)
    identities, refusals = side_by_side(
        lambda: ctx.settled(named.select(*silver.IDENTITIES.column_names), _OF_PART),
        lambda: ctx.settled(part.of_leads(refused), _OF_PART),
    )
    return _Resolved(links, identities, refusals, lambda: _write_among_others(ctx, part, identities, refusals))


def _write_among_others(ctx: JobContext, part: Part, identities: DataFrame, refusals: DataFrame) -> None:
    """The part's identities and refusals, in place of what they were."""
    seen_again = part.repeated.select(*KEY)
    now = identities.unionByName(part.repeated)
    side_by_side(
        lambda: ctx.tables.replace_rows(
            silver.IDENTITIES, now, [part.customers, part.new.select(*KEY).union(seen_again)], basis(ctx)
        ),
        lambda: ctx.tables.replace_rows(silver.IDENTITY_REFUSALS, refusals, [part.named(ENDS[0])]),
    )


def _held(ctx: JobContext, combinations: DataFrame) -> DataFrame | None:
    """Over-held values, if any."""
    found = over_held(combinations, ctx.settings.identity)
    held = None if found is None else ctx.settled(found, 0)
    return None if held is None or held.isEmpty() else held


def _judged(ctx: JobContext, combinations: DataFrame, held: DataFrame | None) -> DataFrame:
    """Combinations on which over-held values are blocked, and lead nothing."""
    return led(combinations, held, ctx.settings.identity)


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


def _write_changes(ctx: JobContext, now: _Resolved, before: DataFrame, part: Part | None) -> DataFrame:
    """Who has another owner than before, and why; returns the share of ids that changed, as (metric, value).

    A past date is rebuilt beside the lake, whose log has it already.
    """
    if not ctx.tables.is_past:
        _extend_log(ctx, now, before, part)
    return ctx.settled(_change_rate(ctx, before, part), 0)


def _extend_log(ctx: JobContext, now: _Resolved, before: DataFrame, part: Part | None) -> None:
    rows = ctx.event_count if part is None else _OF_PART
    changed = ctx.settled(changed_owners(before, now.identities), rows)
    is_few = changed.count() <= _FEW
    told = ctx.settled(told_changes(changed, before, now.identities, is_few), rows)
    kinds = {row.change for row in told.select("change").distinct().collect()}
    links = ctx.settled(links_of_changed(now.links, told, is_few, kinds), rows)
    changes = identity_changes(told, before, now.identities, links, now.refusals, ctx.run_date, is_few, kinds)
    changes = changes.coalesce(1) if is_few else changes
    log = ctx.tables.read_or_empty(silver.IDENTITY_CHANGES).where(F.col("run_date") < F.lit(ctx.run_date))
    is_in_step = _is_in_step(ctx)  # of the night before: either of the two may be written first
    side_by_side(
        lambda: _write_history(ctx, log, told, is_few, is_in_step),
        lambda: ctx.tables.overwrite_slice(silver.IDENTITY_CHANGES, changes, run_date=ctx.run_date),
    )


def _write_history(ctx: JobContext, log: DataFrame, told: DataFrame, is_few: bool, is_in_step: bool) -> None:
    """The log as days: extended by today's changes where it holds all before them, else made from the log anew.

    Args:
        log: the changes before today.
        told: `told_changes` of today.
    """
    if not is_in_step:
        today = told.withColumn("run_date", F.lit(ctx.run_date))
        made = identity_history(log.unionByName(today, allowMissingColumns=True))
        ctx.tables.replace(silver.IDENTITY_HISTORY, made)
    elif is_few:
        known = ctx.tables.read(silver.IDENTITY_HISTORY)
        ended = ctx.settled(with_other_rows(known, told, ctx.run_date), 0)
        extended = partial(extend_history, changes=told, day=ctx.run_date, is_few=is_few)
        ctx.tables.replace_rows(silver.IDENTITY_HISTORY, extended, [ended])
    else:
        known = ctx.tables.read(silver.IDENTITY_HISTORY)
        ctx.tables.replace(silver.IDENTITY_HISTORY, extend_history(known, told, ctx.run_date))


def _change_rate(ctx: JobContext, before: DataFrame, part: Part | None) -> DataFrame:
    """The share of ids that changed since the run before, as (metric, value).

    Args:
        before: who owned what then, where no part was taken.
    """
    anchors = ctx.settings.identity.anchors
    known = anchored_customers(before, anchors) if part is None else part.known
    changes = ctx.tables.of_lake().read(silver.IDENTITY_CHANGES).where(F.col("run_date") == F.lit(ctx.run_date))
    return as_metrics(id_change_rate(changes, known, anchors))


def _mapping_before(ctx: JobContext) -> DataFrame:
    """(identifier_type, identifier, customer_id) as the run before left it."""
    lake = ctx.tables.of_lake()
    log, history = lake.read_or_empty(silver.IDENTITY_CHANGES), lake.read_or_empty(silver.IDENTITY_HISTORY)
    known = mapping_on(history, ctx.run_date) if _is_in_step(ctx) else mapping_before(log, ctx.run_date)
    return ctx.settled(known, ctx.event_count)


def _is_in_step(ctx: JobContext) -> bool:
    """Whether the history and the log are of one run: a night may have died when it had written one of them."""
    commits = [ctx.tables.of_lake().last_commit(t) for t in (silver.IDENTITY_HISTORY, silver.IDENTITY_CHANGES)]
    runs = [commit.metadata["run_id"] for commit in commits if commit]
    return len(runs) == 2 and runs[0] == runs[1]


def _measured(ctx: JobContext, sizes: DataFrame) -> DataFrame:
    """Sizes and match rates of `customer_sizes`, as (metric, value)."""
    return ctx.settled(component_sizes(sizes).unionByName(match_rates(sizes)).coalesce(1), 0)


def _against_truth(ctx: JobContext) -> list[DataFrame]:
    """Where the truth is known, how tonight's identities stand to it, as (metric, value)."""
    if not ctx.settings.truth:
        return []
    truth = ctx.settled(_truth(ctx, ctx.settings.truth), ctx.event_count)
    return [against_truth(ctx.tables.read(silver.IDENTITIES), truth, ctx.tables.read(silver.IDENTITY_LINKS))]


def _write_quality(ctx: JobContext, measured: Sequence[DataFrame]) -> None:
    together = reduce(DataFrame.unionByName, measured)
    dated = together.select(F.lit(ctx.run_date).alias("run_date"), "metric", "value").coalesce(1).localCheckpoint()
    ctx.tables.overwrite_slice(gold.IDENTITY_QUALITY, dated, run_date=ctx.run_date)
    known = {row.metric: row.value for row in dated.collect()}
    ctx.facts["refused links"] = ctx.tables.written[silver.IDENTITY_REFUSALS.full_name].rows
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
