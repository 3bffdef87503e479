"""score-rfm: silver.order_lines, silver.activity, silver.customers -> gold.rfm_scores, gold.rfm_thresholds."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, RunFailed, main
from transforms.contracts import gold, silver
from transforms.orders import RETURN_TYPES
from transforms.rfm import measure_rfm, score_measures


def run(ctx: JobContext) -> None:
    """Scores and thresholds of every scope in the settings, as of the run date."""
    lines = ctx.counted(silver.ORDER_LINES)
    customers = ctx.tables.read(silver.CUSTOMERS)
    frozen = _frozen(ctx)
    measures = measure_rfm(lines, _unmatched_returns(ctx), customers, ctx.run_date, ctx.settings.rfm)
    measures = ctx.settled(measures, ctx.event_count)
    scores, thresholds = score_measures(measures, ctx.run_date, ctx.settings.rfm, frozen)
    ctx.tables.overwrite_slice(gold.RFM_THRESHOLDS, thresholds.coalesce(1), run_date=ctx.run_date)
    ctx.facts["scored"] = ctx.tables.overwrite_slice(gold.RFM_SCORES, scores, run_date=ctx.run_date).rows


def _unmatched_returns(ctx: JobContext) -> DataFrame:
    """Returns that name no known order, by their own date; those that do are netted in the lines."""
    back = ctx.counted(silver.ACTIVITY).where(F.col("event_type").isin(*RETURN_TYPES) & ~F.col("is_matched"))
    return back.withColumn("province", F.lit(None).cast("string"))


def _frozen(ctx: JobContext) -> DataFrame | None:
    """Thresholds of the run that the settings name, for method `frozen`."""
    rules = ctx.settings.rfm
    if rules.method != "frozen":
        return None
    found = ctx.tables.read(gold.RFM_THRESHOLDS).where(F.col("run_date") == F.lit(rules.frozen_date))
    if found.isEmpty():
        raise RunFailed(f"rfm.frozen_date: gold.rfm_thresholds has no thresholds of {rules.frozen_date}")
    return found


if __name__ == "__main__":
    main(run)
