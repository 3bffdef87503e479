"""summary: what a lake holds after a night, for a person: rows, rejects, customers, tiers, segments, top KPIs."""

from __future__ import annotations

import argparse

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as Grid

from jobs.runtime.job import DONE, FAILED, add_settings_arguments
from jobs.runtime.publications import Published, current
from jobs.runtime.session import build_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.tables import Tables
from transforms.contracts import ops, silver


def add_summary_arguments(parser: argparse.ArgumentParser) -> None:
    """The lake to look at."""
    parser.add_argument("--lake", required=True, metavar="URI")
    add_settings_arguments(parser)


def run_summary(arguments: argparse.Namespace) -> int:
    """Print the current publication of a lake."""
    settings = load_settings(arguments.settings, arguments.env)
    spark = build_session(settings)
    tables = Tables(spark, arguments.lake, "summary", None)
    console = Console(highlight=False, width=100)
    published = current(tables)
    if not published:
        console.print(f"{arguments.lake}: nothing was published yet; run `portraits nightly`")
        return FAILED
    view = _View(tables, published)
    day = published[0].run_date
    console.rule(f"[bold]{arguments.lake} · published {day}")
    console.print(_layers(tables, published))
    console.print(_rejected(tables))
    console.print(_customers(view))
    console.print(_tiers(view, settings))
    console.print(_value_tiers(view, settings))
    console.print(_segments(view))
    console.print(_kpis(view, settings))
    _where(console, arguments.lake, view)
    return DONE


class _View:
    """The published tables, at their published versions, their newest slice."""

    def __init__(self, tables: Tables, published: list[Published]) -> None:
        self._tables = tables
        self._entries = {entry.table: entry for entry in published}
        self.run_date = published[0].run_date

    def path(self, name: str) -> str:
        return self._entries[name].path

    def read(self, name: str) -> DataFrame:
        frame = self._tables.read(name, self._entries[name].version)
        for column in ("run_date", "kpi_date"):
            if column in frame.columns:
                return frame.where(F.col(column) == F.lit(self.run_date))
        return frame


def _grid(title: str, *columns: str) -> Grid:
    grid = Grid(title=title, title_justify="left", title_style="bold", header_style="dim")
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number == 0 else "right")
    return grid


def _layers(tables: Tables, published: list[Published]) -> Grid:
    bronze = {name: tables.count(name) for name in tables.names() if name.startswith("bronze.")}
    grid = _grid("Rows per layer", "layer", "tables", "rows", "largest")
    counted = {**bronze, **{entry.table: entry.rows for entry in published}}
    for layer in ("bronze", "silver", "gold"):
        own = {name: rows for name, rows in counted.items() if name.startswith(f"{layer}.")}
        largest = max(own, key=lambda name: own[name]) if own else ""
        grid.add_row(layer, f"{len(own)}", f"{sum(own.values()):,}", f"{largest} {own.get(largest, 0):,}")
    return grid


def _rejected(tables: Tables) -> Grid:
    ledger = tables.read(ops.LANDING_FILES)
    names = ("read", "accepted", "duplicate", "rejected", "ignored", "not_due")
    total = ledger.agg(
        F.countDistinct("source_file").alias("files"), *[F.sum(f"rows_{n}").alias(n) for n in names]
    ).head()
    assert total is not None
    told = " · ".join(f"{total[name]:,} {name}" for name in names if total[name])
    grid = _grid(f"{total.files:,} landing files: rows {told}", "rejected because", "rows", "an example file")
    reasons = tables.read_or_empty(silver.REJECTED_RECORDS).select(F.explode("reasons").alias("reason"), "source_file")
    counted = reasons.groupBy("reason").agg(F.count("*").alias("rows"), F.min("source_file").alias("file"))
    for row in counted.orderBy(F.desc("rows"), "reason").limit(12).collect():
        grid.add_row(row.reason, f"{row.rows:,}", row.file)
    return grid


def _customers(view: _View) -> Grid:
    identities = view.read("silver.identities")
    kinds = identities.groupBy("identifier_type").agg(
        F.count("*").alias("seen"),
        F.countDistinct("customer_id").alias("customers"),
        F.count_if(F.col("status") == "blocked").alias("blocked"),
    )
    total = identities.agg(F.count("*").alias("seen"), F.countDistinct("customer_id").alias("customers")).head()
    assert total is not None
    title = f"{total.customers:,} customers found in {total.seen:,} identifiers"
    grid = _grid(title, "identifier", "seen", "customers", "blocked")
    for row in kinds.orderBy(F.desc("seen"), "identifier_type").collect():
        grid.add_row(row.identifier_type, f"{row.seen:,}", f"{row.customers:,}", f"{row.blocked:,}")
    return grid


