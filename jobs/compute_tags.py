"""compute-tags: silver.timelines, customers, activity -> gold.customer_tags, gold.tag_catalogue, gold.tag_health."""

from __future__ import annotations

from pyspark.sql import functions as F

from jobs.runtime.catalogues import write_catalogue
from jobs.runtime.job import JobContext, main
from jobs.runtime.publications import published_before
from jobs.runtime.side_by_side import side_by_side
from jobs.runtime.tables import among
from transforms.contracts import gold, silver
from transforms.drift import histogramming, shapes
from transforms.tags import (
    catalogue_rows,
    health_rows,
    measuring,
    newest_events,
    tag_columns,
    tags_of_measures,
    timelines_table,
)
from transforms.usage import tag_users


def run(ctx: JobContext) -> None:
    """All tags of the settings for all customers, as of the run date, and how these tags do."""
    rules = ctx.settings.tags
    measures = ctx.tables.scan(timelines_table(rules), *measuring(ctx.run_date, rules))
    tags = tags_of_measures(measures, ctx.tables.read(silver.CUSTOMERS), ctx.run_date, rules)
    table = gold.customer_tags_table(tag_columns(rules))
    dated = tags.withColumn("run_date", F.lit(ctx.run_date))
    ctx.facts["customers"] = ctx.tables.overwrite_slice(table, dated, run_date=ctx.run_date).rows
    ctx.facts["tags"] = len(tag_columns(rules))
    settings = ctx.settings
    users = tag_users(
        tag_columns(rules),
        settings.segments,
        settings.value,
        settings.recommendations,
        settings.strategies,
        settings.kpis,
    )
    catalogue = catalogue_rows(rules, users)
    write_catalogue(ctx, gold.TAG_CATALOGUE, catalogue)
    used_by = gold.TAG_CATALOGUE.column_names.index("used_by")
    _report_health(ctx, {row[0] for row in catalogue if row[used_by]})


def _report_health(ctx: JobContext, read: set[str]) -> None:
    """Tonight's slice beside that of the last published run; of a rerun that is still the night before."""
    day, rules = ctx.run_date, ctx.settings.tags
    earlier = published_before(ctx.tables, day)
    days = [day, earlier] if earlier else [day]
    histograms = ctx.tables.scan("gold.customer_tags", *histogramming(day, rules.types), run_date=days)
    shaped, newest = side_by_side(
        shapes(histograms).collect, newest_events(ctx.tables.read(silver.ACTIVITY), day).collect
    )
    known = ctx.tables.read_or_empty(gold.TAG_HEALTH).where(among("run_date", days[1:])).collect()
    rows = health_rows(
        rules,
        ctx.settings.tag_health,
        [row.asDict() for row in shaped],
        {row.event_type: row.asDict() for row in newest},
        {row.tag: row.unused_since_date for row in known},
        read,
        day,
    )
    ctx.tables.overwrite_slice(gold.TAG_HEALTH, ctx.small_frame(rows, gold.TAG_HEALTH), run_date=day)
    for name in ("is_stale", "is_unused"):
        place = gold.TAG_HEALTH.column_names.index(name)
        ctx.facts[name.removeprefix("is_")] = sum(row[place] for row in rows)


if __name__ == "__main__":
    main(run)
