"""Evidence: identifiers seen, and which of them were seen together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.events import with_lead
from transforms.identity.identifiers import IdentityRules

MAX_HOLDERS = "max_holders"
_PAIR = ["type_a", "value_a", "type_b", "value_b"]


def identifiers_seen(events: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """Every identifier on any event, key (identifier_type, identifier).

    Columns: `rule` (static rule that blocks it, `shared` for shared types, else null), `first_arrival_date`,
    `last_seen_date`, `event_count`, `holder_count` (distinct leads of the events that carry it).
    """
    carried = events.where("identifiers is not null").select(
        F.explode("identifiers").alias("identifier_type", "identifier"),
        "blocked_identifiers",
        "arrival_date",
        "event_date",
        F.concat("lead_identifier_type", F.lit(":"), "lead_identifier").alias("lead"),  # null for guests
    )
    rule = F.col("blocked_identifiers")[F.col("identifier_type")]
    shared = F.when(~F.col("identifier_type").isin(*linking_types), F.lit("shared"))
    return (
        carried.withColumn("rule", F.coalesce(rule, shared))
        .groupBy("identifier_type", "identifier")
        .agg(
            F.min("rule").alias("rule"),
            F.min("arrival_date").alias("first_arrival_date"),
            F.max("event_date").alias("last_seen_date"),
            F.count("*").alias("event_count"),
            F.countDistinct(F.when(F.col("rule").isNotNull(), F.col("lead"))).alias("holder_count"),
        )
    )


def link_identifiers(events: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """Pairs of each event's lead and its other identifiers: evidence that they are one customer.

    Args:
        events: silver.events with their leads; blocked values in `blocked_identifiers`.

    Returns:
        silver.identity_links' columns and `rule`: null for a link, else the static or automatic rule that blocks the
        weaker value, so that nothing follows from the pair. Key (type_a, value_a, type_b, value_b), a the lead.
        An `unbind` event cancels the evidence of the pairs that it carries up to its own time.
    """
    pairs = _pairs(events, linking_types)
    unbound = _unbound(events)
    valid = pairs.join(unbound, _PAIR, "left").where(
        "event_type != 'unbind' and (unbound_at is null or event_at > unbound_at)"
    )
    evidence = valid.groupBy(*_PAIR).agg(
        F.min("arrival_date").alias("first_arrival_date"),
        F.max("event_at").alias("last_seen_at"),
        F.count("*").alias("event_count"),
        F.sort_array(F.collect_set("source")).alias("sources"),
        F.min("rule").alias("rule"),
    )
    return evidence.withColumn("probability", F.lit(None).cast("double"))


def with_decisions(links: DataFrame, decided: DataFrame) -> DataFrame:
    """The links with the must-links among them, in silver.identity_links' columns; a pair in both is one row."""
    columns = [*_PAIR, "first_arrival_date", "last_seen_at", "event_count", "sources", "probability"]
    return (
        links.select(*columns)
        .unionByName(decided.select(*columns))
        .groupBy(*_PAIR)
        .agg(
            F.min("first_arrival_date").alias("first_arrival_date"),
            F.max("last_seen_at").alias("last_seen_at"),
            F.sum("event_count").alias("event_count"),
            F.array_sort(F.array_distinct(F.flatten(F.collect_list("sources")))).alias("sources"),
            F.max("probability").alias("probability"),
        )
    )


def over_held(events: DataFrame, rules: IdentityRules) -> DataFrame | None:
    """Values that were seen with more stronger identifiers than their type's `max_holders` allows.

    Distinct values are counted per stronger type, the largest type deciding, once, after static blocking; the top
    tier has no stronger one.

    Returns:
        (identifier_type, identifier, holder_count), key the identifier; None where no type has such a limit.
    """
    limits = {k.type: k.max_holders for k in rules.types if k.max_holders and not k.shared and rules.tier[k.type]}
    if not limits:
        return None
    is_usable = lambda kind, _: kind.isin(*rules.linking) & _is_free(F.col("blocked_identifiers"), kind)  # noqa: E731
    together = events.where(F.size("identifiers") > 1).select(
        F.array_sort(F.map_entries(F.map_filter("identifiers", is_usable))).alias("held")
    )
    combinations = together.where(F.size("held") > 1).distinct()  # most events repeat what is known
    weak = combinations.select("held", F.explode("held").alias("weak")).where(F.col("weak.key").isin(*limits))
    both = weak.select("weak", F.explode("held").alias("strong"))
    stronger = both.where(by_type(rules.tier, "strong.key") < by_type(rules.tier, "weak.key"))
    counted = stronger.groupBy("weak.key", "weak.value", F.col("strong.key").alias("holder_type")).agg(
        F.countDistinct("strong.value").alias("holders")
    )
    most = counted.groupBy(F.col("key").alias("identifier_type"), F.col("value").alias("identifier")).agg(
        F.max("holders").alias("holder_count")
    )
    return most.where(F.col("holder_count") > by_type(limits, "identifier_type"))


def without_linking_power(events: DataFrame, held: DataFrame, rules: IdentityRules) -> DataFrame:
    """Events on which the over-held values are blocked and lead no more.

    Args:
        held: (identifier_type, identifier) of `over_held`; few, so broadcast.
    """
    blocked = F.coalesce("blocked_identifiers", F.create_map().cast("map<string,string>"))
    events = events.withColumn("blocked_identifiers", blocked)
    for kind in (kind.type for kind in rules.types if kind.max_holders):
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


def _pairs(events: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """One row per event, lead and other identifier of a linking type."""
    led = events.where(F.col("lead_identifier").isNotNull() & (F.size("identifiers") > 1))
    pairs = led.select(
        F.col("lead_identifier_type").alias("type_a"),
        F.col("lead_identifier").alias("value_a"),
        F.explode("identifiers").alias("type_b", "value_b"),
        "blocked_identifiers",
        "arrival_date",
        "event_at",
        "event_type",
        "source",
    )
    return pairs.where(F.col("type_b").isin(*linking_types) & (F.col("type_a") != F.col("type_b"))).withColumn(
        "rule", F.col("blocked_identifiers")[F.col("type_b")]
    )


def _unbound(events: DataFrame) -> DataFrame:
    """Pairs of identifiers, each way round, and when they were last unbound."""
    carried = events.where("event_type = 'unbind'").select(F.map_entries("identifiers").alias("held"), "event_at")
    both = carried.select("held", "event_at", F.explode("held").alias("a")).select(
        "event_at", "a", F.explode("held").alias("b")
    )
    return (
        both.where("a.key != b.key")
        .groupBy(
            F.col("a.key").alias("type_a"),
            F.col("a.value").alias("value_a"),
            F.col("b.key").alias("type_b"),
            F.col("b.value").alias("value_b"),
        )
        .agg(F.max("event_at").alias("unbound_at"))
    )


def _is_free(blocked: Column, kind: Column) -> Column:
    return F.coalesce(blocked[kind].isNull(), F.lit(True))
