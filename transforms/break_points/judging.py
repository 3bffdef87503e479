"""How unusual a day is: held against the same weekdays before it, with the spread that such days have. Numpy, no Spark.

Every scope is a row of numbers, a day each, the judged one last; so scopes of a kind are judged at once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from transforms.break_points.rules import BreakPointRules

Array = npt.NDArray[np.float64]

_WEEK = 7
_LEVEL_WEEKS = 4
_LEAST_EXPECTED = 0.5
_NORMAL_MAD = 1.4826  # a normal spread's standard deviation over its median absolute deviation
_MAD_EFFICIENCY = 0.37  # of the median absolute deviation, beside the standard deviation, where days are normal
_LEAST_SHARE_VARIANCE = 0.05
_NO_EXCESS = 1e-9  # Poisson to ten digits
_LEAST_PEERS = 10
_CERTAIN = 1e6  # degrees of freedom of a spread that all peers share


@dataclass(frozen=True)
class Judged:
    """Of each scope: what was expected, robust z (below 0: less than that), the chance of so little or less.

    `expected` is in events, NaN where nothing is known of the weekday. `p` is 1 where the scope is not judged. `spells`
    counts earlier falls of the look-back, days in a row being one; one that still lasts does not count.
    """

    expected: Array
    z: Array
    p: Array
    is_judged: npt.NDArray[np.bool_]
    spells: npt.NDArray[np.int64]


def judge(
    observed: Array, rules: BreakPointRules, exposure: Array | None = None, *, follows_level: bool = True
) -> Judged:
    """Judge the last day of each row, of scopes that are of one kind.

    Expected is the median of the same weekdays, times the level of the last four weeks (the median over them of a
    week's total to what these medians say), so that what grows or falls slowly raises no alarm, and what fell to a new
    level raises none after three weeks. How far from expected a day lies is the signed root of the deviance of negative
    binomial counts, variance = mean + excess x mean^2 (Hilbe, Negative Binomial Regression, 2nd ed., ch. 8), nearly
    normal also where counts are small. z is that over its spread: each past day is judged in the same way against the
    other days of its weekday, and the spread is 1.4826 times the median absolute deviation of these (Rousseeuw & Croux,
    JASA 88, 1993), so that neither festivals nor days without data widen it. The excess is what leaves the typical
    scope a spread of 1. A spread of 56 days is not well known: it is moved towards that of its peers as far as these
    are alike, and p is of Student's t with the degrees of freedom that both are worth (Smyth, Linear models and
    empirical Bayes methods, SAGMB 3, 2004). It is never less than chance alone makes it: 1 for counts, and of a share p
    the binomial's, sqrt(1 - p).

    Args:
        observed: events, scopes × days; whole weeks of days, then the judged one.
        exposure: what they are a rate of, in the same form: events of the stage before. None: counts are judged.
        follows_level: False for what should never get used to being gone.
    """
    of = np.ones_like(observed) if exposure is None else exposure
    known = (np.cumsum(observed + (0 if exposure is None else exposure), axis=1) > 0) & (of > 0)
    rates = np.where(known, observed / np.where(of > 0, of, 1.0), np.nan)
    events, past, weights = (_by_weekday(days[:, :-1]) for days in (observed, rates, np.where(known, of, 0.0)))
    usual = _median(past, axis=1)
    rate = usual[:, 0] * (_level(events, weights, usual) if follows_level else 1.0)  # the judged day is a first weekday
    expected = rate * of[:, -1]
    days = np.isfinite(past).sum(axis=(1, 2))
    is_judged = (days >= rules.minimum_days) & (np.nan_to_num(expected) >= rules.minimum_volume)
    others = _others(past) * weights
    excess = _excess(events, others, is_judged)
    freedom = np.maximum(_MAD_EFFICIENCY * (days - _WEEK), 1.0)
    far = _deviation(events, others, excess)
    spread, freedom = _with_peers(_spread(far), freedom, is_judged)
    spread = np.fmax(spread, _chance_alone(rate, exposure is None))  # also where two days of a weekday are not known
    z = _deviation(_half_nearer(observed[:, -1], expected), expected, excess[:, 0, 0]) / spread
    p = np.where(is_judged, stats.t.cdf(np.nan_to_num(z), freedom), 1.0)
    was_low = (far <= -rules.z * spread[:, None, None]) & (events <= (1 - rules.least_fall) * others)
    return Judged(expected, z, p, is_judged, _spells(was_low.reshape(len(of), -1)))


def _by_weekday(days: Array) -> Array:
    """Scopes × weeks × weekdays."""
    return days.reshape(len(days), -1, _WEEK)


def _level(events: Array, weights: Array, usual: Array) -> Array:
    """The last weeks' totals to what their weekdays usually have: the median over weeks in which anything is known."""
    said = np.nansum(usual[:, None, :] * weights, axis=2)[:, -_LEVEL_WEEKS:]
    seen = np.where(weights > 0, events, 0.0).sum(axis=2)[:, -_LEVEL_WEEKS:]
    ratios = np.where(said > 0, seen / np.where(said > 0, said, 1.0), np.nan)
    return np.nan_to_num(_median(ratios, axis=1), nan=1.0)


