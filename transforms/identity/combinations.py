"""Which identifiers were seen together on one event: all that identity resolution has to know of events.

Events repeat themselves, so their combinations are several times fewer. Rows add up: those of new events are put beside
the old ones, and no old event is read again.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.events import with_lead

_KEY = ["identifiers", "blocked_identifiers", "is_unbind", "unbound", "source", "channel"]
_BETWEEN = "\x1f"


def combine(events: DataFrame, unbinds: DataFrame | None = None) -> DataFrame:
    """Events by the identifiers on them; grain combination, source, channel and pairs already unbound.

    Args:
        events: silver.events; those without identifiers are left out.
        unbinds: `unbound_pairs`; given, each event is marked with its own pairs that an unbind event ends.

    Returns:
        `identifiers` and `blocked_identifiers` as on the events, `is_unbind` (an unbind event's: no evidence),
        `unbound` (pairs that were unbound at or after these events), source, channel, first_arrival_date,
        first_seen_at, last_seen_at, last_seen_date, event_count.
    """
    kept = events.where(F.size("identifiers") > 0).select(
        "event_id",
        "identifiers",
        F.coalesce("blocked_identifiers", F.create_map().cast("map<string,string>")).alias("blocked_identifiers"),
        (F.col("event_type") == "unbind").alias("is_unbind"),
        F.array().cast("array<string>").alias("unbound"),
        *("source", "channel", "arrival_date", "event_at", "event_date"),
    )
    marked = kept if unbinds is None else _marked(kept, unbinds)
    return marked.groupBy(*_KEY).agg(
        F.min("arrival_date").alias("first_arrival_date"),
        F.min("event_at").alias("first_seen_at"),
        F.max("event_at").alias("last_seen_at"),
        F.max("event_date").alias("last_seen_date"),
        F.count("*").alias("event_count"),
    )


def with_static_lead(combinations: DataFrame, linking_types: Sequence[str]) -> DataFrame:
    """`combine` with the lead that static rules leave; `is_plain` where they let every identifier link."""
    others = F.array_except(F.map_keys("identifiers"), F.array(*[F.lit(kind) for kind in linking_types]))
    is_plain = (F.size("blocked_identifiers") == 0) & (F.size(others) == 0)
    return with_lead(combinations, linking_types).withColumn("is_plain", is_plain)


def unbound_pairs(combinations: DataFrame) -> DataFrame:
    """(pair, unbound_at), key pair: pairs of identifiers that unbind events carry, and when that was last."""
    pairs = combinations.where("is_unbind").select(
        F.explode(_pairs(_listed("identifiers"))).alias("pair"), "last_seen_at"
    )
    return pairs.groupBy("pair").agg(F.max("last_seen_at").alias("unbound_at"))


def straddling(combinations: DataFrame, unbinds: DataFrame) -> DataFrame:
    """Rows of which some events come before and some after an unbinding of one of their pairs.

    Of them it must be counted again, event by event, what still counts.
    """
    rows = combinations.where(~F.col("is_unbind") & (F.size("identifiers") > 1))
    paired = rows.withColumn("pair", F.explode(_pairs(_listed("identifiers"))))
    during = paired.join(unbinds, "pair").where("unbound_at >= first_seen_at and unbound_at < last_seen_at")
    return during.where(~F.array_contains("unbound", F.col("pair"))).select(*combinations.columns)


def carrying(events: DataFrame, combinations: DataFrame) -> tuple[DataFrame, DataFrame]:
    """(events of these combinations of identifiers, all others)."""
    wanted = F.broadcast(combinations.select(_listed("identifiers").alias("_wanted")).distinct())
    is_one = _listed("identifiers") == F.col("_wanted")
    return events.join(wanted, is_one, "left_semi"), events.join(wanted, is_one, "left_anti")


def still_counts(pair: Column) -> Column:
    """Whether a combination is evidence for a pair (`pair_of`), given the pair's `unbound_at` beside it."""
    is_over = F.coalesce(F.col("last_seen_at") <= F.col("unbound_at"), F.lit(False))
    return ~F.col("is_unbind") & ~is_over & ~F.array_contains("unbound", pair)


def pair_of(a: Column, b: Column) -> Column:
    """The name of a pair of `type:value` texts, whichever comes first."""
    return F.concat_ws(_BETWEEN, F.least(a, b), F.greatest(a, b))


def _listed(identifiers: str) -> Column:
    """A map as sorted `key:value` texts."""
    texts = F.transform(F.map_entries(identifiers), lambda entry: F.concat(entry["key"], F.lit(":"), entry["value"]))
    return F.coalesce(F.sort_array(texts), F.array().cast("array<string>"))


def _pairs(listed: Column) -> Column:
    """All pairs of a sorted list."""
    later = lambda one: F.transform(F.filter(listed, lambda other: other > one), lambda other: pair_of(one, other))  # noqa: E731
    return F.flatten(F.transform(listed, later))


def _marked(events: DataFrame, unbinds: DataFrame) -> DataFrame:
    """Each event with its pairs that are unbound at or after it."""
    paired = events.where(~F.col("is_unbind")).select(
        "event_id", "event_at", F.explode(_pairs(_listed("identifiers"))).alias("pair")
    )
    over = paired.join(unbinds, "pair").where("event_at <= unbound_at")
    of_event = over.groupBy("event_id").agg(F.sort_array(F.collect_set("pair")).alias("_over"))
    joined = events.join(of_event, "event_id", "left")
    return joined.withColumn("unbound", F.coalesce("_over", "unbound"))
