"""Python workers start with what they need, where all of Spark is this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

import jobs
from jobs.runtime import session


def test_a_worker_has_imported_what_others_would_import_again(spark: SparkSession) -> None:
    def loaded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            pass
        from transforms.identity import union_find  # here before, or its functions are not compiled yet

        compiled = [name for name in ("_add", "_flatten") if getattr(union_find, name).signatures]
        names = [name for name in ("pandas", "pyspark.worker", "transforms.tags.engine") if name in sys.modules]
        yield pa.RecordBatch.from_pydict({"name": compiled + names})

    found = {row.name for row in spark.range(1).mapInArrow(loaded, "name string").collect()}
    assert found == {"_add", "_flatten", "pandas", "pyspark.worker", "transforms.tags.engine"}


@pytest.mark.parametrize("master", ["yarn", "k8s://https://host", "local-cluster[2,1,1024]"])
def test_nodes_of_a_cluster_start_workers_as_spark_does(master: str) -> None:
    assert session.python_workers(master) == {}


def test_modules_in_an_archive_are_not_started_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jobs, "__path__", [str(tmp_path / "retail_portraits.zip/jobs")])
    assert session.python_workers("local[2]") == {}


@pytest.mark.parametrize("name", ["spark.python.daemon.module", "spark.executorEnv.PYTHONPATH"])
def test_what_was_given_wins(name: str) -> None:
    """On another path our modules may not be there, and then no worker would start."""
    assert session.python_workers("local[2]", [name]) == {}


def test_the_path_that_was_given_to_workers_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/given")
    given = session.python_workers("local[*]")["spark.executorEnv.PYTHONPATH"]
    assert given.split(":") == [str(Path(jobs.__file__).parents[1]), "/given"]
