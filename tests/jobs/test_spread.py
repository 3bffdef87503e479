"""Nights of many events: how many parts their shuffles have, and the months of their tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.runtime.session import configured
from tests.builders import DAY, event, frame
from tests.nights import night
from transforms.contracts import silver

PARTITIONS = "spark.sql.shuffle.partitions"


@pytest.mark.parametrize(
    ("rows", "partitions", "month_parts"),
    [(1_900_000, "4", 1), (2_000_001, "5", 1), (7_600_000, "16", 4)],
    ids=["as many as the settings say", "one more", "four times as many"],
)
def test_many_events_are_shuffled_in_more_parts(
    spark: SparkSession, tmp_path: Path, rows: int, partitions: str, month_parts: int
) -> None:
    """Half a million events a part; a number that spark-submit was given stays."""
    ctx = night(tmp_path / "lake", tmp_path / "landing", DAY)
    ctx.tables.replace(silver.EVENTS, frame(spark, silver.EVENTS, [event("e")]))
    ours = ctx.settings.spark[PARTITIONS]
    with ctx.kept_events(rows), configured(spark, {PARTITIONS: ours}):
        with ctx.spread():
            assert spark.conf.get(PARTITIONS) == partitions
            assert ctx.tables.month_parts == month_parts
        assert spark.conf.get(PARTITIONS) == ours
        with ctx.spread(coming=5_000_000):  # a night that is about to add as many
            assert int(spark.conf.get(PARTITIONS)) == -(-(rows + 5_000_000) // 500_000)
    with ctx.kept_events(rows), configured(spark, {PARTITIONS: "3"}), ctx.spread():
        assert spark.conf.get(PARTITIONS) == "3"
