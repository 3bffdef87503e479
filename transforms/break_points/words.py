"""What an alarm says, and which tables tell more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from transforms.break_points.blame import ALL, name_of
from transforms.break_points.feeds import Feed
from transforms.stages import Stage

_STATES = {
    "stopped": "stopped: nothing came",
    "empty": "is empty: files came, and next to no event",
    "late": "is late: what came is of earlier dates",
    "partial": "is partial: fewer files came than ever",
}


def tell_scope(row: Mapping[str, Any], stage: Stage, before: str | None) -> str:
    """What is seen in a stage and scope, what was expected, and by whom it is explained."""
    if row["measure"] == "rate":
        seen = f"{row['observed']:.2%} of {row['volume']} events of {before}, expected {row['expected']:.2%}"
    else:
        seen = f"{row['volume']} events, expected {row['expected']:.0f}"
    why = "data is missing" if row["cause"] == "missing_data" else "the feeds are alive: customers did less"
    silent = row["cause"] == "behaviour" and row["_seen"] == 0 and row["store_id"] != ALL
    closed = "; nothing at all: closed, or its system sends nothing" if silent else ""
    explained = f"; explained by {row['explained_by']}" if row["explained_by"] else ""
    return f"{stage.label} {name_of(row)}: {seen} (z {row['z']:.1f}); {why}{closed}{explained}"


def look_at_scope(row: Mapping[str, Any], stage: Stage, event_date: date) -> str:
    """Tables, and which of their rows."""
    if row["cause"] == "missing_data":
        return f"ops.landing_files and the rows of gold.break_points with scope = 'source' ({row['explained_by']})"
    places = [f" and {name} = '{row[name]}'" for name in ("store_id", "channel") if row[name] != ALL]
    return (
        f"silver.activity where event_date = '{event_date}'{''.join(places)} and {stage.when}; "
        f"gold.kpi_values, gold.funnels and gold.path_flows of the date"
    )


def tell_feed(row: Mapping[str, Any], feed: Feed, event_date: date, as_of: date) -> str:
    """What a source did not bring, or brought late; `row.lag` places its date."""
    expected = f"expected {row['expected']:.0f}" if row["expected"] is not None else "usually there"
    day = as_of - timedelta(days=row["lag"])
    if day != event_date:
        return (
            f"source {feed.source} was late: of {day} {row['observed']:.0f} events were known then, {expected}; "
            f"{row['volume']} are now, the figures of that date were told without them"
        )
    last = "" if feed.last_arrival in (0, None) else f", the last {feed.last_arrival} days ago"
    state = _STATES[feed.state]
    return f"source {feed.source} {state}; {row['volume']} events of {day}, {expected} ({feed.files} files{last})"


def look_at_feed(feed: Feed) -> str:
    """Tables, and which of their rows."""
    return (
        f"ops.landing_files and silver.rejected_records where source = '{feed.source}', bronze.{feed.source}, "
        f"silver.events by arrival_date; ops.restatements once it has come"
    )
