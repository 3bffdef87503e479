"""Break points of one night: every stage × store × channel against its own past, and what explains what. No Spark."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from transforms.break_points.blame import ALL, explain_by_scope, explain_by_stage_before, explain_rates, place_of
from transforms.break_points.evenings import known_by_evening, series
from transforms.break_points.feeds import Feed, judge_feeds
from transforms.break_points.judging import judge
from transforms.break_points.rules import BreakPointRules
from transforms.break_points.words import look_at_feed, look_at_scope, tell_feed, tell_scope
from transforms.experiments.holm import holm
from transforms.stages import StageRules

Row = dict[str, Any]

SCOPES = {"chain": [], "store": ["store_id"], "channel": ["channel"], "store_channel": ["store_id", "channel"]}
_HALF = 0.5
_SIX = Decimal("0.000001")


def find_break_points(
    volumes: pd.DataFrame,
    of_feeds: pd.DataFrame,
    arrivals: pd.DataFrame,
    *,
    stages: StageRules,
    rules: BreakPointRules,
    daily: Collection[str],
    as_of: date,
) -> list[Row]:
    """Rows of gold.break_points: every scope in which anything was expected or seen, and every source; sorted by key.

    Holm's correction spans everything that is judged on the night, so `alpha` is the share of normal nights with any
    alarm. Of alarms that one fall raises one is left, see `blame`; the others are `explained`.

    Args:
        volumes, of_feeds, arrivals: frames of the functions stage_volumes, feed_volumes, arrivals.
        daily: sources that must send a file each day.
    """
    known = known_by_evening(volumes, ["stage", "channel"], rules)
    known_feeds = known_by_evening(of_feeds, ["source"], rules)
    if known_feeds.empty:
        return []  # no event in nine weeks: a lake of old data
    before = _stages_before(stages)
    rows = _judged_scopes(known, before, rules)
    sources = _judged_sources(known_feeds, rules)
    _find_alarms([*rows, *sources], rules)
    feeds = judge_feeds(of_feeds, known_feeds, _by_source(sources), arrivals, daily, rules)
    _find_causes(rows, known, _missing_shares(of_feeds, feeds), rules)
    _explain(rows, before, rules)
    told = [_told(row, stages, before, feeds, as_of) for row in rows]
    fed = [row for source in sources for row in _of_feed(source, feeds[source["source"]], as_of)]
    return sorted([*told, *fed], key=lambda row: tuple(str(row[name]) for name in KEY))


KEY = ("stage", "measure", "scope", "store_id", "channel", "source", "event_date")


def _stages_before(stages: StageRules) -> dict[str, str]:
    """Each stage's stage before it; before those that are counted beside the way comes its last one."""
    way = list(stages.way)
    beside = [name for name in stages.stages if name not in way]
    return {**dict(zip(way[1:], way, strict=False)), **dict.fromkeys(beside, way[-1])}


def _judged_scopes(known: pd.DataFrame, before: Mapping[str, str], rules: BreakPointRules) -> list[Row]:
    """One row for each stage, measure and scope, judged by itself."""
    rows: list[Row] = []
    by_channel = known.groupby(["stage", "channel"])["usual_lag"].max()
    whole = {(stage, ALL): lag for stage, lag in by_channel.groupby("stage").min().items()}
    lags = {**by_channel.to_dict(), **whole}
    for scope, keys in SCOPES.items():
        here = known[known["store_id"] != ""] if "store_id" in keys else known
        counts = series(here, ["stage", *keys], rules)
        if counts.empty:
            continue
        rows += _rows(counts, None, scope, keys, lags, rules)
        pairs = [(stage, base) for stage, base in before.items() if {stage, base} <= {*_level(counts, "stage")}]
        both = [_with_base(counts, stage, base, keys) for stage, base in pairs]
        if both:
            observed, exposure = (pd.concat([pair[n] for pair in both]) for n in (0, 1))
            rows += _rows(observed, exposure, scope, keys, lags, rules)
    _leave_out_rates_of_unusual_stages(rows, before, rules)
    return rows


def _level(counts: pd.DataFrame, name: str) -> pd.Index:
    return counts.index.get_level_values(name)


