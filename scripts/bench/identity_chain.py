"""Identity resolution on a generated chain with all its dirt: how right it is, and whether ids stay.

`python scripts/bench/identity_chain.py --customers 1e5 --days 14` generates the chain, resolves all but its last day,
resolves that day as a night, and again whole with other partitions. Prints and writes build/bench/identity_chain.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from datetime import date, timedelta
from pathlib import Path

import yaml
from identity_nights import context_of
from memory import PeakMemory
from pyspark.sql import functions as F

from jobs import clean_events, ingest_events, resolve_identities
from jobs.generate import generate
from jobs.runtime.job import JobContext
from jobs.runtime.keys import token_key
from transforms.contracts import gold, silver
from transforms.identity.identifiers import identified_by_type
from transforms.identity.nodes import KEY
from transforms.simulation.plan import SimulationPlan

LAST = date(2026, 6, 30)


def main() -> None:
    """Generate, resolve three times, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=lambda text: int(float(text)), default=10_000)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    root = arguments.out / f"chain_{arguments.customers}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    settings = root / "settings.yaml"
    settings.write_text(yaml.safe_dump({"truth": "truth/identifiers"}))
    yesterday, today = (
        context_of(root / "lake", LAST - timedelta(days=ago), root / "landing", [str(settings)]) for ago in (1, 0)
    )
    plan = SimulationPlan(customers=arguments.customers, days=arguments.days, nights=1, end_date=LAST, seed=1)
    seconds = {"generate": _timed(lambda: generate(today.spark, str(root / "landing"), plan))}
    with PeakMemory() as peak:
        for name, ctx in (("first", yesterday), ("nightly", today)):
            for job in (ingest_events, clean_events, resolve_identities):
                step = f"{name} {job.__name__.split('.')[-1]}"
                seconds[step] = _timed(lambda job=job, ctx=ctx: job.run(ctx))
                ctx.forget()
                print(f"{step}: {seconds[step]} s", flush=True)
    again = today.facts.get("looked at again")
    told = {"seconds": seconds, "peak_mb": peak.mb, "events": today.event_count, "looked_at_again": again}
    told |= _found(today)
    told["rows_changed_by_partitions"] = _changed_by_partitions(today)
    for name, value in told.items():
        print(f"{name}: {value}", flush=True)
    (arguments.out / "identity_chain.json").write_text(json.dumps([told], indent=2))


def _timed(action) -> float:
    started = time.monotonic()
    action()
    return round(time.monotonic() - started, 1)


def _found(ctx: JobContext) -> dict[str, float]:
    """Against the truth; and of the night's changes those that nothing new explains."""
    tables, rules = ctx.tables, ctx.settings.identity
    quality = tables.read(gold.IDENTITY_QUALITY).where(F.col("run_date") == F.lit(LAST))
    metrics = {row.metric: row.value for row in quality.collect() if ":" not in row.metric}
    identities, refusals = tables.read(silver.IDENTITIES), tables.read(silver.IDENTITY_REFUSALS)
    truth = ctx.spark.read.parquet(ctx.settings.truth or "")
    hashes = {kind.type: ctx.settings.common_hash(kind.type) for kind in rules.types}
    stored = identified_by_type(F.col("identifier_type"), F.col("raw_value"), rules, token_key(ctx.env), hashes)
    members = truth.where("identifier_type = 'member'").select(stored.alias("identifier"), "person_id").distinct()
    owned = identities.where("identifier_type = 'member'").join(members, "identifier")
    mixed = owned.groupBy("customer_id").agg(F.countDistinct("person_id").alias("n")).where("n > 1")
    changes = tables.read(silver.IDENTITY_CHANGES).where(F.col("run_date") == F.lit(LAST))
    arrived = tables.read(silver.EVENTS).where(F.col("arrival_date") == F.lit(LAST))
    new = arrived.select(F.explode("identifiers").alias(*KEY)).distinct()
    touched = changes.join(new, KEY).select("previous_customer_id", "customer_id")
    alive = identities.join(new, KEY).select("customer_id")
    affected = touched.select(F.explode(F.array("previous_customer_id", "customer_id")).alias("customer_id"))
    affected = affected.union(alive).where("customer_id is not null").distinct()
    unexplained = changes.where("previous_customer_id is not null").join(affected, "customer_id", "left_anti")
    return {
        **metrics,
        "arrived_share": round(arrived.count() / ctx.event_count, 4),
        "customers_with_two_persons_members": mixed.count(),
        "ids_changed_without_new_events": unexplained.count(),
        "refusals": refusals.count(),
        "refusals_without_reason": refusals.where("reason is null").count(),
    }


def _changed_by_partitions(ctx: JobContext) -> int:
    """Rows of silver.identities that a full pass with other partitions makes otherwise."""
    night = ctx.tables.version(silver.IDENTITIES)
    ctx.spark.conf.set("spark.sql.shuffle.partitions", "7")
    ctx.full, ctx.arrived = True, {}
    resolve_identities.run(ctx)
    before, after = ctx.tables.read(silver.IDENTITIES, night), ctx.tables.read(silver.IDENTITIES)
    return before.exceptAll(after).count() + after.exceptAll(before).count()


if __name__ == "__main__":
    main()
