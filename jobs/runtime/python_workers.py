"""The process that Spark's Python workers are forked from, with what they need already imported.

Spark ends workers that are idle for a minute, and each new one imports all it needs again: Spark's own modules, Arrow,
ours, the compiled union-find. Workers of two nights over README's data set, about ten each, took 25 and 11 s of
processor time, and 16 and 3 s this way (one session, 2 cores).
Spark forks from a process that has imported nothing, since threads do not survive a fork; the only one here is the
allocator's, which provides for it.
"""

from __future__ import annotations

import gc
from importlib import import_module

from pyspark.daemon import manager

_USED_EVERY_NIGHT = (
    "pandas",
    "pyspark.worker",
    "pyarrow.compute",
    "jobs.runtime.cipher",
    "transforms.feedback.opinions",
    "transforms.identity.identifiers",
    "transforms.tags.engine",
)


def _import_all() -> None:
    import numpy as np

    from transforms.identity.union_find import UnionFind

    for name in _USED_EVERY_NIGHT:
        import_module(name)
    none = np.empty(0, np.int64)
    none.flags.writeable = False  # as Arrow's arrays are: numba compiles, and loads, for each kind
    graph = UnionFind()
    graph.add(none, none, none, none)
    graph.labels()
    gc.collect()
    gc.freeze()  # a worker collects after each task: it would look at all of this, and so copy it


if __name__ == "__main__":
    _import_all()
    manager()
