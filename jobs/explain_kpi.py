"""What makes the value of a KPI: its definition, the rows that it reads, and who adds most; and the value again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from rich.console import Console

from jobs.runtime.answers import NEVER_PUBLISHED, refused
from jobs.runtime.job import DONE, FAILED
from jobs.runtime.kpi_frames import kpi_frames
from jobs.runtime.leads import held_by_too_many, led
from jobs.runtime.publications import PublishedTables
from jobs.runtime.settings import Settings
from transforms.contracts import gold, silver
from transforms.expressions import nearest
from transforms.kpis import Kpi, KpiRules, report_kpis
from transforms.kpis.catalogue import measure_in_words, numerator_in_words
from transforms.kpis.explain import Places, most_by_customer, readings_of, rows_read
from transforms.kpis.frames import FRAMES, GRAINS, PLACES
from transforms.kpis.measures import Entry, Plan, Reading, planned, reached
from transforms.kpis.periods import PERIODS

_MOST = 5
_COMPARED = ("numerator", "denominator", "value", "benchmark_low", "benchmark_high", "status")
_OPTIONS = {"store": "store_id", "channel": "channel", "segment": "segment", "region": "region", "category": "category"}


def add_kpi_arguments(parser: argparse.ArgumentParser) -> None:
    """Which KPI, of which period and place."""
    parser.add_argument("kpi", metavar="KPI")
    parser.add_argument("--period", choices=PERIODS, default="day")
    for option in _OPTIONS:
        parser.add_argument(f"--{option}", metavar=option.upper(), help=f"of one {option} instead of the chain")


def places_in(arguments: argparse.Namespace) -> Places:
    """The places that were asked for, in the order of a grain's."""
    asked = {place: getattr(arguments, option) for option, place in _OPTIONS.items() if getattr(arguments, option)}
    return {place: asked[place] for place in PLACES if place in asked}


def explain_kpi(
    view: PublishedTables, console: Console, settings: Settings, code: str, period: str, places: Places
) -> int:
    """Print what a KPI's value stands on, worked out again from the published tables that it reads.

    1 where KPI, date or place is not known, or the value does not come again as it is stored.
    """
    day, known = view.run_date, settings.kpis.kpis
    if code not in known:
        return refused(console, f"{code} is not a KPI{nearest(code, known)}")
    if day is None:
        return refused(console, NEVER_PUBLISHED)
    kpi = known[code]
    grain = next((name for name in kpi.reported_by if {*GRAINS[name]} == {*places}), None)
    if grain is None:
        return refused(console, f"{code} is not reported by {' and '.join(places)}: {', '.join(kpi.reported_by)}")
    rules = KpiRules(kpis={code: kpi})
    plan = planned(rules, day)
    entry = next(entry for entry in plan.entries if entry.period.name == period)
    held = held_by_too_many(view.read_or_empty(silver.IDENTITY_BAD_VALUES))
    events = led(view.read(silver.EVENTS), held, settings.identity)
    known_then = events.where(F.col("arrival_date") <= F.lit(day))
    found = kpi_frames(view, known_then, view.read(silver.ORDERS), settings, day, day, rules)
    frames = {name: reached(frame, name, plan).persist() for name, frame in found.items()}
    of_entry = (F.col("kpi") == code) & (F.col("period") == period) & (F.col("kpi_date") == F.lit(day))
    stored = view.read(gold.KPI_VALUES).where(of_entry & _is_at(grain, places)).head()
    again = report_kpis(frames, day, day, rules, settings.stores).where(of_entry).persist()
    value = again.where(_is_at(grain, places)).head()
    if stored is None and value is None:
        return refused(console, f"{code} has no value at {_said(places)} on {day}: nothing of it happened there")
    _print_definition(console, code, entry, places)
    _print_rows(console, settings, frames, entry, places)
    if value is not None:
        _print_value(console, kpi, value)
    _print_most(console, settings, frames, plan, entry, places, again)
    return _print_verdict(console, stored, value)


def _print_definition(console: Console, code: str, entry: Entry, places: Places) -> None:
    kpi, period = entry.kpi, entry.period
    first = period.start + timedelta(days=1)
    console.print(f"{code} {kpi.label} of {_said(places)}, {period.name}: {first} to {period.end}")
    console.print(kpi.description)
    console.print(f"numerator: {numerator_in_words(kpi)}")
    if kpi.denominator:
        console.print(f"denominator: {measure_in_words(kpi.denominator)}")


def _print_rows(
    console: Console, settings: Settings, frames: Mapping[str, DataFrame], entry: Entry, places: Places
) -> None:
    """How many rows each part reads, of which dates, and of how many customers."""
    console.print("rows read:")
    counts = {row.number: row for row in rows_read(frames, entry, places, settings.stores).collect()}
    for number, (part, reading, _) in enumerate(readings_of(entry)):
        row = counts[number]
        customers = "" if row.customer_count is None else f" of {row.customer_count:,} customers"
        console.print(f"  {part}: {row.row_count:,} rows of {reading.frame}{_dates(reading)}{customers}")


def _print_value(console: Console, kpi: Kpi, value: Row) -> None:
    over = "" if value.denominator is None else f" over denominator {value.denominator:,f}"
    console.print(f"numerator {value.numerator:,f}{over}: {_text(value.value)} ({kpi.unit}, better {kpi.direction})")
    if value.benchmark_low is not None:
        console.print(f"band {value.benchmark_low:f} to {value.benchmark_high:f}: {value.status or 'no value'}")


def _print_most(
    console: Console,
    settings: Settings,
    frames: Mapping[str, DataFrame],
    plan: Plan,
    entry: Entry,
    places: Places,
    again: DataFrame,
) -> None:
    """The stores, where it is told by store, and the customers with the largest part of the numerator."""
    if not places and "store" in entry.kpi.reported_by:
        stores = again.where("grain = 'store' and numerator <> 0").orderBy(F.desc("numerator"), "store_id")
        told = [f"{row.store_id} {row.numerator:,f}" for row in stores.limit(_MOST).collect()]
        console.print(f"most by store: {'; '.join(told) or 'none'}")
    if FRAMES[entry.kpi.numerator.frame].has_customers:
        found = most_by_customer(frames, plan, entry, places, settings.stores, _MOST).collect()
        told = [f"{row.customer_id or 'guests'} {row.contribution:,}" for row in found]
        console.print(f"most by customer: {'; '.join(told) or 'none'}")


def _print_verdict(console: Console, stored: Row | None, value: Row | None) -> int:
    if stored is None or value is None:
        console.print(f"stored: THEY DO NOT AGREE ({'not stored' if stored is None else 'only stored'})")
        return FAILED
    wrong = [name for name in _COMPARED if stored[name] != value[name]]
    if not wrong:
        console.print("stored: the same")
        return DONE
    told = [f"{name} {_text(stored[name])} stored, {_text(value[name])} from these rows" for name in wrong]
    console.print(f"stored: THEY DO NOT AGREE ({'; '.join(told)})")
    return FAILED


def _is_at(grain: str, places: Places) -> Column:
    at = F.col("grain") == grain
    for place, value in places.items():
        at = at & (F.col(place) == value)
    return at


def _dates(reading: Reading) -> str:
    if FRAMES[reading.frame].date is None:
        return ""
    return f", {reading.after + timedelta(days=1)} to {reading.upto}" if reading.after else f", up to {reading.upto}"


def _said(places: Places) -> str:
    return " and ".join(f"{place} {value}" for place, value in places.items()) or "the chain"


def _text(value: Decimal | str | None) -> str:
    return "null" if value is None else f"{value:,f}" if isinstance(value, Decimal) else str(value)
