"""Like with like: what was known of each date on its own evening, not what became known since."""

from __future__ import annotations

import pandas as pd

from transforms.break_points.rules import BreakPointRules

_LEAST_DAYS = 7  # to know when a feed usually comes
_MOST_OF_IT = 0.5


def known_by_evening(volumes: pd.DataFrame, feed: list[str], rules: BreakPointRules) -> pd.DataFrame:
    """Rows known on the evening of their date, with `evening` (days before the run date) in place of its date.

    A date's evening is the date itself, or where a feed's data usually comes so many days later, that day: `usual_lag`,
    the first lag by which half of its events are known. On evenings before a feed's first arrival all that this load
    brought counts as known, since nothing says when it was: a history so counts in full.

    Args:
        volumes: frame of `stage_volumes` or `feed_volumes`.
        feed: columns that name what comes together.

    Returns:
        The frame's rows of whole evenings, with `evening` and `usual_lag`.
    """
    arrived = volumes["age_days"] - volumes["lag_days"]
    first = arrived.groupby([volumes[name] for name in feed]).transform("max")
    placed = volumes.assign(arrived=arrived, first=first)
    lags = usual_lags(placed, feed, rules)
    placed = placed.assign(usual_lag=pd.Index(_keys(placed, feed)).map(lags).astype("int64"))
    placed["evening"] = placed["age_days"] - placed["usual_lag"]
    is_known = placed["arrived"] >= placed[["evening", "first"]].min(axis=1)
    return placed[is_known & placed["evening"].between(0, rules.baseline_days)]


def usual_lags(placed: pd.DataFrame, feed: list[str], rules: BreakPointRules) -> dict[object, int]:
    """Days after which half of a feed's events are known; 0 where fewer than 7 dates say so."""
    lags = dict.fromkeys(_keys(placed, feed), 0)
    live = placed[(placed["age_days"] <= placed["first"]) & (placed["age_days"] >= 1)]
    for key, rows in live.groupby(feed if len(feed) > 1 else feed[0]):
        if rows["age_days"].nunique() >= _LEAST_DAYS:
            by_lag = rows.groupby("lag_days")["volume"].sum().sort_index()
            lag = by_lag.cumsum().ge(_MOST_OF_IT * by_lag.sum()).idxmax()
            lags[key] = min(int(lag), rules.late_days)
    return lags


def series(known: pd.DataFrame, scope: list[str], rules: BreakPointRules) -> pd.DataFrame:
    """Events of each scope (rows) by evening (columns), the oldest first and the run date's last."""
    counted = known.groupby([*scope, "evening"])["volume"].sum().unstack("evening")
    return counted.reindex(columns=range(rules.baseline_days, -1, -1)).fillna(0.0).astype("float64")


def _keys(frame: pd.DataFrame, feed: list[str]) -> list[object]:
    return list(frame[feed[0]]) if len(feed) == 1 else list(zip(*(frame[name] for name in feed), strict=True))
