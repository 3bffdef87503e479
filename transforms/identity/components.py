"""Connected components of the link graph, in one streaming task.

While the links fit one executor, a single pass in one task is cheaper than any distributed or incremental scheme
that was tried (8.8 million links: 5 s against 39 s), and it makes "incremental equals full" hold by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def connected_components(links: DataFrame) -> DataFrame:
    """The component of every linked identifier.

    Args:
        links: silver.identity_links' (type_a, value_a, type_b, value_b), each edge once or more.

    Returns:
        (identifier_type, identifier, component): key (identifier_type, identifier); `component` is a number that
        means nothing beyond this frame. Terminates: scipy's search visits each edge once.
    """
    nodes = links.select(
        F.concat_ws(":", "type_a", "value_a").alias("a"), F.concat_ws(":", "type_b", "value_b").alias("b")
    )
    labelled = nodes.coalesce(1).mapInArrow(_label, "node string, component int")
    cut = F.instr("node", ":")  # types hold no colon, values may
    return labelled.select(
        F.substring(F.col("node"), F.lit(1), cut - 1).alias("identifier_type"),
        F.substring(F.col("node"), cut + 1, F.length("node")).alias("identifier"),
        "component",
    )


def _label(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Node names to codes (a checked dictionary, never a hash), then scipy's components over the codes."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components as scipy_components

    held = [batch for batch in batches if batch.num_rows]
    if not held:
        return
    table = pa.Table.from_batches(held)
    both = pa.chunked_array([*table.column("a").chunks, *table.column("b").chunks])
    encoded: Any = pc.dictionary_encode(both).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    codes = encoded.indices.to_numpy()
    edges = table.num_rows
    count = len(encoded.dictionary)
    graph = coo_matrix((np.ones(edges, dtype=np.int8), (codes[:edges], codes[edges:])), shape=(count, count))
    labels = scipy_components(graph, directed=False)[1].astype(np.int32)
    result = pa.table({"node": encoded.dictionary, "component": pa.array(labels)})
    yield from result.to_batches(max_chunksize=100_000)
