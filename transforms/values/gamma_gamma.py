"""Gamma-Gamma: what an order of a customer is worth, between their own mean and everybody's.

Order values vary around a customer's mean (Gamma with shape p), and means vary over customers (inverse Gamma: q, v),
independently of how often they buy. Fader & Hardie, The Gamma-Gamma Model of Monetary Value, 2013
(brucehardie.com/notes/025); numbers in brackets are its equations.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln, psi

from transforms.values.likelihood import Array, CannotFit, merged, most_likely

STATISTICS = ("frequency", "mean_amount")

# p, q, v with the mean order as the unit of money, each of population mean p v / (q - 1) = 1.
_STARTS = ((6.0, 4.0, 0.5), (2.0, 3.0, 1.0), (0.5, 2.0, 2.0), (20.0, 11.0, 0.5))


@dataclass(frozen=True)
class GammaGamma:
    """A fitted model; `v` in the unit of money of the histogram, the others without unit."""

    p: float
    q: float
    v: float


@dataclass(frozen=True)
class Preconditions:
    """What Gamma-Gamma takes for granted, measured over repeat customers.

    Attributes:
        repeat_customers: customers with frequency > 0.
        not_positive: those of them whose mean is zero or less; the model knows positive money only.
        correlation: Pearson's, of frequency and mean; the model takes it for 0. Not a number when either is constant.
    """

    repeat_customers: int
    not_positive: int
    correlation: float


def fit(histogram: pd.DataFrame, min_repeat_customers: int = 100) -> GammaGamma:
    """The most likely model [1a]; the same bits for any order and splitting of the rows.

    Args:
        histogram: `frequency` (purchases that the mean is over; customers with 0 do not count), `mean_amount` of
            these purchases, and `customers`, how many have these.
        min_repeat_customers: customers with frequency > 0 below which three parameters would be fitted to noise.

    Raises:
        CannotFit: too few repeat customers, a mean that is not positive, no maximum (most often everybody spends the
            same), or means that vary so much that they have no expectation.
    """
    rows = _repeat_rows(histogram)
    x, mean, customers = rows
    _check(rows, min_repeat_customers)
    unit = (customers * mean).sum() / customers.sum()
    scaled = (x, mean / unit, customers)
    found = most_likely(
        "Gamma-Gamma", "p, q, v (in mean orders)", lambda values: _log_likelihood(values, scaled), _STARTS
    )
    p, q, v = (found * (1, 1, unit)).tolist()
    if q <= 1:
        raise CannotFit(
            f"Gamma-Gamma: customers' means vary so much (q = {q:.3g}) that they have no expectation. Value customers "
            f"by means, or fit on a population without the few who buy for very much."
        )
    return GammaGamma(p, q, v)


def preconditions(histogram: pd.DataFrame) -> Preconditions:
    """Whether the model may be used at all; the caller sets the limits. `histogram` as for `fit`."""
    x, mean, customers = _repeat_rows(histogram)
    count = customers.sum()
    if not count:
        return Preconditions(0, 0, np.nan)
    share = customers / count
    dx, dm = x - (share * x).sum(), mean - (share * mean).sum()
    spread = np.sqrt((share * dx**2).sum() * (share * dm**2).sum())
    correlation = (share * dx * dm).sum() / spread if spread > 0 else np.nan
    return Preconditions(int(count), int(customers[mean <= 0].sum()), float(correlation))


def log_likelihood(model: GammaGamma, histogram: pd.DataFrame) -> float:
    """Of all repeat customers of the histogram [1a]; comparable between models in one unit of money."""
    rows = _repeat_rows(histogram)
    return _log_likelihood(np.array(astuple(model)), rows)[0] * float(rows[2].sum())


def expected_order_value(model: GammaGamma, x: npt.ArrayLike, mean: npt.ArrayLike) -> Array:
    """Mean value of the customer's future orders [5]; everybody's mean when x is 0, whatever `mean` says."""
    x = np.asarray(x, dtype=float)
    spent = np.where(x > 0, x * np.asarray(mean, dtype=float), 0.0)
    return model.p * (model.v + spent) / (model.p * x + model.q - 1)


def _repeat_rows(histogram: pd.DataFrame) -> tuple[Array, Array, Array]:
    """Frequency, mean amount and customers of those who bought again, in order."""
    rows = merged(histogram[histogram["frequency"] != 0], STATISTICS)
    if (rows["frequency"] < 1).any():
        raise ValueError("histogram: frequency counts purchases, and is 0 or at least 1")
    return rows["frequency"].to_numpy(), rows["mean_amount"].to_numpy(), rows["customers"].to_numpy()


def _check(rows: tuple[Array, Array, Array], min_repeat_customers: int) -> None:
    """Raise when there is not enough, or nothing that the model could be fitted to."""
    _, mean, customers = rows
    if customers.sum() < max(min_repeat_customers, 1):
        raise CannotFit(
            f"Gamma-Gamma: {customers.sum():,.0f} customers bought again, at least {min_repeat_customers:,} are needed;"
            f" value them by means, or fit on a longer history."
        )
    if (mean <= 0).any():
        raise CannotFit(
            f"Gamma-Gamma: the mean order of {customers[mean <= 0].sum():,.0f} of {customers.sum():,.0f} repeat "
            f"customers is zero or less; leave such orders out of the means, or value by means."
        )


def _log_likelihood(parameters: Array, rows: tuple[Array, Array, Array]) -> tuple[float, Array]:
    """[1a] and its gradient, per customer."""
    p, q, v = parameters
    x, mean, customers = rows
    total = np.log(x * mean + v)
    value = (
        gammaln(p * x + q)
        - gammaln(p * x)
        - gammaln(q)
        + q * np.log(v)
        + (p * x - 1) * np.log(mean)
        + p * x * np.log(x)
        - (p * x + q) * total
    )
    gradient = (
        x * (psi(p * x + q) - psi(p * x) + np.log(mean) + np.log(x) - total),
        psi(p * x + q) - psi(q) + np.log(v) - total,
        q / v - (p * x + q) / (x * mean + v),
    )
    share = customers / customers.sum()
    return float((share * value).sum()), np.array([(share * slope).sum() for slope in gradient])
