"""The measures of tags, over timelines laid flat: numpy on whole numbers, one customer's rows beside each other.

Rows that qualify for a tag are picked once per condition and then cut to each window; what is left per customer is
found where the owner changes. Sums are of 64 bits and exact; quotients are left to Spark's decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.tags.declarations import Tag, TagRules
from transforms.tags.streams import (
    BITS,
    DAY,
    HOUR,
    SCALES,
    WORDS,
    Stream,
    condition,
    conditions,
    mask_names,
    measured,
    measured_tags,
    weight,
)
from transforms.tags.timelines import UNKNOWN

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_EPOCH = date(1970, 1, 1)
_UNKNOWN_HOUR = 24


def measure_columns(rules: TagRules) -> dict[str, str]:
    """Column to Spark type of what the kernel gives: a tag's value, or the two numbers that it is the quotient of."""
    found: dict[str, str] = {}
    for tag in measured_tags(rules):
        found |= {f"{tag.name}.{part}": kind for part, kind in _parts(tag, rules).items()}
    for tag in rules.tags.values():
        if tag.parsed.name == "trend":
            kind = rules.types[tag.parsed.arguments[0]]
            found |= {f"{tag.name}.recent": kind, f"{tag.name}.earlier": kind}
    return found


def measure(batches: Iterator[pa.RecordBatch], as_of: date, rules: TagRules) -> Iterator[pa.RecordBatch]:
    """customer_id and `measure_columns` of each timeline, as of D: partials after D are not seen."""
    bits = {sql: place for place, sql in enumerate(conditions(rules))}
    tags, today = list(measured_tags(rules)), (as_of - _EPOCH).days
    trends = [tag for tag in rules.tags.values() if tag.parsed.name == "trend"]
    for batch in batches:
        rows = _Rows(batch, today, rules)
        columns = {"customer_id": batch["customer_id"]}
        for tag in tags:
            columns |= {f"{tag.name}.{part}": found for part, found in _measured(tag, rows, bits, rules).items()}
        for tag in trends:
            columns |= {f"{tag.name}.{part}": found for part, found in _trend(tag, rows, bits, rules).items()}
        yield pa.RecordBatch.from_pydict(columns)


@dataclass(frozen=True)
class _Picked:
    """Rows of some customers: `at` are their places in the batch, ascending, so owners and days ascend too."""

    rows: _Rows
    at: Ints

    @cached_property
    def owner(self) -> Ints:
        return self.rows.owner[self.at]

    @cached_property
    def day(self) -> Ints:
        return self.rows.day[self.at]

    @cached_property
    def starts(self) -> Ints:
        """Places, among the picked, of each owner's first row."""
        return _starts(self.owner)

    @property
    def owners(self) -> Ints:
        """Those with a row, each once."""
        return self.owner[self.starts]

    @property
    def lasts(self) -> Ints:
        """Places of each owner's last row."""
        return np.append(self.starts[1:], len(self.at)) - 1 if len(self.at) else self.starts

    def values(self, stream: Stream) -> Ints:
        return self.day if stream.name == DAY else self.rows.stream(stream.name)[self.at]

    def where(self, holds: Flags) -> _Picked:
        return self if holds.all() else _Picked(self.rows, self.at[holds])

    def after(self, edge: int | Ints) -> _Picked:
        """Rows of dates after an edge, the same for all or one for each row."""
        return self.where(self.day > edge)


