"""The whole portrait of a run date in one frame: tags, chain-wide RFM, values and golden record, joined by customer."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from transforms.contracts import gold, silver
from transforms.tags import tag_columns


def portraits(ctx: JobContext) -> DataFrame:
    """One row per customer, key customer_id; where a name stands in several tables, the tag's value is taken."""
    tags = list(tag_columns(ctx.settings.tags))
    today = F.col("run_date") == F.lit(ctx.run_date)
    tagged = ctx.tables.read("gold.customer_tags").where(today).select("customer_id", *tags)
    scores = ctx.tables.read(gold.RFM_SCORES).where(today & (F.col("scope") == "chain"))
    scored = scores.drop("run_date", "scope", "scope_value")
    valued = ctx.tables.read(gold.CUSTOMER_VALUES).where(today).drop("run_date", *tags)
    extra = [n for n in silver.CUSTOMERS.column_names if n not in tags and n != "customer_id"]
    golden = ctx.tables.read(silver.CUSTOMERS).select("customer_id", *extra)
    joined = golden.join(tagged, "customer_id").join(scored, "customer_id", "left")
    return joined.join(valued, "customer_id", "left")