def _tiers(view: _View, settings: Settings) -> Grid:
    labels = {tier.name: tier.label for tier in settings.rfm.tiers}
    scores = view.read("gold.rfm_scores").where("scope = 'chain'")
    counted = scores.groupBy("rfm_tier").agg(F.count("*").alias("n"), F.sum("monetary").alias("money"))
    rows = counted.orderBy(F.desc("money")).collect()
    everybody = sum(row.n for row in rows) or 1
    all_money = sum(row.money or 0 for row in rows) or 1
    grid = _grid("RFM tiers", "tier", "customers", "share", "amount", "of all")
    for row in rows:
        name = f"{row.rfm_tier} {labels.get(row.rfm_tier, '')}" if row.rfm_tier else "(no purchase in the window)"
        money = row.money or 0
        grid.add_row(name, f"{row.n:,}", f"{row.n / everybody:.1%}", f"{money:,.2f}", f"{money / all_money:.1%}")
    return grid


def _value_tiers(view: _View, settings: Settings) -> Grid:
    labels = {tier.name: tier.label for tier in settings.value.tiers}
    counted = (
        view.read("gold.customer_values")
        .groupBy("value_tier")
        .agg(F.count("*").alias("n"), F.sum("clv_365d").alias("value"), F.avg("p_alive").alias("alive"))
    )
    rows = {row.value_tier: row for row in counted.collect()}
    whole = sum(row.value or 0 for row in rows.values()) or 1
    grid = _grid("Value tiers, by value expected in a year", "tier", "customers", "expected value", "of all", "alive")
    for tier in (name for name in (*labels, None) if name in rows):
        row, name = rows[tier], f"{tier} {labels[tier]}" if tier else "(no value)"
        alive = "" if row.alive is None else f"{row.alive:.1%}"
        grid.add_row(name, f"{row.n:,}", f"{row.value or 0:,.2f}", f"{(row.value or 0) / whole:.1%}", alive)
    return grid


def _segments(view: _View) -> Grid:
    grid = _grid("Segments", "segment", "customers", "share", "lifetime net", "of all")
    rows = view.read("gold.segment_summary").orderBy("kind", F.desc("customers")).collect()
    for kind in ("primary", "secondary"):
        for row in (row for row in rows if row.kind == kind and row.customers):
            share, amount_share = f"{row.share or 0:.1%}", f"{row.amount_share or 0:.1%}"
            name = f"{row.segment} {row.label}" if kind == "primary" else f"  + {row.segment} {row.label}"
            grid.add_row(name, f"{row.customers:,}", share, f"{row.net_amount or 0:,.2f}", amount_share)
    return grid


def _kpis(view: _View, settings: Settings) -> Grid:
    grid = _grid("KPIs of the chain", "kpi", "value", "numerator", "denominator", "benchmark")
    for row in view.read("gold.kpi_values").where("grain = 'chain' and period = 'day'").orderBy("kpi").collect():
        kpi = settings.kpis.kpis[row.kpi]
        value = "–" if row.value is None else f"{row.value:.2%}" if kpi.unit == "ratio" else f"{row.value:,.2f}"
        band = ""
        if row.benchmark_low is not None:
            form = ".0%" if kpi.unit == "ratio" else ",.0f"
            band = f"{row.benchmark_low:{form}}–{row.benchmark_high:{form}} {row.status or ''}".rstrip()
        denominator = "" if row.denominator is None else f"{row.denominator:,.2f}"
        grid.add_row(f"{row.kpi} {kpi.label}", value, f"{row.numerator or 0:,.2f}", denominator, band)
    return grid


def _where(console: Console, lake: str, view: _View) -> None:
    path, day = view.path("gold.segment_summary"), view.run_date
    console.print(f"Tables: {lake}/<layer>/<table> (Delta). Versions to read: portraits published --lake {lake}")
    console.print("A query to try, with any Delta reader:")
    query = f"polars.read_delta('{path}').filter(run_date=date({day.year}, {day.month}, {day.day}), kind='primary')"
    shown = f"{query}.select('segment', 'label', 'customers', 'net_amount').sort('customers', descending=True)"
    console.print(f'  .venv/bin/python -c "import polars; from datetime import date; print({shown})"', soft_wrap=True)
