"""The audience-size alarm: what is told of a segment that shrinks or grows, and what is let pass."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.runtime.audiences import audience_sizes
from tests.builders import DAY, days_before, frame
from tests.nights import night
from transforms.contracts import gold, ops

BEFORE = days_before(2)  # the night between was not published

# Customers before and now, by the bounds of conf/base.yaml: half to double, and 100 customers in one of the two.
SIZES = {
    "halved": (200, 100, True),
    "more than halved": (200, 99, False),
    "doubled": (60, 120, True),
    "more than doubled": (60, 121, False),
    "gone": (100, 0, False),
    "small": (99, 3, True),
    "was empty": (0, 100, False),
}


def test_a_segment_out_of_bounds_is_named_with_both_sizes(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = night(tmp_path / "lake", tmp_path, DAY)
    assert audience_sizes(ctx) == []  # nothing is published yet
    unpublished = [("halved", days_before(1), 9_999), ("only now", DAY, 500), ("only then", BEFORE, 500)]
    sizes = [(name, day, SIZES[name][place]) for name in SIZES for place, day in ((0, BEFORE), (1, DAY))]
    rows = [{"run_date": day, "segment": name, "customers": n} for name, day, n in [*sizes, *unpublished]]
    ctx.tables.replace(gold.SEGMENT_SUMMARY, frame(spark, gold.SEGMENT_SUMMARY, rows))
    published = {
        "run_id": "r",
        "run_date": BEFORE,
        "table": gold.SEGMENT_SUMMARY.full_name,
        "delta_version": 0,
        "published_at": datetime(2026, 7, 1),
        "is_current": True,
    }
    ctx.tables.replace(ops.PUBLICATIONS, frame(spark, ops.PUBLICATIONS, [published]))
    found = {segment: is_passed for _, segment, _, _, is_passed in audience_sizes(ctx)}
    assert found == {name: is_passed for name, (_, _, is_passed) in SIZES.items()}
    warnings = [line for line in capsys.readouterr().err.splitlines() if "⚠" in line]
    assert len(warnings) == list(found.values()).count(False)
    told = next(line for line in warnings if "more than halved" in line)
    assert f"has 99 customers, expected 100 to 400 customers, as 200 on {BEFORE}: look at gold.segment_flows" in told
