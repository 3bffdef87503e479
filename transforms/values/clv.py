"""Customer lifetime value: orders to come × value of an order, worth less the later they come.

Fader, Hardie & Lee, RFM and CLV, Journal of Marketing Research 42, 2005, in the discrete form of the Python package
`lifetimes`: a month's orders count as paid at its end.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.values.bgnbd import BgNbd, expected_orders
from transforms.values.likelihood import Array


def lifetime_value(
    model: BgNbd,
    order_value: npt.ArrayLike,
    x: npt.ArrayLike,
    t_x: npt.ArrayLike,
    T: npt.ArrayLike,
    horizon: float,
    month: float,
    monthly_rate: float = 0.01,
) -> Array:
    """Discounted value of the orders in the `horizon` after T, in the money of `order_value`.

    Args:
        order_value: what one order is worth: of revenue or of margin, as the value shall be.
        horizon: how far to look, in the model's unit of time; a rest that is no whole month is paid at its own end.
        month: days of a month in the model's unit: 30 when that is days, 30 / 7 when it is weeks.
        monthly_rate: by which money loses value in a month; 0.01 is 12.7 % a year.
    """
    ends = month_ends(horizon, month)
    x, t_x, T = (np.asarray(value, dtype=float)[..., np.newaxis] for value in (x, t_x, T))
    orders = discounted(expected_orders(model, x, t_x, T, ends), ends / month, monthly_rate)
    return np.asarray(order_value, dtype=float) * orders


def month_ends(horizon: float, month: float) -> Array:
    """When the orders of the `horizon` are paid: at the end of each month, the last ones at its own end."""
    return np.append(np.arange(1, np.ceil(horizon / month)) * month, horizon)


def discounted(orders: Array, months: Array, monthly_rate: float) -> Array:
    """Orders up to each of the `months` (last axis, cumulative) as orders now: those of each are worth less."""
    return (np.diff(orders, prepend=0.0) * (1 + monthly_rate) ** -months).sum(axis=-1)
