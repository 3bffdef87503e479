"""Inventory turnover: how many days the stock of a store lasts at the pace at which it sells."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO, gold
from transforms.contracts.gold.trade import UNKNOWN

_ITEM = ("store_id", "category", "product_id")
_PLACE = ("store_id", "category")
_Band = tuple[Decimal, Decimal]


class TurnoverRules(BaseModel):
    """How turnover is reckoned and judged (section `turnover`).

    Attributes:
        period_days: stock and sales of so many days up to the run date.
        carry_days: a count stands for its own day and those after it up to the next count, at most so many.
        band: days of stock that are as they should be, [least, most]; more is slow.
        category_bands: other bands for some categories.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    period_days: int = Field(ge=1)
    carry_days: int = Field(ge=1)
    band: _Band
    category_bands: dict[str, _Band] = {}

    @field_validator("band", "category_bands")
    @classmethod
    def _ascending(cls, value: _Band | dict[str, _Band]) -> _Band | dict[str, _Band]:
        for low, high in value.values() if isinstance(value, dict) else [value]:
            if not 0 <= low <= high:
                raise ValueError(f"[{low}, {high}] is no band; expected [least, most] days from 0")
        return value


def inventory_turnover(events: DataFrame, lines: DataFrame, as_of: date, rules: TurnoverRules) -> DataFrame:
    """Days of stock for every store and category that was counted, in the columns of gold.inventory_turnover.

    Args:
        events: silver.events as known on `as_of`; `stock` events carry the value at cost in cost_amount.
        lines: silver.order_lines, guests' and staff's among them: what they bought is gone too.

    days = mean stock value ÷ cost of sales × period_days (days of inventory outstanding), null where nothing was sold.
    The stock value of a day is that of the newest count up to it (by event_date; within a date by event_at, then
    arrival_date, then event_id), for at most `carry_days`; the mean is over the days of the period that have one.
    Where products are counted one by one, their means are added. Cost of sales leaves out pieces that came back.
    """
    first_day = as_of - timedelta(days=rules.period_days - 1)
    stock = _mean_stock(events, first_day, as_of, rules)
    turned = stock.join(_cost_of_sales(lines, first_day, as_of), list(_PLACE), "left")
    cost = F.coalesce("cost_of_sales", F.lit(0).cast(MONEY))
    days = (F.col("stock_value") * rules.period_days / F.nullif(cost, F.lit(0))).cast(RATIO)
    low, high = (_benchmark(rules, end) for end in (0, 1))
    return turned.select(
        F.lit(as_of).alias("run_date"),
        *_PLACE,
        "stock_value",
        cost.alias("cost_of_sales"),
        days.alias("days"),
        "stock_days",
        low.alias("benchmark_low"),
        high.alias("benchmark_high"),
        F.when(days.isNull(), "unsold").when(days < low, "below").when(days > high, "above").otherwise("within")
        .alias("status"),
        F.coalesce(days > high, F.col("stock_value") > 0).alias("is_slow_mover"),
    ).select(*gold.INVENTORY_TURNOVER.column_names)  # fmt: skip


def _mean_stock(events: DataFrame, first_day: date, as_of: date, rules: TurnoverRules) -> DataFrame:
    """(store_id, category, stock_value, stock_days): each count weighs as many days of the period as it stands for."""
    oldest = first_day - timedelta(days=rules.carry_days - 1)
    is_count = (F.col("event_type") == "stock") & F.col("store_id").isNotNull() & F.col("cost_amount").isNotNull()
    counts = events.where(is_count & F.col("event_date").between(F.lit(oldest), F.lit(as_of)))
    newest = F.max(F.struct("event_at", "arrival_date", "event_id", "cost_amount"))["cost_amount"]
    daily = _named(counts, "product_id").groupBy(*_ITEM, "event_date").agg(newest.alias("value"))
    following = F.lead("event_date").over(Window.partitionBy(*_ITEM).orderBy("event_date"))
    until = F.least(
        F.coalesce(F.date_sub(following, 1), F.lit(as_of)), F.date_add("event_date", rules.carry_days - 1), F.lit(as_of)
    )
    stood = F.datediff(until, F.greatest(F.col("event_date"), F.lit(first_day))) + 1
    weighed = daily.withColumn("days", stood).where("days > 0")
    of_item = weighed.groupBy(*_ITEM).agg(
        (F.sum(F.col("value") * F.col("days")) / F.sum("days")).alias("value"), F.sum("days").alias("days")
    )
    return of_item.groupBy(*_PLACE).agg(
        F.sum("value").cast(MONEY).alias("stock_value"), F.max("days").cast("int").alias("stock_days")
    )


def _cost_of_sales(lines: DataFrame, first_day: date, as_of: date) -> DataFrame:
    sold = lines.where(F.col("order_date").between(F.lit(first_day), F.lit(as_of)) & F.col("store_id").isNotNull())
    kept = F.greatest(F.col("quantity") - F.col("returned_quantity"), F.lit(0))
    cost = F.when(F.col("quantity") > 0, (F.col("cost_amount") * kept / F.col("quantity")).cast(MONEY))
    return _named(sold).groupBy(*_PLACE).agg(F.sum(cost).cast(MONEY).alias("cost_of_sales"))


def _named(rows: DataFrame, *also: str) -> DataFrame:
    """The rows with `unknown` for no category (and no product), so that they can be joined."""
    return rows.withColumns({name: F.coalesce(name, F.lit(UNKNOWN)) for name in ("category", *also)})


def _benchmark(rules: TurnoverRules, end: int) -> Column:
    column = F.lit(rules.band[end]).cast(RATIO)
    for category, band in sorted(rules.category_bands.items()):
        column = F.when(F.col("category") == category, F.lit(band[end]).cast(RATIO)).otherwise(column)
    return column
