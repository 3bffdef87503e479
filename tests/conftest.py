"""One local Spark session for all tests, the very one that the jobs get, put back as it was after each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from pyspark.sql import SparkSession

from jobs.runtime.java_lookups import remember_lookups
from jobs.runtime.session import _ALWAYS, local_files, python_workers

# Workers must run this very Python: another one has no pyarrow. Spark reads it when its first worker starts.
os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable

# A failing rule fails on every run, not on one in ten; its examples are made of many cases, one Spark job each.
settings.register_profile(
    "house", deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("house")

_SETTINGS = {
    "spark.master": "local[2]",  # two tasks at once: enough to see that order does not matter
    "spark.driver.memory": "4g",  # as in conf/local.yaml: with 3 GB a twentieth of the run was Java collecting
    "spark.sql.shuffle.partitions": "2",  # tests hold a few rows; the default of 200 tasks costs seconds per shuffle
    "spark.default.parallelism": "2",
    "spark.databricks.delta.snapshotPartitions": "2",  # Delta reads its own log with 50 tasks otherwise
    "spark.scheduler.mode": "FAIR",  # as in conf/local.yaml
    "spark.buffer.pageSize": "4m",  # as in conf/local.yaml
    "spark.sql.codegen.cache.maxEntries": "2000",  # as in conf/local.yaml
    "spark.ui.enabled": "false",  # no port is taken, so that two test runs can stand side by side
    "spark.ui.showConsoleProgress": "false",
    # As in conf/local.yaml: plans kept for pages that nobody sees filled the heap of a whole test run.
    "spark.sql.ui.retainedExecutions": "10",
    "spark.ui.retainedJobs": "50",
    "spark.ui.retainedStages": "50",
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.maxPlanStringLength": "1000",
    # As in conf/local.yaml, with the second compiler's own thresholds (221 s of processor time with ten times them,
    # 230 without, and no night shorter). Both of Java's compilers: with the first alone, Online Retail's last day
    # took 343 s of processor time in a warm session, with both 197. The second puts less of one method into another:
    # of two nights over README's data set Java took 268 and 121 s of processor time, before 355 and 152 s. Not so in
    # conf/local.yaml: 11 million rows were joined in 11.4 s of processor time, before in 8.1 s.
    "spark.driver.extraJavaOptions": (
        "-XX:-DontCompileHugeMethods -XX:ReservedCodeCacheSize=384m -XX:+UseParallelGC -XX:InitialRAMPercentage=15 "
        "-XX:MetaspaceSize=512m "
        "-XX:MaxInlineLevel=5 -XX:FreqInlineSize=100 -XX:InlineSmallCode=1000"
    ),
    **_ALWAYS,  # Delta and UTC, as in every environment: `build_session` finds them set already
    **local_files("local[2]"),
    **python_workers("local[2]"),
}


@pytest.fixture(scope="session")
def _session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    builder = SparkSession.builder.appName("tests")
    for key, value in _SETTINGS.items():
        builder = builder.config(key, value)
    warehouse = tmp_path_factory.mktemp("warehouse")  # else a spark-warehouse folder appears in the repository
    session = builder.config("spark.sql.warehouse.dir", str(warehouse)).getOrCreate()
    remember_lookups(session.sparkContext)
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def spark(_session: SparkSession) -> SparkSession:
    """The session; `jobs.runtime.session.build_session` returns it too, by getOrCreate."""
    return _session


@pytest.fixture(scope="module", autouse=True)
def _forget_lakes() -> Iterator[None]:
    """A file's lakes go with it: Delta keeps the state of their tables for an hour, 240 of them in half of the heap."""
    yield
    session = SparkSession.getActiveSession()
    if session is not None and session._jvm is not None:
        session.catalog.clearCache()
        session._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


@pytest.fixture(autouse=True)
def _leave_no_trace(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that used Spark: no cached frame, no temporary view, settings as they were."""
    yield
    if "spark" not in request.fixturenames:
        return
    session: SparkSession = request.getfixturevalue("spark")
    session.catalog.clearCache()
    for table in session.catalog.listTables():
        if table.isTemporary:
            session.catalog.dropTempView(table.name)
    for key, value in _SETTINGS.items():
        if session.conf.isModifiable(key) and session.conf.get(key) != value:
            session.conf.set(key, value)  # a job puts its environment's settings on the session it is given


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The laws first: they take one of two workers for most of the time that the other needs for all else."""
    items.sort(key=lambda item: "laws" not in item.path.parts)
