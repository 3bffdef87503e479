"""value-customers: silver, gold.customer_tags -> gold.customer_values, gold.model_checks, gold.cluster_centres."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.learnt_models import learnt_models
from jobs.runtime.models import Model, date_of, with_decimals, write_checks
from jobs.runtime.reviews import reviewed_customers
from jobs.runtime.value_models import value_date, value_model
from transforms.contracts import gold, silver
from transforms.identity.anchors import with_owner
from transforms.loans.reviews import with_reviews
from transforms.values.churn import with_churn
from transforms.values.clusters import with_behaviour_cluster
from transforms.values.finance import EVENT_COLUMNS, EVENT_TYPES, with_finance
from transforms.values.learning import centres_of, nothing_learnt
from transforms.values.potential import with_potential_reasons, with_potential_score
from transforms.values.purchases import purchase_histories
from transforms.values.scoring import score_values
from transforms.values.tiers import with_value_tiers

_MODELS = ("bgnbd", "gamma_gamma", "clv", "potential", "clusters")
_JUDGEMENTS = (
    "churn_tier", "churn_reasons", "is_vip_warning", "high_potential_score", "high_potential_reasons",
    "behaviour_cluster",
)  # fmt: skip


def run(ctx: JobContext) -> None:
    """What every customer is worth as of the run date, by the models in force, and the checks of these."""
    model = _model(ctx)
    potential, clusters = _learnt(ctx, model)
    customers = ctx.tables.read(silver.CUSTOMERS).select("customer_id")
    histories = purchase_histories(ctx.counted(silver.ORDERS), ctx.run_date)
    scored = ctx.settled(score_values(histories, model, ctx.settings.value), ctx.event_count)
    valued = customers.join(with_value_tiers(scored, ctx.settings.value.tiers), "customer_id", "left")
    for judged in (_judged(ctx, scored, potential, clusters), _finance(ctx)):
        valued = valued.join(judged, "customer_id", "left")
    dated = valued.withColumn("run_date", F.lit(ctx.run_date)).select(*gold.CUSTOMER_VALUES.column_names)
    ctx.facts["customers"] = ctx.tables.overwrite_slice(gold.CUSTOMER_VALUES, dated, run_date=ctx.run_date).rows
    write_checks(ctx, _MODELS, [model, potential, clusters])
    ctx.tables.overwrite_slice(gold.CLUSTER_CENTRES, _centres(ctx, clusters), run_date=ctx.run_date)


def _model(ctx: JobContext) -> Model:
    """The value models in force; empty ones, with a check that says so, while too little is known."""
    effective = value_date(ctx)
    if effective:
        model = value_model(ctx, effective)
    else:
        rules = ctx.settings.value
        note = f"fewer than {rules.least_order_lines} order lines are known: nobody is valued"
        ctx.progress.note(f"value: {note}")
        check = {"model": "bgnbd", "check": "fit", "bin": "log_likelihood", "customers": 0, "is_passed": False}
        unknown = {"expected": None, "actual": None, "note": note}
        model = {
            "effective_date": None,
            "bgnbd": None,
            "gamma_gamma": None,
            "segment_means": [],
            "checks": [{**check, **unknown}],
        }
    ctx.facts["models"] = " and ".join(name for name in ("bgnbd", "gamma_gamma") if model[name]) or "segment means"
    return model


def _learnt(ctx: JobContext, model: Model) -> tuple[Model, Model]:
    """The potential model and the clusters, of the same effective date as the value models."""
    effective = date_of(model)
    return learnt_models(ctx, effective) if effective else nothing_learnt(model["checks"][0]["note"])


def _judged(ctx: JobContext, scored: DataFrame, potential: Model, clusters: Model) -> DataFrame:
    """Churn, potential and cluster of every customer, from tonight's tags and p_alive."""
    rules = ctx.settings.value
    read = {name for names in rules.tags_read().values() for name in names}
    today = F.col("run_date") == F.lit(ctx.run_date)
    tags = ctx.tables.read("gold.customer_tags").where(today).select("customer_id", *sorted(read))
    known = tags.join(scored.select("customer_id", "p_alive"), "customer_id", "left")
    judged = with_potential_reasons(with_churn(known, rules.churn), rules.potential)
    likely = with_potential_score(judged, potential, rules.potential.model)
    return with_behaviour_cluster(likely, clusters).select("customer_id", *_JUDGEMENTS)


def _finance(ctx: JobContext) -> DataFrame:
    """The finance columns of every customer; null where they may not be looked at."""
    customers = ctx.tables.read(silver.CUSTOMERS).select("customer_id", "consent_finance", "is_minor")
    told = ctx.events().where(F.col("event_type").isin(*EVENT_TYPES))
    identities = ctx.tables.read(silver.IDENTITIES)
    owned = with_owner(told, identities).where("customer_id is not null")
    events = ctx.settled(owned.select("customer_id", *EVENT_COLUMNS), ctx.event_count)  # it is looked at three times
    judged = with_finance(customers, events, ctx.run_date, ctx.settings.value.finance)
    return with_reviews(judged, reviewed_customers(ctx, identities)).drop("consent_finance", "is_minor")


def _centres(ctx: JobContext, clusters: Model) -> DataFrame:
    rows = [
        {"run_date": ctx.run_date, "effective_date": date_of(clusters), **with_decimals(centre, "centre", "mean")}
        for centre in centres_of(clusters)
    ]
    return ctx.small_frame(rows, gold.CLUSTER_CENTRES)


if __name__ == "__main__":
    main(run)
