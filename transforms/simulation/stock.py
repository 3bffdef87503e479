"""Stock: what each store holds of each category, from the merchandise system."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.simulation import catalogue
from transforms.simulation.draws import draw, looked_up
from transforms.simulation.occasions import raw_rows
from transforms.simulation.plan import SimulationPlan


def erp(ids: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw stock levels; one row per store, category and date. Before the nights there is one snapshot a week."""
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
    size = 40 + draw(plan, "stock/size", F.col("store"), F.col("place")) * 400
    pieces = F.round(size * (0.5 + draw(plan, "stock/level", *keys))).cast("decimal(12,3)")
    value = F.round(60 + draw(plan, "stock/value", F.col("place")) * 200, 2).cast("decimal(12,2)")
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
