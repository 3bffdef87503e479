"""Visits: where they end, which ways they take, and what pages and zones bring."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import SparkSession

from tests.builders import DAY, at, days_before, event, frame
from transforms.contracts import conform, gold, silver
from transforms.visits import END, START, VisitRules, check_columns, find_visits, page_heat, path_flows, ways_taken

CONF = Path(__file__).parents[2] / "conf"


def shipped() -> VisitRules:
    said = yaml.safe_load((CONF / "funnels.yaml").read_text(encoding="utf-8"))["visits"]
    return VisitRules.model_validate(said)


def did(who: str, kind: str, minute: float, page: str | None = None, **said: Any) -> dict[str, Any]:
    """An event so many minutes after midnight of the run date; dates earlier by negative minutes."""
    when = at(DAY, 0) + timedelta(minutes=minute)
    key = f"{who}-{kind}-{minute}-{page}"
    return event(key, kind, identifiers={"cookie": who} if who else None, event_at=when, page=page, **said)


EVENTS = [
    # home twice is one step; two lines of an order are one; half an hour of rest is still the same visit
    did("a", "visit", 0, "home", zone="banner", dwell_seconds=10),
    did("a", "visit", 1, "home", zone="list", dwell_seconds=20),
    did("a", "view", 31, "goods", zone="list", dwell_seconds=30),
    did("a", "order", 32),
    did("a", "order", 32.5),
    # a second more than half an hour later: another visit, which does not buy
    did("a", "visit", 62.5 + 1 / 60, "home", dwell_seconds=5),
    did("a", "view", 70, "goods"),
    # back and forth: home > goods is one visit's transition once
    *[did("b", kind, n, page) for n, (kind, page) in enumerate([("visit", "home"), ("view", "goods")] * 2)],
    # a contact is no part of a visit, a guest is nobody, and the day before the period is too long ago
    did("c", "open", 5, "mail"),
    did("", "visit", 5, "home"),
    event("old", "visit", identifiers={"cookie": "c"}, event_at=at(days_before(30)), page="home"),
    # the first event of the period's first day
    event("first", "search", identifiers={"cookie": "c"}, event_at=at(days_before(29), 0)),
]


def test_paths_and_transitions_are_counted_by_visit(spark: SparkSession) -> None:
    rules = shipped().model_copy(update={"longest_path": 3, "top_paths": 3})
    visits = find_visits(frame(spark, silver.EVENTS, EVENTS), DAY, rules)
    rows = conform(path_flows(ways_taken(visits), DAY, rules), gold.PATH_FLOWS).collect()
    flows = {(row.from_step, row.to_step): (row.sessions, row.converted) for row in rows if row.kind == "transition"}
    assert flows == {
        (START, "home"): (3, 1),
        (START, "search"): (1, 0),
        ("home", "goods"): (3, 1),
        ("goods", "home"): (1, 0),
        ("goods", "order"): (1, 1),
        ("goods", END): (2, 0),
        ("order", END): (1, 1),
        ("search", END): (1, 0),
    }
    shares = {(row.from_step, row.to_step): row.share for row in rows if row.kind == "transition"}
    assert shares[START, "home"] == Decimal("0.750000")
    assert shares["goods", END] == Decimal("0.666667")  # 2 of the 3 visits that saw goods
    # all four paths were taken once: the first three by name are told
    assert [(row.path, row.sessions, row.share) for row in rows if row.kind == "path"] == [
        (path, 1, Decimal("0.250000")) for path in ("home > goods", "home > goods > home > …", "home > goods > order")
    ]


def test_pages_and_zones_show_what_their_visits_bring(spark: SparkSession) -> None:
    visits = find_visits(frame(spark, silver.EVENTS, EVENTS), DAY, shipped())
    rows = conform(page_heat(visits, DAY), gold.PAGE_HEAT).collect()
    told = {(r.kind, r.place): (r.visits, r.event_count, r.dwell_seconds, r.converted, r.conversion) for r in rows}
    assert told == {
        ("page", "home"): (3, 5, 35, 1, Decimal("0.333333")),
        ("page", "goods"): (3, 4, 30, 1, Decimal("0.333333")),
        ("zone", "banner"): (1, 1, 10, 1, Decimal("1.000000")),
        ("zone", "list"): (1, 2, 50, 1, Decimal("1.000000")),
    }


def test_rules_read_what_events_have() -> None:
    assert check_columns(shipped()) == []
    wrong = shipped().model_copy(update={"step": "coalesce(pag, event_type)"})
    assert [told.split(";")[0] for told in check_columns(wrong)] == ["visits.step: 'pag' is not a column here"]
