"""UCI Online Retail through the whole pipeline: the published numbers, and loads that do not matter.

The numbers need the steps up to RFM, and the cohorts; `make demo` runs all of them. What survives from one night to the
next is bronze, silver.events and the ledger; so the loads of the split tests run the steps that write those, and the
last one runs the whole night.
"""

from __future__ import annotations

import random
import shutil
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.runtime.tables import Tables
from tests.nights import differences, night, run_night, run_steps
from transforms.contracts import gold, ops, silver

EXAMPLE = Path(__file__).parents[2] / "examples/online_retail"
LANDING = EXAMPLE / "landing"
SETTINGS = (str(EXAMPLE / "settings.yaml"),)
DAY = date(2011, 12, 10)
STEPS = (
    "ingest-events", "clean-events", "resolve-identities", "build-orders", "build-customers", "build-activity",
    "score-rfm", "report-trade",
)  # fmt: skip


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("online_retail") / "lake"
    run_steps(night(lake, LANDING, DAY, SETTINGS), *STEPS)
    return lake


@pytest.fixture(scope="module")
def whole(lake: Path) -> Path:
    """The same lake, after its whole night."""
    run_night(lake, LANDING, DAY, SETTINGS)
    return lake


@pytest.fixture
def tables(spark: SparkSession, lake: Path) -> Tables:
    return Tables(spark, str(lake), "test", None)


def test_every_row_of_every_file_is_accounted_for(tables: Tables) -> None:
    total = tables.read(ops.LANDING_FILES).agg(
        F.countDistinct("source_file"), F.sum("rows_read"), F.sum(F.col("rows_accepted") + F.col("rows_ignored"))
    )
    assert tuple(total.head() or ()) == (305, 541_909, 541_909)


def test_rfm_has_the_published_numbers(tables: Tables) -> None:
    scored = tables.read(gold.RFM_SCORES).where("frequency > 0")
    found = scored.agg(
        F.count("*"), F.median("recency_days"), F.round(F.avg("frequency"), 3), F.round(F.avg("monetary"), 2)
    ).head()
    assert tuple(found or ()) == (4_338, 51.0, 4.272, Decimal("2054.27"))


@pytest.mark.parametrize(
    ("customer", "frequency", "monetary"),
    [
        ("12347", 7, "4310.00"),
        ("12748", 209, None),  # the most frequent
        ("14646", 73, "280206.02"),  # the most money
    ],
)
def test_a_known_customer_comes_out_right(tables: Tables, customer: str, frequency: int, monetary: str | None) -> None:
    owner = tables.read(silver.IDENTITIES).where(F.col("identifier") == customer).select("customer_id")
    scored = tables.read(gold.RFM_SCORES)
    row = scored.join(owner, "customer_id").head()
    assert row is not None
    assert row.frequency == frequency
    assert monetary is None or row.monetary == Decimal(monetary)
    most = scored.agg(F.max("frequency"), F.max("monetary")).head()
    assert most is not None
    assert (most[0], most[1]) == (209, Decimal("280206.02"))


def test_months_have_the_published_revenue_customers_and_invoices(tables: Tables) -> None:
    orders = tables.read(silver.ORDERS).where("lead_identifier is not null")
    months = orders.groupBy(F.date_format("order_date", "yyyy-MM").alias("month")).agg(
        F.sum("gross_amount").alias("revenue"),
        F.countDistinct("lead_identifier").alias("customers"),
        F.count("*").alias("n"),
    )
    found = {row.month: (row.revenue, row.customers, row.n) for row in months.collect()}
    assert found["2010-12"] == (Decimal("572713.89"), 885, 1_400)
    assert found["2011-06"] == (Decimal("661213.69"), 991, 1_393)
    assert found["2011-11"] == (Decimal("1161817.38"), 1_664, 2_657)
    assert found["2011-12"] == (Decimal("518192.79"), 615, 778)
    assert sum(revenue for revenue, _, _ in found.values()) == Decimal("8911407.90")
    assert sum(n for _, _, n in found.values()) == 18_532


def test_cohorts_have_the_published_customers(tables: Tables) -> None:
    """Who first bought in December 2010, by months since: what still counts, and with cancellations as activity."""
    published = {
        "cleaned": [885, 324, 286, 340, 321, 352, 321, 309, 313, 350, 331, 445, 235],
        "with_cancellations": [948, 362, 317, 367, 341, 376, 360, 336, 336, 374, 354, 474, 260],
    }
    first = tables.read(gold.RETENTION_COHORTS).where("cohort_month = '2010-12' and scope = 'chain'").collect()
    found = {(row.mode, row.month_number): row for row in first}
    for mode, customers in published.items():
        assert [found[mode, number].customers for number in range(13)] == customers
        assert found[mode, 1].rate == round(Decimal(customers[1]) / customers[0], 6)
    assert len(found) == 26
    assert [row.month_number for row in first if not row.is_complete] == [12, 12]  # told on the tenth of the month


def test_rows_without_a_customer_are_guest_orders(tables: Tables) -> None:
    guests = tables.read(silver.ORDERS).where("lead_identifier is null").agg(F.count("*"), F.sum("gross_amount")).head()
    assert guests is not None
    assert guests[0] > 0
    everybody = tables.read(silver.ACTIVITY).agg(F.sum("gross_amount")).head()
    assert everybody is not None
    assert everybody[0] == Decimal("8911407.90") + guests[1]


def _landing_of(files: list[str], root: Path) -> Path:
    """A landing folder with copies of some of the day files; more may be copied into it later."""
    for name in files:
        target = root / "invoices" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copyfile(LANDING / "invoices" / name, target)
    return root


FILES = sorted(path.name for path in (LANDING / "invoices").iterdir())


@pytest.mark.soak  # six loads and a night: 5 minutes; in `make test` the laws compare loads on the generated chain
def test_three_hundred_files_then_five_nights_equal_one_go(whole: Path, tmp_path: Path) -> None:
    landing, other = tmp_path / "landing", tmp_path / "lake"
    days = [date.fromisoformat(name[:10]) for name in FILES[300:]]
    _landing_of(FILES[:300], landing)
    run_steps(night(other, landing, days[0] - timedelta(days=1), SETTINGS), "ingest-events", "clean-events")
    for name, day in zip(FILES[300:], days, strict=True):
        _landing_of([name], landing)
        run_steps(night(other, landing, day, SETTINGS), "ingest-events", "clean-events")
    ctx = run_night(other, landing, DAY, SETTINGS)
    assert differences(ctx, whole, other, DAY, SETTINGS) == []


@pytest.mark.soak  # the same
def test_six_random_loads_equal_one_go(whole: Path, tmp_path: Path) -> None:
    """Files of any day turn up in any load: late ones restate from their own day."""
    landing, other = tmp_path / "landing", tmp_path / "lake"
    loads: list[list[str]] = [[] for _ in range(6)]
    rng = random.Random(20111210)
    for name in FILES:
        loads[rng.randrange(6)].append(name)
    for load in loads:
        _landing_of(load, landing)
        run_steps(night(other, landing, DAY, SETTINGS), "ingest-events", "clean-events")
    ctx = run_night(other, landing, DAY, SETTINGS)
    assert differences(ctx, whole, other, DAY, SETTINGS) == []
