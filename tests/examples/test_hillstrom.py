"""Hillstrom's e-mail test: our tables say what its numbers are known to be."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.runtime.settings import load_settings
from jobs.runtime.tables import Tables
from tests.nights import run_night
from transforms.contracts import MONEY, gold, silver
from transforms.experiments.moments import sums
from transforms.experiments.read_out import read_out

ROOT = Path(__file__).parents[2]
DATA = (ROOT / "../shared/data/ab/hillstrom.csv.gz").resolve()
SETTINGS = (str(ROOT / "examples/hillstrom/settings.yaml"),)
LAST_DAY = date(2008, 3, 14)  # of the two weeks
MENS, WOMENS, NONE = "Mens E-Mail", "Womens E-Mail", "No E-Mail"

pytestmark = pytest.mark.skipif(not DATA.is_file(), reason=f"the data set is not in the repository, nor at {DATA}")


def hold(rows: Iterable[Mapping[str, Any]]) -> None:
    """What is published of the test, rounded as it is published there."""
    found = {(row["metric"], row["variant"]): row for row in rows if row["segment"] == "all"}
    assert {row["customers"] for (_, variant), row in found.items() if variant == NONE} == {21_306}
    percent = {
        metric: [round(found[metric, variant]["value"] * 100, 4) for variant in (MENS, WOMENS, NONE)]
        for metric in ("visit", "order")
    }
    assert percent["visit"] == [Decimal("18.2757"), Decimal("15.1400"), Decimal("10.6167")]
    assert percent["order"] == [Decimal("1.2531"), Decimal("0.8837"), Decimal("0.5726")]
    spent = [found["net_amount", variant]["value"] for variant in (MENS, WOMENS, NONE)]
    assert spent == [Decimal("1.422617"), Decimal("1.077202"), Decimal("0.652789")]
    statistics = {
        metric: [round(found[metric, variant]["statistic"], 3) for variant in (MENS, WOMENS)]
        for metric in ("visit", "order", "net_amount")
    }
    assert statistics == {
        "visit": [Decimal("22.486"), Decimal("13.949")],
        "order": [Decimal("7.385"), Decimal("3.780")],
        "net_amount": [Decimal("5.300"), Decimal("3.256")],
    }
    lifts = [found["net_amount", variant]["lift"] for variant in (MENS, WOMENS)]
    assert lifts == [Decimal("0.769827"), Decimal("0.424412")]
    women = found["net_amount", WOMENS]
    assert round(women["p_value"], 5) == Decimal("0.00113")
    assert women["p_adjusted"] == women["p_value"]  # the largest of six
    assert round(found["order", WOMENS]["p_adjusted"] / found["order", WOMENS]["p_value"]) == 2  # the next
    told = {(row["verdict"], row["test"], row["cuped_used"]) for row in found.values() if row["variant"] != NONE}
    assert told == {("better", "z", False), ("better", "t", False)}
    assert {row["srm_p_value"] for row in found.values()} == {found["visit", MENS]["srm_p_value"]}
    assert found["visit", MENS]["srm_p_value"] > Decimal("0.5")  # 21,307, 21,387 and 21,306 of 64,000


def test_the_statistics_of_its_customers(spark: SparkSession) -> None:
    """From a row per customer on: sums by Spark, the rest on the driver."""
    customers = pd.read_csv(DATA, dtype=str)
    frame = spark.createDataFrame(customers[["segment", "visit", "conversion", "spend"]])
    values = {"visit": F.col("visit"), "order": F.col("conversion"), "net_amount": F.col("spend")}
    outcomes = frame.select(
        F.lit("hillstrom").alias("experiment_id"),
        F.col("segment").alias("variant"),
        F.array(F.lit("all")).alias("segments"),
        F.lit(True).alias("is_complete"),
        *[value.cast(MONEY).alias(f"y_{code}") for code, value in values.items()],
        *[F.lit(0).cast(MONEY).alias(f"x_{code}") for code in values],
    )
    rules = load_settings(SETTINGS).experiments
    rows = [row.asDict() for row in sums(outcomes, values).collect()]
    hold(read_out(rows, rules, {}, LAST_DAY))


@pytest.mark.soak  # minutes: a whole night of 64,000 customers
def test_a_night_over_its_file_says_the_same(spark: SparkSession, tmp_path: Path) -> None:
    """The file with its rows numbered, as the example's README tells, by YAML only."""
    landing = tmp_path / "landing"
    landing.mkdir()
    with gzip.open(DATA, "rt") as received, gzip.open(landing / "hillstrom.csv.gz", "wt") as numbered:
        for number, line in enumerate(received):
            numbered.write(f"{number or 'customer'},{line}")
    run_night(tmp_path / "lake", landing, LAST_DAY, SETTINGS)
    tables = Tables(spark, str(tmp_path / "lake"), "test", None)
    kinds = dict(tables.read(silver.EVENTS).groupBy("event_type").count().collect())
    assert kinds == {"touch": 42_694, "assigned": 21_306, "visit": 9_394, "order": 578}
    results = [row.asDict() for row in tables.read(gold.EXPERIMENT_RESULTS).collect()]
    mine = [row for row in results if row["experiment_id"] == "hillstrom"]
    hold(mine)
    assert {row["complete_count"] - row["customers"] for row in mine} == {0}
