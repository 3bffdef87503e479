"""What segments need to know of customers beside their portrait: products new when bought, rank by amount, profit."""

from __future__ import annotations

from datetime import date, timedelta

from pydantic import BaseModel, ConfigDict, Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO
from transforms.identity.anchors import with_owner
from transforms.quantiles import ranked_values
from transforms.segments.concentration import top_percent

FACTS = ("net_amount", "profit_amount", "amount_top_percent", "new_product_share", "new_product_line_count")

_LEAD = ["lead_identifier_type", "lead_identifier"]


class NewProductRules(BaseModel):
    """Since when a product is on sale to be new, and how far back purchases are looked at (section `new_products`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    on_sale_days: int = Field(ge=1)
    window_days: int = Field(ge=1)


def segment_facts(
    lines: DataFrame, identities: DataFrame, counted: DataFrame, as_of: date, rules: NewProductRules
) -> DataFrame:
    """One row per customer who bought or is counted, key customer_id.

    Args:
        lines: silver.order_lines. identities: silver.identities.
        counted: customer_id and net_amount (lifetime) of customers who are compared with each other: no staff where
            the settings leave them out.

    Returns:
        net_amount and profit_amount: of counted customers; profit is the net amount less the cost of what was kept.
        amount_top_percent: the smallest whole percent x such that the customer is among the top x % by net amount of
            the counted customers with a positive one (`top_percent`); null for all others.
        new_product_share: of the lines of purchases of `window_days`, the share of products that had been on sale in
            the chain for less than `on_sale_days`; null without such a line. new_product_line_count: those lines.
    """
    bought = _bought(lines, identities, as_of, rules)
    buyers = counted.where("net_amount > 0")
    histogram = buyers.groupBy(F.col("net_amount").alias("value")).agg(F.count("*").alias("customers"))
    percents = ranked_values(histogram).select(F.col("value").alias("net_amount"), top_percent().alias("percent"))
    ranked = buyers.join(percents, "net_amount").select("customer_id", F.col("percent").alias("amount_top_percent"))
    profit = F.col("net_amount") - F.coalesce("cost_of_kept", F.lit(0))
    joined = counted.join(ranked, "customer_id", "left").join(bought, "customer_id", "full")
    return joined.withColumn("profit_amount", profit.cast(MONEY)).select("customer_id", *FACTS)


def _bought(lines: DataFrame, identities: DataFrame, as_of: date, rules: NewProductRules) -> DataFrame:
    """Lines and cost of each customer: summed by lead identifier before owners are looked up, 10 times fewer rows."""
    since = as_of - timedelta(days=rules.window_days)
    is_looked_at = F.col("is_purchase") & (F.col("order_date") > F.lit(since)) & F.col("product_id").isNotNull()
    is_new = F.col("order_date") < F.date_add("first_sold_date", rules.on_sale_days)
    told = lines.join(_launches(lines, rules), "product_id", "left")
    kept = F.when(F.col("quantity") != 0, (F.col("quantity") - F.col("returned_quantity")) / F.col("quantity"))
    cost = F.round(F.col("cost_amount") * F.coalesce(kept, F.lit(1)), 2)
    summed = told.groupBy(*_LEAD).agg(
        F.count_if(is_looked_at).alias("line_count"),
        F.count_if(is_looked_at & is_new).alias("new_count"),
        F.sum(cost.cast(MONEY)).alias("cost"),
    )
    owned = with_owner(summed, identities).where("customer_id is not null").groupBy("customer_id")
    per_customer = owned.agg(*[F.sum(name).alias(name) for name in ("line_count", "new_count", "cost")])
    share = F.col("new_count").cast("decimal(20,0)") / F.nullif("line_count", F.lit(0)).cast("decimal(20,0)")
    return per_customer.select(
        "customer_id",
        F.col("cost").alias("cost_of_kept"),
        share.cast(RATIO).alias("new_product_share"),
        F.col("new_count").alias("new_product_line_count"),
    )


def _launches(lines: DataFrame, rules: NewProductRules) -> DataFrame:
    """When each product was first sold by anybody; not of those of the first `on_sale_days` of all that is known.

    What was sold then may have been on sale for years.
    """
    first = lines.groupBy("product_id").agg(F.min("order_date").alias("first_sold_date"))
    begin = first.agg(F.min("first_sold_date").alias("begin_date"))
    is_launch = F.col("first_sold_date") >= F.date_add("begin_date", rules.on_sale_days)
    launched = first.where("product_id is not null").crossJoin(F.broadcast(begin)).where(is_launch)
    return launched.select("product_id", "first_sold_date")
