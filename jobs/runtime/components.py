"""Which engine finds the components: one task while the links fit one executor, distributed rounds above that."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from pyspark.sql import DataFrame

from jobs.runtime.job import JobContext
from transforms.identity.components import components_of_numbers, connected_components
from transforms.identity.contraction import (
    contracted,
    edges_between_leads,
    first_parents,
    handed_down,
    parents,
    with_node,
)
from transforms.identity.nodes import NODE

Keep = Callable[[DataFrame], DataFrame]


def find_components(ctx: JobContext, links: DataFrame, link_count: int) -> DataFrame:
    """(node_high, node_low, component), the same partition of identifiers by either engine.

    Below `identity.one_task_links` one task is cheaper than any distributed scheme.
    """
    fits = ctx.settings.identity.one_task_links
    if link_count <= fits:
        return connected_components(links)
    return components_in_rounds(links, fits, ctx.put_aside, ctx.progress.note)


def components_in_rounds(links: DataFrame, fits: int, keep: Keep, note: Callable[[str], None]) -> DataFrame:
    """Contract until at most `fits` edges are left, find their components in one task, and hand them down again.

    Args:
        keep: writes a frame to files and reads it back, so that neither plans nor Spark's estimates of sizes, which
            are squared by every join, grow from round to round.
        note: is told of every round.
    """
    salt, first = _numbered(links, keep)
    # Kept apart, so that Spark sees how few they are and broadcasts them.
    leads, held_by_more = (keep(first.where(which)) for which in ("is_lead and node != parent", "has_more"))
    edges = keep(edges_between_leads(links, salt, leads, held_by_more))
    levels = [first.select("node", "parent", NODE[1])]
    for number in count(1):
        left = edges.count()
        note(f"components: round {number}, {left:,} edges left")
        if left <= fits:
            break
        levels.append(keep(parents(edges)))
        edges = keep(contracted(edges, levels[-1]))
    components = components_of_numbers(edges)
    for level in reversed(levels):
        components = handed_down(level, components)
    return with_node(components, salt)


def _numbered(links: DataFrame, keep: Keep) -> tuple[int, DataFrame]:
    """The first salt that gives each node its own number, and `first_parents` under it."""
    for salt in range(64):
        first = keep(first_parents(links, salt))
        if first.where("is_shared").isEmpty():
            return salt, first
    raise AssertionError("no salt tells all nodes apart")
