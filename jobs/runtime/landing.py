"""Landing files: which are new, whether they can be read, and their rows with physical line numbers.

Text formats are read line by line, because Spark's own CSV and JSON readers neither number lines nor account for
all of them (a JSON line `[]` yields no row at all). A first pass surveys the new files: lines, header, readability.
It costs one more decompression (some 10 % of an ingest) and buys exact line numbers also inside split files, and
that a truncated gzip is found before anything is written.
"""

from __future__ import annotations

import csv
import fnmatch
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import reduce

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.runtime.files import FileEntry, Files, for_spark, plain, without_scheme
from jobs.runtime.listed_rows import listed_rows
from transforms.sources import Source

_DT_FOLDER = re.compile(r"(?:^|/)dt=(\d{4}-\d{2}-\d{2})/")
_CORRUPT = "_corrupt_record"
# PySpark translates some of Java's exceptions, and hands the others through as they are.
_FAILED = (PySparkException, Py4JJavaError)
# What Spark says of a file that it cannot read, or of what is in it (class 22 of SQL's states: data exceptions). All
# else (no memory, no disk, a lost executor) says nothing of the file.
_OF_THE_FILE = ("FAILED_READ_FILE", "UNABLE_TO_INFER_SCHEMA", "PATH_NOT_FOUND", "SQLSTATE: 22")
_DIFFERENT_TYPES = "CANNOT_MERGE_SCHEMA"
_PLACE = "_source_file string, _arrival_date date"


@dataclass(frozen=True)
class LandingFile:
    """One file of a source; `arrival_date` is None where each row has its own.

    `path` is as `without_scheme` has it. Of Parquet, `uri` is what Spark calls the file, where it has rows, and `types`
    are those of its columns, as far as files that are read together must agree on them.
    """

    path: str
    relative: str
    arrival_date: date | None
    size: int = 0
    rows: int = 0
    columns: tuple[str, ...] = ()
    uri: str = ""
    types: str = ""
    fault: str | None = None


@dataclass(frozen=True)
class _Block:
    """A run of lines that one task reads: where it starts in the file, in task order, and how long it is."""

    file: str
    start: int
    first_id: int
    lines: int
    first_line: str


@dataclass(frozen=True)
class Survey:
    """What a first pass over a source's new files found: the files, and where their lines are.

    `paths` is the list that was read, in its order: line numbers come from task order, so rows are read from the
    same list again and those of unwanted files fall out in the join with their places.
    """

    files: tuple[LandingFile, ...]
    paths: tuple[str, ...] = ()
    blocks: tuple[_Block, ...] = ()

    @property
    def good(self) -> list[LandingFile]:
        """Files that can be read and have rows."""
        return [file for file in self.files if not file.fault and file.rows]


