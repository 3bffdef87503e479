"""Holm's correction: of many comparisons the best one looks good by chance."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: at `alpha`, the chance of any false finding among all is `alpha` at most.

    The k-th smallest of m is multiplied by m − k + 1, is never less than a smaller one's result, and at most 1.
    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    ranked = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, floor = [0.0] * len(p_values), 0.0
    for smaller, place in enumerate(ranked):
        floor = max(floor, min(1.0, p_values[place] * (len(p_values) - smaller)))
        adjusted[place] = floor
    return adjusted
