"""How well identities came out: sizes of customers, and precision and recall where the truth is known."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def component_sizes(identities: DataFrame) -> DataFrame:
    """Counts and size percentiles of customers as (metric, value)."""
    sizes = identities.where("customer_id is not null").groupBy("customer_id").count()
    measured = sizes.agg(
        F.count("*").alias("customers"),
        F.sum("count").alias("identifiers"),
        *[F.percentile_approx("count", p / 100, 10_000).alias(f"component_size_p{p}") for p in (50, 90, 99)],
        F.max("count").alias("component_size_max"),
    )
    return as_metrics(measured)


def against_truth(identities: DataFrame, truth: DataFrame) -> DataFrame:
    """Pairwise and cluster precision and recall as (metric, value).

    Args:
        truth: (identifier_type, identifier, person_id), identifiers as stored (normal form or token).

    Pairs are pairs of identifiers that both sides know. `pairwise_recall_all` is over all pairs of one person,
    `pairwise_recall` over those whose identifiers each have some evidence (a link), since no rule can join the
    others. A cluster is right when it equals a person's identifiers exactly.
    """
    known = identities.where("customer_id is not null").join(truth, ["identifier_type", "identifier"])
    cells = known.groupBy("customer_id", "person_id").agg(
        F.count("*").alias("n"), F.count_if(F.col("status") == "linked").alias("n_linked")
    )
    customers = cells.groupBy("customer_id").agg(F.sum("n").alias("size"), F.count("*").alias("parts"))
    persons = cells.groupBy("person_id").agg(
        F.sum("n").alias("size"), F.count("*").alias("parts"), F.sum("n_linked").alias("linked")
    )
    both = cells.agg(F.sum(_pairs("n")).alias("both"), F.sum(_pairs("n_linked")).alias("both_linked"))
    found = customers.agg(F.sum(_pairs("size")).alias("found"), F.count("*").alias("clusters"))
    real = persons.agg(
        F.sum(_pairs("size")).alias("real"), F.sum(_pairs("linked")).alias("reachable"), F.count("*").alias("persons")
    )
    exact = (
        cells.join(
            customers.select("customer_id", F.col("size").alias("c_size"), F.col("parts").alias("c_parts")),
            "customer_id",
        )
        .join(persons.select("person_id", F.col("size").alias("p_size"), F.col("parts").alias("p_parts")), "person_id")
        .agg(F.count_if((F.col("c_parts") == 1) & (F.col("p_parts") == 1)).alias("exact"))
    )
    counted = reduce(DataFrame.crossJoin, [both, found, real, exact])
    return as_metrics(
        counted.select(
            F.try_divide("both", "found").alias("pairwise_precision"),
            F.try_divide("both_linked", "reachable").alias("pairwise_recall"),
            F.try_divide("both", "real").alias("pairwise_recall_all"),
            F.try_divide("exact", "clusters").alias("cluster_precision"),
            F.try_divide("exact", "persons").alias("cluster_recall"),
        )
    )


def match_rates(owned: DataFrame) -> DataFrame:
    """`match_rate:<channel>:<channel>`: of the customers of the first channel, the share that the second knows too.

    Args:
        owned: events with `channel` and `customer_id`; guests count nowhere.
    """
    present = owned.where("customer_id is not null").select("customer_id", "channel").distinct()
    other = present.select("customer_id", F.col("channel").alias("other"))
    both = present.join(other, "customer_id").groupBy("channel", "other").agg(F.count("*").alias("n"))
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
