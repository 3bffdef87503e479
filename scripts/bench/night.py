"""Every step's share of a whole night over a generated chain: `make bench-night`.

Generates a chain of eleven channels, loads all but its last day (`first`), and then that day (`nightly`); each in an
application of its own, as a scheduler would start it. Prints seconds and shares of the steps, the three costliest, and
what the steps from portrait to decision (segments, recommendations, contacts) cost against the portraits (activity,
tags, RFM, values) of the same night. Writes build/bench/night.json, a row for each step and one for each whole night.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from deltalake import DeltaTable
from memory import timed

PORTRAITS = ("build-activity", "compute-tags", "score-rfm", "value-customers")
DECISIONS = ("build-segments", "recommend-products", "plan-contacts")
LAST, BEFORE = "2026-06-30", "2026-06-29"


def main() -> None:
    """Generate, run two nights, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=lambda text: int(float(text)), default=100_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--memory", default="8g", help="of the driver, in which local executors live")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    folder = arguments.out / f"night_{arguments.customers}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "bench.yaml").write_text(f"spark: {{spark.driver.memory: {arguments.memory}}}\n")
    chain = ["--customers", str(arguments.customers), "--days", str(arguments.days), "--nights", "1", "--date", LAST]
    _portraits("generate", "--landing", f"{folder}/landing", *chain)
    rows = [
        row
        for case, day in (("first", BEFORE), ("nightly", LAST))
        for row in _night(folder, case, day, arguments.customers)
    ]
    (arguments.out / "night.json").write_text(json.dumps(rows, indent=2))


def _night(folder: Path, case: str, day: str, customers: int) -> list[dict]:
    """Run the night of a day; its row, and one for each step, as ops.job_runs has them."""
    lake = f"{folder}/lake"
    options = ["--lake", lake, "--landing", f"{folder}/landing", "--settings", f"{folder}/bench.yaml"]
    whole = timed("night", case, customers, lambda: _portraits("nightly", "--date", day, *options))
    runs = DeltaTable(f"{lake}/ops/job_runs").to_pyarrow_table().to_pylist()
    steps = {run["job"]: run for run in sorted(runs, key=lambda run: run["started_at"]) if str(run["run_date"]) == day}
    events = DeltaTable(f"{lake}/silver/events").to_pyarrow_dataset().count_rows()
    total = sum(run["seconds"] for run in steps.values())
    print(f"\n{case}: {events:,} events, {customers:,} people, {whole['seconds']:.0f} s, {whole['peak_mb']:,} MB")
    for job, run in steps.items():
        print(f"  {job:20} {run['seconds']:8.1f} s {run['seconds'] / total:6.1%}")
    costliest = sorted(steps, key=lambda job: -steps[job]["seconds"])[:3]
    print(f"  the three costliest: {', '.join(costliest)}")
    portraits, decisions = (sum(steps[job]["seconds"] for job in jobs) for jobs in (PORTRAITS, DECISIONS))
    print(f"  from portrait to decision: {decisions:.1f} s, {decisions / portraits:.2f} of the portraits", flush=True)
    return [
        {**whole, "events": events},
        *[{**whole, "case": f"{case}:{job}", "seconds": run["seconds"]} for job, run in steps.items()],
    ]


def _portraits(*arguments: str) -> int:
    subprocess.run([str(Path(sys.executable).parent / "portraits"), *arguments], check=True)
    return 0


if __name__ == "__main__":
    main()
