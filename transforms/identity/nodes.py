"""Identifiers as nodes of a graph, and the columns that name them; in the graph 128 bits stand for a type and a value.

64 bits collide at chain scale, and a collision is a false merge; of 10⁹ identifiers two share 128 bits with a
probability of 10⁻²¹. Values that two types have in common share the second half: of 10⁹ such pairs one shares the first
too with a probability of 10⁻¹⁰. Tokens are 64 characters, so four times as much would be held and sent.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

KEY = ["identifier_type", "identifier"]
ENDS = [["type_a", "value_a"], ["type_b", "value_b"]]  # of a link
PAIR = [*ENDS[0], *ENDS[1]]
NODE = ["node_high", "node_low"]


def node_of(identifier_type: str, identifier: str) -> list[Column]:
    """The two halves of an identifier's node, named as NODE: its value hashed with two seeds, one of its type."""
    return [F.xxhash64(identifier_type, identifier).alias(NODE[0]), F.xxhash64(identifier).alias(NODE[1])]


def with_component(identifiers: DataFrame, components: DataFrame, how: str = "left") -> DataFrame:
    """Frame of identifier_type and identifier with their `component` (of NODE), null where they have no link."""
    return identifiers.select("*", *node_of("identifier_type", "identifier")).join(components, NODE, how).drop(*NODE)
