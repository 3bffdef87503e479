"""The one place where tables are read or written. Every frame passes its contract before anything is written."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.runtime.arrow_scans import Batches, can_scan, scan
from jobs.runtime.data_files import LocalTable, data_file, local_table, read_files
from jobs.runtime.files import Files, plain
from jobs.runtime.keyed_rows import with_key, without_key
from jobs.runtime.layout import laid_out, properties
from jobs.runtime.listed_rows import listed_rows
from jobs.runtime.local_purge import purge_on_disk
from jobs.runtime.local_writes import OldFiles, Rows, Slices, slices, takes_commits, write
from jobs.runtime.logged_rows import commits_since, log_of, logged_rows
from jobs.runtime.session import configured, is_local
from transforms.contracts import Table, conform, with_comments

Basis = Mapping[str, Any]
# From so many bytes on, rows that stay are copied without Spark, which makes fewer files of small tables: some 900,000
# identifiers, or the timelines of 75,000 customers.
_COPIED_BYTES = 16 * 2**20
_Values = Mapping[str, Collection[Any]]  # of columns, by their names


class MissingTable(RuntimeError):
    """A table that an earlier step writes is not there yet."""


@dataclass(frozen=True)
class Commit:
    """What a write left: the Delta version and the rows it wrote."""

    version: int
    rows: int
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Added:
    """Data files and the rows in them."""

    files: list[str]
    rows: int


class Tables:
    """Reads and writes the lake `<lake>/<layer>/<table>`.

    `silver_root` stands for the lake in silver's state tables when a past date is rebuilt, so that silver itself
    keeps the state of its newest date; `silver.events` and `silver.rejected_records` are always the lake's.
    `month_parts` says of how many parts a month of a clustered table is made.
    """

    _EVENT_LEVEL = frozenset({"silver.events", "silver.rejected_records"})

    def __init__(
        self, spark: SparkSession, lake: str, run_id: str, run_date: date | None, silver_root: str | None = None
    ) -> None:
        self.spark = spark
        self.lake = lake.rstrip("/")
        self.files = Files(spark)
        self.written: dict[str, Commit] = {}
        self.month_parts = 1
        self._silver_root = silver_root
        self._stamp: dict[str, Any] = {"run_id": run_id, "run_date": run_date.isoformat() if run_date else None}
        self._lock = threading.Lock()
        self._found: dict[tuple[str, int], LocalTable | None] = {}

    @property
    def is_past(self) -> bool:
        """Whether silver's state is built beside the lake, for a date before its newest."""
        return self._silver_root is not None

    def of_lake(self) -> Tables:
        """The same lake without a scratch silver."""
        plain = Tables(self.spark, self.lake, "", None)
        plain._stamp = self._stamp
        return plain

    def of_step(self, spark: SparkSession) -> Tables:
        """The same tables for one step of a run: its session, and its own account of what was written."""
        tables = copy(self)
        tables.spark, tables.written = spark, {}
        return tables

    # -- reading ------------------------------------------------------------------------------------------------

    def path(self, table: Table | str) -> str:
        """Where a table is."""
        name = table if isinstance(table, str) else table.full_name
        layer, _, short = name.partition(".")
        scratch = layer == "silver" and self._silver_root and name not in self._EVENT_LEVEL
        return f"{self._silver_root if scratch else self.lake}/{layer}/{short}"

    def exists(self, table: Table | str) -> bool:
        """Whether a table has at least one commit."""
        return bool(self._log_names(self.path(table)))

    def read(self, table: Table | str, version: int | None = None) -> DataFrame:
        """The table at a version, by default the newest: the frame keeps it, whatever is written after.

        Raises:
            MissingTable: no step has written it yet.
        """
        path, newest = self.path(table), self.version(table)
        if newest < 0:
            name = table if isinstance(table, str) else table.full_name
            raise MissingTable(f"{name} is not at {path}: run the steps before this one first (`portraits nightly`)")
        wanted = newest if version is None else version
        local = self._local(table, wanted)
        if local is not None:
            return local.read(self.spark)
        return self.spark.read.format("delta").option("versionAsOf", wanted).load(path)

    def read_above(self, table: Table | str, column: str, value: Any, version: int) -> DataFrame:
        """Rows of a version with a greater value in a column, of which there are few: most files are not opened."""
        local = self._local(table, version)
        rows = self.read(table, version) if local is None else local.read(self.spark, local.files_above(column, value))
        return rows.where(F.col(column) > F.lit(value))

    def scan(
        self,
        table: Table | str,
        function: Callable[[Batches], Batches],
        schema: str,
        **among: Collection[date],
    ) -> DataFrame:
        """What a function makes of the newest rows in Arrow batches, as `DataFrame.mapInArrow` takes it.

        Args:
            among: only rows whose partitions have one of the dates.
        """
        local = self.local(table)
        if local is not None and can_scan(local, among) and is_local(str(self.spark.sparkContext.master)):
            return scan(self.spark, local, function, schema, among)
        return self.read(table).where(_sql(among) or "true").mapInArrow(function, schema)

    def count(self, table: Table | str, version: int | None = None) -> int:
        """Rows of the table at a version, by default the newest."""
        local = self._local(table, self.version(table) if version is None else version)
        if local is not None and local.rows is not None:
            return local.rows
        return self.read(table, version).count()

    def schema(self, table: Table | str) -> StructType:
        """The columns of its newest version."""
        local = self.local(table)
        return self.read(table).schema if local is None else local.schema

    def local(self, table: Table | str) -> LocalTable | None:
        """The newest version, where it is files of this machine's disk that say what its rows are."""
        return self._local(table, self.version(table))

    def _local(self, table: Table | str, version: int) -> LocalTable | None:
        folder = self.files.on_disk(self.path(table))
        if folder is None or version < 0:
            return None
        if (folder, version) not in self._found:
            self._found[folder, version] = local_table(folder, version)
        return self._found[folder, version]

    def read_or_empty(self, table: Table) -> DataFrame:
        """The table, or no rows of its schema where it is not there yet."""
        return self.read(table) if self.exists(table) else listed_rows(self.spark, [], table.schema)

    def last_commit(self, table: Table | str) -> Commit | None:
        """Version, rows written and the run's stamp of the newest commit that wrote rows; None where there is no table.

        VACUUM and OPTIMIZE, by whomever, leave commits too, and no row is another after them.
        """
        path = self.path(table)
        for name in reversed(self._log_names(path)):
            lines = self.files.read_text(f"{path}/_delta_log/{name}").splitlines()
            found = (json.loads(line)["commitInfo"] for line in lines if '"commitInfo"' in line)
            info: dict[str, Any] = next(found, {})
            if str(info.get("operation", "")).startswith(("VACUUM", "OPTIMIZE")):
                continue
            metrics = info.get("operationMetrics", {})
            rows = int(metrics.get("numOutputRows", metrics.get("numTargetRowsInserted", 0)))
            return Commit(int(name.split(".")[0]), rows, json.loads(info.get("userMetadata") or "{}"))
        return None

    def row_counts(self, versions: Mapping[str, int]) -> dict[str, int]:
        """Rows of each table at its given version."""
        found = {name: self._local(name, version) for name, version in versions.items()}
        known = {name: local.rows for name, local in found.items() if local and local.rows is not None}
        logs = {name: self._log(name, version) for name, version in versions.items() if name not in known}
        known |= logged_rows(self.spark, {name: log for name, log in logs.items() if log})
        return known | {name: self.read(name, versions[name]).count() for name in versions if name not in known}

    def _log(self, name: str, version: int) -> list[str] | None:
        path = self.path(name)
        files = log_of(self._log_files(path), version)
        return files and [f"{path}/_delta_log/{file}" for file in files]

    def files_added(self, table: Table, after: int) -> list[str] | None:
        """Data files that came after a version; None where rows also went, or the log does not reach back so far."""
        actions, added = self._actions_since(table, after), []
        if actions is None:
            return None
        for action in actions:
            if action.get("remove", {}).get("dataChange"):
                return None
            if action.get("add", {}).get("dataChange"):
                added.append(data_file(self.path(table), action["add"]["path"]))
        return added

    def files_since(self, table: Table, after: int) -> Added | None:
        """Data files that came after a version and are still there; None where the log does not reach back so far."""
        actions = self._actions_since(table, after)
        if actions is None:
            return None
        rows: dict[str, int] = {}
        for action in actions:
            if "add" in action:
                statistics = json.loads(action["add"].get("stats") or "{}")
                rows[action["add"]["path"]] = statistics.get("numRecords", 0)
            elif "remove" in action:
                rows.pop(action["remove"]["path"], None)
        return Added([data_file(self.path(table), path) for path in rows], sum(rows.values()))

    def _actions_since(self, table: Table, after: int) -> list[dict[str, Any]] | None:
        """The log's actions of the commits after a version; None where it does not reach back so far."""
        path = self.path(table)
        wanted = commits_since(after, self.version(table))
        if not {*wanted} <= {*self._log_names(path)}:
            return None
        texts = [self.files.read_text(f"{path}/_delta_log/{name}") for name in wanted]
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def read_files(self, table: Table, files: list[str]) -> DataFrame:
        """Rows of some of a table's data files."""
        return read_files(self.spark, self.path(table), files, table.schema)

    def version(self, table: Table | str) -> int:
        """The newest version; -1 where there is no table."""
        names = self._log_names(self.path(table))
        return int(names[-1].split(".")[0]) if names else -1

    def names(self) -> list[str]:
        """Every table of the lake, as layer.table."""
        return self._named_in(("bronze", "silver", "gold", "ops", "vault"))

    def all_names(self) -> list[str]:
        """`names`, and what is kept between nights to save work."""
        return self._named_in(("bronze", "silver", "gold", "ops", "vault", "_state"))

    def _named_in(self, layers: Iterable[str]) -> list[str]:
        return [
            f"{layer}.{name}"
            for layer in layers
            for name in self.files.names(f"{self.lake}/{layer}")
            if self._log_names(f"{self.lake}/{layer}/{name}")
        ]

    # -- writing ------------------------------------------------------------------------------------------------

    def replace(self, table: Table, frame: DataFrame, basis: Basis | None = None) -> Commit:
        """Make the frame the whole table, in one commit; `basis` says what it was made from, for the next night."""
        return self._write(table, frame, "overwrite", None, basis)

    def append(self, table: Table, frame: DataFrame, basis: Basis | None = None) -> Commit:
        """Add rows; the caller sees to it that a rerun does not add them twice."""
        return self._write(table, frame, "append", None, basis)

    def overwrite_slice(self, table: Table, frame: DataFrame, basis: Basis | None = None, **where: Any) -> Commit:
        """Replace the rows in which every named column has its value, or one of them; rows outside are refused."""
        return self._write(table, frame, "overwrite", {name: _listed(value) for name, value in where.items()}, basis)

    def overwrite_keys(
        self, table: Table, frame: DataFrame, keys: DataFrame, basis: Basis | None = None, **where: Any
    ) -> Commit:
        """Replace those rows of a slice that have one of some keys; rows outside of the slice are refused.

        Args:
            keys: in some of the table's columns, as few as fit memory; a null is a value like others.
        """
        values = {name: _listed(value) for name, value in where.items()}
        return self._write(table, frame, "overwrite", values, basis, keys)

    def overwrite_where(self, table: Table, frame: DataFrame, predicate: str, basis: Basis | None = None) -> Commit:
        """Replace the rows for which the SQL predicate holds; rows outside are refused."""
        return self._write(table, frame, "overwrite", predicate, basis)

    def upsert(self, table: Table, frame: DataFrame) -> Commit:
        """Replace the rows that have the frame's keys, and add the others, in one commit."""
        return self.replace_rows(table, frame, [frame.select(*table.key)])

    def replace_rows(self, table: Table, frame: Rows, gone: Sequence[DataFrame], basis: Basis | None = None) -> Commit:
        """Add the frame to the rows that have none of some keys, in one commit.

        Args:
            frame: what takes the place of the others, or what it is, given them.
            gone: each has keys in some of the table's columns, as few as fit memory; a null is a value like others.
        """
        made = (lambda _: frame) if isinstance(frame, DataFrame) else frame
        if not self.exists(table):
            return self.replace(table, made(self.read_or_empty(table)), basis)
        if (local := self._copied_table(table)) is not None:
            files = local.below(local.files)
            old = OldFiles(files, local.version, files, gone)
            rows = conform(frame, table) if isinstance(frame, DataFrame) else lambda going: conform(frame(going), table)
            write(rows, local.folder, table, old, self._stamped(basis))
            return self._noted(table)
        kept = self.read(table)
        going = kept.limit(0)
        for keys in gone:
            if not isinstance(frame, DataFrame):
                going = going.unionByName(with_key(kept, keys))
            kept = without_key(kept, keys)
        new = conform(made(going), table)
        return self.replace(table, kept.unionByName(new, allowMissingColumns=True), basis)

    def _copied_table(self, table: Table) -> LocalTable | None:
        """The newest version, where copying the rows of its files costs less than Spark's ways."""
        local = self.local(table)
        if local is None or local.size < _COPIED_BYTES or not is_local(str(self.spark.sparkContext.master)):
            return None
        is_plain = not (table.partition_by or table.clustered_by or table.sorted_by)
        return local if is_plain and takes_commits(local.folder, table) else None

    def purge(self, names: Iterable[str]) -> dict[str, int]:
        """Remove every file that the tables' newest versions do not name: by table, how many.

        Earlier versions cannot be read afterwards.
        """

        def purged(name: str) -> int:
            path = self.path(name)
            disk = self.files.on_disk(path)
            removed = None if disk is None else purge_on_disk(disk)
            return self._vacuumed(path) if removed is None else removed

        listed = list(names)
        at_once = {
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",  # a week, by default
            "spark.databricks.delta.vacuum.logging.enabled": "false",  # what was published stays the newest version
            # A table's folders are listed by as many tasks, 10,000 by default: 20 s for ten files.
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(
                4 * self.spark.sparkContext.defaultParallelism
            ),
        }
        with configured(self.spark, at_once), ThreadPoolExecutor(4) as pool:
            return dict(zip(listed, pool.map(purged, listed), strict=True))

    def _vacuumed(self, path: str) -> int:
        before = self._count_files(path)
        with self._hushed():
            DeltaTable.forPath(self.spark, path).vacuum(0)
        return before - self._count_files(path)

    @contextmanager
    def _hushed(self) -> Iterator[None]:
        """Nothing of what this thread prints from Java: VACUUM says a line on every table."""
        assert self.spark._jvm is not None
        java = self.spark._jvm.java
        console = java.lang.Class.forName("scala.Console$").getField("MODULE$").get(None)
        before = console.out()
        console.setOutDirect(java.io.PrintStream(java.io.OutputStream.nullOutputStream()))
        try:
            yield
        finally:
            console.setOutDirect(before)

    def _count_files(self, path: str) -> int:
        return sum(1 for entry in self.files.tree(path) if entry.path.endswith(".parquet"))

    def _write(
        self,
        table: Table,
        frame: DataFrame,
        mode: str,
        where: str | _Values | None,
        basis: Basis | None = None,
        keys: DataFrame | None = None,
    ) -> Commit:
        path, rows = self.path(table), conform(frame, table)
        stamp = self._stamped(basis)
        if not self.exists(table):
            where = keys = None
        disk = self.files.on_disk(path)
        is_taken = disk is not None and takes_commits(disk, table)
        if disk is None or not is_taken or not self._write_on_disk(disk, table, rows, mode, where, stamp, keys):
            if keys is not None and where is not None:
                staying = without_key(self.read(table).where(_sql(where)), keys)
                rows = rows.unionByName(staying, allowMissingColumns=True)
            self._write_by_delta(path, table, rows, mode, where, stamp)
        return self._noted(table)

    def _stamped(self, basis: Basis | None) -> str:
        return json.dumps({**self._stamp, **(basis or {})})

    def _noted(self, table: Table) -> Commit:
        """The commit that was just made."""
        commit = self.last_commit(table)
        assert commit is not None
        with self._lock:
            self.written[table.full_name] = commit
        return commit

    def _write_on_disk(
        self,
        folder: str,
        table: Table,
        rows: DataFrame,
        mode: str,
        where: str | _Values | None,
        stamp: str,
        keys: DataFrame | None,
    ) -> bool:
        """Whether it could be written without Delta."""
        replaced: Slices | OldFiles | None = None
        if mode == "overwrite" and not isinstance(where, str) and keys is None:
            replaced = slices(table, where or {})
        if where is not None and replaced is None:
            found = self._with_kept(table, rows, where, keys)
            if found is None:
                return False
            rows, replaced = found
        write(laid_out(rows, table, self.month_parts), folder, table, replaced, stamp)
        return True

    def _with_kept(
        self, table: Table, rows: DataFrame, where: str | _Values, keys: DataFrame | None
    ) -> tuple[DataFrame, OldFiles] | None:
        """Rows for which `where` must hold, and those that stay of the small files in which it holds for some.

        None where the table's files alone do not say what its rows are.
        """
        local, predicate = self.local(table), _sql(where)
        if local is None:
            return None
        said = literal(f"{table.full_name}: a row is not of those that are replaced; nothing was written")
        checked = rows.where(f"case when {predicate} then true else raise_error({said}) end")
        files = read_files(self.spark, local.folder, local.files, local.schema)
        found = files.where(predicate).select("_metadata.file_path").distinct().collect() if local.files else []
        old = [plain(row.file_path) for row in found]
        large = self._copied_files(old, where)
        gone = []
        if large and not isinstance(where, str):
            gone = [self._listed_values(table, where) if keys is None else keys]
        replaced = OldFiles(local.below(old), local.version, local.below(large), gone)
        small = [file for file in old if file not in large]
        if not small:
            return checked, replaced
        kept = read_files(self.spark, local.folder, small, local.schema)
        kept = kept.where(f"not coalesce({predicate}, false)") if keys is None else without_key(kept, keys)
        return checked.unionByName(kept, allowMissingColumns=True), replaced

    def _copied_files(self, files: Sequence[str], where: str | _Values) -> list[str]:
        """Those that are large, where values of one column say what gives way.

        So a night does not move and sort all of a month anew; the dates that it replaced lie in small files then, which
        become one with those of the next nights until that is large.
        """
        if isinstance(where, str) or len(where) != 1 or not is_local(str(self.spark.sparkContext.master)):
            return []
        return [file for file in files if Path(file).stat().st_size >= _COPIED_BYTES]

    def _listed_values(self, table: Table, where: _Values) -> DataFrame:
        """The values of its one column, as rows."""
        ((name, values),) = where.items()
        return listed_rows(self.spark, [[value] for value in values], StructType([table.schema[name]]))

    def _write_by_delta(
        self, path: str, table: Table, rows: DataFrame, mode: str, where: str | _Values | None, stamp: str
    ) -> None:
        placed = laid_out(with_comments(rows, table), table, self.month_parts)
        writer = placed.write.format("delta").mode(mode).option("userMetadata", stamp)
        if table.partition_by:
            writer = writer.partitionBy(*table.partition_by)
        if table.evolves:
            writer = writer.option("mergeSchema", "true")
        if where is not None:
            writer = writer.option("replaceWhere", _sql(where))
        elif table.layer == "_state" and mode == "overwrite":  # another release shaped it otherwise
            writer = writer.option("overwriteSchema", "true")
        if not self.exists(table):
            for name, value in properties(table).items():
                writer = writer.option(name, value)
        writer.save(path)

    def _log_names(self, path: str) -> list[str]:
        return [name for name in self._log_files(path) if name.endswith(".json") and name[:20].isdigit()]

    def _log_files(self, path: str) -> list[str]:
        return self.files.names(f"{path}/_delta_log")


