"""What each customer is worth by a fitted model: orders to come, their value, and whether the customer is still one.

Where BG/NBD could not be fitted, orders to come are those that customers with as many purchases placed in the holdout
period, spread evenly; where Gamma-Gamma could not be used, an order is worth the mean of such customers' orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO
from transforms.values.bgnbd import BgNbd, expected_orders, p_alive
from transforms.values.clv import discounted, month_ends
from transforms.values.fitting import LAST_BIN
from transforms.values.gamma_gamma import GammaGamma, expected_order_value
from transforms.values.likelihood import Array
from transforms.values.rules import DAYS, ValueRules

MONTH, QUARTER, YEAR = 30, 90, 365  # days

_READ = ("frequency", "recency_days", "age_days", "repeat_paid_count", "repeat_amount")
_PREDICTED = {
    "expected_orders_90d": RATIO,
    "expected_orders_365d": RATIO,
    "p_alive": RATIO,
    "expected_order_value": MONEY,
    "clv_365d": MONEY,
}


def score_values(histories: DataFrame, model: Mapping[str, Any], rules: ValueRules) -> DataFrame:
    """Each history with its predictions; key customer_id.

    Args:
        histories: `purchases.purchase_histories` as of the run date.
        model: what `fitting.fit_values` found.

    Returns:
        customer_id, bgnbd_frequency, bgnbd_recency, bgnbd_age (in `rules.unit`), the predictions in the columns of
        gold.customer_values up to clv_365d, and value_basis: `model`, `segment_mean` where a part of the value is
        one, null where not even that is known. Numbers of models are rounded to 6 decimals, money to 2.
    """
    exact = histories.select("customer_id", *_READ[:-1], F.col("repeat_amount").cast("double").alias("repeat_amount"))
    kinds = {"customer_id": "string", **dict.fromkeys(_READ[:3], "bigint"), **dict.fromkeys(_PREDICTED, "double")}
    schema = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    predicted = exact.mapInArrow(partial(_score_batches, model=model, rules=rules), schema)
    basis = "model" if model["bgnbd"] and model["gamma_gamma"] else "segment_mean"
    return predicted.select(
        "customer_id",
        F.col("frequency").alias("bgnbd_frequency"),
        *[
            (F.col(f"{name}_days") / F.lit(DAYS[rules.unit])).cast(RATIO).alias(f"bgnbd_{name}")
            for name in ("recency", "age")
        ],
        *[F.col(name).cast(kind).alias(name) for name, kind in _PREDICTED.items()],
        F.when(F.col("clv_365d").isNotNull(), basis).alias("value_basis"),
    )


def _score_batches(
    batches: Iterator[pa.RecordBatch], model: Mapping[str, Any], rules: ValueRules
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        read = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in _READ}
        predicted = _predictions(read, model, rules)
        numbers = {name: pa.array(predicted[name], pa.float64(), mask=np.isnan(predicted[name])) for name in _PREDICTED}
        kept = {name: batch.column(name).cast(pa.int64()) for name in _READ[:3]}
        yield pa.RecordBatch.from_pydict({"customer_id": batch.column("customer_id"), **kept, **numbers})


def _predictions(
    history: Mapping[str, npt.NDArray[Any]], model: Mapping[str, Any], rules: ValueRules
) -> dict[str, Array]:
    """Predictions of many customers; not a number where nothing is known."""
    ends = month_ends(YEAR, MONTH)
    orders_until, alive = _orders(history, model, rules)
    value = _order_value(history, model)
    to_come = discounted(orders_until(ends), ends / MONTH, rules.monthly_rate)
    quarter, year = orders_until(np.array([QUARTER, YEAR], dtype=float)).T
    return {
        "expected_orders_90d": np.round(quarter, 6),
        "expected_orders_365d": np.round(year, 6),
        "p_alive": np.round(alive, 6),
        "expected_order_value": np.round(value, 2),
        "clv_365d": np.round(value * to_come, 2),
    }


def _orders(
    history: Mapping[str, npt.NDArray[Any]], model: Mapping[str, Any], rules: ValueRules
) -> tuple[Callable[[Array], Array], Array]:
    """Orders (by customer and horizon in days) as a function of horizons, and the probability of being alive."""
    unit = DAYS[rules.unit]
    if model["bgnbd"]:
        fitted = BgNbd(**model["bgnbd"])
        x, t_x, T = history["frequency"], history["recency_days"] / unit, history["age_days"] / unit
        down = (slice(None), np.newaxis)  # customers down, horizons across
        return lambda days: expected_orders(fitted, x[down], t_x[down], T[down], days / unit), p_alive(
            fitted, x, t_x, T
        )
    rate = _segment_mean(history, model, "orders_per_day")
    return lambda days: rate[:, np.newaxis] * days, np.full(len(rate), np.nan)


def _order_value(history: Mapping[str, npt.NDArray[Any]], model: Mapping[str, Any]) -> Array:
    if not model["gamma_gamma"]:
        return _segment_mean(history, model, "order_value")
    count = np.asarray(history["repeat_paid_count"], dtype=float)
    mean = np.asarray(history["repeat_amount"], dtype=float) / np.maximum(count, 1)
    return expected_order_value(GammaGamma(**model["gamma_gamma"]), count, mean)


def _segment_mean(history: Mapping[str, npt.NDArray[Any]], model: Mapping[str, Any], name: str) -> Array:
    """Of the customers who bought as often; of a bin that nobody was in, the next one below."""
    by_bin = np.full(LAST_BIN + 1, np.nan)
    for segment in model["segment_means"]:
        if segment[name] is not None:
            by_bin[segment["bin"] :] = segment[name]
    return by_bin[np.minimum(np.asarray(history["frequency"], dtype=int), LAST_BIN)]
