"""Connected components side by side on generated links, in one run: `make bench-identity`.

Cases: `floor` (read the links, one shuffle by node, a type and a value, write the labels), `one_task` and `distributed`
(our engines; the latter contracts until a quarter of the links is left), `bare_union_find` (numba) and `scipy` (both
without Spark, from the same files to a file of labels), `splink` and `splink_duckdb` (Splink's connected components on
Spark and on DuckDB). What Spark finds is written as Delta, what others find as Parquet. `--cases` chooses; ratios need
`floor`. GraphFrames is not among them: no jar of it for Spark 4 is to be had. `--events` runs whole resolve-identities
nights (`first`, `nightly`, `full`) too.
Writes build/bench/identity.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import duckdb
import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from identity_nights import nights
from memory import timed
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components as scipy_components
from splink.clustering import cluster_pairwise_predictions_at_threshold as clustered

from jobs.runtime.components import components_in_rounds
from jobs.runtime.session import build_session, narrow_rows
from jobs.runtime.settings import load_settings
from transforms.identity.components import connected_components

Case = Callable[[], int]
PEERS = ("bare_union_find", "scipy", "splink", "splink_duckdb")


def main() -> None:
    """Run every case at every size, and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", type=lambda text: int(float(text)), nargs="*", default=[1_000_000])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="only these (default: all)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--events", type=lambda text: int(float(text)), nargs="+", default=[], help="sizes of nights")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    spark = build_session(load_settings())
    _union_find(np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.int32), 2)  # compile
    results = [row for size in arguments.links for row in _measured(spark, size, arguments)]
    results += [row for size in arguments.events for row in nights(size, arguments.out)]
    (arguments.out / "identity.json").write_text(json.dumps(results, indent=2))


