"""Tags of all customers side by side on generated events, in one run: `make bench-portrait`.

Cases: `full` (build-activity and compute-tags, everything from silver.events), `nightly` (one more day with 0.3 % late
events), `floor` (read the same columns, one shuffle by customer, write as many columns as Delta), `duckdb` and `polars`
(the same tags from the same Parquet files, to a Parquet file), `naive` (Spark, one aggregate and one join for each
tag). The events have no returns and one lead for each customer, which spares the peers netting and identities, not us;
tags are as shipped but for `keep_last` and what reads attributes, with counts of more windows up to `--tags`.
Prints seconds, ratios, peak memory and bytes written, and how many rows of ours differ from DuckDB's.
Writes build/bench/portrait.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
from deltalake import DeltaTable
from identity_nights import DAYS, EVENTS_EACH, LAST, chance, context_of
from memory import timed
from portrait_peers import duckdb_tags, naive_tags, polars_tags
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import build_activity, compute_tags
from jobs.runtime.job import JobContext
from jobs.runtime.settings import load_settings
from transforms.contracts import Table, ops, silver
from transforms.tags import TagRules

PEERS = ("duckdb", "polars")
Case = Callable[[], int]


def main() -> None:
    """Run every case at every size, and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=lambda text: int(float(text)), nargs="+", default=[1_000_000])
    parser.add_argument("--tags", type=int, default=90)
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="only these (default: all but naive)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = [row for size in arguments.events for row in _measured(size, arguments)]
    (arguments.out / "portrait.json").write_text(json.dumps(results, indent=2))


def bench_tags(count: int) -> TagRules:
    """So many tags over activity: those shipped, and counts of event types over more windows."""
    shipped = load_settings().tags.tags
    other_sql = {n for n, t in shipped.items() if "dayofweek" in (t.where or "")}  # Sunday is 1 to Spark, 0 to DuckDB
    kept = {
        n: t
        for n, t in shipped.items()
        if (t.reads_activity or t.parsed.name in ("ratio", "trend")) and not other_sql & {n, *t.parsed.of_kind("tag")}
    }
    tags = {n: t.model_copy(update={"null_policy": "clear"}) for n, t in kept.items()}
    for days in (7, 14, 30, 60, 90, 180, 270, 365):
        for kind in ("view", "visit", "search", "favourite", "cart_add", "share", "order"):
            if len(tags) < count:
                model = shipped["visit_count_7d"]
                name, where = f"bench_{kind}_count_{days}d", f"event_type = '{kind}'"
                tags[name] = model.model_copy(update={"name": name, "window": days, "where": where})
    return TagRules.model_validate({"tags": dict(list(tags.items())[:count])})


def _measured(size: int, arguments: argparse.Namespace) -> list[dict]:
    lake, rules = arguments.out / f"portrait_{size}", bench_tags(arguments.tags)
    shutil.rmtree(lake, ignore_errors=True)
    before, ctx = (_with_tags(context_of(lake, day), rules) for day in (LAST - timedelta(days=1), LAST))
    events = events_of_a_year(ctx.spark, size)
    is_new = F.col("arrival_date") == F.lit(LAST)
    before.tables.append(silver.EVENTS, events.where(~is_new))
    who_is_who(before, size)
    cases: dict[str, Case] = {
        "first": lambda: _ours(before),
        "nightly": lambda: _ours(ctx),
        "full": lambda: _ours(replace(ctx, full=True, arrived={})),
        "floor": lambda: _floor(ctx, lake, rules),
        "duckdb": lambda: duckdb_tags(_files(lake), lake / "duckdb.parquet", LAST, rules),
        "polars": lambda: polars_tags(_files(lake), lake / "polars.parquet", LAST, rules),
        "naive": lambda: naive_tags(ctx.spark, _files(lake), lake / "naive", LAST, rules),
    }
    wanted = arguments.cases or [name for name in cases if name != "naive"]
    rows = []
    for name in (name for name in cases if name in wanted):
        if name == "nightly":
            _published(ctx, before)
            ctx.tables.append(silver.EVENTS, events.where(is_new))
        rows.append(_timed(name, cases[name], size, lake))
        print(
            "{case:10} {size:>12,} events {seconds:8.2f} s {peak_mb:,} MB, {written_mb:,} MB written".format(**rows[-1])
        )
    seconds = {row["case"]: row["seconds"] for row in rows}
    for row in rows:
        peers = [seconds[name] for name in PEERS if name in seconds]
        row["ratio_to_floor"] = round(row["seconds"] / seconds["floor"], 3) if "floor" in seconds else None
        row["ratio_to_best_peer"] = round(row["seconds"] / min(peers), 3) if peers else None
        print("{case:10} × floor {ratio_to_floor}  × best peer {ratio_to_best_peer}".format(**row), flush=True)
    if {"full", "duckdb"} <= set(seconds):
        print(f"{_differing(lake, rules)} values differ between ours and DuckDB's", flush=True)
    return rows


