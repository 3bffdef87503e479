"""Who is in which experiment: drawn by a salted hash when a plan first meets a customer, and never drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import gold
from transforms.identity.anchors import customer_id as id_of

HOLDOUT = "universal_holdout"
CONFLICT = "conflict"  # two recorded variants that are equally old: the customer is in neither
HELD_OUT, CONTACTED = "holdout", "contact"  # variants of the universal holdout
BEFORE_THE_HOLDOUT = ("staff", "no_consent", "suppressed")  # reasons of a plan for which nobody is drawn for it

_DIGITS = 13  # hex digits of the hash that are used: 52 bits


def drawn(customer_id: Column, experiment_id: str, salt: str, shares: Mapping[str, Decimal]) -> Column:
    """The variant by a salted hash of the customer id, in the shares' order; null beyond their sum.

    Uniform: the first 52 bits of SHA-256 of `salt:experiment:customer`, as a share of 2^52.
    """
    text = F.concat(F.lit(f"{salt}:{experiment_id}:"), customer_id)
    number = F.conv(F.substring(F.sha2(text, 256), 1, _DIGITS), 16, 10).cast("bigint")
    chain, ends, end = F.lit(None).cast("string"), [], Decimal(0)
    for variant, share in shares.items():
        end += share
        ends.append((variant, int(end * 16**_DIGITS)))
    for variant, upper in reversed(ends):
        chain = F.when(number < upper, F.lit(variant)).otherwise(chain)
    return chain


def recorded_variants(assignments: DataFrame, identities: DataFrame, as_of: date) -> DataFrame:
    """(customer_id, `variants`: experiment to variant), as recorded up to `as_of`; key customer_id."""
    entries = F.sort_array(F.collect_list(F.struct("experiment_id", "variant")))
    variants = assigned_variants(assignments, identities, as_of)
    return variants.groupBy("customer_id").agg(F.map_from_entries(entries).alias("variants"))


def assigned_variants(assignments: DataFrame, identities: DataFrame, as_of: date) -> DataFrame:
    """(experiment_id, customer_id, variant, drawn_date, recorded_date), as recorded up to `as_of`; key the first two.

    An assignment belongs to who owns its anchor now. Of several, as after a merge of customers, those carried by events
    win over drawn ones, then the earlier; variants that differ and are equally old are a `conflict`. `recorded_date` is
    the earliest assignment's, `drawn_date` the earliest drawn one's: null where events alone say so.
    """
    known = _owned(assignments.where(F.col("assigned_date") <= F.lit(as_of)), identities)
    rank = F.when(F.col("source") == "event", 0).otherwise(1)
    days = F.unix_date("assigned_date")
    first = F.min(F.struct(rank, days, F.col("variant")))
    last = F.max(F.struct(-rank, -days, F.col("variant")))  # of equal age the other end of the alphabet
    agreed = F.when(first["variant"] == last["variant"], first["variant"]).otherwise(CONFLICT)
    drawn_date = F.min(F.when(F.col("source") == "hash", F.col("assigned_date")))
    return known.groupBy("experiment_id", "customer_id").agg(
        agreed.alias("variant"), drawn_date.alias("drawn_date"), F.min("assigned_date").alias("recorded_date")
    )


def drawn_assignments(plan: DataFrame, assignments: DataFrame, identities: DataFrame, as_of: date) -> DataFrame:
    """What a plan drew and nobody recorded yet, in the columns of gold.experiment_assignments.

    Args:
        plan: gold.contact_plan of `as_of`. Its variants are its experiments'; and everybody whom it did not leave out
            before the holdout was drawn for that.
    """
    variants = plan.where(F.col("variant").isNotNull() & (F.col("variant") != CONFLICT))
    asked = plan.where(~F.coalesce("suppressed_reason", F.lit("")).isin(*BEFORE_THE_HOLDOUT))
    is_held_out = F.bool_or(F.coalesce(F.col("suppressed_reason") == HELD_OUT, F.lit(False)))
    holdout = asked.groupBy("customer_id").agg(F.when(is_held_out, HELD_OUT).otherwise(CONTACTED).alias("variant"))
    pair = ["experiment_id", "customer_id"]
    both = variants.select(*pair, "variant").unionByName(holdout.withColumn("experiment_id", F.lit(HOLDOUT)))
    new = both.join(_owned(assignments, identities).select(*pair), pair, "left_anti")
    own_id = id_of(F.col("identifier_type"), F.col("identifier"))
    anchors = identities.where(F.col("customer_id") == own_id).select("customer_id", _anchor())
    return _recorded(new.join(anchors, "customer_id"), as_of, "hash")


def carried_assignments(events: DataFrame, assignments: DataFrame, as_of: date) -> DataFrame:
    """What events say and nobody recorded yet, each lead's first variant; columns of gold.experiment_assignments.

    Args:
        events: silver.events with `customer_id` of the lead; guests may be among them.
    """
    said = events.where(
        F.col("customer_id").isNotNull()
        & F.col("experiment_id").isNotNull()
        & F.col("variant").isNotNull()
        & (F.col("event_date") <= F.lit(as_of))
    )
    anchor = F.concat_ws(":", "lead_identifier_type", "lead_identifier").alias("anchor")
    first = F.min(F.struct("event_at", "variant"))["variant"].alias("variant")
    found = said.groupBy("experiment_id", "customer_id", anchor).agg(first)
    known = assignments.where("source = 'event'").select("experiment_id", "anchor")
    return _recorded(found.join(known, ["experiment_id", "anchor"], "left_anti"), as_of, "event")


def _owned(assignments: DataFrame, identities: DataFrame) -> DataFrame:
    """Assignments with the customer who owns their anchor now."""
    owners = identities.where("customer_id is not null").select(_anchor(), "customer_id")
    return assignments.drop("customer_id").join(owners, "anchor")


def _anchor() -> Column:
    return F.concat_ws(":", "identifier_type", "identifier").alias("anchor")


def _recorded(found: DataFrame, as_of: date, source: str) -> DataFrame:
    dated = found.withColumns({"assigned_date": F.lit(as_of), "source": F.lit(source)})
    return dated.select(*gold.EXPERIMENT_ASSIGNMENTS.column_names)
