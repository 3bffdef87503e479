"""The test of a model on what it had not seen: fitted on a calibration period, held against the orders after it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def backtest(
    x: npt.ArrayLike,
    actual: npt.ArrayLike,
    expected: npt.ArrayLike,
    customers: npt.ArrayLike = 1,
    last_bin: int = 7,
) -> pd.DataFrame:
    """Actual and expected orders per customer in the holdout period, by repeat purchases in the calibration period.

    Args:
        x: repeat purchases in the calibration period; customers who first bought after it take no part.
        actual, expected: orders in the holdout period, per customer.
        customers: how many customers each element stands for, where the arrays are a histogram.
        last_bin: it holds all with as many repeat purchases or more.

    Returns:
        `bin` (0, 1, … "7+"), `customers`, `actual`, `expected`; no row for a bin without customers.
    """
    x, actual, expected, customers = np.broadcast_arrays(x, actual, expected, customers)
    bins = np.minimum(x, last_bin).astype(int)
    count, of_actual, of_expected = (
        np.bincount(bins, weights=customers * value, minlength=last_bin + 1) for value in (1.0, actual, expected)
    )
    some = np.flatnonzero(count)
    return pd.DataFrame(
        {
            "bin": [f"{bin}+" if bin == last_bin else str(bin) for bin in some],
            "customers": count[some].astype(int),
            "actual": of_actual[some] / count[some],
            "expected": of_expected[some] / count[some],
        }
    )
