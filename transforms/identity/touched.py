"""The closed part of the identity graph that a night can change.

Customers are closed under the links that were followed, and customers of one unlawful component are tied by the links
that were refused. So if a part holds whole customers, with every customer that a refused link ends in, all that is
worked out from its events alone (leads, links, components, refusals, owners) is what it would be among all events.
"""

from __future__ import annotations

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.contracts import silver
from transforms.identity.identifiers import IdentityRules
from transforms.identity.links import over_held
from transforms.identity.nodes import ENDS, KEY


def carried_by(combinations: DataFrame, identities: DataFrame) -> DataFrame:
    """Identifiers on some events, key (identifier_type, identifier).

    Args:
        combinations: `combinations.combine` of the events.
        identities: silver.identities of the night before.

    Columns: `is_blocked`, whether the identifier was known and blocked (it stays so, and ties nobody to anybody),
    first_arrival_date and last_seen_date of these events, and of all before where it is blocked.
    """
    carried = combinations.select(F.explode("identifiers").alias(*KEY), "first_arrival_date", "last_seen_date")
    grouped = carried.groupBy(*KEY).agg(
        F.min("first_arrival_date").alias("first_arrival_date"), F.max("last_seen_date").alias("last_seen_date")
    )
    blocked = identities.where("status = 'blocked'").select(
        *KEY, F.col("first_arrival_date").alias("_first"), F.col("last_seen_date").alias("_last")
    )
    return grouped.join(blocked, KEY, "left").select(
        *KEY,
        F.col("_first").isNotNull().alias("is_blocked"),
        F.least("first_arrival_date", "_first").alias("first_arrival_date"),
        F.greatest("last_seen_date", "_last").alias("last_seen_date"),
    )


def seen_again(arrived: DataFrame) -> DataFrame:
    """silver.identities' rows of the blocked ones of `carried_by`, brought up to date."""
    again = arrived.where("is_blocked").withColumn("status", F.lit("blocked"))
    return again.withColumn("customer_id", F.lit(None).cast("string")).select(*silver.IDENTITIES.column_names)


def newly_over_held(combinations: DataFrame, arrived: DataFrame, rules: IdentityRules) -> DataFrame | None:
    """Values on the events that arrived which too many people hold now: (identifier_type, identifier).

    Args:
        combinations: of all events.
        arrived: `carried_by` of those that arrived.

    Returns:
        None where no type has such a limit.
    """
    limited = [kind.type for kind in rules.types if kind.max_holders]
    counted = arrived.where(~F.col("is_blocked") & F.col("identifier_type").isin(limited)).select(*KEY)
    found = over_held(carrying_any(combinations, counted, limited), rules) if limited else None
    # A value that only stands beside one that arrived was not counted whole.
    return None if found is None else found.select(*KEY).join(F.broadcast(counted), KEY, "left_semi")


def carrying_any(combinations: DataFrame, wanted: DataFrame, types: list[str]) -> DataFrame:
    """Combinations, or events, that carry one of some identifiers, each once.

    Args:
        wanted: key (identifier_type, identifier), of these types; it must fit a worker's memory.
    """
    marked, is_wanted = combinations, F.lit(False)
    for place, kind in enumerate(types):
        of_kind = wanted.where(F.col("identifier_type") == kind).select(F.col("identifier").alias(f"_{place}"))
        marked = marked.join(F.broadcast(of_kind), F.col("identifiers")[kind] == F.col(f"_{place}"), "left")
        is_wanted = is_wanted | F.col(f"_{place}").isNotNull()
    return marked.where(is_wanted).select(*combinations.columns)


def tied(starts: DataFrame, refusals: DataFrame) -> DataFrame:
    """Identifiers whose customers a change at some of them can reach, key (identifier_type, identifier).

    Args:
        starts: (identifier_type, identifier).
        refusals: silver.identity_refusals of the night before.
    """
    audited = refusals.where("reason not in ('blocked_value', 'over_limit')")
    refused = reduce(DataFrame.union, [audited.select(*end) for end in ENDS]).toDF(*KEY)
    return starts.select(*KEY).union(refused).distinct()


def whole_customers(some: DataFrame, identities: DataFrame) -> DataFrame:
    """(identifier_type, identifier, customer_id) of all customers that hold one of some identifiers."""
    owned = identities.where("customer_id is not null").select(*KEY, "customer_id")
    owners = owned.join(F.broadcast(some), KEY, "left_semi").select("customer_id").distinct()
    return owned.join(F.broadcast(owners), "customer_id", "left_semi").select(*owned.columns)
