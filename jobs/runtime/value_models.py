"""The value models that are in force on a run date: which orders were known when, and what they teach."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.models import Model, digest_of, effective_date, stored_model
from transforms.contracts import silver
from transforms.identity.anchors import with_owner
from transforms.orders import build_order_lines, order_events, touched_orders
from transforms.values.fitting import fit_values
from transforms.values.purchases import split_histories

if TYPE_CHECKING:
    import pandas as pd

_NOT_FITTED = {
    "tiers",
    "monthly_rate",
    "learning_customers",
    "churn",
    "potential",
    "clusters",
    "finance",
}  # what these models do not read
_OF_ORDERS = ("lead_identifier_type", "lead_identifier", "order_date", "net_amount", "is_purchase")


def value_model(ctx: JobContext, effective: date) -> Model:
    """BG/NBD, Gamma-Gamma and segment means of an effective date, stored or fitted now."""
    rules = ctx.settings.value
    calibration_end = effective - timedelta(days=rules.holdout_days)
    sample = _sample(ctx, split_histories(orders_known(ctx, effective), calibration_end, effective))
    made_of = {
        "settings": digest_of(rules.model_dump_json(exclude=_NOT_FITTED)),
        "records": digest_of(sample.to_numpy("int64").tobytes()),
    }
    return stored_model(ctx, "value", effective, made_of, lambda: fit_values(sample, rules))


def value_date(ctx: JobContext) -> date | None:
    """The effective date of the run date's models; None while too few order lines are known."""
    rules = ctx.settings.value
    lines = ctx.known_events().where((F.col("event_type") == "order") & (F.col("event_date") <= F.lit(ctx.run_date)))
    known = lines.select(F.greatest("arrival_date", "event_date").alias("known_date"))
    first = effective_date(known, "known_date", ctx.run_date, rules.least_order_lines)
    return ctx.run_date if first and rules.fitted == "daily" else first


def orders_known(ctx: JobContext, upto: date) -> DataFrame:
    """Orders as they stood on an earlier date, by what had arrived then, under tonight's identities.

    Columns customer_id (of customers who count), order_date, net_amount, is_purchase; several rows an order where it is
    built again: only orders of which something came or happened later are, from their events; the others stand in
    silver.orders as they were.
    """
    orders, identities = ctx.tables.read(silver.ORDERS), ctx.tables.read(silver.IDENTITIES)
    if upto < ctx.run_date:
        is_later = (F.col("arrival_date") > F.lit(upto)) | (F.col("event_date") > F.lit(upto))
        touched = ctx.settled(touched_orders(ctx.known_events().where(is_later)).select("order_id"), 0)
        then = order_events(ctx.events().where(~is_later)).join(touched, "order_id", "left_semi")
        settings = ctx.settings
        again = build_order_lines(then, upto, settings.identity.tier, settings.rfm.zero_value_orders)
        untouched = orders.join(touched, "order_id", "left_anti")
        orders = untouched.select(*_OF_ORDERS).unionByName(again.select(*_OF_ORDERS))
    owned = with_owner(orders.select(*_OF_ORDERS), identities).where("customer_id is not null")
    return ctx.without_staff(owned)


def _sample(ctx: JobContext, histories: DataFrame) -> pd.DataFrame:
    """Histories of customers chosen by hash, as whole numbers in the order of all columns: amounts in cents, -1 for
    what is not known.
    """
    rules = ctx.settings.value
    by_hash = F.xxhash64("customer_id", F.lit(rules.seed))
    chosen = histories.orderBy(by_hash, "customer_id").limit(rules.sample_customers)
    numbers = [
        F.coalesce((F.col(name) * (100 if name.endswith("_amount") else 1)).cast("bigint"), F.lit(-1)).alias(name)
        for name in histories.columns
        if name != "customer_id"
    ]
    sample = chosen.select(*numbers).toArrow().to_pandas()
    return sample.sort_values(list(sample.columns), ignore_index=True)
