"""Evidence: identifiers seen, and which of them were seen together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.bits import bit_of, names_of
from transforms.events import is_usable, with_lead
from transforms.identity.combinations import pair_of, still_counts, unbound_pairs
from transforms.identity.identifiers import IdentityRules
from transforms.identity.nodes import PAIR

MAX_HOLDERS = "max_holders"


def identifiers_seen(combinations: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """Every identifier on any event, key (identifier_type, identifier).

    Args:
        combinations: `combinations.combine` of all events.

    Columns: `is_usable` (neither blocked nor of a shared type), `first_arrival_date`, `last_seen_date`, `event_count`.
    """
    carried = combinations.select(
        F.explode("identifiers").alias("identifier_type", "identifier"),
        *("blocked_identifiers", "first_arrival_date", "last_seen_date", "event_count"),
    )
    return carried.groupBy("identifier_type", "identifier").agg(
        F.bool_and(_rule(linking_types).isNull()).alias("is_usable"),
        F.min("first_arrival_date").alias("first_arrival_date"),
        F.max("last_seen_date").alias("last_seen_date"),
        F.sum("event_count").alias("event_count"),
    )


def bad_values(combinations: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """Values that may not link, in the columns of silver.identity_bad_values.

    `rule` is the rule that blocks it, `shared` for shared types; `holder_count` counts the distinct leads of the
    events that carry it, and guests' events have none.
    """
    shared = F.array_except(F.map_keys("identifiers"), F.array(*[F.lit(kind) for kind in linking_types]))
    carried = combinations.where((F.size("blocked_identifiers") > 0) | (F.size(shared) > 0)).select(
        F.explode("identifiers").alias("identifier_type", "identifier"),
        *("blocked_identifiers", "event_count"),
        F.concat("lead_identifier_type", F.lit(":"), "lead_identifier").alias("lead"),
    )
    bad = carried.withColumn("rule", _rule(linking_types)).where("rule is not null")
    return bad.groupBy("identifier_type", "identifier").agg(
        F.min("rule").alias("rule"),
        F.countDistinct("lead").alias("holder_count"),
        F.sum("event_count").alias("event_count"),
    )


def link_identifiers(combinations: DataFrame, linking_types: Sequence[str], sources: Sequence[str]) -> DataFrame:
    """Pairs of each event's lead and its other usable identifiers: evidence that they are one customer.

    Args:
        combinations: `combinations.combine` of all events, with their leads.
        sources: all sources of these events.

    Returns:
        silver.identity_links' columns; key (type_a, value_a, type_b, value_b), a the lead. An `unbind` event cancels
        the evidence of the pairs that it carries up to its own time.
    """
    evidence = _evidence(combinations, linking_types).where("rule is null")
    counted = _counted(evidence, F.bit_or(bit_of("source", sources)).alias("_sources"))
    named = counted.withColumn("sources", names_of("_sources", sources)).drop("_sources")
    return named.withColumn("probability", F.lit(None).cast("double"))


def blocked_pairs(combinations: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """Pairs of a lead and a blocked or over-held value, of which nothing follows, with the `rule` that blocks it."""
    blocked = combinations.where(F.size("blocked_identifiers") > 0)
    return _counted(_evidence(blocked, linking_types).where("rule is not null"), F.min("rule").alias("rule"))


def with_decisions(links: DataFrame, decided: DataFrame) -> DataFrame:
    """The links with the must-links among them, in silver.identity_links' columns; a pair in both is one row.

    Args:
        decided: links that people declared; few, so broadcast.
    """
    few = F.broadcast(decided.select(*PAIR))
    columns = [*PAIR, "first_arrival_date", "last_seen_at", "event_count", "sources", "probability"]
    seen_too = links.join(few, PAIR, "left_semi").select(*columns)
    together = (
        seen_too.unionByName(decided.select(*columns))
        .groupBy(*PAIR)
        .agg(
            F.min("first_arrival_date").alias("first_arrival_date"),
            F.max("last_seen_at").alias("last_seen_at"),
            F.sum("event_count").alias("event_count"),
            F.sort_array(F.array_distinct(F.flatten(F.collect_list("sources")))).alias("sources"),
            F.max("probability").alias("probability"),
        )
    )
    return links.join(few, PAIR, "left_anti").select(*columns).unionByName(together)


def over_held(combinations: DataFrame, rules: IdentityRules) -> DataFrame | None:
    """Values that were seen with more stronger identifiers than their type's `max_holders` allows.

    Distinct values are counted per stronger type, the largest type deciding, once, after static blocking; the top
    tier has no stronger one.

    Returns:
        (identifier_type, identifier, holder_count), key the identifier; None where no type has such a limit.
    """
    limits = {k.type: k.max_holders for k in rules.types if k.max_holders and not k.shared and rules.tier[k.type]}
    if not limits:
        return None
    # Not a filter of the map: Spark interprets what is given a lambda.
    held = [
        F.when(is_usable(kind), F.struct(F.lit(kind).alias("key"), F.col("identifiers")[kind].alias("value")))
        for kind in limits
    ]
    together = combinations.where(F.size("identifiers") > 1)
    weak = together.select("*", F.explode(F.array(*held)).alias("weak")).where("weak is not null")
    both = weak.select("weak", "blocked_identifiers", F.explode("identifiers").alias("identifier_type", "identifier"))
    stronger = both.where(_rule(rules.linking).isNull() & (by_type(rules.tier) < by_type(rules.tier, "weak.key")))
    counted = stronger.groupBy("weak.key", "weak.value", F.col("identifier_type").alias("holder_type")).agg(
        F.countDistinct("identifier").alias("holders")
    )
    most = counted.groupBy(F.col("key").alias("identifier_type"), F.col("value").alias("identifier")).agg(
        F.max("holders").alias("holder_count")
    )
    return most.where(F.col("holder_count") > by_type(limits, "identifier_type"))


def without_linking_power(events: DataFrame, held: DataFrame, rules: IdentityRules) -> DataFrame:
    """Events, or combinations of their identifiers, on which the over-held values are blocked and lead no more.

    Args:
        held: (identifier_type, identifier) of `over_held`; few, so broadcast.
    """
    blocked = F.coalesce("blocked_identifiers", F.create_map().cast("map<string,string>"))
    events = events.withColumn("blocked_identifiers", blocked)
    for kind in rules.limited:
        of_kind = held.where(F.col("identifier_type") == kind).select(
            F.col("identifier").alias("_held"), F.lit(MAX_HOLDERS).alias("_rule")
        )
        events = events.join(F.broadcast(of_kind), F.col("identifiers")[kind] == F.col("_held"), "left")
        more = F.map_concat("blocked_identifiers", F.create_map(F.lit(kind), F.col("_rule")))
        events = events.withColumn(
            "blocked_identifiers", F.when(F.col("_rule").isNotNull(), more).otherwise(F.col("blocked_identifiers"))
        )
        events = events.drop("_held", "_rule")
    return with_lead(events, rules.linking)


def by_type(values: Mapping[str, int], column: str = "identifier_type") -> Column:
    """A number for each identifier type."""
    pairs = [part for name, value in values.items() for part in (F.lit(name), F.lit(value))]
    return F.create_map(*pairs)[F.col(column)]


def _evidence(combinations: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """One row per combination, lead and other identifier of a linking type, as far as it was not unbound."""
    led = combinations.where(F.col("lead_identifier").isNotNull() & (F.size("identifiers") > 1))
    pairs = led.select(
        F.col("lead_identifier_type").alias("type_a"),
        F.col("lead_identifier").alias("value_a"),
        F.explode("identifiers").alias("identifier_type", "identifier"),
        *("blocked_identifiers", "is_unbind", "unbound", "source"),
        *("first_arrival_date", "last_seen_at", "event_count"),
    ).where(F.col("identifier_type").isin(*linking_types) & (F.col("type_a") != F.col("identifier_type")))
    ruled = pairs.withColumn("rule", _rule(linking_types))
    named = ruled.withColumnsRenamed({"identifier_type": "type_b", "identifier": "value_b"})
    pair = pair_of(F.concat("type_a", F.lit(":"), "value_a"), F.concat("type_b", F.lit(":"), "value_b"))
    unbinds = unbound_pairs(combinations)
    return named.withColumn("pair", pair).join(unbinds, "pair", "left").where(still_counts(F.col("pair")))


def _counted(evidence: DataFrame, *more: Column) -> DataFrame:
    return evidence.groupBy(*PAIR).agg(
        F.min("first_arrival_date").alias("first_arrival_date"),
        F.max("last_seen_at").alias("last_seen_at"),
        F.sum("event_count").alias("event_count"),
        *more,
    )


def _rule(linking_types: Sequence[str]) -> Column:
    """The rule that blocks a row's `identifier`, null for a usable one."""
    shared = F.when(~F.col("identifier_type").isin(*linking_types), F.lit("shared"))
    return F.coalesce(F.col("blocked_identifiers")[F.col("identifier_type")], shared)
