"""How the values of many columns are distributed in two runs, and how far they moved from one to the other.

Both runs are read in one pass that leaves a histogram of each column: Spark SQL has no aggregate that gives many
histograms at once, and a query for each column would cost a night on small data more than all its other steps. Apart
from `tags`, because Python workers import this file, and that takes them a second of everything it imports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import accumulate
from math import log
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from transforms.contracts import MONEY, QUANTITY, RATIO

_SCALES = {"int": 0, "bigint": 0, "date": 0, MONEY: 2, QUANTITY: 3, RATIO: 6}
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_GROUPS = 10
_LISTED = 20
_LEAST_SHARE = 1e-4
_OTHER, _NULL = "other", None
_HISTOGRAM = "name string, is_tonight boolean, number bigint, text string, customers bigint"
_SHAPE = "name string, coverage double, distinct_values bigint, psi double"

Bins = Mapping[Any, int]
Batches = Iterator[pa.RecordBatch]


def histogramming(as_of: date, types: Mapping[str, str]) -> tuple[Callable[[Batches], Batches], str]:
    """What `mapInArrow` needs to count customers by column, run and value.

    Its rows are customers with run_date, of `as_of` and of at most one earlier run. Numbers count as one value when
    their first two digits are equal, dates when those of their age in days are: so a histogram has some hundred bins,
    whatever the customers, and its bins follow from the value alone.

    Args:
        types: contract type of each column to look at.
    """
    return partial(_histograms, as_of=as_of, types=types), _HISTOGRAM


def shapes(histograms: DataFrame) -> DataFrame:
    """How each column is distributed tonight, and how far that is from the run before.

    Args:
        histograms: what `histogramming` gives.

    Returns:
        (name, coverage, distinct_values, psi), key name; no rows without a customer. `coverage` is the share of
        customers with a value. `psi` is null without the earlier run.
    """
    return histograms.groupBy("name").applyInArrow(_shape, _SHAPE)


def population_stability_index(expected: Bins, actual: Bins, is_number: bool) -> float | None:
    """How far a distribution moved: below 0.1 hardly, from 0.25 on so far that its readers should be looked at.

    PSI = Σ (a − e) ln(a / e) over the bins' shares (Siddiqi, Credit Risk Scorecards, 2006), shares below 0.0001 taken
    as that. Bins of numbers are the deciles of `expected` (each ends at the least value that reaches its share), bins
    of anything else its 20 most frequent values and the rest; customers without a value are a bin of their own.

    Args:
        expected, actual: customers by value, null for those without one. None where either has no customers.
    """
    group = _deciles(expected) if is_number else _most_frequent(expected)
    shares = []
    for bins in (expected, actual):
        total, grouped = sum(bins.values()), Counter[Any]()
        for value, customers in bins.items():
            grouped[value if value is _NULL else group(value)] += customers
        if not total:
            return None
        shares.append({place: customers / total for place, customers in grouped.items()})
    places = sorted({*shares[0], *shares[1]}, key=lambda place: (place is _NULL, "" if place is _NULL else place))
    pairs = [[max(side.get(place, 0.0), _LEAST_SHARE) for side in shares] for place in places]
    return sum((a - e) * log(a / e) for e, a in pairs)


def _histograms(batches: Batches, as_of: date, types: Mapping[str, str]) -> Batches:
    """Customers of the partition by column, run and value."""
    counts: Counter[tuple[str, bool, Any]] = Counter()
    for batch in batches:
        of_tonight = pc.equal(batch["run_date"], pa.scalar(as_of, pa.date32()))
        for is_tonight in (True, False):
            part = batch.filter(of_tonight if is_tonight else pc.invert(of_tonight))
            for name, kind in types.items() if part.num_rows else ():
                for found in pc.value_counts(_narrow(part[name], part["run_date"], kind)).to_pylist():
                    counts[name, is_tonight, found["values"]] += found["counts"]
    keys = list(counts)
    numbers = [value if types[name] in _SCALES else None for name, _, value in keys]
    texts = [value if types[name] not in _SCALES else None for name, _, value in keys]
    columns = {
        "name": pa.array([key[0] for key in keys], pa.string()),
        "is_tonight": pa.array([key[1] for key in keys], pa.bool_()),
        "number": pa.array(numbers, pa.int64()),
        "text": pa.array(texts, pa.string()),
        "customers": pa.array([counts[key] for key in keys], pa.int64()),
    }
    yield from pa.table(columns).to_batches()


def _narrow(values: pa.Array, run_dates: pa.Array, kind: str) -> pa.Array:
    """Numbers by their first two digits, in units of the last decimal, dates by those of their age; else as text."""
    if kind not in _SCALES:
        return values.cast(pa.string())
    if kind == "date":
        return _two_digits(pc.subtract(run_dates.cast(pa.int32()), values.cast(pa.int32())).cast(pa.int64()))
    if scale := _SCALES[kind]:
        values = pc.multiply(values, pa.scalar(Decimal(10**scale)))
    return _two_digits(values.cast(pa.int64()))


def _two_digits(values: pa.Array) -> pa.Array:
    """Whole numbers cut to their first two digits: 4,310 is 4,300, -127 is -120, 17 is 17."""
    known = values.fill_null(0).to_numpy(zero_copy_only=False)
    sizes = np.abs(known)
    units = _POWERS[np.maximum(np.searchsorted(_POWERS, sizes, side="right") - 2, 0)]
    return pa.array(np.sign(known) * (sizes // units * units), mask=values.is_null().to_numpy(zero_copy_only=False))


def _shape(rows: pa.Table) -> pa.Table:
    """One column's row of `shapes` from its histograms."""
    runs: dict[bool, Counter[Any]] = {True: Counter(), False: Counter()}
    is_number = False
    for row in rows.to_pylist():
        is_number = is_number or row["number"] is not None
        value = row["text"] if row["number"] is None else row["number"]
        runs[row["is_tonight"]][value] += row["customers"]
    tonight, earlier = runs[True], runs[False]
    total = sum(tonight.values())
    shape = {
        "name": rows.column("name")[0].as_py(),
        "coverage": 1 - tonight[_NULL] / total if total else None,
        "distinct_values": len(set(tonight) - {_NULL}),
        "psi": population_stability_index(earlier, tonight, is_number),
    }
    types = (pa.string(), pa.float64(), pa.int64(), pa.float64())
    return pa.table({name: pa.array([shape[name]], kind) for name, kind in zip(shape, types, strict=True)})


def _deciles(bins: Bins) -> Any:
    """Number to the place of its decile."""
    values = sorted(value for value in bins if value is not _NULL)
    below = list(accumulate(bins[value] for value in values))
    reached = (
        [np.searchsorted(np.array(below) * _GROUPS, place * below[-1]) for place in range(1, _GROUPS)] if below else []
    )
    cuts = np.array(sorted({values[place] for place in reached}))
    return lambda value: f"{np.searchsorted(cuts, value):02}"


def _most_frequent(bins: Bins) -> Any:
    """Text to itself where it is among the most frequent; ties go to the smaller one."""
    known = [(-customers, value) for value, customers in bins.items() if value is not _NULL]
    listed = {value for _, value in sorted(known)[:_LISTED]}
    return lambda value: f"={value}" if value in listed else _OTHER
