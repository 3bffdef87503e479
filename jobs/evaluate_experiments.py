"""evaluate-experiments: silver.activity, gold.experiment_assignments, segment_history -> gold.experiment_results."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from transforms.contacts.assignments import assigned_variants
from transforms.contracts import gold, silver
from transforms.experiments.assigned import assigned_customers
from transforms.experiments.calendar_days import calendar_outcomes
from transforms.experiments.designs import planned_experiments
from transforms.experiments.moments import sums
from transforms.experiments.outcomes import outcomes
from transforms.experiments.read_out import read_out
from transforms.identity.anchors import with_owner


def run(ctx: JobContext) -> None:
    """Every experiment as it stands on the run date: sums by Spark, a few hundred rows; the statistics here."""
    rules, day = ctx.settings.experiments, ctx.run_date
    found = outcomes(_assigned(ctx), ctx.owned(silver.ACTIVITY).where("customer_id is not null"), rules, day)
    days = calendar_outcomes(ctx.tables.read(silver.ACTIVITY), rules, day)
    summed = sums(found.unionByName(days) if days is not None else found, rules.metrics).collect()
    planned = planned_experiments(ctx.settings.strategies, ctx.settings.contacts.holdout)
    results = read_out([row.asDict() for row in summed], rules, planned, day)
    frame = ctx.small_frame(results, gold.EXPERIMENT_RESULTS)
    ctx.tables.overwrite_slice(gold.EXPERIMENT_RESULTS, frame, run_date=day)
    ctx.facts["experiments"] = len({row["experiment_id"] for row in results})
    ctx.facts["comparisons"] = sum(row["p_value"] is not None for row in results)


def _assigned(ctx: JobContext) -> DataFrame:
    """Who is in which experiment, without staff where they are not to be compared with customers."""
    identities = ctx.tables.read(silver.IDENTITIES)
    recorded = ctx.tables.read_or_empty(gold.EXPERIMENT_ASSIGNMENTS)
    variants = ctx.without_staff(assigned_variants(recorded, identities, ctx.run_date))
    events = with_owner(ctx.events().where(F.col("experiment_id").isNotNull()), identities)
    stays = ctx.tables.read_or_empty(gold.SEGMENT_HISTORY)
    return assigned_customers(variants, events, stays, ctx.settings.experiments, ctx.run_date)


if __name__ == "__main__":
    main(run)
