"""Who was in which segment from when to when, kept by changes: a function of the members of every published date."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import gold

_STAY = ["segment", "kind", "customer_id"]  # a segment that turns from secondary to primary is left and entered


def change_history(
    history: DataFrame,
    members: DataFrame,
    day: date,
    as_of: date,
    next_day: date | None = None,
    next_members: DataFrame | None = None,
) -> DataFrame:
    """gold.segment_history where the members of `day` hold from then until the next published date.

    Args:
        history: its rows before this run, at least those that exited on `day` or later, or not at all. It may know
            `day` already: what it says from `day` up to `next_day` does not count.
        members: gold.segment_members of `day`.
        as_of: the newest date that the history knows, `day` included: open stays are counted up to it.
        next_day: the published date after `day`; its members, and those of later dates, stay as they are.
        next_members: gold.segment_members of `next_day`, for the reasons of stays that now begin there.

    A stay of one customer in one segment has at most three parts to be put together: what came before `day`, the days
    from `day` to `next_day`, and what holds on `next_day`. Parts that touch are one stay, with its first reason.
    """
    is_over = F.col("exited_date") < F.lit(day)
    history = history.select(*_STAY, "entered_date", "exited_date", "entry_reason")
    earlier, open_then = history.where(is_over), history.where(F.coalesce(~is_over, F.lit(True)))
    before = open_then.where(F.col("entered_date") < F.lit(day)).drop("exited_date")
    today = members.select(*_STAY, _reason().alias("reason_today"), F.lit(True).alias("is_member"))
    after = _after(open_then, next_day, next_members)
    later = open_then.where(F.lit(next_day is not None) & (F.col("entered_date") > F.lit(next_day)))
    parts = before.join(today, _STAY, "full").join(after, _STAY, "full")
    stays = parts.select(*_STAY, F.inline(F.array(*_stays(day, next_day)))).where("entered_date is not null")
    return _counted(earlier.unionByName(stays).unionByName(later), as_of)


def _after(open_then: DataFrame, next_day: date | None, next_members: DataFrame | None) -> DataFrame:
    """Stays that hold on the next published date: until when, and the reason there as far as its slice is kept."""
    holds = (F.col("entered_date") <= F.lit(next_day)) & F.coalesce(F.col("exited_date") > F.lit(next_day), F.lit(True))
    held = open_then.where(F.lit(next_day is not None) & holds).select(
        *_STAY, F.col("exited_date").alias("after_exit"), F.col("entry_reason").alias("after_reason")
    )
    stays_on = held.withColumn("is_after", F.lit(True))
    if next_members is None:
        return stays_on
    told = next_members.select(*_STAY, _reason().alias("told"))
    return (
        stays_on.join(told, _STAY, "left").withColumn("after_reason", F.coalesce("told", "after_reason")).drop("told")
    )


def _stays(day: date, next_day: date | None) -> list[Column]:
    """One stay through `day`, or else the one that ends there and the one that begins on the next published date."""
    is_member, is_after = F.col("is_member").isNotNull(), F.col("is_after").isNotNull()
    until = F.when(is_after, F.col("after_exit")).otherwise(F.lit(next_day).cast("date"))
    since = F.coalesce("entered_date", F.lit(day))
    ended = ~is_member & F.col("entered_date").isNotNull()
    return [
        F.when(is_member, _stay(since, until, F.coalesce("entry_reason", "reason_today"))),
        F.when(ended, _stay(F.col("entered_date"), F.lit(day), F.col("entry_reason"))),
        F.when(~is_member & is_after, _stay(F.lit(next_day).cast("date"), F.col("after_exit"), F.col("after_reason"))),
    ]


def _stay(entered: Column, exited: Column, reason: Column) -> Column:
    return F.struct(entered.alias("entered_date"), exited.alias("exited_date"), reason.alias("entry_reason"))


def _reason() -> Column:
    return F.concat_ws("; ", "reasons")


def _counted(stays: DataFrame, as_of: date) -> DataFrame:
    """Days on which the customer was a member, `as_of` included, and the month in whose files the row lies."""
    until = F.coalesce("exited_date", F.lit(as_of + timedelta(days=1)))
    return stays.withColumns(
        {
            "days_in_segment": F.datediff(until, "entered_date"),
            "exit_month_date": F.trunc("exited_date", "month"),
        }
    ).select(*gold.SEGMENT_HISTORY.column_names)
