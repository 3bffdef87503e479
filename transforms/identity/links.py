"""Evidence: identifiers seen, and which of them were seen together."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


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
    """Links between each event's lead and its other usable identifiers, in the columns of silver.identity_links.

    Key (type_a, value_a, type_b, value_b), a the lead. Blocked and shared values link nothing.
    """
    led = events.where(F.col("lead_identifier").isNotNull() & (F.size("identifiers") > 1))
    pairs = led.select(
        F.col("lead_identifier_type").alias("type_a"),
        F.col("lead_identifier").alias("value_a"),
        F.explode("identifiers").alias("type_b", "value_b"),
        "blocked_identifiers",
        "arrival_date",
        "event_at",
        "source",
    )
    is_blocked = F.coalesce(F.col("blocked_identifiers")[F.col("type_b")].isNotNull(), F.lit(False))
    usable = F.col("type_b").isin(*linking_types) & ~is_blocked & (F.col("type_a") != F.col("type_b"))
    return (
        pairs.where(usable)
        .groupBy("type_a", "value_a", "type_b", "value_b")
        .agg(
            F.min("arrival_date").alias("first_arrival_date"),
            F.max("event_at").alias("last_seen_at"),
            F.count("*").alias("event_count"),
            F.sort_array(F.collect_set("source")).alias("sources"),
        )
    )