class Landing:
    """The landing folder of a run."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._spark = spark
        self._files = Files(spark)
        self._root = root.rstrip("/")

    def new_files(self, source: Source, until: date, known: Iterable[str]) -> list[LandingFile]:
        """Files of the source that arrived up to `until` and are not `known`, by name."""
        seen = set(known)
        pattern = source.pattern
        folder = self._root
        if "/" in pattern and not any(mark in pattern.split("/")[0] for mark in "*?["):
            first, pattern = pattern.split("/", 1)
            folder = f"{folder}/{first}"
        prefix = folder.removeprefix(self._root).lstrip("/")
        found = []
        for entry in self._files.tree(folder):
            if not fnmatch.fnmatchcase(entry.relative, pattern):
                continue
            relative = f"{prefix}/{entry.relative}" if prefix else entry.relative
            file = LandingFile(without_scheme(entry.path), relative, None, entry.size)
            if relative not in seen:
                found.append(_dated(file, entry, source))
        due = [file for file in found if file.fault or file.arrival_date is None or file.arrival_date <= until]
        return sorted(due, key=lambda file: file.relative)

    def survey(self, source: Source, files: Sequence[LandingFile]) -> Survey:
        """Each file with its row count and columns, or with the fault that makes it unreadable."""
        readable = [file for file in files if not file.fault]
        faulty = [file for file in files if file.fault]
        try:
            found = self._survey_readable(source, readable)
        except _FAILED:
            # Some file cannot be read: find out which, one by one, and go on with the others.
            with ThreadPoolExecutor(4) as pool:
                probed = list(pool.map(lambda file: self._probe(source, file), readable))
            faulty += [file for file in probed if file.fault]
            found = self._survey_readable(source, [file for file in probed if not file.fault])
        fitting = [_columns_fit(file, source) for file in found.files]
        return replace(found, files=(*fitting, *faulty))

    def rows(self, source: Source, survey: Survey) -> DataFrame:
        """Rows of the good files: declared columns as text, where they stand, `_text` and `_unreadable`.

        `_arrival_date` is the file's, null where each row has its own. `_unreadable` is the reason for which a row
        cannot be parsed, else null. Rows are numbered by physical line (text, header included) or by row (Parquet),
        from 1.
        """
        read = self._parquet_rows if source.format == "parquet" else self._text_rows
        alike: dict[tuple[tuple[str, ...], str], list[LandingFile]] = {}
        for file in survey.good:
            alike.setdefault((file.columns, file.types), []).append(file)
        parts = [read(source, survey, files) for _, files in sorted(alike.items())]
        return reduce(DataFrame.unionByName, parts)

    # -- survey -------------------------------------------------------------------------------------------------

    def _survey_readable(self, source: Source, files: Sequence[LandingFile]) -> Survey:
        if not files:
            return Survey(())
        paths = tuple(file.path for file in files)
        if source.format == "parquet":
            return Survey(self._survey_parquet(files), paths)
        found = (
            self._lines(source, paths)
            .groupBy("_file", "_start")
            .agg(F.min("_id").alias("first_id"), F.count("*").alias("lines"), F.min_by("_text", "_id").alias("line"))
            .collect()
        )
        blocks = tuple(_Block(row._file, row._start, row.first_id, row.lines, row.line or "") for row in found)
        return Survey(tuple(_measured(file, source, blocks) for file in files), paths, blocks)

    def _survey_parquet(self, files: Sequence[LandingFile]) -> tuple[LandingFile, ...]:
        """The files, looked at together; where one's numbers are another's texts, each by itself."""
        try:
            return self._survey_alike(files)
        except _FAILED as error:
            if _DIFFERENT_TYPES not in str(error):
                raise
        with ThreadPoolExecutor(4) as pool:
            return tuple(file for found in pool.map(lambda file: self._survey_alike([file]), files) for file in found)

    def _survey_alike(self, files: Sequence[LandingFile]) -> tuple[LandingFile, ...]:
        frame = self._parquet(files)
        counted = frame.groupBy(F.col("_metadata.file_path").alias("_file")).count().collect()
        found = {plain(row._file): (row._file, row["count"]) for row in counted}
        columns, types = tuple(frame.columns), frame.schema.json()
        told = [(file, *found.get(file.path, ("", 0))) for file in files]
        return tuple(replace(file, rows=rows, columns=columns, uri=uri, types=types) for file, uri, rows in told)

    def _parquet(self, files: Sequence[LandingFile]) -> DataFrame:
        return self._spark.read.option("mergeSchema", "true").parquet(*[for_spark(file.path) for file in files])

    def _probe(self, source: Source, file: LandingFile) -> LandingFile:
        try:
            self._survey_readable(source, [file])
        except _FAILED as error:
            if not any(name in str(error) for name in _OF_THE_FILE):
                raise
            return replace(file, fault=f"unreadable_file: {_root_cause(error)[:200]}")
        return file

    # -- rows ---------------------------------------------------------------------------------------------------

    def _lines(self, source: Source, paths: Sequence[str]) -> DataFrame:
        raw = self._spark.read.option("lineSep", "\n").text([for_spark(path) for path in paths])
        return raw.select(
            _decoded(source).alias("_text"),
            F.col("_metadata.file_path").alias("_file"),
            F.col("_metadata.file_block_start").alias("_start"),
            F.monotonically_increasing_id().alias("_id"),
        )

    def _text_rows(self, source: Source, survey: Survey, files: Sequence[LandingFile]) -> DataFrame:
        columns = files[0].columns
        numbered = self._numbered(self._lines(source, survey.paths), files, survey.blocks)
        if _has_header(source):
            numbered = numbered.where(F.col("_row_number") > 1)
        if source.format == "csv":
            ddl = ", ".join(f"`{name}` string" for name in (*columns, _CORRUPT))
            parsed = F.from_csv(F.col("_text"), ddl, _csv_options(source))
            reason = F.when(F.col("_row")[_CORRUPT].isNotNull(), F.lit("wrong_number_of_columns"))
        else:
            parsed = F.from_json(F.col("_text"), _text_schema(columns), {"columnNameOfCorruptRecord": _CORRUPT})
            is_object = F.ltrim(F.col("_text")).startswith("{")
            broken = ~is_object | F.col("_row").isNull() | F.col("_row")[_CORRUPT].isNotNull()
            reason = F.when(broken, F.lit("unreadable_json"))
        unreadable = (
            F.when(F.trim(F.col("_text")) == "", F.lit("empty_line"))
            .when(_is_garbled(source), F.lit(f"invalid_{source.encoding.lower().replace('-', '')}"))
            .otherwise(reason)
        )
        return numbered.withColumn("_row", parsed).select(
            *[F.col("_row")[name].alias(name) for name in source.columns],
            "_source_file",
            "_arrival_date",
            "_row_number",
            F.make_valid_utf8(F.col("_text")).alias("_text"),
            unreadable.alias("_unreadable"),
        )

    def _numbered(self, lines: DataFrame, files: Sequence[LandingFile], blocks: Sequence[_Block]) -> DataFrame:
        """Lines with their file's relative name and physical number, from the survey of the same files."""
        by_path = {file.path: file for file in files}
        offsets: dict[str, int] = {}
        rows = []
        for block in sorted(blocks, key=lambda block: (block.file, block.start)):
            lines_before = offsets.get(block.file, 0)
            offsets[block.file] = lines_before + block.lines
            if plain(block.file) in by_path:
                shift = lines_before - block.first_id + 1
                file = by_path[plain(block.file)]
                rows.append((block.file, block.start, shift, file.relative, file.arrival_date))
        places = listed_rows(self._spark, rows, f"_file string, _start bigint, _shift bigint, {_PLACE}")
        joined = lines.join(F.broadcast(places), ["_file", "_start"])
        number = (F.col("_id") + F.col("_shift")).alias("_row_number")
        return joined.select("_text", "_source_file", "_arrival_date", number)

    def _parquet_rows(self, source: Source, survey: Survey, files: Sequence[LandingFile]) -> DataFrame:
        frame = self._parquet(files)
        listed = [(file.uri, file.relative, file.arrival_date) for file in files]
        names = listed_rows(self._spark, listed, f"_uri string, {_PLACE}")
        text = [_as_text(name, frame.schema[name].dataType).alias(name) for name in source.columns]
        record = F.to_json(F.struct(*[F.col(f"`{name}`") for name in frame.columns]))
        rows = frame.select(
            *text,
            F.col("_metadata.file_path").alias("_uri"),
            (F.col("_metadata.row_index") + 1).alias("_row_number"),
            record.alias("_text"),
            F.lit(None).cast("string").alias("_unreadable"),
        )
        return rows.join(F.broadcast(names), "_uri").drop("_uri")


