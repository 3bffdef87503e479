"""export-contacts: the published contact plan of a date -> a file per channel, with addresses from the vault.

Consent is asked again of the newest published customers: the plan may be older than a customer's change of mind; so is
the list of people who are not to be contacted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, RunFailed, a_date, add_settings_arguments, guarded, run_job
from jobs.runtime.keys import opened_column
from jobs.runtime.publications import PublishedTables
from jobs.runtime.settings import SettingsError
from jobs.runtime.suppressions import suppressed_customers
from jobs.runtime.tables import Tables
from jobs.runtime.vault import readable_vault
from transforms.contacts.export import (
    ORDER,
    ReachedBy,
    addresses_of,
    contacts_to_send,
    safe_for_spreadsheets,
    sent_columns,
    unsubscribed_since,
)
from transforms.contacts.rules import ContactChannel
from transforms.contracts import gold, ops, silver
from transforms.contracts.vault import IDENTIFIERS

FORMATS = ("csv", "jsonl")
_NULL = {"nullValue": "", "emptyValue": ""}
_AS_IT_IS = {"ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false", "quote": '"', "escape": '"'}
_WRITERS = {
    "csv": ("csv", {"header": "true", **_NULL, **_AS_IT_IS}),
    "jsonl": ("json", {"ignoreNullFields": "false"}),
}
_BYTE_ORDER_MARK = "\ufeff"  # by it Excel knows that a file is UTF-8


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Which plan, in what form, and where to."""
    parser.add_argument("--date", type=a_date, required=True, metavar="D", help="a published run date: its plan")
    parser.add_argument("--lake", required=True, metavar="URI", help="where the tables are")
    parser.add_argument("--to", required=True, metavar="DIR", help="folder (or URI) for the files")
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument("--channel", type=_names, default=(), metavar="C[,C…]", help="only these contact channels")
    add_settings_arguments(parser)
    parser.add_argument("--json-logs", action="store_true", help="one JSON object per line instead of text")
    parser.set_defaults(landing=None, full=False, accept=None)


def run_export(arguments: argparse.Namespace) -> int:
    """Export, and note it in ops.contact_exports and ops.job_runs."""
    allowed = get_args(ContactChannel)
    unknown = sorted(set(arguments.channel) - set(allowed))
    if unknown:
        raise SettingsError(f"--channel: {', '.join(unknown)}: not a contact channel; allowed: {', '.join(allowed)}")
    to, form, channels = arguments.to.rstrip("/"), arguments.format, arguments.channel
    return run_job(lambda ctx: export(ctx, to, form, channels), arguments)


