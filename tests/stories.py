"""Random orders and what came back of them, as events, for rules that must hold whatever happened.

Drawn by a seeded generator, not by hypothesis: one Spark job judges hundreds of orders at once, and a failing order is
printed by itself, so that nothing has to be shrunk by running Spark again and again.
"""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Any

from tests.builders import DAY, at, event

Events = list[dict[str, Any]]
AMOUNTS = ["0", "0.01", "10", "25.50", "100"]


def many_orders(count: int, seed: int, line_days: int = 0) -> Events:
    """Events of so many orders, their lines spread over `line_days` more days than one; some happen after DAY."""
    chance = Random(seed)
    return [row for number in range(count) for row in _order_events(chance, f"shop:{number:03d}", line_days)]


def _order_events(chance: Random, order_id: str, line_days: int) -> Events:
    """One order of up to three lines, with up to four returns and cancels."""
    first = DAY - timedelta(days=chance.randint(0, 6))
    events: Events = []
    for line in range(chance.randint(1, 3)):
        lead = chance.choice([None, "member", "phone"])
        events.append(
            event(
                f"{order_id}:{line}",
                order_id=order_id,
                line_id=chance.choice([str(line), str(line), None]),
                event_at=at(first + timedelta(days=chance.randint(0, line_days)), chance.randint(8, 9)),
                identifiers={lead: f"{lead}{chance.randint(0, 1)}"} if lead else None,
                quantity=chance.choice([None, 1, 2]),
                amount=chance.choice(AMOUNTS),
                is_gift=chance.choice([None, None, None, False, True]),
            )
        )
    after = first + timedelta(days=line_days)
    return events + [_came_back(chance, f"{order_id}:r{back}", order_id, after) for back in range(chance.randint(0, 4))]


def _came_back(chance: Random, event_id: str, order_id: str, after: date) -> dict[str, Any]:
    return event(
        event_id,
        chance.choice(["return", "return", "cancel"]),
        source="service",
        order_id=chance.choice([order_id] * 6 + ["shop:unheard", None]),
        line_id=chance.choice([None, "0", "1", "9"]),  # line 9 is in no order
        event_at=at(after + timedelta(days=chance.randint(0, 4)), chance.randint(10, 11)),
        identifiers={"member": "returner"},
        quantity=chance.choice([None, None, 1, 2]),
        amount=chance.choice([None, None, "0", "5", "-10", "25.50", "100"]),  # some tills write it negative
        is_gift=chance.choice([None, None, None, None, False, True]),
    )