def _with_tags(ctx: JobContext, rules: TagRules) -> JobContext:
    ctx.settings = ctx.settings.model_copy(update={"tags": rules})
    return ctx


def _ours(ctx: JobContext) -> int:
    started = time.monotonic()
    with ctx.spread():  # as a night's steps are run
        build_activity.run(ctx)
    ctx.forget()
    between = time.monotonic()
    with ctx.spread():
        compute_tags.run(ctx)
    ctx.forget()
    print(f"  build-activity {between - started:.1f} s, compute-tags {time.monotonic() - between:.1f} s: {ctx.facts}")
    return int(ctx.facts["customers"])


def _floor(ctx: JobContext, lake: Path, rules: TagRules) -> int:
    """The columns that tags read, all of a customer's rows together, and as many columns of the result's size."""
    read = [
        "lead_identifier",
        "event_date",
        "event_type",
        "channel",
        "store_id",
        "category",
        "brand",
        "quantity",
        "amount",
        "event_at",
    ]
    events = ctx.tables.read(silver.EVENTS).select(*read).repartition("lead_identifier")
    grouped = events.groupBy("lead_identifier").agg(*[F.max(name).alias(name) for name in read[1:]])
    columns = [("amount", "event_date", "category", "quantity")[place % 4] for place in range(len(rules.tags))]
    wide = grouped.select("lead_identifier", *[F.col(c).alias(n) for c, n in zip(columns, rules.tags, strict=True)])
    wide.write.format("delta").mode("overwrite").save(str(lake / "floor"))
    return ctx.spark.read.format("delta").load(str(lake / "floor")).count()


def _files(lake: Path) -> list[str]:
    return [str(Path(path)) for path in DeltaTable(str(lake / "silver/events")).file_uris()]


def _differing(lake: Path, rules: TagRules) -> int:
    """Values of ours that are others in DuckDB's result, over all customers and tags."""
    ours = DeltaTable(str(lake / "gold/customer_tags")).to_pyarrow_dataset()
    connection = duckdb.connect()
    connection.register("ours", ours)
    found = [
        connection.execute(
            f"select count(*) from ours o join '{lake}/duckdb.parquet' d using (customer_id) "
            f"where o.run_date = date '{LAST}' and cast(o.\"{name}\" as varchar) is distinct from "
            f'cast(cast(d."{name}" as {_duckdb_type(rules.types[name])}) as varchar)'
        ).fetchall()[0][0]
        for name in rules.tags
    ]
    for name, count in zip(rules.tags, found, strict=True):
        if count:
            print(f"  {name}: {count}")
    return sum(found)


def _duckdb_type(kind: str) -> str:
    return {"string": "varchar", "bigint": "bigint", "int": "int"}.get(kind, kind)


def _timed(name: str, case: Case, size: int, lake: Path) -> dict:
    before = _bytes(lake)
    row = timed("portrait", name, size, case)
    return {**row, "written_mb": (_bytes(lake) - before) >> 20}


def _bytes(lake: Path) -> int:
    return sum(path.stat().st_size for path in lake.rglob("*") if path.is_file())


