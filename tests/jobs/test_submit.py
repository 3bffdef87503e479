"""Jobs by spark-submit: from the wheel's zip on executors without a checkout, on a cluster, one application per job."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import deltalake
import pyspark
import pytest

from jobs.nightly import STEPS

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


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """A landing folder, settings and a lake to be, as a job's options."""
    for path, text in {
        tmp_path / f"landing/till/dt={NIGHT}/till.csv": TILL,
        tmp_path / "sources/till.yaml": SOURCE,
        tmp_path / "mine.yaml": "sources: sources\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lake = ["--date", str(NIGHT), "--lake", str(tmp_path / "lake"), "--landing", str(tmp_path / "landing")]
    return [*lake, "--settings", str(tmp_path / "mine.yaml")]


def test_a_job_runs_from_the_zip_on_executors_of_their_own(package: Path, tmp_path: Path, options: list[str]) -> None:
    """Tokens come from a Python function, so an executor without our package would fail. A whole night: below."""
    entry = Path(shutil.copy("jobs/ingest_events.py", tmp_path / "ingest_events.py"))
    cluster = ["--master", "local-cluster[1,1,1024]", "--py-files", str(package)]
    _submit(entry, options, cluster, tmp_path, {"PYSPARK_PYTHON": _python_without_us(tmp_path), "PYTHONPATH": ""})
    rows = deltalake.DeltaTable(str(tmp_path / "lake/bronze/till")).to_pyarrow_table().to_pylist()
    assert [len(token) for token in {row["phone"] for row in rows}] == [64]  # both spellings are one phone
    assert len(rows) == 2


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A standalone master and two workers of one core each on the loopback; the master's URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url, deploy = f"spark://127.0.0.1:{port}", "org.apache.spark.deploy"
    worker = [f"{deploy}.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "-c", "1", "-m", "1g"]
    daemons = [
        [f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", "0"],
        *[[*worker, "--work-dir", str(tmp_path / f"worker{number}"), url] for number in (1, 2)],
    ]
    spark_class = str(Path(pyspark.__file__).parent / "bin/spark-class")
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    with ExitStack() as running, (tmp_path / "cluster.log").open("w") as log:
        for daemon in daemons:  # workers wait for their master by themselves
            started = subprocess.Popen([spark_class, *daemon], env=environment, stdout=log, stderr=log)
            running.callback(started.wait)
            running.callback(started.terminate)
        yield url


@pytest.mark.cluster
def test_a_night_on_a_cluster_gives_what_one_machine_gives(
    package: Path, tmp_path: Path, options: list[str], cluster: str
) -> None:
    """Law 3 beyond one process: driver and executors share nothing but the files."""
    keys = {"PORTRAITS_TOKEN_KEY": "a key", "PORTRAITS_VAULT_KEY": "another key", "SPARK_LOCAL_IP": "127.0.0.1"}
    entry = Path(shutil.copy("jobs/nightly.py", tmp_path / "nightly.py"))
    there = ["--master", cluster, "--executor-memory", "900m", "--conf", "spark.sql.shuffle.partitions=2"]
    there += ["--py-files", str(package)]
    without_us = {"PYSPARK_PYTHON": _python_without_us(tmp_path), "PYTHONPATH": ""}
    _submit(entry, [*options, "--env", "cluster"], there, tmp_path, {**keys, **without_us})
    here = ["--lake", str(tmp_path / "here")]
    _submit(entry, [*options, *here], ["--py-files", str(package)], tmp_path, {**keys, **without_us})
    script = "from jobs.cli import main; main()"
    compared = [sys.executable, "-c", script, "compare", str(tmp_path / "lake"), str(tmp_path / "here")]
    compared += options[-2:]
    done = subprocess.run(compared, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert _first_orders(tmp_path) == [date(2026, 5, 30)]


@pytest.mark.soak  # twelve applications
def test_twelve_applications_make_one_published_night(tmp_path: Path, options: list[str]) -> None:
    root = Path(__file__).parents[2]
    for step in STEPS:
        entry = root / "jobs" / f"{step.replace('-', '_')}.py"
        told = _submit(entry, options, [], tmp_path, {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(root)})
        assert f"{step} " in told
    published = deltalake.DeltaTable(str(tmp_path / "lake/ops/publications")).to_pyarrow_table().to_pylist()
    assert {row["run_date"] for row in published if row["is_current"]} == {NIGHT}
    assert _first_orders(tmp_path) == [date(2026, 5, 30)]
    steps = deltalake.DeltaTable(str(tmp_path / "lake/ops/job_runs")).to_pyarrow_table().to_pylist()
    assert [row["job"] for row in sorted(steps, key=lambda row: row["started_at"])] == list(STEPS)


def _submit(entry: Path, options: list[str], more: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run one application to its good end; what it said."""
    submit = Path(pyspark.__file__).parent / "bin/spark-submit"
    command = [str(submit), "--driver-memory", "1g", *more, str(entry), *options]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_GATEWAY")}
    done = subprocess.run(
        command, capture_output=True, text=True, env={**inherited, **environment}, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr  # spark-submit hands Python's error stream on as its own output


def _first_orders(folder: Path) -> list[date]:
    customers = deltalake.DeltaTable(str(folder / "lake/silver/customers")).to_pyarrow_table().to_pylist()
    return [row["first_order_date"] for row in customers]


def _python_without_us(folder: Path) -> str:
    """This interpreter with its libraries, but without the editable install of this checkout.

    `-S` leaves out site-packages and the .pth files in it; on PYTHONPATH the libraries come back, the .pth files not.
    """
    script = folder / "python"
    libraries = sysconfig.get_paths()["purelib"]
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{libraries}" exec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return str(script)
