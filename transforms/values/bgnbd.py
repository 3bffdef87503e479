"""BG/NBD: how many orders a customer will place, and whether they are still a customer.

A customer orders at a rate of their own (Gamma over customers: shape r, rate alpha) and after each order leaves for
good with a probability of their own (Beta: a, b). Fader, Hardie & Lee, "Counting Your Customers" the Easy Way,
Marketing Science 24(2), 2005; numbers in brackets are its equations. Notation as there, in one unit of time:

    x    repeat purchases: days with a purchase, less the first
    t_x  from the first purchase to the last; 0 when x is 0
    T    from the first purchase to the day of the prediction
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, gammaln, hyp2f1, log_expit, psi

from transforms.values.likelihood import Array, CannotFit, merged, most_likely

STATISTICS = ("frequency", "recency", "age")  # x, t_x, T

# r, alpha, a, b with the longest age as the unit of time: like CDNOW's, few who leave, many who do, regular buyers.
_STARTS = ((0.25, 0.1, 0.8, 2.5), (1.0, 0.5, 0.1, 1.0), (1.0, 0.5, 2.0, 2.0), (5.0, 1.0, 0.5, 5.0))
# So near to a pole of the closed form, subtraction would eat the digits that are published.
_POLE = 1e-5


@dataclass(frozen=True)
class BgNbd:
    """A fitted model; `alpha` in the unit of time of the histogram, the others without unit."""

    r: float
    alpha: float
    a: float
    b: float


def fit(histogram: pd.DataFrame, min_repeat_customers: int = 100) -> BgNbd:
    """The most likely model; the same bits for any order and splitting of the rows.

    Args:
        histogram: `frequency` (x), `recency` (t_x), `age` (T) and `customers`, how many have these.
        min_repeat_customers: customers with x > 0 below which four parameters would be fitted to noise.

    Raises:
        CannotFit: too few repeat customers, or no maximum: most often because nobody seems to leave (in a short
            history of regular buyers), so that `p_alive` would say nothing.
        ValueError: a row that no customer can have.
    """
    statistics = _statistics(histogram)
    x, _, _, customers = statistics
    repeat_customers = customers[x > 0].sum()
    if repeat_customers < max(min_repeat_customers, 1):
        raise CannotFit(
            f"BG/NBD: {repeat_customers:,.0f} of {customers.sum():,.0f} customers bought again, at least "
            f"{min_repeat_customers:,} are needed; value them by means, or fit on a longer history."
        )
    unit = statistics[2].max()
    scaled = (x, statistics[1] / unit, statistics[2] / unit, customers)
    found = most_likely(
        "BG/NBD",
        "r, alpha (of ordering, in longest ages), a, b (of leaving: a / (a + b) at an order)",
        lambda values: _log_likelihood(values, scaled),
        _STARTS,
    )
    r, alpha, a, b = (found * (1, unit, 1, 1)).tolist()
    return BgNbd(r, alpha, a, b)


def log_likelihood(model: BgNbd, histogram: pd.DataFrame) -> float:
    """Of all customers of the histogram [6]; comparable between models in one unit of time."""
    statistics = _statistics(histogram)
    return _log_likelihood(np.array(astuple(model)), statistics)[0] * float(statistics[3].sum())


def expected_orders(
    model: BgNbd, x: npt.ArrayLike, t_x: npt.ArrayLike, T: npt.ArrayLike, horizon: npt.ArrayLike
) -> Array:
    """Orders (days with a purchase) in the `horizon` after T [10]; arguments broadcast."""
    return p_alive(model, x, t_x, T) * _orders_if_alive(model, x, T, horizon)


def expected_orders_of_new(model: BgNbd, horizon: npt.ArrayLike) -> Array:
    """Repeat orders of somebody who buys for the first time now [9]."""
    return _orders_if_alive(model, 0, 0, horizon)


def p_alive(model: BgNbd, x: npt.ArrayLike, t_x: npt.ArrayLike, T: npt.ArrayLike) -> Array:
    """Probability that the customer has not left; 1 without a repeat purchase: only who buys can leave.

    Fader, Hardie & Lee, Computing P(alive) Using the BG/NBD Model, 2008 (brucehardie.com/notes/021).
    """
    x, t_x, T = (np.asarray(value, dtype=float) for value in (x, t_x, T))
    silence = (model.r + x) * np.log1p((T - t_x) / (model.alpha + t_x))
    leaving = np.log(model.a) - np.log(model.b + np.maximum(x, 1) - 1)
    return np.where(x > 0, expit(-silence - leaving), 1.0)


def _orders_if_alive(model: BgNbd, x: npt.ArrayLike, T: npt.ArrayLike, horizon: npt.ArrayLike) -> Array:
    """[10] without its denominator, which is 1 / p_alive; with x = T = 0 it is [9].

    The mean of (1 - (1 + p y)^-(r + x)) / p over the customer's p ~ Beta(a, b + x), with y = horizon / (alpha + T).
    """
    x, T, horizon = (np.asarray(value, dtype=float) for value in (x, T, horizon))
    rate, leave, stay, y = np.broadcast_arrays(model.r + x, model.a, model.b + x, horizon / (model.alpha + T))
    with np.errstate(all="ignore"):
        orders = np.atleast_1d(_closed_form(rate, leave, stay, y))
    lost = ~np.isfinite(orders)
    if lost.any():
        orders[lost] = _quadrature(*(np.atleast_1d(value)[lost] for value in (rate, leave, stay, y)))
    return orders.reshape(y.shape)


def _closed_form(rate: Array, leave: Array, stay: Array, y: Array) -> Array:
    """[10] in 2F1; not a number near its poles, a = 1 and a + b + x = 1, and where scipy gives up.

    As published, and by Euler's transformation, where only 2F1's third argument grows with x. Of the two, that is
    taken whose series converges at z = 1: the other one overflows.
    """
    z = y / (1 + y)
    c = leave + stay - 1
    is_euler = leave - 1 <= rate
    first = np.where(is_euler, leave - 1, rate)
    second = np.where(is_euler, c - rate, stay)
    share = (1 + y) ** -first * hyp2f1(first, second, c, z)
    is_pole = (np.abs(leave - 1) < _POLE) | (np.abs(c) < _POLE)
    return np.where(is_pole, np.nan, np.maximum(c / (leave - 1) * (1 - share), 0))


def _quadrature(rate: Array, leave: Array, stay: Array, y: Array) -> Array:
    """The same mean by the trapezoidal rule, for what the closed form cannot do.

    In the logit of p, stretched by sinh around the peak, the density falls off doubly exponentially on both sides,
    so that equal steps converge exponentially. Weights are normalised by their own sum.
    """
    peak = np.log(leave / stay)
    width = np.minimum(1, np.sqrt(1 / leave + 1 / stay))
    reach = np.arcsinh(9 + 40 / (np.minimum(leave, stay) * width))  # leaves out e^-40 of a Gaussian, or of a tail
    top = leave * log_expit(peak) + stay * log_expit(-peak)
    orders, weights = np.zeros_like(y), np.zeros_like(y)
    for step in np.linspace(-1, 1, 401):
        logit = peak + width * np.sinh(step * reach)
        weight = np.exp(leave * log_expit(logit) + stay * log_expit(-logit) - top) * np.cosh(step * reach)
        p = np.maximum(expit(logit), np.finfo(float).tiny)
        orders += weight * -np.expm1(-rate * np.log1p(p * y)) / p
        weights += weight
    return orders / weights


def _statistics(histogram: pd.DataFrame) -> tuple[Array, Array, Array, Array]:
    """x, t_x, T and customers, in order."""
    rows = merged(histogram, STATISTICS)
    x, t_x, T, customers = (rows[name].to_numpy() for name in (*STATISTICS, "customers"))
    is_possible = (x >= 0) & (x == np.floor(x)) & (t_x >= 0) & (t_x <= T) & ((x > 0) == (t_x > 0))
    if not is_possible.all():
        row = rows[~is_possible].iloc[0].to_dict()
        raise ValueError(
            f"histogram: no customer can have {row}: frequency is a whole number from 0, recency is 0 exactly when "
            f"frequency is (purchases on one day are one), and at most age"
        )
    return x, t_x, T, customers


def _log_likelihood(parameters: Array, statistics: tuple[Array, Array, Array, Array]) -> tuple[float, Array]:
    """[6] and its gradient, per customer."""
    r, alpha, a, b = parameters
    x, t_x, T, customers = statistics
    last = np.maximum(x, 1) - 1
    alive = -(r + x) * np.log(alpha + T)
    left = np.where(x > 0, np.log(a) - np.log(b + last) - (r + x) * np.log(alpha + t_x), -np.inf)
    either = np.logaddexp(alive, left)
    orders = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    stays = gammaln(a + b) - gammaln(a + b + x) + gammaln(b + x) - gammaln(b)
    is_alive, has_left = np.exp(alive - either), np.exp(left - either)
    gradient = (
        psi(r + x) - psi(r) + np.log(alpha) - is_alive * np.log(alpha + T) - has_left * np.log(alpha + t_x),
        r / alpha - (r + x) * (is_alive / (alpha + T) + has_left / (alpha + t_x)),
        psi(a + b) - psi(a + b + x) + has_left / a,
        psi(a + b) - psi(a + b + x) + psi(b + x) - psi(b) - has_left / (b + last),
    )
    share = customers / customers.sum()
    return float((share * (orders + stays + either)).sum()), np.array([(share * slope).sum() for slope in gradient])
