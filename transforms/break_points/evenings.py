"""Like with like: what was known of each date on its own evening, not what became known since."""

from __future__ import annotations

import pandas as pd

from transforms.break_points.rules import BreakPointRules

_LEAST_DAYS = 7  # to know when a feed usually comes
_MOST_OF_IT = 0.5


def known_by_evening(volumes: pd.DataFrame, feed: list[str], rules: BreakPointRules) -> pd.DataFrame:
    """Rows known on the evening of their date, with `evening` (days before the run date) in place of its date.

    A date's evening is the date itself, or where a feed's data usually comes so many days later, that day: `usual_lag`,
    the first lag by which half of its events are known (0 where fewer than 7 dates say so). On
    evenings before a feed's first arrival all that this load brought counts as known, since nothing says when it was: a
    history so counts in full.

    Args:
        volumes: frame of `stage_volumes` or `feed_volumes`.
        feed: columns that name what comes together.

    Returns:
        The frame's rows of whole evenings, with `evening` and `usual_lag`.
    """
    arrived = volumes["age_days"] - volumes["lag_days"]
    group = volumes.groupby(feed).ngroup()
    placed = volumes.assign(arrived=arrived, first=arrived.groupby(group).transform("max"))
    placed["usual_lag"] = group.map(_usual_lags(placed, group, rules)).fillna(0).astype("int64")
    placed["evening"] = placed["age_days"] - placed["usual_lag"]
    is_known = placed["arrived"] >= placed[["evening", "first"]].min(axis=1)
    return placed[is_known & placed["evening"].between(0, rules.baseline_days)]


def _usual_lags(placed: pd.DataFrame, group: pd.Series[int], rules: BreakPointRules) -> pd.Series[int]:
    """By group, days after which half of its events are known; only where 7 dates or more say so."""
    is_live = (placed["age_days"] <= placed["first"]) & (placed["age_days"] >= 1)
    live, group = placed[is_live], group[is_live]
    lag = live["lag_days"].clip(upper=rules.late_days)
    by_lag = live["volume"].groupby([group, lag]).sum().unstack().reindex(columns=range(rules.late_days + 1))
    share = by_lag.fillna(0).cumsum(axis=1).div(by_lag.sum(axis=1), axis=0)
    is_told = live["age_days"].groupby(group).nunique() >= _LEAST_DAYS
    return share.ge(_MOST_OF_IT).idxmax(axis=1)[is_told]


def series(known: pd.DataFrame, scope: list[str], rules: BreakPointRules) -> pd.DataFrame:
    """Events of each scope (rows) by evening (columns), the oldest first and the run date's last."""
    counted = known.groupby([*scope, "evening"])["volume"].sum().unstack("evening")
    return counted.reindex(columns=range(rules.baseline_days, -1, -1)).fillna(0.0).astype("float64")
