"""The wheel as a cluster gets it: its bytes as .zip, Python on executors that have no checkout beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from datetime import date
from pathlib import Path

import deltalake
import pyspark
import pytest

NIGHT = date(2026, 6, 1)
TILL = "order_no,paid,at,phone\n1,10.00,2026-05-30,136 1209 7834\n2,20.00,2026-05-31,+8613612097834\n"
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


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, named as Spark's Python workers can import it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        ".",
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return Path(shutil.copy(wheel, folder / "retail_portraits.zip"))


def test_jobs_run_by_spark_submit_from_the_zip_on_executors_of_their_own(package: Path, tmp_path: Path) -> None:
    """Tokens come from a Python function, so an executor without our package would fail."""
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    for path, text in {
        landing / f"till/dt={NIGHT}/till.csv": TILL,
        tmp_path / "sources/till.yaml": SOURCE,
        tmp_path / "mine.yaml": "sources: sources\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    entry = Path(shutil.copy("jobs/nightly.py", tmp_path / "nightly.py"))
    submit = Path(pyspark.__file__).parent / "bin/spark-submit"
    command = [str(submit), "--master", "local-cluster[1,1,1024]", "--driver-memory", "1g", "--py-files", str(package)]
    command += [str(entry), "--date", str(NIGHT), "--lake", str(lake), "--landing", str(landing)]
    command += ["--settings", str(tmp_path / "mine.yaml")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_GATEWAY")}
    environment |= {"PYSPARK_PYTHON": _python_without_us(tmp_path), "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    customers = deltalake.DeltaTable(str(lake / "silver/customers")).to_pyarrow_table().to_pylist()
    assert [row["first_order_date"] for row in customers] == [date(2026, 5, 30)]  # both phones are one


def _python_without_us(folder: Path) -> str:
    """This interpreter with its libraries, but without the editable install of this checkout.

    `-S` leaves out site-packages and the .pth files in it; on PYTHONPATH the libraries come back, the .pth files not.
    """
    script = folder / "python"
    libraries = sysconfig.get_paths()["purelib"]
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{libraries}" exec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return str(script)
