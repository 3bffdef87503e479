"""After an erasure: older versions go, and every file that is left is read again for the persons' values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.runtime.files import without_scheme
from jobs.runtime.job import JobContext
from jobs.runtime.local_proof import found_in_lines, found_in_rows
from jobs.runtime.tombstones import Tombstones
from transforms.erasure import CUSTOMER, found_among, words_of

LOGS, MODELS = "logs", "models"
_MOST_LISTED = 100_000  # some 10 MB
# A table of up to so many bytes is looked through without Spark: by one core, but with nothing to plan.
_FEW_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Proof:
    """Of a table (or of all logs, or of the models): files that went, files read again, and what was found in them."""

    removed: int
    checked: int
    found: int


@dataclass(frozen=True)
class _Sought:
    """What is looked for: tombstones, and the same on the driver, where files are this machine's and there are few."""

    gone: Tombstones
    listed: Collection[str] | None

    @classmethod
    def of(cls, ctx: JobContext, gone: Tombstones) -> _Sought:
        if ctx.tables.files.on_disk(ctx.tables.lake) is None:
            return cls(gone, None)
        listed = [row.tombstone for row in gone.rows.select("tombstone").limit(_MOST_LISTED + 1).collect()]
        return cls(gone, frozenset(listed) if len(listed) <= _MOST_LISTED else None)


def purge_and_prove(ctx: JobContext, gone: Tombstones) -> dict[str, Proof]:
    """Remove the files of all versions but the newest, and look for the persons in what is left, by table."""
    removed = ctx.tables.purge(ctx.tables.all_names())
    # Statistics of customer ids stay in a log until Delta drops it after a month; an id says nothing without its token.
    tokens = _Sought.of(ctx, Tombstones(gone.rows.where(F.col("identifier_type") != CUSTOMER), gone.salt))
    all_of_it = _Sought.of(ctx, gone)
    with ThreadPoolExecutor(4) as pool:  # small tables: planning takes one core, and longer than their rows
        found = pool.map(lambda item: _prove_table(ctx, item[0], all_of_it, item[1]), removed.items())
        proofs = dict(zip(removed, found, strict=True))
    proofs[LOGS] = _prove_texts(ctx, [f"{ctx.tables.path(name)}/_delta_log" for name in removed], tokens)
    proofs[MODELS] = _prove_texts(ctx, [f"{ctx.tables.lake}/models/*"], all_of_it)
    return proofs


def _prove_table(ctx: JobContext, name: str, sought: _Sought, removed: int) -> Proof:
    """Every Parquet file below the table's folder, named by its log or not."""
    files = [e for e in ctx.tables.files.tree(ctx.tables.path(name)) if e.path.endswith(".parquet")]
    paths = [entry.path for entry in files]
    if not files:
        return Proof(removed, 0, 0)
    if sought.listed is not None and sum(entry.size for entry in files) <= _FEW_BYTES:
        found = found_in_rows([*map(without_scheme, paths)], sought.listed, sought.gone.salt)
    else:
        found = _count_found(ctx.spark.read.option("mergeSchema", "true").parquet(*paths), sought.gone)
    return Proof(removed, len(files), found)


def _prove_texts(ctx: JobContext, folders: list[str], sought: _Sought) -> Proof:
    """JSON files, and a log's checkpoints, word by word."""
    texts = [path for folder in folders for path in ctx.tables.files.glob(f"{folder}/*.json")]
    checkpoints = [path for folder in folders for path in ctx.tables.files.glob(f"{folder}/*.checkpoint*.parquet")]
    found = 0
    if sought.listed is not None:
        found += found_in_lines(map(without_scheme, texts), sought.listed, sought.gone.salt)
    elif texts:
        found += _count_found(ctx.spark.read.text(texts), sought.gone)
    for path in checkpoints:
        log = ctx.spark.read.parquet(path)
        found += _count_found(log.select(F.to_json(F.struct(*log.columns)).alias("value")), sought.gone)
    return Proof(0, len(texts) + len(checkpoints), found)


def _count_found(rows: DataFrame, gone: Tombstones) -> int:
    kinds: Mapping[str, str] = dict(rows.dtypes)
    texts = [texts for name, kind in kinds.items() if (texts := _texts_of(name, kind)) is not None]
    if not texts:
        return 0
    each = rows.select(F.explode(F.concat(*texts)).alias("text")).where("text is not null")
    words = each.select(F.explode(words_of(F.col("text"))).alias("word"))
    return found_among(words, gone.rows, gone.salt).count()


def _texts_of(name: str, kind: str) -> Column | None:
    """All texts in a column, as an array; None where it holds none."""
    column, nothing = F.col(f"`{name}`"), F.array().cast("array<string>")
    if kind == "string":
        return F.array(column)
    if kind == "array<string>":
        return F.coalesce(column, nothing)
    if kind == "map<string,string>":
        return F.coalesce(F.map_values(column), nothing)
    return None
