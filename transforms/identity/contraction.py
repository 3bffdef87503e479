"""Connected components in distributed rounds, for graphs that do not fit one task: contraction to least neighbours.

Bögeholz, Brand, Todor: In-database connected component analysis (ICDE 2020).

In a round every node gives way to its parent, the least of itself and its neighbours, and an edge to one between
parents. A node is linked to its parent, so nodes with one parent are connected, and an edge of a node to its parent
becomes one of that parent to its own: what was connected stays so, and nothing else becomes so. Termination: of
connected nodes the greatest is nobody's parent, so every round has fewer nodes. Nodes are numbered by hash, so their
order is random, and half of a chain's nodes give way at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.identity.nodes import ENDS, NODE, node_of


def numbered_edges(links: DataFrame, salt: int) -> DataFrame:
    """Links as edges (u, v) of nodes numbered by 64 bits, which may be told apart no more."""
    return links.select(_number(salt, ENDS[0]).alias("u"), _number(salt, ENDS[1]).alias("v"))


def first_parents(links: DataFrame, salt: int) -> DataFrame:
    """(node, parent, node_high, node_low, is_shared), key node; `is_shared` where two identifiers have one number."""
    number = {end: _number(salt, columns) for end, columns in zip("ab", ENDS, strict=True)}
    both = [
        F.struct(number[end].alias("node"), number[other].alias("other"), *node_of(*columns))
        for end, other, columns in (("a", "b", ENDS[0]), ("b", "a", ENDS[1]))
    ]
    shared = [F.min(half) != F.max(half) for half in NODE]
    return (
        links.select(F.inline(F.array(*both)))
        .groupBy("node")
        .agg(
            F.least(F.min("other"), F.col("node")).alias("parent"),
            *[F.min(half).alias(half) for half in NODE],
            (shared[0] | shared[1]).alias("is_shared"),
        )
    )


def parents(edges: DataFrame) -> DataFrame:
    """(node, parent), key node, of edges (u, v)."""
    both = edges.select(F.col("u").alias("node"), F.col("v").alias("other")).union(edges.select("v", "u"))
    return both.groupBy("node").agg(F.least(F.min("other"), F.col("node")).alias("parent"))


def contracted(edges: DataFrame, parent_of: DataFrame) -> DataFrame:
    """Edges (u, v) between parents, each once and without loops."""
    ends = [parent_of.select(F.col("node").alias(end), F.col("parent").alias(f"_{end}")) for end in "uv"]
    joined = edges.join(ends[0], "u").join(ends[1], "v").where("_u != _v")
    return joined.select(F.greatest("_u", "_v").alias("u"), F.least("_u", "_v").alias("v")).distinct()


def handed_down(parent_of: DataFrame, components: DataFrame) -> DataFrame:
    """The nodes of a round with the `component` of their parent in the next one; a parent without edges is its own.

    Args:
        components: (node, component) of the next round.
    """
    of_parent = components.select(F.col("node").alias("parent"), "component")
    found = parent_of.join(of_parent, "parent", "left")
    return found.withColumn("component", F.coalesce("component", "parent")).drop("parent")


def _number(salt: int, end: Sequence[str]) -> Column:
    return F.xxhash64(F.lit(salt), *end)
