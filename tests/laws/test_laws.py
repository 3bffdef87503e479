"""The laws of DESIGN section 2, on whole nights over a small generated chain with all its dirt.

One lake is built night by night; the others are built in another way and must come out the same. Each test runs as
many nights as it must, since a night costs half a minute however small it is.
"""

from __future__ import annotations

import gzip
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import reduce
from itertools import permutations
from pathlib import Path

import deltalake
import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from jobs import nightly
from jobs.compare import compare_lakes
from jobs.explain_kpi import explain_kpi
from jobs.explain_segment import explain_segment
from jobs.generate import generate
from jobs.runtime.job import DONE, Job, JobContext
from jobs.runtime.publications import PublishedTables, current, today
from jobs.runtime.session import configured
from jobs.runtime.settings import load_settings
from jobs.runtime.tables import Commit, Tables
from tests.nights import differences, run_night
from transforms.contracts import Table, gold, ops, silver
from transforms.identity.changes import mapping_before
from transforms.simulation.plan import SimulationPlan

LAST = date(2026, 3, 31)
# These say what is new since the run before, so they follow the split into nights.
SINCE_THE_RUN_BEFORE = [
    "silver.identity_changes",
    "silver.identity_history",
    "gold.identity_quality",
    "gold.tag_health",
    "gold.segment_history",
    "gold.segment_flows",
    "gold.campaign_reviews",  # the control is whom the plans of earlier nights left alone
    "gold.experiment_assignments",
    "gold.experiment_results",  # who was drawn on an earlier night has more days behind them
]
NIGHTS = [LAST - timedelta(days=1), LAST]
# So short a chain can only be asked what follows in 20 days.
_NET_AMOUNT_20D = {
    "label": "20 天净额", "description": "Net amount.", "type": "value", "measure": "sum(net_amount)", "window": 20,
}  # fmt: skip