def who_is_who(ctx: JobContext, size: int, each: int = EVENTS_EACH) -> None:
    """Who is who, as resolve-identities and build-customers leave it: one member number for each customer."""
    members = ctx.spark.range(max(size // each, 1)).select(
        F.lit("member").alias("identifier_type"), _member(F.col("id")).alias("identifier")
    )
    owned = members.withColumns({"customer_id": _customer("identifier"), "status": F.lit("alone")})
    for table, rows in ((silver.IDENTITIES, owned), (silver.CUSTOMERS, owned)):
        ctx.tables.replace(table, _filled(rows, table))
    for table in (silver.IDENTITY_BAD_VALUES, silver.IDENTITY_CHANGES):
        ctx.tables.replace(table, ctx.spark.createDataFrame([], table.schema))


def _published(ctx: JobContext, before: JobContext) -> None:
    """The night before was published."""
    row = {"run_id": before.run_id, "run_date": before.run_date, "table": "silver.timelines", "is_current": True}
    frame = ctx.spark.createDataFrame([row], "run_id string, run_date date, `table` string, is_current boolean")
    ctx.tables.replace(ops.PUBLICATIONS, _filled(frame, ops.PUBLICATIONS))


def _filled(frame: DataFrame, table: Table) -> DataFrame:
    columns = [F.col(c.name) if c.name in frame.columns else F.lit(None) for c in table.columns]
    return frame.select(*[value.cast(c.type).alias(c.name) for value, c in zip(columns, table.columns, strict=True)])


def _member(customer: Column) -> Column:
    return F.concat(F.lit("M"), customer)


def _customer(identifier: str) -> Column:
    return F.concat(F.lit("C"), F.substring(F.sha2(F.concat(F.lit("member:"), F.col(identifier)), 256), 1, 32))


def events_of_a_year(spark: SparkSession, size: int, each: int = EVENTS_EACH) -> DataFrame:
    """silver.events of a year: so many for each customer, more of them lately, a tenth orders of one line."""
    customer = F.abs(F.xxhash64("id", F.lit(1))) % max(size // each, 1)
    age = F.floor(F.pow(chance("age"), F.lit(1.2)) * DAYS).cast("int")
    late = F.when(chance("late") < 0.003, 1 + F.floor(chance("days") * 5)).otherwise(0).cast("int")
    kinds = [
        "order",
        *["view"] * 5,
        "visit",
        "visit",
        "search",
        "favourite",
        "cart_add",
        "share",
        "review",
        "coupon_redeem",
    ]
    drawn = spark.range(size).select(
        "id",
        _member(customer).alias("member"),
        age.alias("ago"),
        F.greatest(age - late, F.lit(0)).alias("arrived_ago"),
        F.element_at(F.array(*map(F.lit, kinds)), 1 + F.floor(chance("kind") * len(kinds)).cast("int")).alias("kind"),
        F.floor(F.pow(chance("product"), F.lit(3)) * 20_000).cast("int").alias("product"),
    )
    is_order, goods = F.col("kind") == "order", F.col("kind").isin("order", "view", "favourite", "cart_add", "review")
    happened = F.date_sub(F.lit(LAST), F.col("ago"))
    coupon = F.when(
        is_order & (chance("coupon") < 0.2), F.concat(F.lit("K"), F.floor(chance("which") * 50).cast("int"))
    )
    channel = F.element_at(
        F.array(*map(F.lit, ("app", "ecommerce", "mini_program", "store_pos"))),
        1 + F.floor(chance("channel") * 4).cast("int"),
    )
    known = {
        "event_id": F.concat(F.lit("e"), "id"),
        "source": channel,
        "channel": channel,
        "event_type": F.col("kind"),
        "event_at": F.timestamp_seconds(F.unix_seconds(happened.cast("timestamp")) + F.col("id") % 57_600),
        "event_date": happened,
        "arrival_date": F.date_sub(F.lit(LAST), F.col("arrived_ago")),
        "identifiers": F.create_map(F.lit("member"), F.col("member")),
        "lead_identifier_type": F.lit("member"),
        "lead_identifier": F.col("member"),
        "order_id": F.when(is_order, F.concat(F.lit("shop:"), "id")),
        "line_id": F.when(is_order, F.lit("1")),
        "product_id": F.when(goods, F.concat(F.lit("P"), "product")),
        "category": F.when(goods, F.concat(F.lit("category "), F.col("product") % 40)),
        "brand": F.when(goods, F.concat(F.lit("brand "), F.col("product") % 300)),
        "store_id": F.when(channel == "store_pos", F.concat(F.lit("S"), F.floor(chance("store") * 200).cast("int"))),
        "quantity": F.when(is_order, 1 + F.floor(chance("pieces") * 3)),
        "amount": F.when(is_order, F.round(F.pow(chance("amount"), F.lit(2)) * 900 + 5, 2)),
        "discount_amount": F.when(coupon.isNotNull(), F.lit(10)),
        "coupon_id": coupon,
        "dwell_seconds": F.when(F.col("kind") == "view", F.floor(chance("dwell") * 120)),
        "rating": F.when(F.col("kind") == "review", 1 + F.floor(chance("rating") * 5)),
    }
    return drawn.select(*[known.get(c.name, F.lit(None)).cast(c.type).alias(c.name) for c in silver.EVENTS.columns])


if __name__ == "__main__":
    main()
