"""What recommendations learn: a shelf of products every night, and once a month how good such lists would have been."""

from __future__ import annotations

import json
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.models import Model, digest_of, stored_model
from transforms.contracts import silver
from transforms.identity.anchors import with_owner
from transforms.orders import order_events
from transforms.recommendations.backtest import count_hits, hit_rates, split_of
from transforms.recommendations.co_purchase import best_neighbours, co_purchases, count_pairs
from transforms.recommendations.products import known_products
from transforms.recommendations.purchases import bought_products, product_categories, purchases_of
from transforms.recommendations.rules import RecommendationRules
from transforms.recommendations.shelf import Shelf, shelf_of
from transforms.values.features import sample_of

_NOT_TESTED = {"finance", "stock_days", "preferred_category", "rank_count", "best_sellers"}


def shelf_from(purchases: DataFrame, products: DataFrame, rules: RecommendationRules) -> Shelf:
    """The shelf of some purchases, on the driver: as large as the products and their neighbours.

    Args:
        purchases: rows of `purchases_of`.
        products: rows of `known_products` with is_available; looked at twice.
    """
    counted = count_pairs(purchases, products, rules.co_purchase).localCheckpoint()
    pairs = co_purchases(counted, products, rules.co_purchase)
    neighbours = best_neighbours(pairs, products.where("is_available"), rules.co_purchase)
    return shelf_of(products.toArrow(), neighbours.toArrow())


def tested_recommendations(ctx: JobContext, effective: date) -> Model:
    """The offline test of an effective date: `checks`, stored or counted now.

    A function of the order lines that had arrived then, before any return, of a sample of customers under tonight's
    identities.
    """
    rules = ctx.settings.recommendations
    lines = _lines_known(ctx, effective)
    hashes = F.sum(F.xxhash64(*sorted(lines.columns)).cast("decimal(20,0)")).cast("string")
    records = lines.agg(F.count("*").alias("rows"), hashes.alias("hashes")).collect()[0]
    made_of = {
        "settings": digest_of(rules.model_dump_json(exclude=_NOT_TESTED)),
        "records": digest_of(json.dumps(records.asDict())),
    }

    def test() -> Model:
        split = split_of(effective, rules)
        known_lines = ctx.settled(lines, 0)
        purchases = ctx.settled(purchases_of(known_lines, split, rules.window_days), 0)
        bought = ctx.settled(bought_products(purchases, split), 0)
        known = known_products(bought, product_categories(purchases), rules.repeatable)
        products = ctx.settled(known.withColumn("is_available", F.lit(True)), 0)
        counted = count_hits(known_lines, bought, shelf_from(purchases, products, rules), split, rules).collect()
        return {"checks": hit_rates({row["bin"]: row.asDict() for row in counted}, rules)}

    return stored_model(ctx, "recommendations", effective, made_of, test)


def _lines_known(ctx: JobContext, effective: date) -> DataFrame:
    """Order lines of the sample that had arrived by then, in what `purchases_of` reads."""
    rules = ctx.settings.recommendations
    everybody = ctx.without_staff(ctx.tables.read(silver.CUSTOMERS))
    sample = sample_of(everybody, rules.test.customers, rules.test.seed).select("customer_id")
    first = effective - timedelta(days=rules.window_days + rules.test.holdout_days)
    is_known = (F.col("arrival_date") <= F.lit(effective)) & (F.col("event_date") <= F.lit(effective))
    bought = (F.col("event_type") == "order") & ~F.coalesce("is_gift", F.lit(False)) & F.col("product_id").isNotNull()
    lines = order_events(ctx.events().where(is_known & bought & (F.col("event_date") > F.lit(first))))
    owned = with_owner(lines, ctx.tables.read(silver.IDENTITIES)).join(F.broadcast(sample), "customer_id", "left_semi")
    return owned.select(
        "customer_id",
        "order_id",
        "product_id",
        "category",
        F.col("event_date").alias("order_date"),
        (F.coalesce("quantity", F.lit(1)) > 0).alias("is_purchase"),
        F.lit(1).alias("quantity"),
        F.lit(0).alias("returned_quantity"),
    )
