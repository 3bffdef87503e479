"""What real feeds do to good data: sloppy typing, damaged fields, late and repeated deliveries, broken lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation.draws import chance, draw, pick, pick_weighted
from transforms.simulation.plan import SimulationPlan

PLACEHOLDER_PHONES = ("13800138000", "00000000000")
_NULL_LIKES = ("N/A", "无", "null", "-")
_FULL_WIDTH = "０１２３４５６７８９"


@dataclass(frozen=True)
class Dirt:
    """A share of a column's values (among rows of `only_where`) that is overwritten by one of `values`."""

    column: str
    values: Sequence[str]
    share: float
    only_where: str | None = None


def typed_phone(plan: SimulationPlan, phone: Column, *keys: Column) -> Column:
    """A phone number as people key it in: plain, spaced, with country code, full-width, or a placeholder."""
    style = pick_weighted(
        {"plain": 78, "spaced": 8, "plus": 5, "dashed": 4, "wide": 3, "placeholder": 1, "none": 1},
        draw(plan, "typed_phone/style", *keys),
    )
    spaced = F.concat_ws(" ", F.substring(phone, 1, 3), F.substring(phone, 4, 4), F.substring(phone, 8, 4))
    nonsense = draw(plan, "typed_phone/nonsense", *keys)
    typed = (
        F.when(style == "spaced", spaced)
        .when(style == "plus", F.concat(F.lit("+86 "), spaced))
        .when(style == "dashed", F.concat(F.lit("86-"), phone))
        .when(style == "wide", F.translate(phone, "0123456789", _FULL_WIDTH))
        .when(style == "placeholder", pick(PLACEHOLDER_PHONES, nonsense))
        .when(style == "none", pick(_NULL_LIKES, nonsense))
        .otherwise(phone)
    )
    return F.when(phone.isNotNull(), typed)


def typed_id(plan: SimulationPlan, identifier: Column, *keys: Column) -> Column:
    """An id as it comes: now and then in lower case or with a blank after it."""
    style = draw(plan, "typed_id", *keys)
    return (
        F.when(style < 0.03, F.lower(identifier))
        .when(style < 0.05, F.concat(identifier, F.lit(" ")))
        .otherwise(identifier)
    )


def soiled(rows: DataFrame, plan: SimulationPlan, feed: str, dirt: Sequence[Dirt]) -> DataFrame:
    """The rows with some values damaged; which ones follows from `_key`, so that a copy has the same damage."""
    kinds = dict(rows.dtypes)
    damaged: dict[str, Column] = {}
    for place, spot in enumerate(dirt):
        hit = chance(plan, spot.share, f"dirt/{feed}/{place}", F.col("_key"))
        hit = hit & F.expr(spot.only_where) if spot.only_where else hit
        value = pick(spot.values, draw(plan, f"dirt/{feed}/{place}/value", F.col("_key")))
        clean = damaged.get(spot.column, F.col(spot.column))
        damaged[spot.column] = F.when(hit, value.try_cast(kinds[spot.column])).otherwise(clean)
    return rows.withColumns(damaged)


def delivered(rows: DataFrame, plan: SimulationPlan, feed: str, *, resends: bool, repeats: float) -> DataFrame:
    """The rows with their arrival date `_dt` and file number `_file`; some late, some twice.

    Everything before the nights arrives as one backlog. Four batches in a hundred come 1 to 3 days late, three in a
    thousand after more than a week; what would arrive after the end has not arrived. With `resends` the first file
    of a night comes again in the next night's folder, numbered after that folder's own. `repeats` of the rows stand
    twice in their file.
    """
    fate = draw(plan, f"late/{feed}", F.col("_batch"))
    spread = draw(plan, f"late/{feed}/days", F.col("_batch"))
    delay = F.when(fate < 0.003, 9 + F.floor(spread * 10)).when(fate < 0.043, 1 + F.floor(spread * 3)).otherwise(0)
    arrival = F.greatest(F.date_add(F.col("_date"), delay.cast("int")), F.lit(plan.backlog_date))
    copies = F.when(chance(plan, repeats, f"repeat/{feed}", F.col("_key")), 2).otherwise(1)
    arrived = (
        rows.withColumn("_dt", arrival)
        .where(F.col("_dt") <= F.lit(plan.end_date))
        .withColumn("_copy", F.explode(F.sequence(F.lit(1), copies)))
        .withColumn("_file", _file_number(plan))
    )
    return _resent(arrived, plan) if resends and plan.resend_dates else arrived.drop("_copy")


def _file_number(plan: SimulationPlan) -> Column:
    files = F.when(F.col("_dt") == F.lit(plan.backlog_date), plan.backlog_files).otherwise(plan.night_files)
    return F.pmod(F.col("_batch"), files).cast("int")


def _resent(arrived: DataFrame, plan: SimulationPlan) -> DataFrame:
    assert plan.resend_dates
    first, second = plan.resend_dates
    is_resent = (F.col("_dt") == F.lit(first)) & (F.col("_file") == 0)
    twice = arrived.withColumn("_again", F.explode(F.sequence(F.lit(0), is_resent.cast("int"))))
    is_again = F.col("_again") == 1
    return twice.withColumns(
        {
            "_dt": F.when(is_again, F.lit(second)).otherwise(F.col("_dt")),
            "_file": F.when(is_again, F.lit(plan.night_files)).otherwise(F.col("_file")),
        }
    ).drop("_again", "_copy")


def broken(plan: SimulationPlan, feed: str, line: Column, delimiter: str | None) -> Column:
    """The line of text, a few cut short (JSON, CSV) or with a column too many (CSV)."""
    fate = draw(plan, f"broken/{feed}", F.col("_key"))
    if delimiter is None:
        kept = F.floor(F.length(line) * 0.6).cast("int")
        return F.when(fate < 0.0012, F.substring(line, F.lit(1), kept)).otherwise(line)
    return (
        F.when(fate < 0.0006, F.substring_index(line, delimiter, 4))
        .when(fate < 0.0012, F.concat(line, F.lit(f"{delimiter}?{delimiter}?")))
        .otherwise(line)
    )
