"""Connected components in distributed rounds, for graphs that do not fit one task: contraction to least neighbours.

Links are stars around leads, so the first round gives every identifier way to the least of its leads, by one shuffle of
the links. Edges are left only where an identifier has several leads or is one itself: fewer by far than the links.

The later rounds are Bögeholz, Brand, Todor: In-database connected component analysis (ICDE 2020). In a round every node
gives way to its parent, the least of itself and its neighbours, and an edge to one between parents. A node is linked to
its parent, so nodes with one parent are connected, and an edge of a node to its parent becomes one of that parent to
its own: what was connected stays so, and nothing else becomes so. Termination: of connected nodes the greatest is
nobody's parent, so every round has fewer nodes. Nodes are numbered by hash, so their order is random, and half of a
chain's nodes give way at once.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.identity.nodes import ENDS, NODE, node_of


def first_parents(links: DataFrame, salt: int) -> DataFrame:
    """The least lead of each node, or itself: (node, parent, node_low, is_lead, has_more, is_shared), key node.

    Args:
        salt: below 64; another one where nodes share a number.

    Nodes are numbered by 64 bits. `has_more` where there are other leads than the parent, `is_shared` where two
    identifiers have one number.
    """
    (lead, lead_low), (other, other_low) = (_numbered(end, salt) for end in range(2))
    no_lead = F.lit(None).cast("bigint")
    rows = [
        F.struct(node.alias("node"), low.alias("low"), its_lead.alias("lead"))
        for node, low, its_lead in ((lead, lead_low, no_lead), (other, other_low, lead))
    ]
    return (
        links.select(F.inline(F.array(*rows)))
        .groupBy("node")
        .agg(
            F.coalesce(F.min("lead"), F.col("node")).alias("parent"),
            F.min("low").alias(NODE[1]),
            F.bool_or(F.col("lead").isNull()).alias("is_lead"),
            F.coalesce(F.min("lead") != F.max("lead"), F.lit(False)).alias("has_more"),
            (F.min("low") != F.max("low")).alias("is_shared"),
        )
    )


def edges_between_leads(links: DataFrame, salt: int, leads: DataFrame, held_by_more: DataFrame) -> DataFrame:
    """Edges (u, v) that the first round leaves, each once and without loops.

    Args:
        leads, held_by_more: `first_parents` of the nodes that are leads, and of those with several.
    """
    is_led = leads.select(F.col("node").alias("u"), F.col("parent").alias("v"))
    numbers = links.select(*[_numbered(end, salt)[0].alias(name) for end, name in enumerate(("lead", "node"))])
    least = held_by_more.select("node", "parent")
    beside = numbers.join(least, "node").select(F.col("lead").alias("u"), F.col("parent").alias("v"))
    return _edges(is_led.union(beside), "u", "v")


def with_node(numbered: DataFrame, salt: int) -> DataFrame:
    """(node_high, node_low, component) of `first_parents`' nodes: the number and one half give the other half."""
    high = _mixed(F.col("node"), F.col(NODE[1]), salt)
    return numbered.select(high.alias(NODE[0]), NODE[1], "component")


def parents(edges: DataFrame) -> DataFrame:
    """(node, parent), key node, of edges (u, v)."""
    both = edges.select(F.col("u").alias("node"), F.col("v").alias("other")).union(edges.select("v", "u"))
    return both.groupBy("node").agg(F.least(F.min("other"), F.col("node")).alias("parent"))


def contracted(edges: DataFrame, parent_of: DataFrame) -> DataFrame:
    """Edges (u, v) between parents, each once and without loops."""
    ends = [parent_of.select(F.col("node").alias(end), F.col("parent").alias(f"_{end}")) for end in "uv"]
    return _edges(edges.join(ends[0], "u").join(ends[1], "v"), "_u", "_v")


def handed_down(parent_of: DataFrame, components: DataFrame) -> DataFrame:
    """The nodes of a round with the `component` of their parent in the next one; a parent without edges is its own.

    Args:
        components: (node, component) of the next round.
    """
    of_parent = components.select(F.col("node").alias("parent"), "component")
    found = parent_of.join(of_parent, "parent", "left")
    return found.withColumn("component", F.coalesce("component", "parent")).drop("parent")


def _edges(pairs: DataFrame, one: str, other: str) -> DataFrame:
    between = pairs.where(F.col(one) != F.col(other))
    return between.select(F.greatest(one, other).alias("u"), F.least(one, other).alias("v")).distinct()


def _numbered(end: int, salt: int) -> tuple[Column, Column]:
    """(number, second half) of the node at an end of a link."""
    high, low = node_of(*ENDS[end])
    return _mixed(high, low, salt), low


def _mixed(high: Column, low: Column, salt: int) -> Column:
    """64 bits of both halves; mixed again with the second half they are the first."""
    return high.bitwiseXOR(F.shiftleft(low, salt))
