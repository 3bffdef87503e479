"""resolve-identities over generated events: its first pass, one more day, and a full pass of that day.

Called by `scripts/bench/identity.py --events N`. The events are written straight to silver.events: 16 for each
customer over a year, a tenth of them orders with member and phone, the rest seen by device or cookie, a third of these
logged in; one device in fifty is shared by two people, some phones are placeholders, 0.3 % arrive days late. The full
pass must leave the very rows that the night left.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from memory import timed
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import resolve_identities
from jobs.runtime.job import JobContext, context
from transforms.contracts import silver
from transforms.events import with_lead

DAYS, EVENTS_EACH = 365, 16
LAST = date(2026, 6, 30)


def nights(size: int, out: Path) -> list[dict]:
    """Seconds of each pass over `size` events; the lake is left in `out`."""
    lake = out / f"nights_{size}"
    shutil.rmtree(lake, ignore_errors=True)
    before, ctx = context_of(lake, LAST - timedelta(days=1)), context_of(lake, LAST)
    events = _events(ctx.spark, size)
    arrival = F.col("arrival_date")
    before.tables.append(silver.EVENTS, events.where(arrival < F.lit(LAST)))
    rows = [_timed("first", size, before)]
    ctx.tables.append(silver.EVENTS, events.where(arrival == F.lit(LAST)))
    rows.append(_timed("nightly", size, ctx))
    versions = {table: ctx.tables.version(table) for table in silver.OF_IDENTITY}
    ctx.full, ctx.arrived = True, {}
    rows.append(_timed("full", size, ctx))
    for table, version in versions.items():
        night, full = ctx.tables.read(table, version), ctx.tables.read(table)
        differing = night.exceptAll(full).count() + full.exceptAll(night).count()
        print(f"{table.full_name}: {differing} rows differ between the night and the full pass", flush=True)
    for row in rows:
        row["ratio_to_full"] = round(row["seconds"] / rows[-1]["seconds"], 3)
        print("{case:16} {size:>12,} events {seconds:8.2f} s  × full {ratio_to_full}".format(**row), flush=True)
    return rows


def context_of(lake: Path, day: date, landing: Path | None = None, settings: Sequence[str] = ()) -> JobContext:
    """What jobs are given for one date of a benchmark's lake."""
    where = {"lake": str(lake), "landing": landing and str(landing)}
    options = {"settings": tuple(settings), "env": "local", "full": False, "accept": None, "json_logs": False}
    return context(argparse.Namespace(date=day, **where, **options))


def _timed(name: str, size: int, ctx: JobContext) -> dict:
    return timed("identity", name, size, lambda: _resolved(ctx))


def _resolved(ctx: JobContext) -> int:
    resolve_identities.run(ctx)
    ctx.forget()
    return int(ctx.facts["identifiers"])


def _events(spark: SparkSession, size: int) -> DataFrame:
    """silver.events with identifiers only."""
    customer = F.abs(F.xxhash64("id", F.lit(1))) % max(size // EVENTS_EACH, 1)
    age = F.floor(F.pow(chance("age"), F.lit(1.2)) * DAYS).cast("int")
    late = F.when(chance("late") < 0.003, 1 + F.floor(chance("days") * 5)).otherwise(0).cast("int")
    drawn = spark.range(size).select(
        "id",
        customer.alias("customer"),
        F.greatest(age - late, F.lit(0)).alias("arrived_ago"),
        age.alias("ago"),
        chance("kind").alias("kind"),
        (chance("login") < 0.33).alias("is_known"),
    )
    is_order, is_app = F.col("kind") < 0.1, F.col("kind") < 0.6
    member = F.concat(F.lit("M"), F.col("customer"))
    phone = F.when(F.col("customer") % 500 == 0, F.lit("13800138000")).otherwise(F.concat(F.lit("p"), "customer"))
    owner = F.when(F.col("customer") % 50 == 0, F.col("customer") + 1).otherwise(F.col("customer"))
    device = F.concat(F.lit("d"), owner)
    cookie = F.concat(F.lit("c"), "customer", F.lit("."), (F.col("ago") / 180).cast("int"))
    held = {
        "member": F.when(is_order | F.col("is_known"), member),
        "phone": F.when(is_order, phone),
        "device": F.when(~is_order & is_app, device),
        "cookie": F.when(~is_app, cookie),
    }
    entries = F.array_compact(F.array(*[F.when(v.isNotNull(), F.struct(F.lit(k), v)) for k, v in held.items()]))
    blocked = F.when(is_order & (phone == "13800138000"), F.create_map(F.lit("phone"), F.lit("blocked_value")))
    channel = F.when(is_order, "store_pos").when(is_app, "app").otherwise("ecommerce")
    happened = F.date_sub(F.lit(LAST), F.col("ago"))
    known = {
        "event_id": F.concat(F.lit("e"), "id"),
        "source": channel,
        "channel": channel,
        "event_type": F.when(is_order, "order").otherwise("view"),
        "event_at": F.timestamp_seconds(F.unix_seconds(happened.cast("timestamp")) + F.col("id") % 86_400),
        "event_date": happened,
        "arrival_date": F.date_sub(F.lit(LAST), F.col("arrived_ago")),
        "identifiers": F.map_from_entries(entries),
        "blocked_identifiers": blocked,
    }
    columns = [
        known.get(column.name, F.lit(None)).cast(column.type).alias(column.name) for column in silver.EVENTS.columns
    ]
    return with_lead(drawn.select(*columns), ["member", "phone", "device", "cookie"])


def chance(name: str, of: str = "id") -> Column:
    """A number in [0, 1) that follows from the row's id."""
    return (F.abs(F.xxhash64(of, F.lit(name))) % 1_000_003) / 1_000_003