class _Rows:
    """A batch of timelines laid flat."""

    def __init__(self, batch: pa.RecordBatch, today: int, rules: TagRules) -> None:
        self.customers, self.today = len(batch), today
        self._batch = batch
        lengths = np.asarray(batch[DAY].value_lengths())
        self.owner: Ints = np.repeat(np.arange(self.customers), lengths)
        self.day: Ints = np.asarray(batch[DAY].flatten()).astype(np.int64)
        self._masks = [np.asarray(batch[name].flatten()) for name in mask_names(rules)]
        self._streams: dict[str, Ints] = {}
        self._picked: dict[int, _Picked] = {}
        self.words = batch[WORDS].flatten()
        self.first_word: Ints = np.cumsum(np.append(0, np.asarray(batch[WORDS].value_lengths())))[:-1]

    def stream(self, name: str) -> Ints:
        if name not in self._streams:
            self._streams[name] = np.asarray(self._batch[name].flatten())
        return self._streams[name]

    def picked(self, bit: int) -> _Picked:
        """Rows up to today on which a condition holds."""
        if bit not in self._picked:
            holds = (self._masks[bit // BITS] >> np.int64(bit % BITS)) & 1 == 1
            self._picked[bit] = _Picked(self, np.flatnonzero(holds & (self.day <= self.today)))
        return self._picked[bit]

    def spread(self, owners: Ints, values: Ints, kind: str, otherwise: int | None = None) -> pa.Array:
        """Values of some customers as a column of all; the others have null or `otherwise`."""
        whole = np.full(self.customers, otherwise or 0, dtype=np.int64)
        whole[owners] = values
        known = np.ones(self.customers, dtype=bool) if otherwise is not None else np.zeros(self.customers, dtype=bool)
        known[owners] = True
        return _column(whole, known, kind)

    def spread_words(self, owners: Ints, places: Ints) -> pa.Array:
        """Words of some customers as a column of all."""
        whole, known = np.zeros(self.customers, dtype=np.int64), np.zeros(self.customers, dtype=bool)
        whole[owners] = self.first_word[owners] + places
        known[owners] = True
        return self.words.take(pa.array(whole, mask=~known))


def _parts(tag: Tag, rules: TagRules) -> dict[str, str]:
    """Columns that a tag takes, by the end of their names, and their types."""
    match tag.parsed.name:
        case "avg":
            kind = measured(tag).kind
            return {"sum": kind if kind in SCALES else "bigint", "count": "bigint"}
        case "interval_mean":
            return {"days": "bigint", "count": "bigint"}
    return {"value": rules.types[tag.name]}


def _measured(tag: Tag, rows: _Rows, bits: dict[str, int], rules: TagRules) -> dict[str, pa.Array]:
    """The columns of `_parts` for one tag."""
    picked, stream, kinds = _in_window(tag, rows.picked(bits[condition(tag)])), measured(tag), _parts(tag, rules)
    kind = next(iter(kinds.values()))
    match tag.parsed.name:
        case "count" | "sum":
            return {"value": rows.spread(*_sums(picked, picked.values(stream)), kind, otherwise=0)}
        case "avg":
            weighed, events = _sums(picked, picked.values(stream)), _sums(picked, picked.values(weight(tag)))
            return {"sum": rows.spread(*weighed, kind), "count": rows.spread(*events, "bigint")}
        case "min":
            return {"value": _spread(rows, picked.owners, _reduced(np.minimum, picked, stream), stream)}
        case "max":
            return {"value": _spread(rows, picked.owners, _reduced(np.maximum, picked, stream), stream)}
        case "count_distinct":
            return {"value": rows.spread(*_distinct(picked, picked.values(stream)), "bigint", otherwise=0)}
        case "top":
            return {"value": _spread(rows, *_top(picked, picked.values(stream), _weights(picked, tag)), stream)}
        case "first":
            return {"value": _spread(rows, *_first(picked, picked.values(stream)), stream)}
        case "last":
            return {"value": _spread(rows, *_last(picked, picked.values(stream)), stream)}
        case "days_since":
            return {"value": rows.spread(picked.owners, _days_since(tag, picked), kind)}
    days, gaps = _purchase_days(picked), _gaps(picked)  # intervals
    if tag.parsed.name == "interval_max":
        return {"value": rows.spread(*gaps, kind)}
    span = picked.day[picked.lasts] - picked.day[picked.starts]
    return {"days": rows.spread(picked.owners, span, kind), "count": rows.spread(picked.owners, days - 1, kind)}


def _trend(tag: Tag, rows: _Rows, bits: dict[str, int], rules: TagRules) -> dict[str, pa.Array]:
    """What a trend's tag adds up to in its recent window, and in the window before it."""
    base = rules.tags[tag.parsed.arguments[0]]
    picked, kind = rows.picked(bits[condition(base)]), rules.types[base.name]
    edges = [rows.today - tag.parsed.windows[0], rows.today - sum(tag.parsed.windows)]
    windows = {"recent": picked.after(edges[0]), "earlier": picked.after(edges[1])}
    windows["earlier"] = windows["earlier"].where(windows["earlier"].day <= edges[0])
    return {part: rows.spread(*_sums(found, found.values(measured(base))), kind) for part, found in windows.items()}


def _in_window(tag: Tag, picked: _Picked) -> _Picked:
    """The rows of the window at D, or with keep_last at the latest date whose window was not empty.

    With L the last qualifying date, that date is D where L > D − w, else L + w − 1, whose window holds L alone.
    Either way the window begins after the lesser of D − w and L − 1. `days_since` needs L alone.
    """
    if not isinstance(tag.window, int):
        return picked
    edge = picked.rows.today - tag.window
    if tag.null_policy == "clear":
        return picked.after(edge)
    if tag.parsed.name == "days_since":
        return picked
    begins = np.zeros(picked.rows.customers, dtype=np.int64)
    begins[picked.owners] = np.minimum(edge, picked.day[picked.lasts] - 1)
    return picked.after(begins[picked.owner])


def _sums(picked: _Picked, values: Ints) -> tuple[Ints, Ints]:
    """(owners, sums); all values are known."""
    return picked.owners, np.add.reduceat(values, picked.starts) if len(values) else values


def _reduced(ufunc: np.ufunc, picked: _Picked, stream: Stream) -> Ints:
    values = picked.values(stream)
    return ufunc.reduceat(values, picked.starts) if len(values) else values


def _weights(picked: _Picked, tag: Tag) -> Ints:
    weights = picked.values(weight(tag))
    return np.where(weights == UNKNOWN, 0, weights)


def _distinct(picked: _Picked, values: Ints) -> tuple[Ints, Ints]:
    """(owners, different values)."""
    order = np.lexsort((values, picked.owner))
    owner, value = picked.owner[order], values[order]
    is_new = np.append(True, (owner[1:] != owner[:-1]) | (value[1:] != value[:-1]))[: len(owner)]
    return picked.owners, np.add.reduceat(is_new.astype(np.int64), picked.starts) if len(owner) else value


def _top(picked: _Picked, values: Ints, weights: Ints) -> tuple[Ints, Ints]:
    """(owners, values of the greatest total weight); of equal ones the one seen later, then the smaller."""
    order = np.lexsort((values, picked.owner))
    owner, value = picked.owner[order], values[order]
    starts = np.flatnonzero(np.append(True, (owner[1:] != owner[:-1]) | (value[1:] != value[:-1]))[: len(owner)])
    if not len(starts):
        return owner, value
    totals, days = np.add.reduceat(weights[order], starts), np.maximum.reduceat(picked.day[order], starts)
    owner, value = owner[starts], value[starts]
    best = np.lexsort((value, -days, -totals, owner))
    best = best[_starts(owner[best])]
    return owner[best], value[best]


def _first(picked: _Picked, values: Ints) -> tuple[Ints, Ints]:
    """(owners, values of the earliest date, then hour, then the smaller value); an unknown hour loses."""
    hours = _hours(picked)
    order = np.lexsort((values, np.where(hours == UNKNOWN, _UNKNOWN_HOUR, hours), picked.day, picked.owner))
    return picked.owners, values[order][picked.starts]


def _last(picked: _Picked, values: Ints) -> tuple[Ints, Ints]:
    """(owners, values of the latest date, then hour, then the smaller value); an unknown hour loses."""
    hours = _hours(picked)
    order = np.lexsort((values, np.where(hours == UNKNOWN, 1, -hours), -picked.day, picked.owner))
    return picked.owners, values[order][picked.starts]


def _hours(picked: _Picked) -> Ints:
    return picked.rows.stream(HOUR)[picked.at]


def _days_since(tag: Tag, picked: _Picked) -> Ints:
    """Days from the last date to D; with keep_last as of the last day on which the window still held that date."""
    since = picked.rows.today - picked.day[picked.lasts]
    return np.minimum(since, tag.window - 1) if isinstance(tag.window, int) else since


def _purchase_days(picked: _Picked) -> Ints:
    """Different dates of each owner."""
    return _distinct(picked, picked.day)[1]


def _gaps(picked: _Picked) -> tuple[Ints, Ints]:
    """(owners with two dates or more, days of their longest gap)."""
    gaps = np.diff(picked.day)
    inside = np.flatnonzero((picked.owner[1:] == picked.owner[:-1]) & (gaps > 0))
    owner = picked.owner[inside]
    starts = _starts(owner)
    return owner[starts], np.maximum.reduceat(gaps[inside], starts) if len(starts) else owner


def _starts(owner: Ints) -> Ints:
    """Places where the owner changes, the first one too."""
    return np.flatnonzero(np.append(True, owner[1:] != owner[:-1])[: len(owner)])


def _spread(rows: _Rows, owners: Ints, values: Ints, stream: Stream) -> pa.Array:
    """One value of each owner, of the stream's type."""
    return rows.spread_words(owners, values) if stream.is_words else rows.spread(owners, values, stream.kind)


def _column(values: Ints, known: Flags, kind: str) -> pa.Array:
    """Whole numbers as a column of a contract type."""
    nulls = None if known.all() else ~known
    if kind in SCALES:
        halves = np.stack([values, values >> 63], axis=1)  # decimals are numbers of 128 bits, the low half first
        bits = None if nulls is None else pa.py_buffer(np.packbits(known, bitorder="little"))
        return pa.Array.from_buffers(pa.decimal128(18, SCALES[kind]), len(values), [bits, pa.py_buffer(halves)])
    if kind == "boolean":
        return pa.array(values == 1, mask=nulls)
    types = {"int": (np.int32, pa.int32()), "date": (np.int32, pa.date32()), "bigint": (np.int64, pa.int64())}
    numpy_type, arrow_type = types[kind]
    return pa.array(values.astype(numpy_type), mask=nulls).cast(arrow_type)
