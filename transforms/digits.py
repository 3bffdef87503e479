"""Numbers of models as they are kept: the digits after the sixth differ between machines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def six_digits(number: float) -> float:
    """The number with six significant digits."""
    return float(f"{number:.6g}")


def six_digits_each(numbers: npt.ArrayLike) -> list[float]:
    """The same of many."""
    return [six_digits(number) for number in np.asarray(numbers, dtype=float).ravel()]
