"""Stock: what each store holds of each category, from the merchandise system."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.simulation import catalogue
from transforms.simulation.draws import draw, looked_up
from transforms.simulation.occasions import raw_rows
from transforms.simulation.plan import SimulationPlan

_DAILY_PIECES = 0.045  # what a customer takes from the stores in a day
_DAYS_HELD = 60
_COST_SHARE = 0.008  # of a price in 分, in 元: premium goods make stock dearer than typical prices


def erp(ids: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw stock levels; one row per store, category and date. Before the nights there is one snapshot a week.

    A store holds what its share of the customers buys in about two months, so turnover is what shops know.
    """
    every_week = F.sequence(F.lit(plan.first_date), F.lit(plan.backlog_date), F.expr("interval 7 days"))
    nights = F.array(*[F.lit(night) for night in plan.arrival_dates[1:]]).cast("array<date>")
    places = F.sequence(F.lit(0), F.lit(len(catalogue.CATEGORIES) - 1))
    rows = (
        ids.where(F.col("id") < plan.stores)
        .select(F.col("id").cast("bigint").alias("store"), F.explode(places).alias("place"))
        .select("*", F.explode(F.concat(every_week, nights)).alias("date"))
        .withColumn("second", F.lit(6 * 3600))
    )
    keys = [F.col("store"), F.col("place"), F.col("date")]
    sold = plan.customers / plan.stores * _DAILY_PIECES * catalogue.category_share(F.col("place")) / 100
    size = sold * _DAYS_HELD * (0.4 + 1.2 * draw(plan, "stock/size", F.col("store"), F.col("place")))
    level = F.round(size * (0.75 + 0.5 * draw(plan, "stock/level", *keys)))
    pieces = F.greatest(level, F.lit(1)).cast("decimal(12,3)")
    value = F.round(catalogue.typical_price(F.col("place")) * _COST_SHARE, 2).cast("decimal(12,2)")
    columns = {
        "biz_date": F.date_format("date", "yyyyMMdd"),
        "store_no": catalogue.store_code(F.col("store")),
        "store_name": F.concat(F.split(catalogue.store_city(plan, F.col("store").cast("int")), r"\|")[0], F.lit("店")),
        "category": looked_up(catalogue.CATEGORIES, F.col("place")),
        "on_hand": pieces,
        "stock_cost": (pieces * value).cast("decimal(18,2)"),
        "kind": F.lit("SNAP"),
    }
    return raw_rows(rows, plan, "erp", columns, keys)
