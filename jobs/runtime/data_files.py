"""The Parquet files of a Delta table, read without Delta: those of a version on this machine's disk, or some of them.

Delta finds the files of a version by several Spark queries, anew for each query over each table: of the 90 s of a night
over README's data set, 42 s (2 cores). delta-rs reads them out of the same log in 2 to 10 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyarrow.dataset import Dataset
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.runtime.files import WILDCARDS
from jobs.runtime.listed_rows import listed_rows
from transforms.contracts import in_order

# Spark asks the disk for each file, 0.3 ms; Delta keeps what it found, and leaves files out by their statistics.
_MOST_FILES = 2_000
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class LocalTable:
    """One version of a table.

    Attributes:
        folder: where it is.
        version: which one it is.
        files: its data files, whole paths.
        schema: its columns in their order, those of partitions among them.
        partition_by: the latter's names.
        rows: how many it has; None where the log does not say.
        size: bytes of the files.
    """

    folder: str
    version: int
    files: Sequence[str]
    schema: StructType
    partition_by: Sequence[str]
    rows: int | None
    size: int

    def below(self, files: Iterable[str]) -> frozenset[str]:
        """Some of its files, by their paths below the folder."""
        return frozenset(file.removeprefix(f"{self.folder}/") for file in files)

    def partitions(self, file: str) -> dict[str, str | None]:
        """Values of a file's partitions."""
        return partitions_of(file.removeprefix(f"{self.folder}/").split("/")[:-1])

    def files_above(self, column: str, value: Any) -> list[str]:
        """Files that may have rows with a greater value in a column, by what the log says of each."""
        added = DeltaTable(self.folder, version=self.version).get_add_actions(flatten=True)
        if f"max.{column}" not in added.schema.names:
            return [*self.files]
        told = zip(added["path"].to_pylist(), added[f"max.{column}"].to_pylist(), strict=True)
        return [data_file(self.folder, path) for path, most in told if most is None or most > value]

    def read(self, spark: SparkSession, files: Sequence[str] | None = None) -> DataFrame:
        """Its rows, or those of some of its files."""
        read = read_files(spark, self.folder, self.files if files is None else files, self.schema)
        if self.partition_by:  # Spark puts columns of partitions last, and forgets their comments
            read = in_order(read, self.schema.names)
            for name in self.partition_by:
                read = read.withMetadata(name, self.schema[name].metadata)
        return read

    def columns(self, names: Sequence[str], where: pc.Expression | None) -> pa.Table:
        """Some columns of its rows, or of some of them, without Spark: they must fit this process's memory."""
        return self.dataset().to_table(columns=[*names], filter=where)

    def dataset(self) -> Dataset:
        """Its rows as Arrow reads them, in the schema's columns."""
        return DeltaTable(self.folder, version=self.version).to_pyarrow_dataset()


def local_table(folder: str, version: int) -> LocalTable | None:
    """A version of a table; None where its files alone do not say what its rows are, or Delta reads it better.

    Files alone are not enough above reader version 1, which has deletion vectors and renamed columns.

    Args:
        folder: the table's, on this machine's disk; Spark would take some characters in it for a pattern.
    """
    if WILDCARDS & {*folder}:
        return None
    try:
        found = DeltaTable(folder, version=version)
        added = found.get_add_actions(flatten=True)
    except DeltaError:  # a log that is damaged, or of a newer protocol
        return None
    files = [data_file(folder, path) for path in added["path"].to_pylist()]
    if found.protocol().min_reader_version > 1 or len(files) > _MOST_FILES:
        return None
    if any(WILDCARDS & {*file} for file in files):
        return None
    counts = added["num_records"].to_pylist() if "num_records" in added.schema.names else [None] * len(files)
    schema = logged_schema(found)
    partition_by = found.metadata().partition_columns
    rows, size = None if None in counts else sum(counts), sum(added["size_bytes"].to_pylist())
    return LocalTable(folder, version, files, schema, partition_by, rows, size)


def is_of_first_protocol(table: DeltaTable) -> bool:
    """Whether its log names data files and nothing else in use: no deletion vectors, no change feeds."""
    protocol = table.protocol()
    return protocol.min_reader_version == 1 and protocol.min_writer_version <= 2


def logged_schema(table: DeltaTable) -> StructType:
    """A table's columns as its log has them."""
    return StructType.fromJson(json.loads(table.schema().to_json()))


def read_files(spark: SparkSession, folder: str, files: Sequence[str], schema: StructType) -> DataFrame:
    """Rows of some of a table's files, on any file system; columns of partitions stand last."""
    reader = spark.read.schema(schema).option("basePath", folder)
    return reader.parquet(*files) if files else listed_rows(spark, [], schema)


def partitions_of(folders: Iterable[str]) -> dict[str, str | None]:
    """Values of partitions, as texts, from the names of folders."""
    named = (unquote(folder).split("=", 1) for folder in folders)
    return {name: None if value == _NO_VALUE else value for name, value in named}


def data_file(folder: str, logged: str) -> str:
    """Where a file is that a log names."""
    return f"{folder}/{unquote(logged)}"
