"""Connected components in distributed rounds, for graphs that do not fit one task: alternating large and small stars.

Kiveris, Lattanzi, Mirrokni, Rastogi, Vassilvitskii: Connected Components in MapReduce and Beyond (SoCC 2014).

Each step keeps which nodes are connected, and replaces edges so that nodes point to ever smaller ones. A large star
links every neighbour of a node that is greater than it to the least of its neighbourhood; a small star links a node and
its lesser neighbours to the least of them. Termination: a step that changes anything lowers the sum, over all nodes, of
the least node that they point to, which cannot fall for ever; where neither changes anything, every component is a
star around its least node. O(log² n) rounds are proven.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def edges_of(links: DataFrame) -> DataFrame:
    """Links as edges (u, v) of nodes `type:value`, each once, u the greater."""
    one, other = F.concat_ws(":", "type_a", "value_a"), F.concat_ws(":", "type_b", "value_b")
    both = links.select(F.greatest(one, other).alias("u"), F.least(one, other).alias("v"))
    return both.where("u != v").distinct()


def large_star(edges: DataFrame) -> DataFrame:
    """Every node's greater neighbours linked to the least of its neighbourhood; edges as in `edges_of`."""
    both = edges.union(edges.select(F.col("v").alias("u"), F.col("u").alias("v")))
    least = both.groupBy("u").agg(F.least(F.min("v"), F.first("u")).alias("m"))
    return _edges(both.where("v > u").join(least, "u"), F.col("v"))


def small_star(edges: DataFrame) -> DataFrame:
    """Every node and its lesser neighbours linked to the least of them; edges as in `edges_of`."""
    least = edges.groupBy("u").agg(F.min("v").alias("m"))
    joined = edges.join(least, "u")
    return _edges(joined, F.col("v")).union(least.select("u", F.col("m").alias("v"))).distinct()


def fingerprint(edges: DataFrame) -> DataFrame:
    """One row that stays equal when a round changed nothing: edges, and a sum of their hashes."""
    return edges.agg(F.count("*").alias("edges"), F.sum(F.xxhash64("u", "v").cast("decimal(38,0)")).alias("hash"))


def labelled(edges: DataFrame) -> DataFrame:
    """(identifier_type, identifier, component) of finished stars; `component` is the star's centre."""
    centres = edges.select(F.col("v").alias("node"), F.col("v").alias("component")).distinct()
    nodes = edges.select(F.col("u").alias("node"), F.col("v").alias("component")).union(centres)
    cut = F.instr("node", ":")  # types hold no colon, values may
    return nodes.select(
        F.substring(F.col("node"), F.lit(1), cut - 1).alias("identifier_type"),
        F.substring(F.col("node"), cut + 1, F.length("node")).alias("identifier"),
        "component",
    )


def _edges(joined: DataFrame, node: Column) -> DataFrame:
    """Edges from nodes to the least one `m`, loops left out."""
    return joined.where(node != F.col("m")).select(node.alias("u"), F.col("m").alias("v")).distinct()
