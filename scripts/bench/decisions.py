"""What the way from portrait to decision costs beside the portraits: `make bench-decisions`.

Events as in `portrait.py`, ten for each customer, some of them consents and contacts, some orders of several lines.
Every step from build-orders to plan-contacts runs once, everything from silver.events. Prints the seconds of each
step, and segments, recommendations and contacts as a share of activity, tags, RFM and values. Writes
build/bench/decisions.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from identity_nights import LAST, chance, context_of
from memory import timed
from night import DECISIONS, PORTRAITS
from portrait import events_of_a_year, who_is_who
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.nightly import STEPS
from jobs.runtime.job import JobContext
from transforms.contracts import silver

_EACH = 10
_CHANNELS = ("sms", "email", "app", "push", "mini_program")


def main() -> None:
    """Run every step at every size, and print seconds and the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=lambda text: int(float(text)), nargs="+", default=[1_000_000])
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = [row for size in arguments.events for row in _measured(size, arguments.out)]
    (arguments.out / "decisions.json").write_text(json.dumps(results, indent=2))


def _measured(size: int, out: Path) -> list[dict]:
    lake = out / f"decisions_{size}"
    shutil.rmtree(lake, ignore_errors=True)
    ctx = context_of(lake, LAST)
    ctx.tables.append(silver.EVENTS, _with_contacts(events_of_a_year(ctx.spark, size, _EACH)))
    who_is_who(ctx, size, _EACH)
    rows = []
    for name in ("build-orders", "build-customers", *PORTRAITS, *DECISIONS):
        rows.append(timed("decisions", name, size, lambda name=name: _run(ctx, name)))
        print("{case:20} {size:>12,} events {seconds:8.1f} s {peak_mb:,} MB".format(**rows[-1]), flush=True)
    seconds = {row["case"]: row["seconds"] for row in rows}
    portraits, decisions = (sum(seconds[name] for name in names) for names in (PORTRAITS, DECISIONS))
    print(f"decisions {decisions:.1f} s, {decisions / portraits:.2f} of the portraits' {portraits:.1f} s", flush=True)
    return rows


def _run(ctx: JobContext, name: str) -> int:
    STEPS[name](ctx)
    ctx.forget()
    print(f"  {name}: {ctx.facts}", flush=True)
    ctx.facts.clear()
    return 0


def _with_contacts(events: DataFrame) -> DataFrame:
    """A tenth of the views are contacts instead, a tenth consents; lines of two months are one order."""
    is_view = F.col("event_type") == "view"
    is_touch, is_consent = (
        is_view & (chance("touch", "event_id") < 0.1),
        is_view & (chance("consent", "event_id") < 0.1),
    )
    place = 1 + F.floor(chance("via", "event_id") * len(_CHANNELS)).cast("int")
    via = F.element_at(F.array(*map(F.lit, _CHANNELS)), place)
    consents = F.create_map(
        *[F.lit(part) for name in ("marketing", "personalised", "finance") for part in (f"consent_{name}", "true")]
    )
    order = F.concat_ws("-", "lead_identifier", F.floor(F.unix_date("event_date") / 60))
    said = {
        "event_type": F.when(is_touch, "touch").when(is_consent, "consent").otherwise(F.col("event_type")),
        "props": F.when(is_touch, F.create_map(F.lit("contact_channel"), via)).otherwise(F.col("props")),
        "campaign_id": F.when(is_touch, F.lit("wake_up-202606")).otherwise(F.col("campaign_id")),
        "attributes": F.when(is_consent, consents).otherwise(F.col("attributes")),
        "order_id": F.when(F.col("event_type") == "order", order),
        "line_id": F.when(F.col("event_type") == "order", F.col("event_id")),
    }
    return events.withColumns(said)


if __name__ == "__main__":
    main()
