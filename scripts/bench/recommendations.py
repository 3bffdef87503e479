"""Hit rate at 10 of recommendations beside popularity, on Online Retail and Complete Journey: the figures of the docs.

    python scripts/bench/recommendations.py [--data ../shared/data] [--holdout 30]

Time split: lists are made of the purchases before the last `--holdout` days of a data set, by the rules of
conf/recommendations.yaml, and held against what was bought in them. Prints both data sets' rates of all products and of
those products only that a customer had not bought before, and seconds; writes build/bench/recommendations.json.
With `--customers N` instead: what the lists of N customers cost, on generated lines.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.recommendation_models import shelf_from
from jobs.runtime.session import build_session
from jobs.runtime.settings import load_settings
from transforms.contracts import QUANTITY
from transforms.recommendations.backtest import count_hits, hit_rates
from transforms.recommendations.goods import recommend_goods
from transforms.recommendations.products import known_products
from transforms.recommendations.purchases import bought_products, product_categories, purchases_of
from transforms.recommendations.rules import RecommendationRules
from transforms.recommendations.shelf import Shelf

LAST = {"online_retail": date(2011, 12, 9), "complete_journey": date(2018, 1, 1)}


def main() -> None:
    """Print the rates of both data sets, or what lists of many customers cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--holdout", type=int)
    parser.add_argument("--customers", type=lambda text: int(float(text)))
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    settings = load_settings()
    spark, rules = build_session(settings), settings.recommendations
    if arguments.customers:
        results = _costs(spark, arguments.customers, rules)
    else:
        if arguments.holdout:
            rules = rules.model_copy(update={"test": rules.test.model_copy(update={"holdout_days": arguments.holdout})})
        readers = {"online_retail": online_retail, "complete_journey": complete_journey}
        results = [_rates(name, read(spark, arguments.data), rules) for name, read in readers.items()]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "recommendations.json").write_text(json.dumps(results, indent=2))


def online_retail(spark: SparkSession, data: Path) -> DataFrame:
    """Lines of UCI Online Retail of known customers, as examples/online_retail maps them."""
    read = spark.read.option("header", True).option("escape", '"').csv(str(data / "online_retail_by_day/*.csv.gz"))
    is_sale = (
        "not startswith(InvoiceNo, 'C') and int(Quantity) > 0 and double(UnitPrice) > 0 and CustomerID is not null"
    )
    return read.where(is_sale).select(
        F.regexp_replace("CustomerID", r"\.0+$", "").alias("customer_id"),
        F.col("InvoiceNo").alias("order_id"),
        F.col("StockCode").alias("product_id"),
        *_line("to_date(InvoiceDate)"),
    )


def complete_journey(spark: SparkSession, data: Path) -> DataFrame:
    """Lines of Complete Journey that cost something, as examples/complete_journey maps them."""
    read = spark.read.parquet(str(data / "completejourney/transactions.parquet"))
    return read.where("sales_value > 0 and quantity > 0").select(
        F.col("household_id").cast("string").alias("customer_id"),
        F.col("basket_id").cast("string").alias("order_id"),
        F.col("product_id").cast("string").alias("product_id"),
        *_line("to_date(transaction_timestamp)"),
    )


def _line(day: str) -> list[Any]:
    """What else `purchases_of` reads of a line; neither data set says which products are of one category."""
    return [
        F.lit(None).cast("string").alias("category"),
        F.expr(day).alias("order_date"),
        F.lit(True).alias("is_purchase"),
        F.lit(1).cast(QUANTITY).alias("quantity"),
        F.lit(0).cast(QUANTITY).alias("returned_quantity"),
    ]


def _rates(name: str, lines: DataFrame, rules: RecommendationRules) -> dict[str, Any]:
    """A data set's hit rates, printed."""
    started = time.monotonic()
    row = rates(lines, LAST[name], rules)
    told = {"bench": "recommendations", "case": name, "seconds": round(time.monotonic() - started, 1), **row}
    print(json.dumps(told))
    return told


def rates(lines: DataFrame, last: date, rules: RecommendationRules) -> dict[str, Any]:
    """Customers judged and hit rates of the last `holdout_days` of a data set."""
    split = last - timedelta(days=rules.test.holdout_days)
    known = lines.localCheckpoint()
    bought, shelf = _learnt(known, split, rules)
    counted = count_hits(known, bought, shelf, split, rules).collect()
    checks = hit_rates({row["bin"]: row.asDict() for row in counted}, rules)
    names = ("customers", "expected", "actual", "is_passed")
    return {check["bin"]: {name: check[name] for name in names} for check in checks}


def _learnt(lines: DataFrame, day: date, rules: RecommendationRules) -> tuple[DataFrame, Shelf]:
    """What customers bought, and the shelf, when everything is in stock."""
    purchases = purchases_of(lines, day, rules.window_days).localCheckpoint()
    bought = bought_products(purchases, day).localCheckpoint()
    known = known_products(bought, product_categories(purchases), rules.repeatable)
    products = known.withColumn("is_available", F.lit(True)).localCheckpoint()
    return bought, shelf_from(purchases, products, rules)


def _costs(spark: SparkSession, customers: int, rules: RecommendationRules) -> list[dict[str, Any]]:
    """Seconds of learning and of lists, of three lines a customer in baskets of two or three; half of them consent."""
    day, lines = date(2026, 6, 30), 3 * customers
    number = spark.range(lines, numPartitions=4).withColumn("order", F.floor(F.col("id") * 2 / 5))
    owner = F.pmod(F.xxhash64("order"), F.lit(customers))
    rank = F.floor(F.pow(F.pmod(F.xxhash64("id"), F.lit(1_000_000)) / 1_000_000, F.lit(3)) * 20_000)
    generated = number.select(
        F.concat(F.lit("C"), F.md5(owner.cast("string"))).alias("customer_id"),
        F.concat(F.lit("shop:"), "order").alias("order_id"),
        F.format_string("P%05d", rank).alias("product_id"),
        F.concat(F.lit("category "), rank % 40).alias("category"),
        F.date_sub(F.lit(day), F.pmod(F.xxhash64("order", F.lit(7)), F.lit(365)).cast("int")).alias("order_date"),
        F.lit(True).alias("is_purchase"),
        F.lit(1).cast(QUANTITY).alias("quantity"),
        F.lit(0).cast(QUANTITY).alias("returned_quantity"),
    )
    known = generated.localCheckpoint()
    started = time.monotonic()
    bought, shelf = _learnt(known, day, rules)
    learnt = time.monotonic()
    tags = [F.lit("category 1").alias(tag) for tag in rules.preferred_category.tags]
    owners = bought.select("customer_id").distinct()
    consents = F.pmod(F.xxhash64("customer_id"), F.lit(2)) == 0
    consenting = owners.select("customer_id", consents.alias("consent_personalised"), *tags)
    recommend_goods(consenting, bought, shelf, day, rules).write.format("noop").mode("overwrite").save()
    listed = time.monotonic()
    row = {"bench": "recommendations", "case": "cost", "size": customers, "lines": lines}
    row |= {"learn_seconds": round(learnt - started, 1), "list_seconds": round(listed - learnt, 1)}
    print(row)
    return [row]


if __name__ == "__main__":
    main()
