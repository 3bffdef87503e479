"""Flows: how many customers went from which primary segment to which, over a day, a week and a month."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import gold

NOWHERE = "none"


def flow_dates(day: date) -> dict[str, date]:
    """The date that `day` is held against, by period; a month before the 31st is the last day of a shorter month."""
    month_end = day.replace(day=1) - timedelta(days=1)
    month_before = month_end.replace(day=min(day.day, month_end.day))
    return {"day": day - timedelta(days=1), "week": day - timedelta(days=7), "month": month_before}


def segment_flows(history: DataFrame, day: date) -> DataFrame:
    """Customers by period, primary segment then and primary segment on `day`, in the columns of gold.segment_flows.

    Args:
        history: gold.segment_history, at least its rows that exited after a month before `day`, or not at all.

    Who was not there then comes from `none`, who is not there on `day` goes to `none`; of a period the customers are
    so, from anywhere, those of `day`, and to anywhere, those of then. A date without a run has the members of the
    last published date before it.
    """
    primary = history.where("kind = 'primary'")
    dates = flow_dates(day)
    placed = primary.groupBy("customer_id").agg(
        _segment_on(day).alias("to_segment"), *[_segment_on(then).alias(period) for period, then in dates.items()]
    )
    periods = [F.struct(F.lit(name).alias("period"), F.col(name).alias("from_segment")) for name in dates]
    moved = placed.select("to_segment", F.inline(F.array(*periods)))
    ends = {end: F.coalesce(end, F.lit(NOWHERE)) for end in ("from_segment", "to_segment")}
    anywhere = moved.where("from_segment is not null or to_segment is not null").withColumns(ends)
    counted = anywhere.groupBy("period", "from_segment", "to_segment").agg(F.count("*").alias("customers"))
    return counted.withColumn("run_date", F.lit(day)).select(*gold.SEGMENT_FLOWS.column_names)


def _segment_on(day: date) -> Column:
    was = (F.col("entered_date") <= F.lit(day)) & F.coalesce(F.col("exited_date") > F.lit(day), F.lit(True))
    return F.max(F.when(was, F.col("segment")))