def export(ctx: JobContext, to: str, form: str = "csv", channels: Sequence[str] = ()) -> None:
    """Write `contacts-<channel>-<D>.<form>` of each channel of the plan (or of those given), and `manifest.json`."""
    contacts = _contacts(ctx, channels)
    counts = _counts(contacts, channels)
    names = {channel: f"contacts-{channel}-{ctx.run_date}.{form}" for channel in sorted(counts)}
    _note(ctx, counts, {channel: f"{to}/{name}" for channel, name in names.items()})
    for channel, name in names.items():
        _write(ctx, contacts.where(F.col("channel") == channel), f"{to}/{name}", form)
    files = {
        channel: {"file": name, "exported": _exported(counts[channel]), "left_out": _left_out(counts[channel])}
        for channel, name in names.items()
    }
    manifest = {"run_date": str(ctx.run_date), "format": form, "channels": files}
    ctx.tables.files.write_text(f"{to}/manifest.json", json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    for name in (*names.values(), "manifest.json"):
        ctx.tables.files.remove(f"{to}/.{name}.crc")  # Hadoop's own beside a local file: of no use to the sender
    ctx.facts["exported"] = sum(_exported(count) for count in counts.values())
    ctx.facts["left out"] = sum(sum(_left_out(count).values()) for count in counts.values())


Counts = dict[str, dict[str | None, int]]  # channel -> reason to leave out, None for those exported -> contacts


def _contacts(ctx: JobContext, channels: Sequence[str]) -> DataFrame:
    """The plan's contacts with addresses, still sealed, or reasons; worked out once for counts and files."""
    tables = ctx.tables.of_lake()  # what is current, also for the plan of a past date
    published, newest = PublishedTables(tables, ctx.run_date), PublishedTables(tables)
    if published.run_date is None:
        raise RunFailed(f"{ctx.run_date} was never published; `portraits published --lake {tables.lake}` tells what is")
    plan = published.read(gold.CONTACT_PLAN).where(F.col("run_date") == F.lit(ctx.run_date))
    if channels:
        plan = plan.where(F.col("channel").isin(*channels))
    planned = plan.where("suppressed_reason is null")
    sizes = {row.channel: row["count"] for row in planned.groupBy("channel").count().collect()}
    reached_by: ReachedBy = {name: said.reached_by for name, said in ctx.settings.contacts.channels.items()}
    used = {channel: types for channel, types in reached_by.items() if channel in sizes}
    types = sorted({kind for several in used.values() for kind in several})
    personal = [kind.type for kind in ctx.settings.identity.types if kind.personal]
    identities = newest.read(silver.IDENTITIES)
    addresses = addresses_of(planned, identities, _vault(ctx, tables, used, personal), types, personal)
    unsubscribed = unsubscribed_since(newest.read(silver.EVENTS), identities, ctx.run_date)
    suppressed = suppressed_customers(ctx, identities)
    customers = newest.read(silver.CUSTOMERS)
    contacts = contacts_to_send(planned, customers, suppressed, unsubscribed, addresses, reached_by)
    return ctx.settled(contacts, sum(sizes.values()))


def _vault(ctx: JobContext, tables: Tables, reached_by: ReachedBy, personal: Sequence[str]) -> DataFrame | None:
    """The vault, sealed; None where there is none, and then what to do is told where a channel needs it."""
    if ctx.settings.vault.enabled and tables.exists(IDENTIFIERS):
        return readable_vault(tables, ctx.env)
    without = sorted(channel for channel, types in reached_by.items() if set(types) & set(personal))
    if without:
        ctx.progress.warn(
            f"{', '.join(without)}: people are reached by {', '.join(personal)}, whose plain values a vault keeps. "
            "Set vault: {enabled: true} and take the landing files again: portraits nightly --full"
        )
    return None


def _counts(contacts: DataFrame, channels: Sequence[str]) -> Counts:
    """As many rows as channels and reasons; channels that were asked for are there also without a contact."""
    counts: Counts = {channel: {} for channel in channels}
    for row in contacts.groupBy("channel", "left_out_reason").count().collect():
        counts.setdefault(row.channel, {})[row.left_out_reason] = row["count"]
    return counts


def _exported(count: dict[str | None, int]) -> int:
    return count.get(None, 0)


def _left_out(count: dict[str | None, int]) -> dict[str, int]:
    return {reason: contacts for reason, contacts in sorted(count.items(), key=str) if reason}


def _note(ctx: JobContext, counts: Counts, targets: dict[str, str]) -> None:
    """ops.contact_exports, before any file appears, so that no list is given out without its row."""
    at = ctx.now()
    rows: list[tuple[Any, ...]] = [
        (
            ctx.run_id,
            ctx.run_date,
            channel,
            at,
            _exported(counts[channel]),
            [(reason, str(contacts)) for reason, contacts in _left_out(counts[channel]).items()],
            target,
        )
        for channel, target in targets.items()
    ]
    if rows:
        ctx.tables.append(ops.CONTACT_EXPORTS, ctx.small_frame(rows, ops.CONTACT_EXPORTS))


def _write(ctx: JobContext, contacts: DataFrame, path: str, form: str) -> None:
    """One channel's file. Addresses are opened on the way into it, so that Spark keeps and spills sealed ones only."""
    in_order = contacts.where("left_out_reason is null").coalesce(1).sortWithinPartitions(*ORDER)
    sent = sent_columns(in_order, _opened(ctx))
    if form == "csv":
        sent = safe_for_spreadsheets(sent)
        sent = sent.withColumnRenamed(sent.columns[0], _BYTE_ORDER_MARK + sent.columns[0])
    spark_format, options = _WRITERS[form]
    ctx.tables.files.write_rows(path, sent, spark_format, options)


def _opened(ctx: JobContext) -> Callable[[Column, Column], Column]:
    if not ctx.settings.vault.enabled:
        return lambda sealed, identifier: sealed
    return partial(opened_column, env=ctx.env)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def main() -> None:
    """Entry for spark-submit."""
    parser = argparse.ArgumentParser(prog="export-contacts", description=__doc__)
    add_export_arguments(parser)
    sys.exit(guarded(lambda: run_export(parser.parse_args())))


if __name__ == "__main__":
    main()
