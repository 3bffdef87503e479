"""From component to customer: an id that follows the component's anchor, so that recomputes leave it alone."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import silver
from transforms.identity.identifiers import IdentityRules
from transforms.identity.links import by_type


def name_customers(placed: DataFrame, rules: IdentityRules) -> DataFrame:
    """Every identifier with its owner, in the columns of silver.identities.

    Args:
        placed: `lawful.lawful_components`; every identifier, also the blocked ones.

    The anchor of a component is its identifier with the least (anchor class, first arrival date, tier, value):
    members, phones and the like come before cookies and devices, then the older one. A merge so keeps the older
    customer's id, a split leaves it with the part that holds the anchor, and a full rebuild gives the same ids.
    """
    rank = F.struct(
        by_type({kind.type: 0 if kind.anchor else 1 for kind in rules.types}).alias("anchor_class"),
        "first_arrival_date",
        by_type(rules.tier).alias("tier"),
        "identifier",
        "identifier_type",
    )
    is_linked = F.col("component").isNotNull()
    anchor = F.min(F.when(F.col("is_usable"), rank)).over(Window.partitionBy("component"))
    linked = placed.where(is_linked).withColumn("anchor", anchor)
    alone = placed.where(~is_linked)  # millions: not to be one group of a window
    owned = linked.unionByName(alone, allowMissingColumns=True)
    own_id = customer_id(F.col("identifier_type"), F.col("identifier"))
    anchored = customer_id(F.col("anchor.identifier_type"), F.col("anchor.identifier"))
    status = (
        F.when(~F.col("is_usable"), F.lit("blocked"))
        .when(F.col("is_ambiguous"), F.lit("ambiguous"))
        .when(~is_linked, F.lit("alone"))
        .otherwise(F.lit("linked"))
    )
    owner = F.when(F.col("is_usable"), F.coalesce(anchored, own_id))
    named = owned.withColumn("customer_id", owner).withColumn("status", status)
    return named.select(*silver.IDENTITIES.column_names)


def with_owner(frame: DataFrame, identities: DataFrame) -> DataFrame:
    """The frame with `customer_id` of its lead identifier; null for guests."""
    owners = identities.where("customer_id is not null").select(
        F.col("identifier_type").alias("lead_identifier_type"),
        F.col("identifier").alias("lead_identifier"),
        "customer_id",
    )
    return frame.join(owners, ["lead_identifier_type", "lead_identifier"], "left")


def is_certain() -> Column:
    """Whether an identifier of silver.identities is its owner's for sure: enough to reach them by it."""
    return F.col("status").isin("linked", "alone")


def customer_id(identifier_type: Column, identifier: Column) -> Column:
    """`C` and 32 hex characters of the SHA-256 of `type:value`; null when either is."""
    return F.concat(F.lit("C"), F.substring(F.sha2(F.concat(identifier_type, F.lit(":"), identifier), 256), 1, 32))
