"""Every job by itself, by spark-submit, in the order of the night: what `nightly` does in one application."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import deltalake
import pyspark
import pytest

from jobs.nightly import STEPS

NIGHT = date(2026, 6, 1)
TILL = "order_no,paid,at,phone\n1,10.00,2026-05-30,136 1209 7834\n2,20.00,2026-05-31,136 1209 7834\n"
SOURCE = """
name: till
label: 收银
channel: store_pos
format: csv
columns: [order_no, paid, at, phone]
records:
  - name: order
    event_type: order
    event_at: {column: at, format: yyyy-MM-dd}
    identifiers: {phone: phone}
    fields: {order_id: order_no, amount: paid}
"""


@pytest.mark.soak  # twelve applications: 4 minutes
def test_twelve_applications_make_one_published_night(tmp_path: Path) -> None:
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    for path, text in {
        landing / f"till/dt={NIGHT}/till.csv": TILL,
        tmp_path / "sources/till.yaml": SOURCE,
        tmp_path / "mine.yaml": "sources: sources\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    submit = Path(pyspark.__file__).parent / "bin/spark-submit"
    options = ["--date", str(NIGHT), "--lake", str(lake), "--landing", str(landing)]
    options += ["--settings", str(tmp_path / "mine.yaml")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_GATEWAY")}
    environment["PYSPARK_PYTHON"] = sys.executable
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = str(root)
    for step in STEPS:
        entry = root / "jobs" / f"{step.replace('-', '_')}.py"
        command = [str(submit), "--driver-memory", "1g", str(entry), *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
        assert done.returncode == 0, f"{step}: {done.stderr[-3000:]}"
        assert f"{step} " in done.stderr
    published = deltalake.DeltaTable(str(lake / "ops/publications")).to_pyarrow_table().to_pylist()
    assert {row["run_date"] for row in published if row["is_current"]} == {NIGHT}
    (customer,) = deltalake.DeltaTable(str(lake / "silver/customers")).to_pyarrow_table().to_pylist()
    assert customer["first_order_date"] == date(2026, 5, 30)
    steps = deltalake.DeltaTable(str(lake / "ops/job_runs")).to_pyarrow_table().to_pylist()
    assert [row["job"] for row in sorted(steps, key=lambda row: row["started_at"])] == list(STEPS)
