"""Rows of the silver contracts with defaults: a test states only what matters to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from transforms.contracts import MONEY, QUANTITY, RATIO, Table, silver

DAY = date(2026, 6, 30)
NOON = 12

# The strongest first, as in conf/identity.yaml; an event's lead is its first identifier in this order.
TIERS = {"member": 0, "phone": 1, "openid": 2, "device": 3, "cookie": 4}


def event(event_id: str, event_type: str = "order", **said: Any) -> dict[str, Any]:
    """A row of silver.events: by default an order line of 100.00 by member M1, at noon UTC of DAY, arrived that day.

    `event_date` sets the time too, and `event_at` the date; the lead follows from `identifiers` unless given.
    """
    identifiers = said.pop("identifiers", {"member": "M1"})
    event_at = said.pop("event_at", None)
    event_date = said.pop("event_date", None) or (event_at.date() if event_at else DAY)
    blocked = said.get("blocked_identifiers") or {}
    usable = sorted((kind for kind in identifiers or {} if kind not in blocked), key=lambda kind: TIERS.get(kind, 99))
    lead = usable[0] if usable else None
    is_sale = event_type == "order"
    defaults = {
        "event_id": event_id,
        "source": "store_pos",
        "channel": "store_pos",
        "event_type": event_type,
        "event_at": event_at or at(event_date),
        "event_date": event_date,
        "arrival_date": event_date,
        "identifiers": identifiers or None,
        "lead_identifier_type": lead,
        "lead_identifier": identifiers[lead] if lead else None,
        "order_id": f"store_pos:{event_id}" if is_sale else None,
        "line_id": "1" if is_sale else None,
        "quantity": 1 if is_sale else None,
        "amount": 100 if is_sale else None,
        "_source_file": f"store_pos/dt={event_date}/a.csv",
        "_row_number": 1,
    }
    return _row(silver.EVENTS, {**defaults, **said})


def identity(identifier_type: str, identifier: str, customer_id: str | None, **said: Any) -> dict[str, Any]:
    """A row of silver.identities: by default linked, first and last seen on DAY; blocked where it has no owner."""
    defaults = {
        "identifier_type": identifier_type,
        "identifier": identifier,
        "customer_id": customer_id,
        "status": "linked" if customer_id else "blocked",
        "first_arrival_date": DAY,
        "last_seen_date": DAY,
    }
    return _row(silver.IDENTITIES, {**defaults, **said})


def order(order_id: str, **said: Any) -> dict[str, Any]:
    """A row of silver.orders: by default one piece for 100.00, bought by member M1 on DAY and kept."""
    gross = said.get("gross_amount", 100)
    returned = said.get("returned_amount", 0)
    defaults = {
        "order_id": order_id,
        "lead_identifier_type": "member",
        "lead_identifier": "M1",
        "order_date": DAY,
        "channel": "store_pos",
        "item_count": 1,
        "quantity": 1,
        "gross_amount": gross,
        "discount_amount": 0,
        "returned_amount": returned,
        "net_amount": gross - returned,
        "cost_amount": 0,
        "is_fully_returned": returned >= gross,
        "is_purchase": returned < gross,
        "known_at_date": said.get("order_date", DAY),
    }
    return _row(silver.ORDERS, {**defaults, **said})


def frame(spark: SparkSession, table: Table, rows: Iterable[Mapping[str, Any]], **more: str) -> DataFrame:
    """The rows as a frame of the table's schema; `more` names columns beyond it, with their Spark type."""
    schema = table.schema
    for name, kind in more.items():
        schema = schema.add(name, kind)
    return spark.createDataFrame([tuple(row.get(name) for name in schema.fieldNames()) for row in rows], schema)


def at(day: date, hour: int = NOON, minute: int = 0, second: int = 0) -> datetime:
    """A time of a day, in UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=timezone.utc)


def days_before(days: int, day: date = DAY) -> date:
    """The date so many days earlier."""
    return day - timedelta(days=days)


def _row(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(values) - set(table.column_names))
    assert not unknown, f"{', '.join(unknown)}: not a column of {table.full_name}"
    return {column.name: _typed(values.get(column.name), column.type) for column in table.columns}


def _typed(value: Any, kind: str) -> Any:
    """Numbers as decimals where the column is one; the rest as it is."""
    if value is None or kind not in (MONEY, QUANTITY, RATIO):
        return value
    return Decimal(str(value)).quantize(Decimal(1).scaleb(-int(kind[:-1].split(",")[1])))