def _with_base(counts: pd.DataFrame, stage: str, base: str, keys: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A stage's counts, and those of the stage before in the same scopes."""
    mine, theirs = (counts[_level(counts, "stage") == name] for name in (stage, base))
    renamed = theirs.rename({base: stage}, level="stage") if keys else theirs.rename({base: stage})
    shared = mine.index.intersection(renamed.index).sort_values()
    return mine.loc[shared], renamed.loc[shared]


def _rows(
    counts: pd.DataFrame,
    exposure: pd.DataFrame | None,
    scope: str,
    keys: list[str],
    lags: Mapping[Any, int],
    rules: BreakPointRules,
) -> list[Row]:
    observed = counts.to_numpy()
    of = None if exposure is None else exposure.to_numpy()
    judged = judge(observed, rules, of)
    base = np.ones(len(observed)) if of is None else of[:, -1]
    rows = []
    for place, key in enumerate(counts.index):
        stage, *values = key if isinstance(key, tuple) else (key,)
        named = {"store_id": ALL, "channel": ALL, **dict(zip(keys, values, strict=True))}
        events, seen = judged.expected[place], observed[place, -1]
        rows.append(
            {
                "stage": stage,
                "measure": "volume" if of is None else "rate",
                "scope": scope,
                **named,
                "source": ALL,
                "lag": int(lags[stage, named["channel"]]),
                "status": "normal" if judged.is_judged[place] else "too_few",
                "expected": _over(events, base[place]),
                "observed": _over(seen, base[place]),
                "volume": int(seen if of is None else base[place]),
                "z": float(judged.z[place]) if np.isfinite(events) else None,
                "p": float(judged.p[place]),
                "spells": int(judged.spells[place]),
                "cause": None,
                "explained_by": None,
                "_events": float(np.nan_to_num(events)),
                "_seen": float(seen),
            }
        )
    return rows


def _over(events: float, base: float) -> float | None:
    return float(events / base) if np.isfinite(events) and base > 0 else None


def _leave_out_rates_of_unusual_stages(rows: list[Row], before: Mapping[str, str], rules: BreakPointRules) -> None:
    """A rate says something while the stage before is as usual: many messages dilute it, a dead feed lifts it."""
    of_volume = {place_of(row): row["z"] for row in rows if row["measure"] == "volume"}
    for row in rows:
        if row["measure"] == "rate" and row["status"] == "normal":
            z = of_volume[place_of({**row, "stage": before[row["stage"]]})]
            if z is None or abs(z) > rules.usual_z:
                row["status"] = "base_moved"


def _judged_sources(known: pd.DataFrame, rules: BreakPointRules) -> list[Row]:
    """One row for each source, judged by all of its events."""
    counts = series(known, ["source"], rules)
    judged = judge(counts.to_numpy(), rules, follows_level=False)
    lags = known.groupby("source")["usual_lag"].max()
    return [
        {
            "stage": ALL,
            "measure": "volume",
            "scope": "source",
            "store_id": ALL,
            "channel": ALL,
            "source": source,
            "lag": int(lags[source]),
            "status": "normal" if judged.is_judged[place] else "too_few",
            "expected": _over(judged.expected[place], 1.0),
            "observed": float(counts.iat[place, -1]),
            "volume": int(counts.iat[place, -1]),
            "z": float(judged.z[place]) if np.isfinite(judged.expected[place]) else None,
            "p": float(judged.p[place]),
            "spells": int(judged.spells[place]),
            "cause": None,
            "explained_by": None,
        }
        for place, source in enumerate(counts.index)
    ]


def _find_alarms(rows: list[Row], rules: BreakPointRules) -> None:
    """Falls that chance does not explain, of everything that is judged tonight together."""
    judged = [row for row in rows if row["status"] == "normal"]
    for row, p in zip(judged, holm([row["p"] for row in judged]), strict=True):
        is_deep = row["observed"] is not None and row["observed"] <= (1 - rules.least_fall) * row["expected"]
        row["p_adjusted"] = p
        is_new = row["spells"] < rules.usual_spells
        if is_deep and is_new and row["z"] <= -rules.z and p < rules.alpha:
            row["status"] = "alarm"


def _by_source(sources: list[Row]) -> pd.DataFrame:
    columns = {name: [row[name] for row in sources] for name in ("source", "expected", "observed")}
    fallen = [row["status"] == "alarm" for row in sources]
    return pd.DataFrame({**columns, "is_fall": fallen}).set_index("source").astype({"expected": "float64"})


def _missing_shares(of_feeds: pd.DataFrame, feeds: Mapping[str, Feed]) -> dict[str, pd.DataFrame]:
    """For each missing source, its share of the events of each (channel, event_type), less what came."""
    by_source = of_feeds.groupby(["source", "channel", "event_type"])["volume"].sum()
    whole = by_source.groupby(["channel", "event_type"]).transform("sum")
    return {
        name: (by_source / whole * feed.lost).loc[name].rename("missing").reset_index()
        for name, feed in feeds.items()
        if feed.lost > 0 and name in by_source.index.get_level_values("source")
    }


def _find_causes(
    rows: list[Row], known: pd.DataFrame, missing: Mapping[str, pd.DataFrame], rules: BreakPointRules
) -> None:
    """`missing_data` where half of what is missing, or more, is what missing feeds bring; else `behaviour`."""
    past = known[known["evening"] > 0] if missing else known[:0]
    past = past.groupby(["stage", "channel", "store_id", "event_type"], as_index=False)["volume"].sum()
    shares = {name: past.merge(share, on=["channel", "event_type"], how="left") for name, share in missing.items()}
    lost: dict[str, Mapping[Any, float]] = {}
    for scope, keys in SCOPES.items():
        for name, events in shares.items():
            here = events[events["store_id"] != ""] if "store_id" in keys else events
            weighed = here.assign(gone=here["volume"] * here["missing"].fillna(0.0)).groupby(["stage", *keys])
            lost[f"{scope}/{name}"] = (weighed["gone"].sum() / weighed["volume"].sum()).to_dict()
    for row in rows:
        if row["status"] == "alarm":
            key = (row["stage"], *(row[name] for name in SCOPES[row["scope"]]))
            of_source = {
                name: lost[f"{row['scope']}/{name}"].get(key if len(key) > 1 else key[0], 0) for name in missing
            }
            is_missing = sum(of_source.values()) * row["_events"] >= _HALF * (row["_events"] - row["_seen"])
            row["cause"] = "missing_data" if is_missing else "behaviour"
            if is_missing:
                row["explained_by"] = "source " + ", ".join(name for name, share in of_source.items() if share > 0)


def _explain(rows: list[Row], before: dict[str, str], rules: BreakPointRules) -> None:
    """Leave one alarm of behaviour for each fall."""
    alarms = [row for row in rows if row["cause"] == "behaviour"]
    volumes = [row for row in alarms if row["measure"] == "volume"]
    rates = [row for row in rows if row["measure"] == "rate" and row["z"] is not None]
    explain_by_stage_before(volumes, rates, before, rules.usual_z)
    explain_by_scope(volumes)
    of_rates = [row for row in alarms if row["measure"] == "rate"]
    explain_rates(of_rates, volumes)
    explain_by_scope(of_rates)
    for row in rows:
        if row["explained_by"]:
            row["status"] = "explained"


def _told(row: Row, stages: StageRules, before: Mapping[str, str], feeds: Mapping[str, Feed], as_of: date) -> Row:
    """A scope's row as the table has it."""
    event_date = as_of - timedelta(days=row["lag"])
    is_told = row["cause"] is not None
    stage = stages.stages[row["stage"]]
    return {
        **_columns(row, as_of, event_date),
        "feed_state": None,
        "message": tell_scope(row, stage, before.get(row["stage"])) if is_told else None,
        "look_into": look_at_scope(row, stage, event_date) if is_told else None,
    }


def _of_feed(row: Row, feed: Feed, as_of: date) -> list[Row]:
    """A source's row of tonight, and one for each earlier date that came only tonight."""
    event_date = as_of - timedelta(days=row["lag"])
    is_missing = feed.state != "alive"
    status = "alarm" if is_missing else "too_few" if row["status"] == "too_few" else "normal"
    found = [{**row, "status": status, "cause": "missing_data" if is_missing else None, "feed_state": feed.state}]
    for evening, expected, then, now in feed.filled:
        late = {"status": "alarm", "cause": "missing_data", "feed_state": "late", "z": None, "p_adjusted": None}
        seen = {"expected": expected, "observed": float(then), "volume": now, "lag": row["lag"] + evening}
        found.append({**row, **late, **seen})
    return [
        {
            **_columns(each, as_of, as_of - timedelta(days=each["lag"])),
            "feed_state": each["feed_state"],
            "message": tell_feed(each, feed, event_date, as_of) if each["cause"] else None,
            "look_into": look_at_feed(feed) if each["cause"] else None,
        }
        for each in found
    ]


def _columns(row: Row, as_of: date, event_date: date) -> Row:
    given = ("stage", "measure", "scope", "store_id", "channel", "source", "status", "cause", "volume", "explained_by")
    judged = {name: row.get(name) if row["status"] != "too_few" else None for name in ("z", "p_adjusted")}
    numbers = {"expected": row["expected"], "observed": row["observed"], **judged}
    return {
        "run_date": as_of,
        "event_date": event_date,
        **{name: row[name] for name in given},
        **{name: None if value is None else Decimal(str(value)).quantize(_SIX) + 0 for name, value in numbers.items()},
    }
