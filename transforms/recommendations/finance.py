"""Finance products by eligibility: who may be asked at all, and whom a product fits."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.contracts import gold
from transforms.eligibility import FINANCE_READS, barred_from_finance, holds
from transforms.recommendations.rules import FinanceProduct

READ = ("customer_id", "consent_personalised", *FINANCE_READS)


def recommend_finance(portraits: DataFrame, as_of: date, products: tuple[FinanceProduct, ...]) -> DataFrame:
    """The products that fit each customer, in their order, in the columns of gold.recommendations.

    Args:
        portraits: one row per customer with the columns of `READ` and those that the products' rules read.

    `reason` is the rule itself, not the customer's figures: the list is read by people who do not need these.
    """
    may_be_offered = holds("consent_personalised") & barred_from_finance().isNull()
    dated = portraits.where(may_be_offered).withColumn("as_of", F.lit(as_of))
    fits = [
        F.when(
            F.expr(product.when),
            F.struct(F.lit(product.code).alias("product_id"), F.lit(f"eligible:{product.when}").alias("reason")),
        )
        for product in products
    ]
    no_product = F.array().cast("array<struct<product_id:string,reason:string>>")
    fitting = F.array_compact(F.array(*fits)) if fits else no_product
    listed = dated.select("customer_id", F.posexplode(fitting).alias("place", "product"))
    return listed.select(
        F.lit(as_of).alias("run_date"),
        "customer_id",
        F.lit("finance").alias("kind"),
        (F.col("place") + 1).alias("rank"),
        "product.product_id",
        F.lit(None).cast("string").alias("category"),
        "product.reason",
    ).select(*gold.RECOMMENDATIONS.column_names)
