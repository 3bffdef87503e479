"""The whole portrait of a run date in one frame: tags, chain-wide RFM, values and golden record, joined by customer."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.settings import Settings
from jobs.runtime.staff import Read, without_staff
from transforms.contracts import gold, silver
from transforms.segments import segment_facts
from transforms.tags import tag_columns


def portraits(ctx: JobContext) -> DataFrame:
    """One row per customer, key customer_id; where a name stands in several tables, the tag's value is taken."""
    return portraits_of(ctx.tables.read, ctx.settings, ctx.run_date)


def primary_segments(ctx: JobContext) -> DataFrame:
    """(customer_id, segment), key customer_id: primary segments of the run date."""
    return ctx.of_run_date(gold.SEGMENT_MEMBERS).where("kind = 'primary'").select("customer_id", "segment")


def portraits_of(read: Read, settings: Settings, day: date) -> DataFrame:
    """The same of tables as a reader has them, such as published ones."""
    tags = list(tag_columns(settings.tags))
    today = F.col("run_date") == F.lit(day)
    tagged = read("gold.customer_tags").where(today).select("customer_id", *tags)
    scores = read(gold.RFM_SCORES).where(today & (F.col("scope") == "chain"))
    scored = scores.drop("run_date", "scope", "scope_value")
    valued = read(gold.CUSTOMER_VALUES).where(today).drop("run_date", *tags)
    extra = [n for n in silver.CUSTOMERS.column_names if n not in tags and n != "customer_id"]
    golden = read(silver.CUSTOMERS).select("customer_id", *extra)
    joined = golden.join(tagged, "customer_id").join(scored, "customer_id", "left")
    return joined.join(valued, "customer_id", "left")


def segment_facts_of(read: Read, settings: Settings, day: date) -> DataFrame:
    """What segments know beside the portrait, key customer_id: `transforms.segments.segment_facts`."""
    tagged = read("gold.customer_tags").where(F.col("run_date") == F.lit(day))
    worth = tagged.select("customer_id", F.col("net_amount_lifetime").alias("net_amount"))
    counted = without_staff(worth, read, settings)
    return segment_facts(read(silver.ORDER_LINES), read(silver.IDENTITIES), counted, day, settings.new_products)
