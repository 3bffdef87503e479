"""Places by their customers: how many, how loyal, how valuable; and the small places that are better than they look."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from pydantic import BaseModel, ConfigDict, Field
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO, gold
from transforms.contracts.gold.trade import UNKNOWN


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HiddenQuality(_Model):
    """When a place has few but loyal customers; shares are of the places judged, those with `least_buyers` or more.

    Attributes:
        larger_places: at least this share has more customers; 0.5: the place is below the median.
        less_loyal_places: at least this share has a lower repurchase rate; 0.75: it is in the best quarter.
        less_valuable_places: at least this share has a lower mean CLV.
    """

    label: str
    description: str
    least_buyers: int = Field(ge=1)
    larger_places: Decimal = Field(ge=0, le=1)
    less_loyal_places: Decimal = Field(ge=0, le=1)
    less_valuable_places: Decimal = Field(ge=0, le=1)


class RegionRules(_Model):
    """How places are judged (section `regions`): by the purchases of the `window_days` up to the run date."""

    window_days: int = Field(ge=1)
    hidden_quality: HiddenQuality


def region_quality(
    customers: DataFrame, orders: DataFrame, values: DataFrame, as_of: date, rules: RegionRules
) -> DataFrame:
    """Every place of residence with its customers, in the columns of gold.region_quality.

    Args:
        customers: silver.customers of those who count; one row each.
        orders: silver.orders with customer_id.
        values: (customer_id, clv_365d), key customer_id.

    repurchase_rate = customers with two or more purchases of the window ÷ customers with one or more. Customers whose
    city is not known are at the place `unknown`, so that customers, buyers, repeat_buyers and net_amount add up to
    those of all customers; it is never marked.
    """
    since = as_of - timedelta(days=rules.window_days - 1)
    kept = orders.where(F.col("is_purchase") & F.col("order_date").between(F.lit(since), F.lit(as_of)))
    bought = kept.groupBy("customer_id").agg(
        F.count("*").alias("purchases"), F.sum("net_amount").alias("net_amount")
    )  # fmt: skip
    portrayed = customers.join(bought, "customer_id", "left").join(values, "customer_id", "left")
    places = _places(portrayed)
    return _marked(places, rules.hidden_quality).select(
        F.lit(as_of).alias("run_date"), *gold.REGION_QUALITY.column_names[1:]
    )


def _places(customers: DataFrame) -> DataFrame:
    place = (_plain("province", "[省市]").alias("province"), _plain("city", "市").alias("city"))
    counted = customers.groupBy(*place).agg(
        F.max("city_tier").alias("city_tier"),  # of a city all the same
        F.count("*").alias("customers"),
        F.count("purchases").alias("buyers"),
        F.count_if(F.col("purchases") >= 2).alias("repeat_buyers"),
        F.coalesce(F.sum("net_amount"), F.lit(0)).cast(MONEY).alias("net_amount"),
        F.sum("clv_365d").alias("clv"),
        F.count("clv_365d").alias("valued"),
    )
    return counted.select(
        "*",
        _ratio("repeat_buyers", "buyers").cast(RATIO).alias("repurchase_rate"),
        _ratio("net_amount", "buyers").cast(MONEY).alias("net_amount_per_buyer"),
        _ratio("clv", "valued").cast(MONEY).alias("mean_clv"),
    )


def _plain(column: str, ending: str) -> Column:
    """The name without its 省 or 市: sources write 大理 and 大理市 of one place, as conf/base.yaml knows of tiers."""
    return F.coalesce(F.regexp_replace(F.trim(column), f"(?<=..){ending}$", ""), F.lit(UNKNOWN))


def _marked(places: DataFrame, rule: HiddenQuality) -> DataFrame:
    judged = places.withColumn("is_judged", (F.col("buyers") >= rule.least_buyers) & (F.col("city") != UNKNOWN))
    is_few = _behind(F.desc("customers"), rule.larger_places)
    is_loyal = _behind(F.asc_nulls_first("repurchase_rate"), rule.less_loyal_places)
    is_valuable = _behind(F.asc_nulls_first("mean_clv"), rule.less_valuable_places)
    return judged.withColumn("is_hidden_quality", F.col("is_judged") & is_few & is_loyal & is_valuable)


def _behind(order: Column, share: Decimal) -> Column:
    """Whether at least this share of the judged places comes before this one in an order; equal ones do not."""
    peers = Window.partitionBy("is_judged")  # places of a country: some thousand rows
    part = Fraction(share)
    before = F.rank().over(peers.orderBy(order)) - 1
    return before * part.denominator >= F.count("*").over(peers) * part.numerator


def _ratio(part: str, whole: str) -> Column:
    return F.col(part).cast("decimal(18,2)") / F.nullif(F.col(whole), F.lit(0)).cast("decimal(18,0)")
