"""Two variants compared: how far apart, how sure, and the p-value of no difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from transforms.experiments.moments import Sample


@dataclass(frozen=True)
class Comparison:
    """A difference of means (treated − control), its standard error and interval, and the test of no difference."""

    lift: float
    standard_error: float
    ci_low: float
    ci_high: float
    test: str
    statistic: float | None
    p_value: float


def two_proportions(treated: Sample, control: Sample, alpha: float) -> Comparison:
    """Two rates by z: pooled for the test, unpooled for the interval, both two-sided.

    z = (p1 − p0) / sqrt(p(1 − p)(1/n1 + 1/n0)) with p = (s1 + s0) / (n1 + n0); interval (p1 − p0) ± z(1 − α/2) ·
    sqrt(p1(1 − p1)/n1 + p0(1 − p0)/n0). Source: Fleiss, Levin, Paik, Statistical Methods for Rates and Proportions
    (2003), chapter 3, without continuity correction.
    """
    n1, n0, p1, p0 = treated.customers, control.customers, treated.mean, control.mean
    pooled = (p1 * n1 + p0 * n0) / (n1 + n0)
    under_null = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
    error = math.sqrt(p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0)
    reach = float(stats.norm.ppf(1 - alpha / 2)) * error
    lift = p1 - p0
    statistic = lift / under_null if under_null else None
    p_value = _without_spread(lift) if statistic is None else 2 * float(stats.norm.sf(abs(statistic)))
    return Comparison(lift, error, lift - reach, lift + reach, "z", statistic, p_value)


def welch(treated: Sample, control: Sample, alpha: float) -> Comparison:
    """Two means of unequal variance by t, two-sided.

    t = (m1 − m0) / sqrt(v1/n1 + v0/n0), with Satterthwaite's degrees of freedom
    (v1/n1 + v0/n0)² / ((v1/n1)²/(n1 − 1) + (v0/n0)²/(n0 − 1)). Source: Welch, Biometrika 34 (1947).
    """
    one, other = treated.variance / treated.customers, control.variance / control.customers
    lift, error = treated.mean - control.mean, math.sqrt(one + other)
    if not error:
        return Comparison(lift, 0.0, lift, lift, "t", None, _without_spread(lift))
    degrees = (one + other) ** 2 / (one**2 / (treated.customers - 1) + other**2 / (control.customers - 1))
    reach = float(stats.t.ppf(1 - alpha / 2, degrees)) * error
    statistic = lift / error
    p_value = 2 * float(stats.t.sf(abs(statistic), degrees))
    return Comparison(lift, error, lift - reach, lift + reach, "t", statistic, p_value)


def _without_spread(lift: float) -> float:
    """Everybody did exactly the same within each variant."""
    return 0.0 if lift else 1.0
