"""The one place where a SparkSession is built. What spark-submit was given always wins."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.resources import files
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.find_spark_home import _find_spark_home
from pyspark.sql import SparkSession

import jobs
from jobs.runtime.java_lookups import remember_lookups
from jobs.runtime.settings import Settings

# Needed by the tables themselves, whatever the environment.
_ALWAYS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Timestamps are UTC everywhere; business dates are derived in the settings' timezone.
    "spark.sql.session.timeZone": "UTC",
    # Outside readers (delta-rs, Power BI) follow reader version 1: no deletion vectors.
    "spark.databricks.delta.properties.defaults.enableDeletionVectors": "false",
    # A write of no rows into none is a commit too: its stamp says which run it was.
    "spark.databricks.delta.skipRecordingEmptyCommits": "false",
    # zstd is a third smaller than snappy at the same speed, if its level is not the default, 3: at that, 3 million
    # events were written in 15 to 17 s of processor time instead of 12 to 15, and are 0.7 % smaller.
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.hadoop.parquet.compression.codec.zstd.level": "1",
    # One task per 128 MB is too few for gzip files of some MB each: let files spread over the cores.
    "spark.sql.files.openCostInBytes": "1048576",
    # Joins of which each part fits memory need no sort; below the usual size of a part Spark would not look at this. A
    # part takes some four times its size and cannot be spilled: with four parts, at 128m, a task ran out of memory.
    "spark.sql.adaptive.maxShuffledHashJoinLocalMapThreshold": "64m",
    # Its default asks the environment each time, which interpreted plans do for every value that they read.
    "spark.sql.types.framework.enabled": "false",
    # PySpark looks up where in our code each column is named, for its error messages, and asks Java five times for it.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # A legacy code page (GBK) may be named in a source's options.
    "spark.sql.legacy.javaCharsets": "true",
    # A line that has bytes which are no text in it is refused, with all its other lines in place; else the query fails.
    "spark.sql.legacy.codingErrorAction": "true",
    # Workers of functions over columns and those of RDDs are told apart by it alone: one process to fork from, not two.
    "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
    # Values arrive as narrow Arrow batches of one or two columns: larger batches halve the crossings.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "50000",
}

_LOCAL_FILES = "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem"  # Apache-2.0; Maven Central


def build_session(settings: Settings, app_name: str = "retail-portraits") -> SparkSession:
    """The application's session; raises RuntimeError with the remedy when Delta is not on the class path."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers start another Python without pyarrow
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # started by spark-submit: only its JVM knows what it was given
        SparkContext._ensure_initialized()
    given = SparkConf()
    builder = SparkSession.builder.appName(app_name)
    master = str(given.get("spark.master", settings.spark.get("spark.master", "")))
    workers = python_workers(master, [*settings.spark, *dict(given.getAll())])
    for key, value in {**_quiet(settings.spark), **_ALWAYS, **local_files(master), **workers}.items():
        if not given.contains(key):
            builder = builder.config(key, value)
    session = builder.getOrCreate()
    remember_lookups(session.sparkContext)
    session.sparkContext.setLogLevel("ERROR")
    _check_delta(session)
    return session


def local_files(master: str) -> dict[str, str]:
    """Settings by which files of this machine are made without starting a program, where the jar for it is there.

    Hadoop starts `chmod` for each file that it makes on a local disk, and for the checksum beside it: of 12 s that it
    took to write a table of 700 dates, 9 (2 cores). On a cluster, an executor might be without the jar.
    """
    has_jar = any(Path(_find_spark_home(), "jars").glob("hadoop-bare-naked-local-fs-*.jar"))
    return {"spark.hadoop.fs.file.impl": _LOCAL_FILES} if is_local(master) and has_jar else {}


def python_workers(master: str, given: Collection[str] = ()) -> dict[str, str]:
    """Settings by which Python workers start with what they need, where all of Spark is this machine.

    On a cluster, where our modules are in an archive, and on a path that was given, they may not be found.

    Args:
        given: names of settings that stay as they are.
    """
    root, module, path = Path(jobs.__path__[0]).parent, "spark.python.daemon.module", "spark.executorEnv.PYTHONPATH"
    if not is_local(master) or not root.is_dir() or {module, path} & {*given}:
        return {}
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return {module: "jobs.runtime.python_workers", path: paths}


def is_local(master: str) -> bool:
    """Whether all of Spark is this machine."""
    return master == "local" or master.startswith("local[")


@contextmanager
def configured(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Settings that hold for a block, whatever its plans; those of before hold again after it."""
    before = {key: spark.conf.get(key, None) for key in settings}
    for key, value in settings.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key, was in before.items():
            if was is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, was)


def narrow_rows(spark: SparkSession) -> AbstractContextManager[None]:
    """Batches that cross to Python in this block are cut by rows alone: for rows of a few numbers.

    Else Spark measures the batch after every row: a fifth of the stack samples of the task that unites links.
    """
    return configured(spark, {"spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1)})


def _quiet(spark: Mapping[str, str]) -> dict[str, str]:
    """The settings with our log file's levels, so that a run's own lines are not lost among Spark's."""
    options = "spark.driver.extraJavaOptions"
    levels = f"-Dlog4j2.configurationFile={(files('conf') / 'log4j2.properties')}"
    return {**spark, options: f"{spark.get(options, '')} '{levels}'".strip()}


def _check_delta(session: SparkSession) -> None:
    jvm = session._jvm
    assert jvm is not None
    try:
        jvm.java.lang.Class.forName("io.delta.sql.DeltaSparkSessionExtension")
    except Exception:
        raise RuntimeError(
            "Delta Lake is not on Spark's class path. Run `make setup`, which puts its two jars beside Spark's, or "
            "give them to spark-submit: --jars delta-spark_4.2_2.13-4.4.0.jar,delta-storage-4.4.0.jar"
        ) from None