def _others(past: Array) -> Array:
    """For each past day the median of the other days of its weekday."""
    weeks = past.shape[1]
    found = np.stack([_median(np.delete(past, week, axis=1), axis=1) for week in range(weeks)], axis=1)
    return np.where(np.isfinite(past), found, np.nan)


def _excess(events: Array, others: Array, is_judged: npt.NDArray[np.bool_]) -> Array:
    """By how much the variance of days exceeds chance, over the square of the mean; of many scopes the typical one."""
    mean = np.maximum(_median(others.reshape(len(others), -1), axis=1), _LEAST_EXPECTED)
    own = np.maximum(_spread(_deviation(events, others, 0.0)) ** 2 - 1, 0.0) / mean
    if is_judged.sum() >= _LEAST_PEERS:
        own = np.full_like(own, np.median(own[is_judged]))
    return np.nan_to_num(own)[:, None, None]


def _with_peers(spread: Array, freedom: Array, is_judged: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Spreads moved towards what they have in common, and their degrees of freedom."""
    logs, half = 2 * np.log(np.maximum(spread, _LEAST_SHARE_VARIANCE)), freedom / 2
    if is_judged.sum() < _LEAST_PEERS:
        return spread, freedom
    centred = (logs - special.digamma(half) + np.log(half))[is_judged]
    between = centred.var(ddof=1) - special.polygamma(1, half[is_judged]).mean()
    peers = min((1 + np.sqrt(1 + 2 * between)) / between, _CERTAIN) if between > 0 else _CERTAIN  # inverts trigamma
    common = np.exp(centred.mean() + special.digamma(peers / 2) - np.log(peers / 2))
    moved = (peers * common + freedom * spread**2) / (peers + freedom)
    return np.sqrt(moved), freedom + peers


def _spells(was_low: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Runs of low days, less one that reaches up to the judged day."""
    begins = was_low & ~np.roll(was_low, 1, axis=1)
    begins[:, 0] = was_low[:, 0]
    return begins.sum(axis=1) - was_low[:, -1]


def _spread(deviations: Array) -> Array:
    return _NORMAL_MAD * _median(np.abs(deviations).reshape(len(deviations), -1), axis=1)


def _chance_alone(rate: Array, is_count: bool) -> Array:
    """The least spread: of counts Poisson's, of a share the binomial's."""
    if is_count:
        return np.ones_like(rate)
    share = np.where(np.isfinite(rate) & (rate < 1), rate, 0.0)
    return np.sqrt(np.maximum(1 - share, _LEAST_SHARE_VARIANCE))


def _deviation(observed: Array, expected: Array, excess: Array | float) -> Array:
    """Signed root of the deviance of counts whose variance is mean + excess x mean^2; NaN where nothing is known."""
    mean, more = np.maximum(expected, _LEAST_EXPECTED), np.maximum(excess, _NO_EXCESS)
    logged = observed * np.log(np.maximum(observed, _LEAST_EXPECTED) / mean)
    rest = (observed + 1 / more) * np.log1p(more * (observed - mean) / (1 + more * mean))
    deviance = 2 * (np.where(observed > 0, logged, 0.0) - rest)
    return np.sign(observed - mean) * np.sqrt(np.maximum(deviance, 0.0))


def _half_nearer(observed: Array, expected: Array) -> Array:
    """Counts moved by half an event towards what is expected: of 10 expected none is 1 in 22,000, not 1 in 260,000."""
    return np.where(observed < expected, np.minimum(observed + 0.5, expected), np.maximum(observed - 0.5, expected))


def _median(values: Array, axis: int) -> Array:
    """The median of what is known; NaN where nothing is."""
    if not np.isnan(values).any():
        return np.median(values, axis=axis)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rows without any value
        return np.nanmedian(values, axis=axis)
