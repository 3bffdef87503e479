"""Which events make the value of a customer's tag: the rows of silver.activity that count, and what is behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from rich.console import Console

from jobs.runtime.answers import NEVER_PUBLISHED, of_customer, refused
from jobs.runtime.job import DONE, FAILED
from jobs.runtime.leads import held_by_too_many, led
from jobs.runtime.listed_rows import listed_rows
from jobs.runtime.publications import PublishedTables
from jobs.runtime.settings import Settings
from transforms.contracts import silver
from transforms.expressions import nearest
from transforms.feedback.opinions import with_opinions
from transforms.orders import RETURN_TYPES, order_events
from transforms.tags import Tag, TagRules, compute_tags
from transforms.tags.explain import (
    Dates,
    attribute_said,
    attributes_read,
    dates_of,
    is_within,
    measured_tag,
    reads_the_day,
    rows_for,
    tags_behind,
)

_PLACE = ("store_id", "category", "brand", "product_id")
_COMPUTED = ("event_hour", "topic", "is_matched")
_KEY = ("event_date", "arrival_date", "event_type", "channel", "campaign_id", "coupon_id", *_COMPUTED)
_NEAREST = 3


def explain_tag(view: PublishedTables, console: Console, settings: Settings, customer: str, name: str) -> int:
    """Print what a tag's value stands on; 1 where tag, customer or date is not known, or the value does not come again.

    Of a tag over other tags those come first. The value is computed again from no other rows than those printed.
    """
    rules, day = settings.tags, view.run_date
    if name not in rules.tags:
        return refused(console, f"{name} is not a tag{nearest(name, rules.tags)}")
    if day is None:
        return refused(console, NEVER_PUBLISHED)
    stored = view.read("gold.customer_tags").where(of_customer(customer) & (F.col("run_date") == F.lit(day))).head()
    if stored is None:
        return refused(console, _unknown_customer(view, customer, day))
    parts = _explained(view, settings, customer, name, day)
    again = _computed_again(view, parts, rules, customer, day)
    agree = [_print(console, part, stored, again, rules, customer, day) for part in parts]
    return DONE if all(agree) else FAILED


@dataclass
class _Part:
    """One tag with the rows that count for it, those that only say whether others count, and the events behind.

    `gives` is the column of what a row gives.
    """

    tag: Tag
    gives: str = ""
    rows: list[Row] = field(default_factory=list)
    beside: list[Row] = field(default_factory=list)
    windows: Mapping[str, Dates] = field(default_factory=dict)
    events: list[Row] = field(default_factory=list)


def _explained(view: PublishedTables, settings: Settings, customer: str, name: str, day: date) -> list[_Part]:
    """The tags behind a tag, then itself."""
    rules = settings.tags
    tags = [rules.tags[behind] for behind in tags_behind(name, rules)]
    measured = {tag.name: found for tag in tags if (found := measured_tag(tag, rules))}
    leads = view.read(silver.IDENTITIES).where(of_customer(customer)).select(
        F.col("identifier_type").alias("lead_identifier_type"), F.col("identifier").alias("lead_identifier")
    )  # fmt: skip
    mine = view.read(silver.ACTIVITY).join(F.broadcast(leads), leads.columns, "left_semi")
    rows = rows_for(list({found.name: found for found in measured.values()}.values()), mine, day).collect()
    parts = [_part(tag, measured.get(tag.name), rows, day) for tag in tags]
    shown = [row for part in parts for row in (*part.rows, *part.beside)]
    events = _events(view, settings, leads, shown, day) if shown else []
    said = _attribute_events(view, leads, [said for tag in tags if (said := attribute_said(tag))], day)
    for part in parts:
        wanted = attribute_said(part.tag)
        part.events = [event for event in said if event.said == wanted] if wanted else events
    return parts


def _part(tag: Tag, measured: Tag | None, rows: Sequence[Row], day: date) -> _Part:
    if measured is None:
        return _Part(tag)
    gives = f"gives_{measured.name}"
    qualifying = [row for row in rows if row[gives] is not None]
    windows = dates_of(tag, day, [row.date for row in qualifying])
    counted = [row for row in qualifying if is_within(row.date, windows)]
    days = {row.date for row in counted} if reads_the_day(measured) else set()
    beside = [row for row in rows if row.date in days and row.order_count and row[gives] is None]
    return _Part(tag, gives, _in_order(counted), _in_order(beside), windows)


def _computed_again(
    view: PublishedTables, parts: Sequence[_Part], rules: TagRules, customer: str, day: date
) -> Mapping[str, Any]:
    """The tags of this customer alone, from the rows of all parts and nothing else."""
    golden = view.read(silver.CUSTOMERS).where(of_customer(customer))
    names = silver.ACTIVITY.column_names
    rows = {tuple(row[n] for n in silver.ACTIVITY.key): row for part in parts for row in (*part.rows, *part.beside)}
    schema = silver.ACTIVITY.schema.add("customer_id", "string")
    listed = [(*[row[n] for n in names], customer) for row in rows.values()]
    activity = listed_rows(golden.sparkSession, listed, schema)
    of_parts = TagRules(tags={part.tag.name: part.tag for part in parts})
    found = compute_tags(activity, golden, day, of_parts).head()
    return found.asDict() if found else {}


def _events(view: PublishedTables, settings: Settings, leads: DataFrame, shown: Iterable[Row], day: date) -> list[Row]:
    """Events of the dates and types of some rows that are this customer's: sold lines, what came back, the rest.

    Lines and returns are whose their order is, whoever brought them.
    """
    dates, types = ({row[name] for row in shown} for name in ("event_date", "event_type"))
    known = view.read(silver.EVENTS).where(F.col("arrival_date") <= F.lit(day))
    of_dates = known.where(F.col("event_date").isin(dates) & F.col("event_type").isin(types))
    held = held_by_too_many(view.read_or_empty(silver.IDENTITY_BAD_VALUES))
    own = led(of_dates, held, settings.identity).join(F.broadcast(leads), leads.columns, "left_semi")
    lines = view.read(silver.ORDER_LINES).join(F.broadcast(leads), leads.columns, "left_semi")
    back = order_events(of_dates).where(F.col("event_type").isin(*RETURN_TYPES))
    orders = lines.select("order_id").distinct()
    parts = {
        None: [
            order_events(of_dates).join(lines.select("event_id"), "event_id", "left_semi"),
            with_opinions(own.where(~F.col("event_type").isin("order", *RETURN_TYPES)), settings.feedback),
        ],
        True: [back.join(orders, "order_id", "left_semi")],
        False: [own.where(F.col("event_type").isin(*RETURN_TYPES))],
    }
    hour = F.hour(F.from_utc_timestamp("event_at", settings.timezone))
    columns = [
        "event_id", "event_at", "source", "order_id", "line_id", "amount", "rating", *_PLACE,
        *[name for name in _KEY if name not in _COMPUTED],
    ]  # fmt: skip
    frames = [
        frame.select(
            *columns,
            hour.alias("event_hour"),
            F.col("topic") if "topic" in frame.columns else F.lit(None).cast("string").alias("topic"),
            F.lit(matched).cast("boolean").alias("is_matched"),
        )
        for matched, several in parts.items()
        for frame in several
    ]
    return reduce(DataFrame.unionByName, frames).orderBy("event_at", "event_id").collect()


def _attribute_events(view: PublishedTables, leads: DataFrame, said: Sequence[str], day: date) -> list[Row]:
    """Events that say one of some attributes, with the attribute (`said`) and its value; latest first."""
    if not said:
        return []
    known = view.read(silver.EVENTS).where((F.col("arrival_date") <= F.lit(day)) & (F.col("event_date") <= F.lit(day)))
    own = known.where("attributes is not null").join(F.broadcast(leads), leads.columns, "left_semi")
    told = own.select("event_id", "event_at", "source", "event_type", F.explode("attributes").alias("said", "value"))
    return told.where(F.col("said").isin(*said)).orderBy(F.desc("event_at"), "event_id").collect()


def _print(
    console: Console,
    part: _Part,
    stored: Row,
    again: Mapping[str, Any],
    rules: TagRules,
    customer: str,
    day: date,
) -> bool:
    """One tag; whether its stored value is the one computed again."""
    tag = part.tag
    console.print(f"{tag.name} {tag.label} of {customer} on {day}: {tag.description}")
    where = f" where {tag.where}" if tag.where else ""
    console.print(f"  definition: {tag.measure}{where}{', keep_last' if tag.null_policy == 'keep_last' else ''}")
    for case in tag.cases:
        console.print(f"    when {case.when} then {case.then}")
    for what, (first, last) in part.windows.items():
        console.print(f"  {what}: {first or 'the beginning'} to {last}")
    if tag.parsed.name in ("ratio", "trend", "case"):
        read = [f"{other.name} = {_text(again.get(other.name))}" for other in rules.read_by(tag)]
        console.print(f"  reads {', '.join([*read, *attributes_read(tag, rules)])}")
    if attribute_said(tag):
        for event in part.events:
            console.print(f"    {_happened(event)} says {event.value}")
    _print_rows(console, part)
    if tag.name not in stored:
        console.print("  not stored: the run was made with settings that have no such tag")
        return False
    agree = stored[tag.name] == again.get(tag.name)
    verdict = "they agree" if agree else "THEY DO NOT AGREE"
    console.print(f"  stored {_text(stored[tag.name])}, from these rows {_text(again.get(tag.name))}: {verdict}")
    return agree


def _print_rows(console: Console, part: _Part) -> None:
    """Rows of activity with what each gives, and below each the events that it sums up."""
    if not part.windows:
        return
    console.print(f"  rows of silver.activity that count: {len(part.rows) or 'none'}")
    for row in part.rows:
        _print_row(console, part, row, f"gives {row[part.gives]}")
    if part.beside:
        console.print("  rows of the same days that say what still is a purchase:")
    for row in part.beside:
        _print_row(console, part, row, f"purchases {row.order_count:+}")


def _print_row(console: Console, part: _Part, row: Row, gives: str) -> None:
    happened = f" (happened {row.event_date})" if row.event_date != row.date else ""
    place = " ".join(str(row[name]) for name in ("channel", *_PLACE) if row[name] is not None)
    console.print(f"    {row.date}{happened} {row.event_type} {place}: {gives}")
    events = [event for event in part.events if _is_behind(event, row)]
    for event in events:
        named = {"order": event.order_id, "product": event.product_id, "amount": event.amount, "rating": event.rating}
        said = " ".join(f"{what} {value}" for what, value in named.items() if value is not None)
        console.print(f"      {_happened(event)} {said} event_id {event.event_id}")
    if len(events) != row.event_count:
        console.print(f"      {len(events)} of {row.event_count} events found")


def _is_behind(event: Row, row: Row) -> bool:
    """Whether a row of activity sums up an event; what a return does not say itself is its line's."""
    is_back = event.event_type in RETURN_TYPES
    same_place = all(event[name] == row[name] or (is_back and event[name] is None) for name in _PLACE)
    return same_place and all(event[name] == row[name] for name in _KEY)


def _unknown_customer(view: PublishedTables, customer: str, day: date) -> str:
    """What to say of a customer who is not among the tagged: who has its identifiers now, or whose id is like it."""
    changes = view.read_or_empty(silver.IDENTITY_CHANGES).where(F.col("previous_customer_id") == customer)
    heirs = changes.where("customer_id is not null").select("customer_id").distinct().limit(_NEAREST).collect()
    told = f"{customer} is no customer on {day}"
    if heirs:
        return f"{told}: its identifiers went to {', '.join(sorted(row.customer_id for row in heirs))}"
    known = view.read(silver.CUSTOMERS).select(
        "customer_id", F.levenshtein("customer_id", F.lit(customer)).alias("far")
    )
    like = known.orderBy("far", "customer_id").limit(_NEAREST).collect()
    return f"{told}; nearest: {', '.join(row.customer_id for row in like)}"


def _happened(event: Row) -> str:
    return f"{event.event_at:%Y-%m-%d %H:%M} UTC {event.source} {event.event_type}"


def _in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.date, row.event_date, row.event_hour or 0, str(row)))


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
