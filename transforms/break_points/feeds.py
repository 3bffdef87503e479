"""Whether a feed is alive: what came of it tonight, and what of earlier dates came only now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from transforms.break_points.evenings import series
from transforms.break_points.rules import BreakPointRules

_HALF = 0.5
_WEEK = 7


@dataclass(frozen=True)
class Feed:
    """One source on the run date.

    `state` is `alive`; `stopped` (nothing came); `late` (what came tonight is of earlier dates); `empty` (files came,
    and next to no event); or `partial` (fewer files than ever). `lost` is the share of its events that is not there.
    `filled` are earlier dates that came tonight: (days before the run date, expected, known then, known now).
    """

    source: str
    state: str
    lost: float
    files: int
    last_arrival: int | None
    filled: tuple[tuple[int, float, int, int], ...]


def judge_feeds(
    volumes: pd.DataFrame,
    known: pd.DataFrame,
    judged: pd.DataFrame,
    arrivals: pd.DataFrame,
    daily: Collection[str],
    rules: BreakPointRules,
) -> dict[str, Feed]:
    """Each source's state on the run date.

    A feed is missing where its events are an alarm and at most `missing_share` of what they usually are, or where no
    file came although the source says `expected: daily`, or always sent one on this weekday.

    Args:
        volumes: frame of `feed_volumes`. known: what `known_by_evening` makes of it.
        judged: by source: `expected`, `observed`, `is_fall` (fewer events than chance explains).
        arrivals: frame of the function of this name. daily: sources that must send a file each day.
    """
    counts, files = series(known, ["source"], rules), _files(arrivals, rules)
    lags = known.groupby("source")["usual_lag"].max()
    found = {}
    for source, days in zip(counts.index, counts.to_numpy(), strict=True):
        came = files.get(source, np.zeros(rules.baseline_days + 1, dtype=np.int64))
        tonight = _came_tonight(volumes[volumes["source"] == source], int(lags[source]))
        expected, observed = np.nan_to_num(judged.at[source, "expected"]), judged.at[source, "observed"]
        is_gone, is_fall = observed <= rules.missing_share * expected, bool(judged.at[source, "is_fall"])
        no_file = came[0] == 0 and (source in daily or _always_came(came, rules))
        state = "alive"
        if is_gone and (is_fall or no_file):
            is_behind = sum(tonight.values()) >= _HALF * max(expected, 1.0)
            state = "late" if is_behind else "stopped" if came[0] == 0 else "empty"
        elif is_fall and _fewer_than_ever(came, rules):
            state = "partial"
        lost = 0.0 if state == "alive" else 1.0 if not expected else 1 - observed / expected
        arrived = np.flatnonzero(came)
        last = int(arrived[0]) if len(arrived) else None
        found[source] = Feed(source, state, lost, int(came[0]), last, _filled(days, tonight, arrived, rules))
    return found


def _files(arrivals: pd.DataFrame, rules: BreakPointRules) -> dict[str, npt.NDArray[np.int64]]:
    """Of each source the files that arrived on the run date, the day before it, and so on."""
    found: dict[str, npt.NDArray[np.int64]] = {}
    for source, age, files in zip(arrivals["source"], arrivals["age_days"], arrivals["files"], strict=True):
        found.setdefault(source, np.zeros(rules.baseline_days + 1, dtype=np.int64))[age] = files
    return found


def _came_tonight(volumes: pd.DataFrame, usual_lag: int) -> dict[int, int]:
    """Events that arrived on the run date, of dates before the judged one, by evening."""
    late = volumes[(volumes["lag_days"] == volumes["age_days"]) & (volumes["age_days"] > usual_lag)]
    summed = late.groupby("age_days")["volume"].sum()
    return {int(age) - usual_lag: int(volume) for age, volume in summed.items()}


def _always_came(came: npt.NDArray[np.int64], rules: BreakPointRules) -> bool:
    """Whether a file came on this weekday whenever it could, and missed at most one day of the weekdays it comes on."""
    before = came[1 : _first(came) + 1] > 0
    if len(before) < rules.minimum_days:
        return False
    by_weekday = [before[place::_WEEK] for place in range(_WEEK)]
    missed = sum(int((~days).sum()) for days in by_weekday if days.mean() > _HALF)
    return bool(by_weekday[_WEEK - 1].all()) and missed <= 1


def _fewer_than_ever(came: npt.NDArray[np.int64], rules: BreakPointRules) -> bool:
    """Whether files came, but fewer than on this weekday ever."""
    first = _first(came)
    return first >= rules.minimum_days and 0 < came[0] < min(came[age] for age in range(_WEEK, first + 1, _WEEK))


def _first(came: npt.NDArray[np.int64]) -> int:
    """How many days ago the first file of the look-back arrived; 0 for tonight or never."""
    arrived = np.flatnonzero(came)
    return int(arrived[-1]) if len(arrived) else 0


def _filled(
    days: npt.NDArray[np.float64], tonight: dict[int, int], arrived: npt.NDArray[np.int64], rules: BreakPointRules
) -> tuple[tuple[int, float, int, int], ...]:
    """Evenings on which next to nothing was known, and of which most came tonight."""
    found = []
    for evening, came in sorted(tonight.items()):
        is_live = len(arrived) > 0 and evening < arrived[-1]  # before the first arrival all is history
        if 1 <= evening <= rules.late_days and is_live:
            place = len(days) - 1 - evening
            same = [days[other] for other in range(place % _WEEK, len(days) - 1, _WEEK) if other != place]
            expected, then = float(np.median(same)), int(days[place])
            is_dark = then <= rules.missing_share * expected and expected >= rules.minimum_volume
            if is_dark and came >= _HALF * expected:
                found.append((evening, expected, then, then + came))
    return tuple(found)
