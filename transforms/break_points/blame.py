"""Which alarm says where it breaks: of many that one fall raises, the scope that names it best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]

FINER = {
    "chain": ("store_channel", "store", "channel"),
    "store": ("store_channel",),
    "channel": ("store_channel",),
    "store_channel": (),
}
ALL = "all"
_HALF = 0.5
_NAMED = 3


def explain_by_stage_before(
    alarms: Sequence[Row], rates: Iterable[Row], before: dict[str, str], usual_z: float
) -> None:
    """Fewer events of a stage, by as much as the stage before fell in the same scope, are explained by that stage."""
    usual = {place_of(row) for row in rates if row["z"] > -usual_z}
    fallen = {place_of(row) for row in alarms}
    for row in alarms:
        earlier = before.get(row["stage"])
        if earlier and place_of(row) in usual and (earlier, *place_of(row)[1:]) in fallen:
            row["explained_by"] = f"{earlier} in the same scope"


def explain_rates(rates: Sequence[Row], volumes: Sequence[Row]) -> None:
    """A fall of a rate is explained by a fall of its stage's volume in a scope that overlaps."""
    for row in rates:
        same = next((other for other in volumes if other["stage"] == row["stage"] and _overlap(row, other)), None)
        if same is not None:
            row["explained_by"] = f"volume of {name_of(same)}"


def explain_by_scope(alarms: Sequence[Row]) -> None:
    """Sets `explained_by` on all but the alarms that name each fall best; alarms are of behaviour and one measure.

    A scope is explained by finer ones where these are half of its fall or more, and either one alone or less than half
    of its usual events: the fall is theirs. Otherwise it is the scope's, and explains all finer alarms within it.
    """
    for stage in sorted({row["stage"] for row in alarms}):
        mine = [row for row in alarms if row["stage"] == stage and not row["explained_by"]]
        by_scope = {scope: [row for row in mine if row["scope"] == scope] for scope in FINER}
        for scope, finer in FINER.items():
            for row in by_scope[scope]:
                if not row["explained_by"]:
                    _place_one(row, {level: [r for r in by_scope[level] if _overlap(row, r)] for level in finer})


def name_of(row: Mapping[str, Any]) -> str:
    """The row's scope in words."""
    places = [
        f"{kind} {row[name]}" for kind, name in (("store", "store_id"), ("channel", "channel")) if row[name] != ALL
    ]
    return f"{row['stage']} in {', '.join(places) or 'the chain'}"


def place_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Stage, scope, store and channel."""
    return row["stage"], row["scope"], row["store_id"], row["channel"]


def _place_one(row: Row, within: dict[str, list[Row]]) -> None:
    for rows in within.values():
        inner = [other for other in rows if not other["explained_by"]]
        fall, expected = sum(map(_fall, inner)), sum(other["_events"] for other in inner)
        if inner and fall >= _HALF * _fall(row) and (len(inner) == 1 or expected < _HALF * row["_events"]):
            named = sorted(map(name_of, inner))
            more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
            row["explained_by"] = "; ".join(named[:_NAMED]) + more
            return
    for rows in within.values():
        for other in rows:
            other["explained_by"] = other["explained_by"] or name_of(row)


def _fall(row: Row) -> float:
    """Events that are missing."""
    return float(row["_events"] - row["_seen"])


def _overlap(row: Row, other: Row) -> bool:
    return all(ALL in (row[name], other[name]) or row[name] == other[name] for name in ("store_id", "channel"))
