"""read-feedback: silver.events -> gold.feedback_topics."""

from __future__ import annotations

from pyspark.sql import functions as F

from jobs.runtime.job import JobContext, main
from transforms.contracts import gold
from transforms.feedback.topics import feedback_topics


def run(ctx: JobContext) -> None:
    """What reviews, consults and posts say of each product, and which products break out."""
    topics = feedback_topics(ctx.events(), ctx.run_date, ctx.settings.feedback).coalesce(1)
    ctx.facts["topics"] = ctx.tables.overwrite_slice(gold.FEEDBACK_TOPICS, topics, run_date=ctx.run_date).rows
    is_whole = (F.col("topic") == "all") & F.col("is_breakout")
    ctx.facts["breakouts"] = ctx.of_run_date(gold.FEEDBACK_TOPICS).where(is_whole).count()


if __name__ == "__main__":
    main(run)
