"""compute-tags: silver.timelines, silver.customers -> gold.customer_tags, gold.tag_catalogue."""

from __future__ import annotations

from pyspark.sql import functions as F

from jobs.runtime.catalogues import write_catalogue
from jobs.runtime.job import JobContext, main
from transforms.contracts import gold, silver
from transforms.tags import catalogue_rows, tag_columns, tags_of_timelines, timelines_table
from transforms.usage import tag_users


def run(ctx: JobContext) -> None:
    """All tags of the settings for all customers, as of the run date."""
    rules = ctx.settings.tags
    timelines, customers = ctx.tables.read(timelines_table(rules)), ctx.tables.read(silver.CUSTOMERS)
    tags = tags_of_timelines(timelines, customers, ctx.run_date, rules)
    table = gold.customer_tags_table(tag_columns(rules))
    dated = tags.withColumn("run_date", F.lit(ctx.run_date))
    with ctx.interpreted(0):  # compiled, 90 columns are methods too large for Java: half again as slow
        ctx.facts["customers"] = ctx.tables.overwrite_slice(table, dated, run_date=ctx.run_date).rows
    ctx.facts["tags"] = len(tag_columns(rules))
    used_by = tag_users(tag_columns(rules), ctx.settings.segments, ctx.settings.value)
    write_catalogue(ctx, gold.TAG_CATALOGUE, catalogue_rows(rules, used_by))


if __name__ == "__main__":
    main(run)
