"""Bank marketing (UCI, CC BY 4.0) by YAML only: who subscribes, as our tables say and as DuckDB counts in the file."""

from __future__ import annotations

import gzip
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import Row, SparkSession

from jobs.runtime.tables import Tables
from tests.nights import night, run_night, run_steps
from transforms.contracts import gold, silver
from transforms.funnels import count_funnels
from transforms.identity.anchors import with_owner

ROOT = Path(__file__).parents[2]
DATA = (ROOT / "../shared/data/bank/bank-full.csv.gz").resolve()
SETTINGS = (str(ROOT / "examples/bank/settings.yaml"),)
DAY = date(2010, 12, 1)  # when the last one subscribed
Counts = dict[tuple[str, str], tuple[int, int]]

pytestmark = pytest.mark.skipif(not DATA.is_file(), reason=f"the data set is not in the repository, nor at {DATA}")


def landed(folder: Path) -> Path:
    """The file with its rows numbered, as the example's README tells."""
    folder.mkdir()
    with gzip.open(DATA, "rt") as received, gzip.open(folder / "bank-full.csv.gz", "wt") as numbered:
        for number, line in enumerate(received):
            numbered.write(f"{number or 'client'},{line}")
    return folder


def published() -> Counts:
    """Called and subscribed, by scope and value, from the file itself; with the figures that are published of it."""
    rows = f"select *, 'all' as everybody from read_csv('{DATA}', all_varchar = true)"
    scopes = {"chain": "everybody", "previous_outcome": "poutcome", "contact": "contact", "month": "month"}
    counted = {
        (scope, value): (called, subscribed)
        for scope, column in scopes.items()
        for value, called, subscribed in duckdb.sql(
            f"select {column}, count(*), count(*) filter (y = 'yes') from ({rows}) group by 1"
        ).fetchall()
    }
    assert counted["chain", "all"] == (45_211, 5_289)
    assert counted["previous_outcome", "success"] == (1_511, 978)
    assert counted["previous_outcome", "failure"] == (4_901, 618)
    assert counted["previous_outcome", "other"] == (1_840, 307)
    assert counted["previous_outcome", "unknown"] == (36_959, 3_386)
    return counted


def hold(funnel: list[Row], loan_funnel: list[Row]) -> None:
    """What the tables say is what the file says."""
    expected = published()
    found: dict[tuple[str, str], list[int]] = {}
    for row in sorted(funnel, key=lambda row: row.step_number):
        if row.scope != "segment":
            found.setdefault((row.scope, row.scope_value), []).append(row.customers)
    assert {key: tuple(customers) for key, customers in found.items()} == expected
    rates = {(row.scope, row.scope_value): row.rate_from_first for row in funnel if row.step == "subscribed"}
    assert round(rates["previous_outcome", "success"] * 100, 2) == Decimal("64.73")
    for mode in ("period", "cohort"):
        way = {row.stage: row for row in loan_funnel if (row["mode"], row.grain) == (mode, "chain")}
        assert {stage: row.customers for stage, row in way.items()} == {"reached": 45_211, "converted": 5_289}
        assert way["converted"].rate == round(Decimal(5_289) / 45_211, 6)
        assert round(way["converted"].rate * 100, 3) == Decimal("11.698")


def test_its_events_convert_as_published(spark: SparkSession, tmp_path: Path) -> None:
    """The steps up to the two funnels; nobody is in a segment yet."""
    ctx = night(tmp_path / "lake", landed(tmp_path / "landing"), DAY, SETTINGS)
    run_steps(ctx, "ingest-events", "clean-events")
    with ctx.interpreted(ctx.event_count), ctx.kept_events(ctx.event_count):  # as a night does
        run_steps(ctx, "resolve-identities", "build-orders", "build-customers", "build-activity", "report-loan-funnel")
        segments = spark.createDataFrame([], "customer_id string, segment string")
        owned = with_owner(ctx.events(), ctx.tables.read(silver.IDENTITIES))
        counted = count_funnels(owned, ctx.owned(silver.ORDERS), segments, DAY, ctx.settings.funnels)
        hold(counted.collect(), ctx.tables.read(gold.LOAN_FUNNEL).collect())


@pytest.mark.soak  # a whole night of 45,211 clients
def test_a_night_over_its_file_says_the_same(spark: SparkSession, tmp_path: Path) -> None:
    run_night(tmp_path / "lake", landed(tmp_path / "landing"), DAY, SETTINGS)
    tables = Tables(spark, str(tmp_path / "lake"), "test", None)
    hold(tables.read(gold.FUNNELS).collect(), tables.read(gold.LOAN_FUNNEL).collect())
    segments = tables.read(gold.LOAN_FUNNEL).where("grain = 'segment' and mode = 'cohort' and stage = 'reached'")
    assert sum(row.customers for row in segments.collect()) == 45_211
