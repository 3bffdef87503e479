"""Random orders and what came back of them, as events, for rules that must hold whatever happened."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.builders import DAY, at, event

Events = list[dict[str, Any]]
AMOUNTS = ["0", "0.01", "10", "25.50", "100"]


@st.composite
def order_events(draw: st.DrawFn, number: int, line_days: int = 0) -> Events:
    """One order of up to three lines within `line_days`, with up to four returns and cancels, some after DAY."""
    order_id = f"shop:{number:03d}"
    first = DAY - timedelta(days=draw(st.integers(0, 6)))
    events: Events = []
    for line in range(draw(st.integers(1, 3))):
        day = first + timedelta(days=draw(st.integers(0, line_days)))
        lead = draw(st.sampled_from([None, "member", "phone"]))
        events.append(
            event(
                f"{order_id}:{line}",
                order_id=order_id,
                line_id=draw(st.sampled_from([str(line), str(line), None])),
                event_at=at(day, draw(st.integers(8, 9))),
                identifiers={lead: f"{lead}{draw(st.integers(0, 1))}"} if lead else None,
                quantity=draw(st.sampled_from([None, 1, 2])),
                amount=draw(st.sampled_from(AMOUNTS)),
            )
        )
    for back in range(draw(st.integers(0, 4))):
        events.append(_came_back(draw, f"{order_id}:r{back}", order_id, first + timedelta(days=line_days)))
    return events


def _came_back(draw: st.DrawFn, event_id: str, order_id: str, after: date) -> dict[str, Any]:
    named = draw(st.sampled_from([order_id, order_id, order_id, order_id, "shop:unheard", None]))
    return event(
        event_id,
        draw(st.sampled_from(["return", "return", "cancel"])),
        source="service",
        order_id=named,
        line_id=draw(st.sampled_from([None, "0", "1", "9"])),  # line 9 is in no order
        event_at=at(after + timedelta(days=draw(st.integers(0, 4))), draw(st.integers(10, 11))),
        identifiers={"member": "returner"},
        quantity=draw(st.sampled_from([None, None, 1, 2])),
        amount=draw(st.sampled_from([None, None, "0", "5", "-10", "25.50", "100"])),  # some tills write it negative
    )


def many_orders(count: int, line_days: int = 0) -> st.SearchStrategy[Events]:
    """Events of so many orders; one example fills one Spark job."""
    orders = st.tuples(*[order_events(number, line_days) for number in range(count)])
    return orders.map(lambda groups: [row for group in groups for row in group])
