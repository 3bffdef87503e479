"""How well identities came out: sizes of customers, and precision and recall where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.bits import bit_of, names_of
from transforms.identity.components import connected_components
from transforms.identity.nodes import KEY, with_component


def customers_of(
    identities: DataFrame, seen_together: DataFrame, channels: Sequence[str], anchors: Sequence[str]
) -> DataFrame:
    """How many identifiers each customer has, and the channels where it leads; one row a customer.

    Columns of `_state.identity_customers`: `is_anchored`, whether it has an identifier of an anchor type, and
    `customer_count`, which is 1.

    Args:
        identities: silver.identities.
        seen_together: events, or combinations of their identifiers, with `channel` and lead; guests count nowhere.
        channels: all channels among them.
        anchors: the anchor types.
    """
    lead = [F.col(f"lead_{name}").alias(name) for name in KEY]
    led = seen_together.where("lead_identifier is not null").groupBy(*lead)
    seen = led.agg(F.bit_or(bit_of("channel", channels)).alias("channels"))
    owned = identities.where("customer_id is not null").select(*KEY, "customer_id").join(seen, KEY, "left")
    counted = owned.groupBy("customer_id").agg(
        F.count("*").alias("identifiers"),
        F.bit_or("channels").alias("bits"),
        F.bool_or(F.col("identifier_type").isin(*anchors)).alias("is_anchored"),
    )
    named, one = names_of("bits", channels).alias("channels"), F.lit(1).cast("bigint")
    return counted.select("customer_id", "identifiers", named, "is_anchored", one.alias("customer_count"))


def added_up(counted: DataFrame) -> DataFrame:
    """Rows that carry a `customer_count`, some of them taken off with a negative one, less those that cancel out."""
    alike = [name for name in counted.columns if name != "customer_count"]
    total = counted.groupBy(*alike).agg(F.sum("customer_count").alias("customer_count"))
    return total.where("customer_count != 0").select(*counted.columns)


def alike(customers: DataFrame) -> DataFrame:
    """How many customers are of one size, on the same channels, and anchored or not.

    Args:
        customers: rows of `customers_of` that add up; a difference of two nights gives one of counts.

    Returns:
        Columns of `_state.identity_sizes`; key (identifiers, channels, is_anchored).
    """
    return added_up(customers.select("identifiers", "channels", "is_anchored", "customer_count"))


def anchored(sizes: DataFrame) -> DataFrame:
    """One row `known`: how many of the customers of `alike` have an identifier of an anchor type."""
    return sizes.where("is_anchored").agg(F.sum("customer_count").alias("known"))


def component_sizes(counted: DataFrame) -> DataFrame:
    """Counts and size percentiles of `alike` as (metric, value).

    A percentile is the least size that at least so many in a hundred customers do not exceed.
    """
    sizes = counted.groupBy("identifiers").agg(F.sum("customer_count").alias("n"))
    ranked = sizes.select(
        *("identifiers", "n"),
        F.sum("n").over(Window.orderBy("identifiers")).alias("up_to"),
        F.sum("n").over(Window.partitionBy()).alias("all"),
    )
    reached = {p: F.col("up_to") * 100 >= F.col("all") * p for p in (50, 90, 99)}
    measured = ranked.agg(
        F.coalesce(F.sum("n"), F.lit(0)).alias("customers"),
        F.sum(F.col("identifiers") * F.col("n")).alias("identifiers"),
        *[F.min(F.when(is_so, F.col("identifiers"))).alias(f"component_size_p{p}") for p, is_so in reached.items()],
        F.max("identifiers").alias("component_size_max"),
    )
    return as_metrics(measured)


def against_truth(identities: DataFrame, truth: DataFrame, links: DataFrame) -> DataFrame:
    """Pairwise and cluster precision, recall and F1 as (metric, value).

    Args:
        identities: silver.identities.
        truth: (identifier_type, identifier, person_id), identifiers as stored (normal form or token).
        links: silver.identity_links; blocked values are in none.

    Pairs are pairs of identifiers that both sides know. `pairwise_recall_all` is over all pairs of one person;
    `pairwise_recall` over those that a chain of links between this person's own identifiers connects, since no rule
    could join the others. A cluster is right when it equals a person's identifiers exactly.
    """
    known = identities.where("customer_id is not null").join(truth, KEY)
    owned = with_component(known, connected_components(_own_links(links, truth)))
    owned = owned.withColumnRenamed("component", "reach")
    cells = owned.groupBy("customer_id", "person_id", "reach").agg(F.count("*").alias("n"))
    reachable = cells.where("reach is not null")
    chained = reachable.groupBy("person_id", "reach").agg(F.sum("n").alias("n"))
    both = cells.groupBy("customer_id", "person_id").agg(F.sum("n").alias("n"))
    customers = both.groupBy("customer_id").agg(F.sum("n").alias("n"), F.count("*").alias("parts"))
    persons = both.groupBy("person_id").agg(F.sum("n").alias("n"), F.count("*").alias("parts"))
    exact = (
        both.join(customers.where("parts = 1").select("customer_id"), "customer_id")
        .join(persons.where("parts = 1").select("person_id"), "person_id")
        .agg(F.count("*").alias("exact"))
    )
    counted = reduce(
        DataFrame.crossJoin,
        [
            both.agg(F.sum(_pairs("n")).alias("both")),
            reachable.agg(F.sum(_pairs("n")).alias("both_reached")),
            chained.agg(F.sum(_pairs("n")).alias("reachable")),
            customers.agg(F.sum(_pairs("n")).alias("found"), F.count("*").alias("clusters")),
            persons.agg(F.sum(_pairs("n")).alias("real"), F.count("*").alias("persons")),
            exact,
        ],
    )
    measured = counted.select(
        F.try_divide("both", "found").alias("pairwise_precision"),
        F.try_divide("both_reached", "reachable").alias("pairwise_recall"),
        F.try_divide("both", "real").alias("pairwise_recall_all"),
        F.try_divide("exact", "clusters").alias("cluster_precision"),
        F.try_divide("exact", "persons").alias("cluster_recall"),
    )
    return as_metrics(measured.select("*", *[_f1(unit).alias(f"{unit}_f1") for unit in ("pairwise", "cluster")]))


def _f1(unit: str) -> Column:
    """Harmonic mean of precision and recall; null where both are 0."""
    precision, recall = F.col(f"{unit}_precision"), F.col(f"{unit}_recall")
    return F.try_divide(2 * precision * recall, precision + recall)


def _own_links(links: DataFrame, truth: DataFrame) -> DataFrame:
    """Links between two identifiers of one person."""
    ends = [
        truth.select(
            F.col("identifier_type").alias(f"type_{end}"),
            F.col("identifier").alias(f"value_{end}"),
            F.col("person_id").alias(f"person_{end}"),
        )
        for end in "ab"
    ]
    known = links.join(ends[0], ["type_a", "value_a"]).join(ends[1], ["type_b", "value_b"])
    return known.where("person_a = person_b")


def match_rates(counted: DataFrame) -> DataFrame:
    """`match_rate:<channel>:<channel>`: of the customers of the first channel, the share that the second knows too.

    Args:
        counted: `alike`.
    """
    known = counted.groupBy("channels").agg(F.sum("customer_count").alias("n"))
    paired = known.withColumn("channel", F.explode("channels")).withColumn("other", F.explode("channels"))
    both = paired.groupBy("channel", "other").agg(F.sum("n").alias("n"))
    own = both.where("channel = other").select("channel", F.col("n").alias("own"))
    rated = both.where("channel != other").join(own, "channel")
    name = F.concat(F.lit("match_rate:"), "channel", F.lit(":"), "other")
    return rated.select(name.alias("metric"), F.round((F.col("n") / F.col("own")).cast("double"), 6).alias("value"))


def _pairs(column: str) -> Column:
    """n (n - 1) / 2, in integers."""
    return F.expr(f"`{column}` * (`{column}` - 1) div 2")


def as_metrics(row: DataFrame) -> DataFrame:
    """One row of columns as rows of (metric, value), values rounded to 6 decimals."""
    pairs = [F.struct(F.lit(n).alias("metric"), F.col(n).cast("double").alias("value")) for n in row.columns]
    exploded = row.select(F.explode(F.array(*pairs)).alias("pair")).select("pair.metric", "pair.value")
    return exploded.select("metric", F.round("value", 6).alias("value")).where("value is not null")
