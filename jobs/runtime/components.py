"""Which engine finds the components: one task while the links fit one executor, distributed rounds above that."""

from __future__ import annotations

import time
from collections.abc import Callable

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
    return components_in_rounds(links, ctx.progress.note)


def components_in_rounds(links: DataFrame, note: Callable[[str], None]) -> DataFrame:
    """Alternating stars until a round changes nothing; each step is kept without its plan, so that plans do not grow.

    `note` is told of every round.
    """
    edges, before, number = edges_of(links).localCheckpoint(), None, 0
    while (found := tuple(fingerprint(edges).collect()[0])) != before:
        started, before, number = time.monotonic(), found, number + 1
        edges = small_star(large_star(edges).localCheckpoint()).localCheckpoint()
        note(f"components: round {number}, {found[0]:,} edges, {time.monotonic() - started:.1f} s")
    return labelled(edges)
