"""value-customers: silver.orders, silver.customers -> gold.customer_values, gold.model_checks."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from jobs.runtime.models import Model
from jobs.runtime.value_models import value_date, value_model
from transforms.contracts import gold, silver
from transforms.values.purchases import purchase_histories
from transforms.values.scoring import score_values
from transforms.values.tiers import with_value_tiers


def run(ctx: JobContext) -> None:
    """What every customer is worth as of the run date, by the models in force, and the checks of these."""
    model = _model(ctx)
    customers = ctx.tables.read(silver.CUSTOMERS).select("customer_id")
    histories = purchase_histories(ctx.owned(silver.ORDERS), ctx.run_date)
    scored = ctx.settled(score_values(histories, model, ctx.settings.value), ctx.event_count)
    valued = customers.join(with_value_tiers(scored, ctx.settings.value.tiers), "customer_id", "left")
    dated = _whole(valued.withColumn("run_date", F.lit(ctx.run_date)))
    ctx.facts["customers"] = ctx.tables.overwrite_slice(gold.CUSTOMER_VALUES, dated, run_date=ctx.run_date).rows
    ctx.tables.overwrite_slice(gold.MODEL_CHECKS, _checks(ctx, model), run_date=ctx.run_date)


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


def _checks(ctx: JobContext, model: Model) -> DataFrame:
    """The checks that came with a model, as rows of gold.model_checks."""
    effective = model["effective_date"] and date.fromisoformat(model["effective_date"])
    rows = []
    for check in model["checks"]:
        numbers = {name: _decimal(check[name]) for name in ("expected", "actual")}
        rows.append({"run_date": ctx.run_date, "effective_date": effective, **check, **numbers})
    return ctx.small_frame(rows, gold.MODEL_CHECKS)


def _decimal(number: float | None) -> Decimal | None:
    return None if number is None else Decimal(str(number))


def _whole(values: DataFrame) -> DataFrame:
    """The frame with all columns of gold.customer_values; null where nothing fills them yet."""
    return values.select(
        *[
            F.col(field.name) if field.name in values.columns else F.lit(None).cast(field.dataType).alias(field.name)
            for field in gold.CUSTOMER_VALUES.schema
        ]
    )


if __name__ == "__main__":
    main(run)
