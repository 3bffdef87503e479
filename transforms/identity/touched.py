"""The closed part of the identity graph that a night can change.

Customers are closed under the links that were followed, and customers of one unlawful component are tied by the links
that were refused. So if a part holds whole customers, with all that refused links tie them to, all that is worked out
from its events alone (leads, links, components, refusals, owners) is what it would be among all events.
"""

from __future__ import annotations

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import silver
from transforms.identity.components import connected_components
from transforms.identity.identifiers import IdentityRules
from transforms.identity.lawful import counts
from transforms.identity.links import over_held
from transforms.identity.nodes import ENDS, KEY, PAIR, with_component

_CUSTOMER = ""  # stands for the type of a customer's number: no identifier's type is empty


def carried_by(seen: DataFrame, identities: DataFrame) -> DataFrame:
    """Identifiers on some events, key (identifier_type, identifier).

    Args:
        seen: identifiers, first_arrival_date and last_seen_date of each event or `combinations.combine` of them.
        identities: silver.identities of the night before.

    Columns: `is_blocked`, whether the identifier was known and blocked (it stays so, and ties nobody to anybody),
    first_arrival_date and last_seen_date of these events, and of all before where it is blocked.
    """
    carried = seen.select(F.explode("identifiers").alias(*KEY), "first_arrival_date", "last_seen_date")
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
    counted = arrived.where(~F.col("is_blocked") & F.col("identifier_type").isin(rules.limited)).select(*KEY)
    found = over_held(carrying_any(combinations, counted, rules.limited), rules) if rules.limited else None
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


def led_by(combinations: DataFrame, wanted: DataFrame, bad: DataFrame) -> DataFrame:
    """The combinations that may carry one of a closed part's identifiers, with `is_led`, whether one of them leads.

    Whatever a combination carries is linked to its lead, or refused, and so in the part of its lead. But static rules
    leave leads that too many people hold, what was unbound is linked no more, and an unbinding is no evidence: of
    these, which are few, it has to be seen what they carry.

    Args:
        combinations: with their static leads.
        wanted: (identifier_type, identifier) of the part.
        bad: those of silver.identity_bad_values: too many people hold them, or some events only may lead by them.
    """
    lead = [f"lead_{name}" for name in KEY]
    others = bad.join(wanted, KEY, "left_anti").select(*KEY, F.lit(False))
    sought = wanted.select(*KEY, F.lit(True)).union(others).toDF(*lead, "_is_wanted")
    looked = combinations.join(F.broadcast(sought), lead, "left")
    near = looked.where("_is_wanted is not null or is_unbind or size(unbound) > 0")
    return near.select(*combinations.columns, F.coalesce("_is_wanted", F.lit(False)).alias("is_led"))


def owners_around(starts: DataFrame, refusals: DataFrame, identities: DataFrame, is_due: Column) -> DataFrame:
    """(identifier_type, identifier, customer_id, is_start) of some identifiers and of those that links refuse.

    Args:
        starts: (identifier_type, identifier) that may change.
        refusals, identities: silver.identity_refusals and identities of the night before.
        is_due: whether a row of silver.identities may change by the date alone; it is one of the starts then.
    """
    ends = reduce(DataFrame.union, [_audited(refusals).select(*end) for end in ENDS]).toDF(*KEY)
    marked = starts.select(*KEY, F.lit(True).alias("_starts")).unionByName(ends.withColumn("_starts", F.lit(False)))
    sought = F.broadcast(marked.groupBy(*KEY).agg(F.max("_starts").alias("_starts")))
    joined = identities.where("customer_id is not null").join(sought, KEY, "left")
    found = joined.where(F.col("_starts").isNotNull() | is_due)
    return found.select(*KEY, "customer_id", (F.coalesce("_starts", F.lit(False)) | is_due).alias("is_start"))


def tied_customers(around: DataFrame, refusals: DataFrame) -> DataFrame:
    """(customer_id,) of all customers that a change at the starts can reach.

    Args:
        around: `owners_around`.
    """
    of_customer = [F.lit(_CUSTOMER).alias("type_b"), F.col("customer_id").alias("value_b")]
    held = around.select(*[F.col(name).alias(end) for name, end in zip(KEY, ENDS[0], strict=True)], *of_customer)
    ties = _audited(refusals).select(*PAIR)
    placed = with_component(around, connected_components(held.unionByName(ties)), "inner")
    reached = placed.groupBy("component").agg(
        F.max("is_start").alias("is_reached"), F.collect_set("customer_id").alias("customers")
    )
    return reached.where("is_reached").select(F.explode("customers").alias("customer_id"))


def due(rules: IdentityRules, then: date, as_of: date) -> Column:
    """Whether an identifier of silver.identities counted towards its type's limit then, and does no longer."""
    limited = [kind for kind in rules.types if kind.max_per_customer and kind.period_days]
    ended = [
        (F.col("identifier_type") == kind.type) & counts(kind.period_days, then) & ~counts(kind.period_days, as_of)
        for kind in limited
    ]
    return reduce(Column.__or__, ended, F.lit(False))


def whole_customers(customers: DataFrame, identities: DataFrame) -> DataFrame:
    """(identifier_type, identifier, customer_id) of all that some customers hold."""
    owned = identities.select(*KEY, "customer_id")
    return owned.join(F.broadcast(customers), "customer_id", "left_semi").select(*owned.columns)


def _audited(refusals: DataFrame) -> DataFrame:
    """Links that the audit refused: a value that a rule keeps from linking ties nobody."""
    return refusals.where("rule is null")
