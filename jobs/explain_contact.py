"""Why a customer is contacted or left alone: each strategy's verdict, and the contacts, caps and variants behind it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from rich.console import Console

from jobs.runtime.answers import NEVER_PUBLISHED, of_customer, refused
from jobs.runtime.job import DONE
from jobs.runtime.leads import held_by_too_many, led
from jobs.runtime.publications import PublishedTables
from jobs.runtime.settings import Settings
from transforms.contacts.assignments import recorded_variants
from transforms.contacts.history import EVENT_TYPES, contact_history
from transforms.contacts.reasons import REASONS
from transforms.contacts.rules import Strategy, in_force
from transforms.contracts import gold, silver
from transforms.identity.anchors import with_owner

_TOUCHES = 10


def explain_contact(view: PublishedTables, console: Console, settings: Settings, customer: str) -> int:
    """Print what the published plan says of a customer, and why; 1 where customer or date is not known."""
    day, rules = view.run_date, settings.contacts
    if day is None:
        return refused(console, NEVER_PUBLISHED)
    if not view.read(silver.CUSTOMERS).where(of_customer(customer)).head(1):
        return refused(console, f"{customer} is no customer on {day}")
    today = of_customer(customer) & (F.col("run_date") == F.lit(day))
    segments = {row.segment for row in view.read(gold.SEGMENT_MEMBERS).where(today).collect()}
    plan = view.read(gold.CONTACT_PLAN).where(today).orderBy("priority").collect()
    contact_day = day + timedelta(days=rules.days_ahead)
    console.print(f"{customer} on {day}, for contacts on {contact_day}")
    console.print(f"segments: {', '.join(sorted(segments)) or 'none'}")
    for row in plan:
        _print_decision(console, row, settings.strategies[row.strategy])
    acting = in_force(settings.strategies, rules, contact_day)
    _print_others(console, settings, {row.strategy for row in plan}, acting, segments)
    identities = view.read(silver.IDENTITIES).where(of_customer(customer))
    _print_history(console, settings, _events(view, settings, identities), view)
    _print_variants(console, view, identities)
    return DONE


def _print_decision(console: Console, row: Row, strategy: Strategy) -> None:
    variant = f", variant {row.variant} of {row.experiment_id}" if row.variant else ""
    if row.suppressed_reason is None:
        by = f"by {row.channel} at {row.send_hour}:00"
        console.print(f"contact: {row.strategy} {strategy.label} {by}, as {row.segment}{variant}")
        products = f" · products {', '.join(row.recommended_products)}" if row.recommended_products else ""
        console.print(f"  {row.message}{products} · costs {row.cost_amount}")
        return
    console.print(f"left out: {row.strategy} {strategy.label}, as {row.segment}{variant}: {row.suppressed_reason}")
    console.print(f"  {REASONS[row.suppressed_reason]}")


def _print_others(
    console: Console, settings: Settings, planned: set[str], acting: dict[str, Strategy], segments: set[str]
) -> None:
    """Strategies of which the customer is no candidate."""
    for code, strategy in settings.strategies.items():
        if code in planned:
            continue
        if code not in acting:
            why = "its dates or its trigger do not mean that day"
        elif not segments & {*strategy.segments}:
            why = f"in none of {', '.join(strategy.segments)}"
        elif strategy.trigger and strategy.trigger.kind == "birthday":
            why = "not the customer's birthday"
        else:
            why = f"{strategy.when} does not hold"
        console.print(f"not for this customer: {code} {strategy.label}: {why}")


def _events(view: PublishedTables, settings: Settings, identities: DataFrame) -> DataFrame:
    """Contacts and answers of the customer's identifiers, as known on the run date."""
    is_contact = F.col("event_type").isin(*EVENT_TYPES) & (F.col("arrival_date") <= F.lit(view.run_date))
    known = view.read(silver.EVENTS).where(is_contact)
    owned = led(known, held_by_too_many(view.read_or_empty(silver.IDENTITY_BAD_VALUES)), settings.identity)
    return with_owner(owned, F.broadcast(identities)).where("customer_id is not null")


def _print_history(console: Console, settings: Settings, events: DataFrame, view: PublishedTables) -> None:
    """The caps and how full they are, channels closed, and the last touches."""
    rules, day = settings.contacts, view.run_date
    assert day is not None
    found = contact_history(events, day, settings.strategies, rules).head()
    if found is None:
        console.print("no contacts so far")
        return
    for cap, touched in zip(rules.caps, found.touched, strict=True):
        console.print(f"cap of {', '.join(cap.channels)}: {touched} of {cap.contacts} in {cap.days} days")
    if found.closed:
        console.print(f"unsubscribed from: {', '.join(found.closed)}")
    answers = [f"{channel} {count}" for channel, count in sorted(found.answers.items()) if count]
    console.print(f"opened or clicked in {rules.answered_days} days: {', '.join(answers) or 'nothing'}")
    touches = events.where((F.col("event_type") == "touch") & (F.col("event_date") <= F.lit(day)))
    newest = touches.orderBy(F.desc("event_at"), "event_id").limit(_TOUCHES)
    for row in newest.select("event_date", F.col("props")["contact_channel"].alias("via"), "campaign_id").collect():
        console.print(f"  touched {row.event_date} by {row.via}, campaign {row.campaign_id}")


def _print_variants(console: Console, view: PublishedTables, identities: DataFrame) -> None:
    assignments = view.read_or_empty(gold.EXPERIMENT_ASSIGNMENTS)
    assert view.run_date is not None
    recorded: Sequence[Row] = recorded_variants(assignments, identities, view.run_date).collect()
    for row in recorded:
        told = [f"{experiment} {variant}" for experiment, variant in sorted(row.variants.items())]
        console.print(f"recorded in experiments: {', '.join(told)}")