def _as_text(name: str, kind: T.DataType) -> Column:
    """A column of Parquet as text; instants with their zone, or they would be taken for local time."""
    text = F.col(f"`{name}`").cast("string")
    return F.concat(text, F.lit("Z")) if isinstance(kind, T.TimestampType) else text


def _root_cause(error: Exception) -> str:
    """What Java said first, such as `java.io.EOFException: Unexpected end of input stream`."""
    if not isinstance(error, Py4JJavaError):
        return str(error).splitlines()[0]
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return str(cause.toString()).splitlines()[0]


def _dated(file: LandingFile, entry: FileEntry, source: Source) -> LandingFile:
    """The file with the arrival date that its source's rule gives it, or with a fault."""
    kind, argument = source.arrival_rule
    if entry.size == 0 and source.format == "parquet":
        return replace(file, fault="empty_file")
    if kind == "event_date":
        return file
    if kind == "fixed":
        return replace(file, arrival_date=date.fromisoformat(argument))
    found = (re.compile(argument) if kind == "from_path" else _DT_FOLDER).search(file.relative)
    try:
        return replace(file, arrival_date=date.fromisoformat(found.group(1) if found else ""))
    except ValueError:
        return replace(file, fault=f"no_arrival_date: the path does not fit {source.arrival_date!r}")


def _columns_fit(file: LandingFile, source: Source) -> LandingFile:
    """A file with a fault where it lacks declared columns. JSON lines name their own columns."""
    if source.format == "json" or (not file.rows and not file.columns):
        return file
    missing = [name for name in source.columns if name not in file.columns]
    if missing:
        return replace(file, fault=f"missing_columns: {', '.join(missing)}; found: {', '.join(file.columns)}"[:300])
    return file


def _measured(file: LandingFile, source: Source, blocks: Sequence[_Block]) -> LandingFile:
    """The file with its rows and columns, from the blocks that it consists of."""
    own = sorted((block for block in blocks if plain(block.file) == file.path), key=lambda block: block.start)
    lines = sum(block.lines for block in own)
    if not _has_header(source):
        return replace(file, rows=lines, columns=source.columns)
    header = _header(own[0].first_line, source) if own else ()
    return replace(file, rows=max(lines - 1, 0), columns=header)


def _text_schema(columns: Sequence[str]) -> T.StructType:
    return T.StructType([T.StructField(name, T.StringType()) for name in (*columns, _CORRUPT)])


def _has_header(source: Source) -> bool:
    return source.format == "csv" and bool(source.options.get("header", True))


def _csv_options(source: Source) -> dict[str, str]:
    given: dict[str, str] = {
        str(name): str(value) for name, value in source.options.items() if name in ("delimiter", "quote", "escape")
    }
    return {"escape": '"', **given, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}


def _header(line: str, source: Source) -> tuple[str, ...]:
    delimiter = str(source.options.get("delimiter", ","))
    delimiter = "\t" if delimiter == "\\t" else delimiter
    quote = str(source.options.get("quote", '"'))
    if quote:
        names = csv.reader([line], delimiter=delimiter, quotechar=quote)
    else:
        names = csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return tuple(name.strip() for name in next(names, []))


def _decoded(source: Source) -> Column:
    """The line without byte order mark and carriage return, in the source's encoding."""
    value = F.col("value")
    if source.encoding != "utf-8":
        value = F.decode(value.cast("binary"), source.encoding)
    return F.rtrim(F.ltrim(value, F.lit("\ufeff")), F.lit("\r"))


def _is_garbled(source: Source) -> Column:
    """Whether the line has bytes that are no text in the source's encoding; decoding puts U+FFFD in their place."""
    text = F.col("_text")
    return ~F.is_valid_utf8(text) if source.encoding == "utf-8" else text.contains("\ufffd")
