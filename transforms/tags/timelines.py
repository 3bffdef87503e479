"""Customers' timelines: everything that tags may ever ask of a customer, in one row.

Which conditions of tags hold on a partial, and the values they measure, do not change with the run date; only windows
do. So a night makes the timelines of those customers to whom something happened, and computes tags from all of them
without moving a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial, reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import Table, silver
from transforms.tags.declarations import TagRules
from transforms.tags.streams import BITS, DAY, SCALES, WORDS, Stream, conditions, mask_names, reads_day_orders, streams

Ints = npt.NDArray[np.int64]

UNKNOWN = np.iinfo(np.int64).min
"""Of a number; of a text it is -1."""

_ROWS_AT_ONCE = 1 << 18  # of 18 columns 38 MB of a worker


def timelines_table(rules: TagRules) -> Table:
    """The contract of silver.timelines as the tags need it."""
    masks = {name: "Bits: which conditions of conf/tags.yaml hold" for name in mask_names(rules)}
    return silver.timelines_table(masks | {stream.name: _told(stream) for stream in streams(rules)})


def build_timelines(activity: DataFrame, rules: TagRules) -> DataFrame:
    """Timelines in the columns of silver.timelines, key customer_id.

    Args:
        activity: silver.activity with a non-null `customer_id`; all rows of the customers that are wanted.

    A customer without a partial that any tag counts has no timeline.
    """
    # No second sort: the window over days has put them in this order.
    in_order = _with_day_orders(activity, rules).sortWithinPartitions("customer_id", "counts_on_date")
    texts = [stream.name for stream in streams(rules) if stream.is_words]
    return _measured_rows(in_order, rules).mapInArrow(partial(_packed, texts=texts), timelines_table(rules).schema)


def _with_day_orders(activity: DataFrame, rules: TagRules) -> DataFrame:
    """Rows of a customer in one partition, with `date` and where a tag asks for it `day_order_count`."""
    rows = activity.withColumn("date", F.col("counts_on_date")).repartition("customer_id")
    read = [*conditions(rules), *(stream.expression for stream in streams(rules))]
    if not reads_day_orders(read):
        return rows
    day = Window.partitionBy("customer_id", "counts_on_date")
    return rows.withColumn("day_order_count", F.sum("order_count").over(day))


def _measured_rows(rows: DataFrame, rules: TagRules) -> DataFrame:
    """customer_id, day, masks and values of the rows on which any condition holds."""
    bits = [
        F.when(F.expr(sql), F.lit(1 << place % BITS)).otherwise(F.lit(0)).cast("bigint")
        for place, sql in enumerate(conditions(rules))
    ]
    masks = [
        reduce(Column.bitwiseOR, bits[number * BITS : (number + 1) * BITS]).alias(name)
        for number, name in enumerate(mask_names(rules))
    ]
    values = [_value(stream).alias(stream.name) for stream in streams(rules)]
    measured = rows.select("customer_id", F.unix_date("date").alias(DAY), *masks, *values)
    return measured.where(" or ".join(f"{name} <> 0" for name in mask_names(rules)) or "false")


def _value(stream: Stream) -> Column:
    """Text as it is, all else as a whole number."""
    value = F.expr(stream.expression)
    if stream.is_words:
        return value
    if stream.kind == "date":
        value = F.unix_date(value)
    if stream.kind in SCALES:
        value = value.cast(stream.kind) * F.lit(10 ** SCALES[stream.kind])
    whole = value.cast("int").cast("bigint") if stream.kind == "boolean" else value.cast("bigint")
    return whole * F.col("event_count") if stream.per_event else whole


def _packed(batches: Iterator[pa.RecordBatch], texts: list[str]) -> Iterator[pa.RecordBatch]:
    """Rows that come customer by customer and day by day, as one row of arrays each."""
    for rows in _whole_customers(batches):
        ids = rows["customer_id"].combine_chunks()
        starts = np.flatnonzero(_begins(ids))
        offsets = np.append(starts, len(ids))
        owners = np.repeat(np.arange(len(starts)), np.diff(offsets))
        words, places = _words([rows[name].combine_chunks() for name in texts], owners, len(starts))
        columns = dict(zip(texts, places, strict=True))
        for name in rows.column_names[1:]:
            if name not in texts:
                columns[name] = np.asarray(rows[name].combine_chunks().fill_null(UNKNOWN if name != DAY else 0))
        order = _order(owners, columns)
        lists = {n: pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), v[order]) for n, v in columns.items()}
        arrays = {"customer_id": ids.take(pa.array(starts)), WORDS: words, **lists}
        yield pa.RecordBatch.from_pydict(
            {name: arrays[name] for name in ("customer_id", WORDS, *rows.column_names[1:])}
        )


def _whole_customers(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in larger pieces that end where a customer ends."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= _ROWS_AT_ONCE:
            rows = pa.Table.from_batches(waiting)
            end = int(np.flatnonzero(_begins(rows["customer_id"].combine_chunks()))[-1])
            if end:
                yield rows.slice(0, end)
            waiting = rows.slice(end).combine_chunks().to_batches()
    if waiting and (rows := pa.Table.from_batches(waiting)).num_rows:
        yield rows


def _begins(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether a row is the first of its customer."""
    changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    return np.append(True, changes) if len(ids) else np.array([], dtype=bool)


def _order(owners: Ints, columns: Mapping[str, Ints]) -> Ints:
    """Places of the rows in an order of their content: those of one customer and day come in none."""
    day, order = columns[DAY], np.arange(len(owners))
    as_before = np.append(False, (owners[1:] == owners[:-1]) & (day[1:] == day[:-1]))
    tied = np.flatnonzero(as_before | np.append(as_before[1:], False))
    keys = [columns[name][tied] for name in sorted(columns, reverse=True) if name != DAY]
    order[tied] = tied[np.lexsort((*keys, day[tied], owners[tied]))]
    return order


def _words(texts: list[pa.Array], owners: Ints, customers: int) -> tuple[pa.Array, Ints]:
    """Each customer's different texts, ascending by bytes as Spark compares them; and each value's place among them."""
    if not texts:
        nothing = pa.array([], pa.string())
        return pa.ListArray.from_arrays(pa.array(np.zeros(customers + 1), pa.int32()), nothing), np.empty(
            (0, 0), dtype=np.int64
        )
    coded = pa.concat_arrays(texts).dictionary_encode()
    order = pc.array_sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1  # where there is no text
    ranks = rank[coded.indices.fill_null(len(order)).to_numpy()]
    width = len(order) + 1
    pairs, places = np.unique(np.tile(owners, len(texts)) * width + ranks + 1, return_inverse=True)
    is_text = pairs % width > 0
    starts = np.searchsorted(pairs[is_text] // width, np.arange(customers + 1))
    place = np.where(is_text, np.cumsum(is_text) - 1 - starts[pairs // width], -1)
    texts_in_order = coded.dictionary.take(pa.array(order[pairs[is_text] % width - 1]))
    words = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts_in_order)
    return words, place[places].reshape(len(texts), -1)


def _told(stream: Stream) -> str:
    per_event = ", times the partial's events" if stream.per_event else ""
    unit = f" × {10 ** SCALES[stream.kind]:,}" if stream.kind in SCALES else ""
    unknown = "-1" if stream.is_words else "the least number"
    what = f"place in words of {stream.expression}" if stream.is_words else f"{stream.expression}{unit}"
    return f"{what}{per_event}; {unknown} where it is not known"
