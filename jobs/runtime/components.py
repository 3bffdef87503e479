"""Which engine finds the components: one task while the links fit one executor, distributed rounds above that."""

from __future__ import annotations

import time

from pyspark.sql import DataFrame

from jobs.runtime.job import JobContext
from transforms.identity.components import connected_components
from transforms.identity.stars import edges_of, fingerprint, labelled, large_star, small_star


def find_components(ctx: JobContext, links: DataFrame, link_count: int) -> DataFrame:
    """(identifier_type, identifier, component), the same partition of identifiers by either engine.

    Below `identity.one_task_links` one streaming task is several times cheaper than any distributed scheme.
    """
    if link_count <= ctx.settings.identity.one_task_links:
        return connected_components(links)
    return components_in_rounds(ctx, links)


def components_in_rounds(ctx: JobContext, links: DataFrame) -> DataFrame:
    """Alternating stars until a round changes nothing; each round is written out, so that plans do not grow."""
    edges, before, number = _cut(edges_of(links)), None, 0
    while (found := tuple(fingerprint(edges).collect()[0])) != before:
        started, before, number = time.monotonic(), found, number + 1
        edges = _cut(small_star(_cut(large_star(edges))))
        ctx.progress.note(f"components: round {number}, {found[0]:,} edges, {time.monotonic() - started:.1f} s")
    return labelled(edges)


def _cut(edges: DataFrame) -> DataFrame:
    return edges.localCheckpoint()
