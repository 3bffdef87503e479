"""Erased persons looked for in files of this machine's disk, without Spark: many tables of few rows each.

A chain's lake has some 60 tables, and each would be a plan of its own: of the certificate of an erasure over 40,000
events (2 cores) 12 s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.erasure import erased_words

_ROWS_AT_ONCE = 50_000


def found_in_rows(files: Sequence[str], tombstones: Collection[str], salt: str) -> int:
    """Words of erased persons in the text columns of Parquet files."""
    texts: Counter[str] = Counter()
    for file in files:
        with pq.ParquetFile(file) as parquet:
            names = [field.name for field in parquet.schema_arrow if _holds_texts(field.type)]
            for rows in parquet.iter_batches(_ROWS_AT_ONCE, columns=names, use_threads=False):
                for column in rows.columns:
                    texts.update(_counted(column))
    return _found(texts, tombstones, salt)


def found_in_lines(files: Iterable[str], tombstones: Collection[str], salt: str) -> int:
    """Words of erased persons in the lines of text files."""
    lines = (line for file in files for line in Path(file).read_text(encoding="utf-8").split("\n"))
    return _found(Counter(lines), tombstones, salt)


def _holds_texts(kind: pa.DataType) -> bool:
    """Columns of texts, of lists of texts, and of maps to texts, in any way in which a program may have kept them."""
    if pa.types.is_map(kind):
        return _is_text(kind.item_type)
    return _is_text(kind.value_type if _is_list(kind) else kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _counted(column: pa.Array) -> dict[str, int]:
    """How often each text is in a column."""
    if pa.types.is_map(column.type):
        kind = column.type
        entries = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        column = pc.list_flatten(entries).field("value")
    elif _is_list(column.type):
        column = pc.list_flatten(column)
    counts = pc.value_counts(column.cast(pa.string()).drop_null())
    return dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))


def _found(texts: Counter[str], tombstones: Collection[str], salt: str) -> int:
    return sum(count * len(erased_words(text, tombstones, salt)) for text, count in texts.items())
