"""published: paths and versions of the current publication, for readers that do not use a catalogue."""

from __future__ import annotations

import argparse
import json

from jobs.runtime.job import DONE, FAILED, add_settings_arguments
from jobs.runtime.publications import current, today
from jobs.runtime.session import build_session
from jobs.runtime.settings import load_settings
from jobs.runtime.tables import Tables


def add_published_arguments(parser: argparse.ArgumentParser) -> None:
    """The lake, and how to print."""
    parser.add_argument("--lake", required=True, metavar="URI")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    add_settings_arguments(parser)


def run_published(arguments: argparse.Namespace) -> int:
    """Print one line per table: name, version, rows, path."""
    spark = build_session(load_settings(arguments.settings, arguments.env))
    tables = Tables(spark, arguments.lake, "published", None)
    entries = current(tables)
    day = today(tables)
    if not entries:
        print(f"{arguments.lake}: nothing was published yet; run `portraits nightly`")  # noqa: T201
        return FAILED
    if arguments.json:
        listed = [{"table": e.table, "version": e.version, "rows": e.rows, "path": e.path} for e in entries]
        document = {
            "today": str(day),
            "run_date": str(entries[0].run_date),
            "run_id": entries[0].run_id,
            "tables": listed,
        }
        print(json.dumps(document, ensure_ascii=False, indent=2))  # noqa: T201
        return DONE
    print(f"today {day} · run {entries[0].run_id} of {entries[0].run_date}")  # noqa: T201
    for entry in entries:
        print(f"{entry.table:<28} version {entry.version:>4} {entry.rows:>12,} rows  {entry.path}")  # noqa: T201
    return DONE