@dataclass
class Chain:
    """A generated chain, its settings, and the lake that was built night by night."""

    landing: Path
    settings: tuple[str, ...]
    lake: Path
    before_last: Path
    seen_by_reader: list[str] = field(default_factory=list)
    asked_for: dict[str, set[str]] = field(default_factory=dict)  # by step: tables, whether read or written
    written: dict[str, set[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def chain(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    root = tmp_path_factory.mktemp("chain")
    generate(spark, str(root / "landing"), SimulationPlan(customers=150, days=60, nights=2, end_date=LAST, seed=7))
    settings = root / "settings.yaml"
    # A night works out again only what it touches, and values are modelled, also on so small a chain.
    small = {
        "truth": "truth/identifiers",
        "identity": {"whole_up_to": 0},
        "timelines": {"whole_up_to": 0},
        "tags": {"net_amount_20d": _NET_AMOUNT_20D},
        "value": {
            "min_repeat_customers": 10,
            "least_order_lines": 100,
            "holdout_days": 20,
            "clusters": {"least_customers": 50},
            "potential": {"model": {"outcome": "net_amount_20d", "least_positives": 3, "least_positive_share": 0}},
        },
    }
    settings.write_text(yaml.safe_dump(small))
    made = Chain(root / "landing", (str(settings),), root / "nightly", root / "before_last")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nightly, "STEPS", {name: _traced(name, job, made) for name, job in nightly.STEPS.items()})
        for day in NIGHTS[:-1]:
            run_night(made.lake, made.landing, day, made.settings)
        shutil.copytree(made.lake, made.before_last)
        with _reader(made):
            run_night(made.lake, made.landing, LAST, made.settings)
    return made


def _traced(name: str, job: Job, chain: Chain) -> Job:
    """The job, with a note of each table that it asks for."""

    def run(ctx: JobContext) -> None:
        list_log, asked = ctx.tables._log_files, chain.asked_for.setdefault(name, set())

        def noted(path: str) -> list[str]:  # before a table is read or written, its versions are looked up
            asked.add(".".join(path.split("/")[-2:]))
            return list_log(path)

        setattr(ctx.tables, "_log_files", noted)  # noqa: B010
        job(ctx)
        chain.written.setdefault(name, set()).update(ctx.tables.written)

    return run


class _reader:  # noqa: N801
    """Reads the current publication with delta-rs again and again while a night runs, and notes what it saw."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        lake = self._chain.lake
        while not self._stop.wait(1.0):
            listed = deltalake.DeltaTable(str(lake / "ops/publications")).to_pyarrow_table().to_pylist()
            rows = [row for row in listed if row["is_current"]]
            days = {str(row["run_date"]) for row in rows}
            counts = {
                row["table"]: deltalake.DeltaTable(
                    str(lake / row["table"].replace(".", "/")), version=row["delta_version"]
                )
                .to_pyarrow_table(columns=["customer_id"])
                .num_rows
                for row in rows
                if row["table"] in ("silver.customers", "gold.customer_tags")
            }
            stated = {row["table"]: row["row_count"] for row in rows if row["table"] in counts}
            self._chain.seen_by_reader.append(f"{sorted(days)} {'as stated' if counts == stated else 'MIXED'}")


def test_the_chain_has_its_dirt(spark: SparkSession, chain: Chain) -> None:
    """Else the laws below would hold on clean data only."""
    reasons = {
        row.reason
        for row in Tables(spark, str(chain.lake), "test", None)
        .read(silver.REJECTED_RECORDS)
        .select(F.explode("reasons").alias("reason"))
        .collect()
    }
    assert {"bad_event_at", "no_record"} <= reasons
    ledger = Tables(spark, str(chain.lake), "test", None).read(ops.LANDING_FILES)
    total = ledger.agg(F.sum("rows_duplicate").alias("d"), F.sum("rows_ignored").alias("i")).head()
    assert total is not None
    assert total.d > 0
    assert total.i > 0


def test_a_step_reads_what_those_wrote_that_it_needs(chain: Chain) -> None:
    """Else one that runs beside it might have written the table, or not yet."""
    before: dict[str, set[str]] = {}
    for name, needed in nightly.NEEDS.items():
        before[name] = {*needed}.union(*(before[other] for other in needed))
    assert [*nightly.NEEDS] == [*nightly.STEPS] == [name for name in nightly.STEPS if name in chain.written]
    beside = [(a, b) for a, b in permutations(before, 2) if a not in before[b] and b not in before[a]]
    assert len(beside) > 40  # else nearly nothing may run side by side
    races = {(one, other): chain.asked_for[one] & chain.written[other] for one, other in beside}
    # Rows are only ever added to it, and no step reads it.
    assert {pair: tables for pair, tables in races.items() if tables - {"ops.restatements"}} == {}


def test_law_1_a_past_date_comes_out_as_it_was_known_then(chain: Chain, tmp_path: Path) -> None:
    """Yesterday again, after today: its slices as yesterday wrote them, silver and readers still at today."""
    again, yesterday = tmp_path / "again", NIGHTS[0]
    shutil.copytree(chain.lake, again)
    ctx = run_night(again, chain.landing, yesterday, chain.settings)
    lakes = [Tables(ctx.spark, str(lake), "compare", None) for lake in (chain.before_last, chain.lake, again)]
    sliced = {table.full_name for table in gold.TABLES if "run_date" in table.column_names} | {"gold.customer_tags"}
    assert compare_lakes(lakes[0], lakes[2], ctx.settings, yesterday, sliced) == []
    # What late events restated today is not replaced by what was known yesterday
    assert compare_lakes(lakes[1], lakes[2], ctx.settings, yesterday, {"gold.kpi_values"}) == []
    assert compare_lakes(lakes[1], lakes[2], ctx.settings, LAST) == []
    assert not list(again.glob("_scratch/*"))
    assert today(lakes[2]) == LAST
    assert {entry.run_date for entry in current(lakes[2])} == {yesterday}


@pytest.mark.soak  # a night that died late is run again from its first step in the test below
def test_law_2_running_a_night_again_changes_nothing(chain: Chain, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(chain.lake, again)
    ctx = run_night(again, chain.landing, LAST, chain.settings)
    assert differences(ctx, chain.lake, again, None, chain.settings) == []


def test_law_2_killed_between_any_two_tables_a_rerun_heals(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The night dies after these commits, one attempt after the other; the last attempt goes through."""
    lake = tmp_path / "killed"
    shutil.copytree(chain.before_last, lake)
    write = Tables._write
    deadly = ["bronze.ecommerce", "silver.identity_links", "gold.contact_plan"]

    class Killed(BaseException):
        pass

    def dying(self: Tables, table: Table, *rest: object) -> Commit:
        commit = write(self, table, *rest)  # type: ignore[arg-type]
        if deadly and table.full_name == deadly[0]:
            raise Killed(deadly.pop(0))
        return commit

    monkeypatch.setattr(Tables, "_write", dying)
    while deadly:
        with pytest.raises(Killed):
            run_night(lake, chain.landing, LAST, chain.settings)
    ctx = run_night(lake, chain.landing, LAST, chain.settings)
    assert differences(ctx, chain.lake, lake, None, chain.settings) == []


def test_laws_3_and_4_one_load_on_one_core_gives_what_two_nights_gave(
    spark: SparkSession, chain: Chain, tmp_path: Path
) -> None:
    """All files at once, one core, other partitions, files cut into splits: the last date's rows are the same."""
    lake = tmp_path / "at_once"
    other = {"spark.sql.shuffle.partitions": "7", "spark.sql.files.maxPartitionBytes": "65536"}
    with _one_core(spark, tmp_path / "done"), configured(spark, other):
        ctx = run_night(lake, chain.landing, LAST, chain.settings)
        assert {key: spark.conf.get(key) for key in other} == other  # no job has put it back
    assert differences(ctx, chain.lake, lake, LAST, chain.settings, without=SINCE_THE_RUN_BEFORE) == []
    found = {row.metric for row in ctx.tables.read(gold.IDENTITY_QUALITY).collect()}
    assert {"pairwise_precision", "match_rate:app:ecommerce"} <= found


@contextmanager
def _one_core(spark: SparkSession, done: Path) -> Iterator[None]:
    """Tasks run one after the other: the other of the session's two places is taken by a task that waits."""
    context = spark.sparkContext

    def wait(_: int) -> None:
        while not done.exists():
            time.sleep(0.2)

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(lambda: context.parallelize([0], 1).foreach(wait))
        while not (context.statusTracker().getActiveStageIds() or waiting.done()):  # done: it failed
            time.sleep(0.1)
        try:
            yield
        finally:
            done.touch()
            waiting.result()


def test_the_change_log_is_the_mapping_of_every_night(spark: SparkSession, chain: Chain) -> None:
    """Replayed up to a night, the log gives the owners of that night; the night before's were kept aside."""
    kept = [(chain.before_last, NIGHTS[0]), (chain.lake, LAST)]
    log = Tables(spark, str(chain.lake), "test", None).read(silver.IDENTITY_CHANGES)
    assert {row.run_date for row in log.select("run_date").distinct().collect()} == set(NIGHTS)
    for lake, day in kept:
        identities = Tables(spark, str(lake), "test", None).read(silver.IDENTITIES)
        owned = identities.where("customer_id is not null").select("identifier_type", "identifier", "customer_id")
        replayed = mapping_before(log, day + timedelta(days=1)).select(*owned.columns)
        assert replayed.exceptAll(owned).count() + owned.exceptAll(replayed).count() == 0, day


def test_the_segment_history_is_the_members_of_every_night(spark: SparkSession, chain: Chain) -> None:
    """On each night, and on the days between and after, as of the last night before."""
    tables = Tables(spark, str(chain.lake), "test", None)
    stay = ["segment", "kind", "customer_id"]
    members, history = tables.read(gold.SEGMENT_MEMBERS), tables.read(gold.SEGMENT_HISTORY)
    found = []
    for day in NIGHTS:
        was = (F.col("entered_date") <= F.lit(day)) & F.coalesce(F.col("exited_date") > F.lit(day), F.lit(True))
        snapshot, told = members.where(F.col("run_date") == F.lit(day)).select(*stay), history.where(was).select(*stay)
        found += [snapshot.exceptAll(told), told.exceptAll(snapshot)]
    assert reduce(DataFrame.unionByName, found).count() == 0
    population = tables.read(silver.CUSTOMERS).count()
    flows = tables.read(gold.SEGMENT_FLOWS).where(F.col("run_date") == F.lit(LAST)).collect()
    arrived = sum(row.customers for row in flows if row.period == "day" and row.to_segment != "none")
    assert arrived == population
    assert {row.from_segment for row in flows if row.period == "week"} == {"none"}  # before the first night
    assert {row.from_segment for row in flows if row.period == "day"} > {"active", "prospect"}


def test_a_customer_is_told_why_they_are_in_a_segment(spark: SparkSession, chain: Chain) -> None:
    view = PublishedTables(Tables(spark, str(chain.lake), "test", None))
    of_today = view.read(gold.SEGMENT_MEMBERS).where(
        (F.col("run_date") == F.lit(LAST)) & (F.col("segment") == "active")
    )
    somebody = of_today.agg(F.min("customer_id")).head()
    assert somebody is not None
    assert explain_segment(view, Console(quiet=True), load_settings(chain.settings), somebody[0]) == DONE


def test_kpis_are_explained_and_yesterdays_are_restated_by_late_events(spark: SparkSession, chain: Chain) -> None:
    tables = Tables(spark, str(chain.lake), "test", None)
    known = tables.read(gold.KPI_VALUES).groupBy("kpi_date").agg(F.max("known_at_date"), F.min("known_at_date"))
    assert {tuple(row) for row in known.collect()} == {(NIGHTS[0], LAST, LAST), (LAST, LAST, LAST)}
    restated = tables.read(ops.RESTATEMENTS).where(F.col("table") == "gold.kpi_values").collect()
    assert {(row.partition, row.cause) for row in restated} == {(NIGHTS[0], "late_events")}
    settings, quiet = load_settings(chain.settings), Console(quiet=True)
    for code in ("finance_penetration_rate", "inventory_turnover_days"):
        assert explain_kpi(PublishedTables(tables), quiet, settings, code, "day", {}) == DONE, code


def test_law_5_every_landing_file_balances(spark: SparkSession, chain: Chain) -> None:
    ledger = Tables(spark, str(chain.lake), "test", None).read(ops.LANDING_FILES).collect()
    rows = {}
    for row in ledger:
        outcomes = row.rows_accepted + row.rows_duplicate + row.rows_rejected + row.rows_ignored
        assert row.rows_read == outcomes + row.rows_suppressed + row.rows_not_due, row
        rows[row.source_file] = rows.get(row.source_file, 0) + row.rows_read
    assert rows == dict(_physical_rows(chain.landing))


def _physical_rows(landing: Path) -> Iterator[tuple[str, int]]:
    """Rows of each file as they lie there, counted without Spark; a CSV header is no row."""
    for path in sorted(landing.rglob("dt=*/*")):
        name = path.relative_to(landing).as_posix()
        if path.suffix == ".parquet":
            yield name, pq.ParquetFile(path).metadata.num_rows
            continue
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        yield name, len(content.splitlines()) - (".csv" in path.name)


def test_law_6_a_reader_sees_one_publication_at_a_time(spark: SparkSession, chain: Chain) -> None:
    yesterday, today = NIGHTS[0], LAST
    assert len(chain.seen_by_reader) >= 3
    assert set(chain.seen_by_reader) <= {f"['{yesterday}'] as stated", f"['{today}'] as stated"}
    assert f"['{yesterday}'] as stated" in chain.seen_by_reader
    published = current(Tables(spark, str(chain.lake), "test", None))
    assert {entry.run_date for entry in published} == {today}
