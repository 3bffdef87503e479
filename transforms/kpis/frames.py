"""The frames that KPIs read: their columns, the date that windows use, and the places that their rows know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transforms.contracts import gold, silver


@dataclass(frozen=True)
class Frame:
    """A base frame. `places` are those that its rows know; a grain needs all of its places from each frame read."""

    columns: tuple[str, ...]
    date: str | None
    places: frozenset[str]
    has_customers: bool = True


_SOLD = frozenset({"region", "store_id", "channel", "segment"})
_OF_CUSTOMER = frozenset({"segment"})

FRAMES: Mapping[str, Frame] = {
    # silver.orders; guests' customer_id is null
    "orders": Frame((*silver.ORDERS.column_names, "customer_id"), "order_date", _SOLD),
    # silver.activity; what happened after kpi_date is not seen
    "activity": Frame((*silver.ACTIVITY.column_names, "customer_id"), "counts_on_date", _SOLD | {"category"}),
    # silver.events, for what activity does not keep (props)
    "events": Frame((*silver.EVENTS.column_names, "customer_id"), "event_date", _SOLD | {"category"}),
    # silver.customers with the primary segment, and any tag and column of gold.customer_values, as of kpi_date
    "customers": Frame((*silver.CUSTOMERS.column_names, "segment"), None, _OF_CUSTOMER),
    # transforms.kpis.touches
    "touches": Frame(
        ("customer_id", "touched_date", "campaign_id", "asleep_days", "days_to_answer", "days_to_purchase"),
        "touched_date",
        _OF_CUSTOMER,
    ),
    # gold.campaign_results of kpi_date by segment, without its totals
    "campaigns": Frame(tuple(gold.CAMPAIGN_RESULTS.column_names), None, _OF_CUSTOMER, has_customers=False),
    # transforms.kpis.stock
    "stock": Frame(
        ("store_id", "category", "product_id", "held_from_date", "held_until_date", "quantity", "cost_amount"),
        "held_from_date",
        frozenset({"region", "store_id", "category"}),
        has_customers=False,
    ),
}

# Grains and their places. Each needs its places from every frame that a KPI reads.
GRAINS: Mapping[str, tuple[str, ...]] = {
    "chain": (),
    "region": ("region",),
    "store": ("store_id",),
    "channel": ("channel",),
    "segment": ("segment",),
    "category": ("category",),
    "store_channel": ("store_id", "channel"),
    "store_segment": ("store_id", "segment"),
    "channel_segment": ("channel", "segment"),
    "store_channel_segment": ("store_id", "channel", "segment"),
}
# What a KPI is reported by unless it says otherwise, as far as its frames know the places.
USUAL_GRAINS = (
    "chain", "region", "store", "channel", "segment", "store_channel", "store_segment", "channel_segment",
)  # fmt: skip
PLACES = ("region", "store_id", "channel", "segment", "category")
UNKNOWN = "unknown"  # the place of rows that do not say one, so that the places of a grain add up to the chain