def _measured(spark: SparkSession, size: int, arguments: argparse.Namespace) -> list[dict]:
    repeats, path = arguments.repeats, str(arguments.out / f"links_{size}")
    _links(spark, size).write.mode("overwrite").parquet(path)
    links = spark.read.parquet(path)

    def keep(frame: DataFrame) -> DataFrame:
        kept = f"{path}_rounds/{uuid.uuid4().hex}"
        frame.write.parquet(kept)
        return spark.read.parquet(kept)

    cases: dict[str, Case] = {
        "floor": lambda: _written(_floor(links), path),
        "one_task": lambda: _ours(spark, lambda: _written(connected_components(links), path)),
        "distributed": lambda: _ours(
            spark, lambda: _written(components_in_rounds(links, size // 4, keep, print), path)
        ),
        "bare_union_find": lambda: _bare(path, _union_find),
        "scipy": lambda: _bare(path, _scipy),
        "splink": lambda: _written(_splink(links), path),
        "splink_duckdb": lambda: _splink_duckdb(path),
    }
    if unknown := set(arguments.cases or ()) - set(cases):
        raise SystemExit(f"--cases: {', '.join(sorted(unknown))}: no such case; there are {', '.join(cases)}")
    cases = {name: case for name, case in cases.items() if name in (arguments.cases or cases)}
    rows = [timed("identity", name, size, case, repeat) for repeat in range(repeats) for name, case in cases.items()]
    warm = {row["case"]: row["seconds"] for row in rows if row["repeat"] == repeats - 1}
    for row in rows:
        row["ratio_to_floor"] = round(row["seconds"] / warm["floor"], 3) if "floor" in warm else None
        peers = [warm[name] for name in PEERS if name in warm]
        row["ratio_to_best_peer"] = round(row["seconds"] / min(peers), 3) if peers else None
        told = "{case:16} {size:>12,} links {seconds:8.2f} s  × floor {ratio_to_floor}  {peak_mb:,} MB ({worker_mb:,})"
        print(told.format(**row), flush=True)
    return rows


def _ours(spark: SparkSession, case: Case) -> int:
    """Under the settings that resolve-identities gives its own plans."""
    with narrow_rows(spark):
        return case()


def _links(spark: SparkSession, size: int) -> DataFrame:
    """Customers of about three identifiers each: edges per node 1.06, as a chain's links are."""
    edge = spark.range(size)
    customer = F.floor(F.col("id") / 2)
    return edge.select(
        F.lit("member").alias("type_a"),
        (customer * 10).cast("string").alias("value_a"),
        F.lit("device").alias("type_b"),
        (customer * 10 + 1 + F.abs(F.xxhash64("id")) % 3).cast("string").alias("value_b"),
    )


def _floor(links: DataFrame) -> DataFrame:
    """Every node, and something in place of its label: (type, value, component)."""
    one, other = (links.select(f"type_{end}", f"value_{end}").toDF("type", "value") for end in "ab")
    return one.union(other).groupBy("type", "value").agg(F.lit(1).alias("component"))


def _written(frame: DataFrame, path: str) -> int:
    """As Delta, without statistics: whoever reads labels reads all of them."""
    spark, labels = frame.sparkSession, f"{path}_labels"
    shutil.rmtree(labels, ignore_errors=True)
    frame.write.format("delta").option("delta.dataSkippingNumIndexedCols", "0").save(labels)
    spark.catalog.clearCache()  # Splink keeps every round
    return spark.read.format("delta").load(labels).count()


def _bare(path: str, engine: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> int:
    """Without Spark: the same files, node names to codes by a dictionary, and as many labels in a Parquet file."""
    links = pq.read_table(path)
    ends = [pc.binary_join_element_wise(links[f"type_{end}"], links[f"value_{end}"], ":") for end in "ab"]
    coded = pa.chunked_array([*ends[0].chunks, *ends[1].chunks]).combine_chunks().dictionary_encode()
    one, other = np.split(coded.indices.to_numpy(), 2)
    labels = engine(one, other, len(coded.dictionary))
    pq.write_table(pa.table({"node": coded.dictionary, "component": labels}), f"{path}_labels.parquet")
    return len(labels)


@numba.njit
def _union_find(one: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    root = np.arange(count)
    for edge in range(len(one)):
        a, b = one[edge], other[edge]
        while root[a] != a:
            root[a] = a = root[root[a]]
        while root[b] != b:
            root[b] = b = root[root[b]]
        root[max(a, b)] = min(a, b)
    for node in range(count):
        root[node] = root[root[node]]
    return root


def _scipy(one: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    graph = coo_matrix((np.ones(len(one), dtype=np.int8), (one, other)), shape=(count, count))
    return np.asarray(scipy_components(graph, directed=False)[1])


def _splink(links: DataFrame) -> DataFrame:
    """Splink's components on Spark, nodes and edges registered as its users do."""
    from splink.backends.spark import SparkAPI

    spark = links.sparkSession
    api = SparkAPI(spark_session=spark, break_lineage_method="persist", register_udfs_automatically=False)
    ends = [F.concat_ws(":", f"type_{end}", f"value_{end}") for end in "ab"]
    edges = links.select(*[node.alias(f"unique_id_{side}") for node, side in zip(ends, "lr", strict=True)])
    nodes = edges.select(F.col("unique_id_l").alias("unique_id")).union(edges.select("unique_id_r")).distinct()
    labels = clustered(api.register(nodes), api.register(edges), api, "unique_id").as_spark_dataframe()
    return labels.select("unique_id", "cluster_id")


def _splink_duckdb(path: str) -> int:
    """The same in DuckDB, from the same files to a Parquet file of labels."""
    from splink.backends.duckdb import DuckDBAPI

    connection = duckdb.connect()
    named = "type_a || ':' || value_a as unique_id_l, type_b || ':' || value_b as unique_id_r"
    connection.execute(f"create table edges as select {named} from '{path}/*.parquet'")
    connection.execute(
        "create table nodes as select unique_id_l as unique_id from edges union select unique_id_r from edges"
    )
    api = DuckDBAPI(connection=connection)
    clusters = clustered(api.register("nodes"), api.register("edges"), api, "unique_id")
    connection.execute(f"copy (from {clusters.physical_name}) to '{path}_labels.parquet'")
    return int(connection.execute(f"select count(*) from '{path}_labels.parquet'").fetchall()[0][0])


if __name__ == "__main__":
    main()
