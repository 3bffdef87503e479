"""Recommendations as a step: checks beside those of other models, and the rates of the real data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.runtime.models import write_checks
from jobs.runtime.settings import load_settings
from tests.builders import DAY
from tests.nights import night
from transforms.contracts import gold
from transforms.values.checks import check_row

ROOT = Path(__file__).parents[2]
DATA = (ROOT / "../shared/data").resolve()


def test_each_step_replaces_the_checks_of_its_own_models(spark: SparkSession, tmp_path: Path) -> None:
    ctx = night(tmp_path / "lake", tmp_path / "landing", DAY)

    def model(name: str, value: float) -> dict[str, Any]:
        return {"effective_date": "2026-06-01", "checks": [check_row(name, "fit", "log_likelihood", 3, actual=value)]}

    write_checks(ctx, ["bgnbd", "potential"], [model("bgnbd", 1), model("potential", 2)])
    write_checks(ctx, ["recommendations"], [model("recommendations", 3)])
    write_checks(ctx, ["bgnbd", "potential"], [model("bgnbd", 4)])  # again, and one of its models has gone
    found = {(row.model, row.actual, str(row.effective_date)) for row in ctx.tables.read(gold.MODEL_CHECKS).collect()}
    assert found == {("bgnbd", 4, "2026-06-01"), ("recommendations", 3, "2026-06-01")}


@pytest.mark.soak  # a minute, most of it Spark's pairs of 1.4 million lines
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the data sets are not in the repository, nor at {DATA}")
def test_lists_beat_popularity_on_real_data(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "bench"))
    import recommendations as bench

    rules = load_settings().recommendations
    for name, read in (("online_retail", bench.online_retail), ("complete_journey", bench.complete_journey)):
        rates = bench.rates(read(spark, DATA), bench.LAST[name], rules)
        assert rates["hit_rate_at_10"]["is_passed"], (name, rates)  # of all that was bought
        assert rates["hit_rate_at_10_new"]["is_passed"], (name, rates)  # of what a customer had not bought before
    sys.modules.pop("recommendations", None)