def _listed(value: Any) -> Collection[Any]:
    return [value] if isinstance(value, str) or not isinstance(value, Collection) else value


def _sql(where: str | _Values) -> str:
    return where if isinstance(where, str) else " and ".join(among(name, values) for name, values in where.items())


# The date by which a table of one slice per night has its slices.
SLICED_BY = ("run_date", "kpi_date")


def slice_of(frame: DataFrame, run_date: date | None) -> DataFrame:
    """The rows of a date where the table has such slices, else the whole table."""
    name = sliced_by(frame.columns)
    return frame.where(F.col(name) == F.lit(run_date)) if run_date and name else frame


def sliced_by(columns: Collection[str]) -> str | None:
    """That of some columns by which their table has its slices, if any."""
    return next((name for name in SLICED_BY if name in columns), None)


def among(column: str, values: Iterable[Any]) -> str:
    """SQL that holds where a column has one of the values, null included."""
    listed = list(values)
    known = ", ".join(literal(value) for value in listed if value is not None)
    parts = [f"`{column}` in ({known})"] if known else []
    if any(value is None for value in listed):
        parts.append(f"`{column}` is null")
    return f"({' or '.join(parts) or 'false'})"


def literal(value: Any) -> str:
    """A value as Spark SQL writes it."""
    if value is None:
        return "null"
    if isinstance(value, date):
        return f"date'{value.isoformat()}'"
    if isinstance(value, (int, bool)):
        return str(value).lower()
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
