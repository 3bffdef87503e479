"""Files of one machine are made by Java itself; Hadoop starts a program for each."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.runtime.session import local_files


def test_a_table_in_a_folder_of_any_name_is_written_and_read_by_java_alone(spark: SparkSession, tmp_path: Path) -> None:
    lake = tmp_path / "零 售%20#1"
    rows = [("红 酒/白酒", 1), ("a=b", 2), ("", 3)]
    frame = spark.createDataFrame(rows, "kind string, item_id int")
    frame.write.format("delta").partitionBy("kind").save(str(lake))
    spark.range(1).write.csv(str(lake / "_other"))
    jvm = spark._jvm
    assert jvm is not None
    used = jvm.org.apache.hadoop.fs.Path(str(lake)).getFileSystem(spark._jsc.hadoopConfiguration())
    assert used.getClass().getSimpleName() == "BareLocalFileSystem"
    read = {(row.kind, row.item_id) for row in spark.read.format("delta").load(str(lake)).collect()}
    assert read == {
        ("红 酒/白酒", 1),
        ("a=b", 2),
        (None, 3),
    }  # no text is no value of a partition, as anywhere in Spark
    # As Hadoop makes them: everybody may read, and a checksum lies beside each file
    files = [path for path in (lake / "_other").iterdir() if path.suffix == ".csv"]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {oct(0o644)}
    assert all((path.parent / f".{path.name}.crc").exists() for path in files)


@pytest.mark.parametrize(("master", "is_set"), [("local", True), ("local[*]", True), ("yarn", False), ("", False)])
def test_only_one_machine_is_sure_to_have_the_jar(master: str, is_set: bool) -> None:
    assert bool(local_files(master)) is is_set


def test_without_the_jar_hadoop_does_as_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    assert local_files("local[2]") == {}
