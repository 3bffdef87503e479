"""Maximum likelihood over positive parameters: the same bits for the same customers, in whatever rows they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]
# (value, gradient) at the parameters, per customer
LogLikelihood = Callable[[Array], tuple[float, Array]]

# In the models' own units (time in longest ages, money in mean orders) no customer base comes near: a parameter out
# there says that a part of the model, such as leaving, is absent from the data. The search goes on a little further,
# so that it does not depend on where exactly a plain that slopes away for ever became too flat.
_FAR, _END = np.log(1e3), np.log(1e4)
# Slope of the log-likelihood per customer by a parameter's logarithm. The search aims at 1e-9, and gave up above this.
_FLAT = 1e-6


class CannotFit(RuntimeError):
    """These customers do not determine the model; the caller falls back to means and reports the message."""


def merged(histogram: pd.DataFrame, statistics: Sequence[str]) -> pd.DataFrame:
    """One row per distinct statistics, in their order, as floats: floating-point sums depend on the order of rows.

    Args:
        histogram: the columns `statistics` and `customers` (how many have them), any number of rows for each.

    Raises:
        ValueError: a value is missing, or a count of customers is negative.
    """
    rows = histogram[[*statistics, "customers"]].astype(float)
    if not np.isfinite(rows).all(axis=None) or (rows["customers"] < 0).any():
        raise ValueError(f"histogram: {', '.join(rows)} must be numbers in every row, and customers not negative")
    present = rows[rows["customers"] > 0]
    return present.groupby([*statistics], as_index=False)["customers"].sum()


def most_likely(model: str, names: str, log_likelihood: LogLikelihood, starts: Sequence[Sequence[float]]) -> Array:
    """The parameters of greatest likelihood; later starts are tried only when earlier ones led nowhere.

    Args:
        model, names: of the model and of its parameters, for the message.

    Raises:
        CannotFit: no start leads to a maximum at possible values.
    """
    outcome = ""
    for start in starts:
        parameters, slope = _climb(log_likelihood, start)
        is_far = bool((np.abs(np.log(parameters)) > _FAR).any())
        if not is_far and slope < _FLAT:
            return parameters
        reached = ", ".join(f"{value:.3g}" for value in parameters)
        outcome = f"ran off to {reached}" if is_far else f"came to no rest and were left at {reached}"
    raise CannotFit(
        f"{model}: {names} {outcome} (last of {len(starts)} starts): these customers do not behave as the model "
        f"says. Value them by means, or fit on a longer history or another population."
    )


def _climb(log_likelihood: LogLikelihood, start: Sequence[float]) -> tuple[Array, float]:
    """Where the search ended, and the steepest slope there. It walks over logarithms: parameters stay positive."""

    def descent(logs: Array) -> tuple[float, Array]:
        parameters = np.exp(logs)
        value, gradient = log_likelihood(parameters)
        return -value, -gradient * parameters

    bounds = [(-_END, _END)] * len(start)
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(descent, np.log(start), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    # The optimiser's own verdict is of no use: at this precision a good search, too, can end on a failed line search.
    return np.exp(found.x), float(np.abs(found.jac).max())
