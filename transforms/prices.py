"""Price fairness: whether some customers pay more than others for the same product (大数据杀熟)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from pydantic import BaseModel, ConfigDict, Field
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import MONEY, QUANTITY, RATIO, gold
from transforms.contracts.gold.trade import UNKNOWN
from transforms.expressions import nearest


class PriceRules(BaseModel):
    """When a price is unfair (section `prices`).

    Attributes:
        window_days: purchases of so many days up to the run date. A price that changed within them hits those who
            bought before it, whoever they are, so keep it short.
        tolerance: a segment may pay so much more than the others: 0.1 is a tenth.
        least_pieces, least_customers: so much on either side, or nothing is said.
        loyal_segments: codes of segments that must not pay more than those of `new_segments`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    window_days: int = Field(ge=1)
    tolerance: Decimal = Field(ge=0, le=10)
    least_pieces: int = Field(ge=1)
    least_customers: int = Field(ge=1)
    loyal_segments: tuple[str, ...] = Field(min_length=1)
    new_segments: tuple[str, ...] = Field(min_length=1)


def price_fairness(lines: DataFrame, segments: DataFrame, as_of: date, rules: PriceRules) -> DataFrame:
    """What each segment paid for a piece of each product, in the columns of gold.price_fairness.

    Args:
        lines: silver.order_lines with customer_id; lines of guests, whose segment nobody knows, are left out.
        segments: (customer_id, segment), key customer_id: primary segments of `as_of`.

    The price of a piece is what was paid after discounts ÷ pieces; means weigh by pieces. Prices are those of the
    till: what came back later was sold at them too. What cost nothing was given away and says nothing of prices.
    `is_unfair`: mean > (1 + tolerance) × mean of all other segments together. `is_loyalty_penalty`: the segment is a
    loyal one, and the same holds against the new ones.
    """
    since = as_of - timedelta(days=rules.window_days - 1)
    is_told = F.col("is_purchase") & (F.col("quantity") > 0) & (F.col("gross_amount") > 0)
    in_time = F.col("order_date").between(F.lit(since), F.lit(as_of))
    is_named = F.col("customer_id").isNotNull() & F.col("product_id").isNotNull()
    sold = lines.where(is_told & is_named & in_time).join(segments, "customer_id", "left")
    return _judged(_paid(sold), rules).select(
        F.lit(as_of).alias("run_date"), *gold.PRICE_FAIRNESS.column_names[1:]
    )  # fmt: skip


def check_segments(rules: PriceRules, known: Iterable[str]) -> list[str]:
    """A sentence for each segment that is named and not declared as a primary one."""
    codes = list(known)
    return [
        f"prices.{key}: segment {code!r} is not a primary one{nearest(code, codes)}"
        for key in ("loyal_segments", "new_segments")
        for code in getattr(rules, key)
        if code not in codes
    ]


def _paid(sold: DataFrame) -> DataFrame:
    """(product_id, segment) with customers, pieces, amount and the prices of its lines."""
    price = (F.col("gross_amount") / F.col("quantity")).cast(MONEY)
    segment = F.coalesce("segment", F.lit(UNKNOWN)).alias("segment")
    of_customer = sold.groupBy("product_id", segment, "customer_id").agg(
        F.sum("quantity").alias("pieces"),
        F.sum("gross_amount").alias("amount"),
        F.min(price).alias("min_price"),
        F.max(price).alias("max_price"),
    )
    return of_customer.groupBy("product_id", "segment").agg(
        F.count("*").alias("customers"),
        F.sum("pieces").cast(QUANTITY).alias("pieces"),
        F.sum("amount").cast(MONEY).alias("amount"),
        F.min("min_price").alias("min_price"),
        F.max("max_price").alias("max_price"),
    )


def _judged(paid: DataFrame, rules: PriceRules) -> DataFrame:
    of_product = Window.partitionBy("product_id")
    is_new = F.col("segment").isin(*rules.new_segments)
    totals = {
        f"{whose}_{what}": F.sum(F.when(condition, F.col(what))).over(of_product)
        for whose, condition in (("product", F.lit(True)), ("new", is_new))
        for what in ("customers", "pieces", "amount")
    }
    compared = paid.withColumns(totals)
    compared = compared.withColumns(
        {f"others_{what}": F.col(f"product_{what}") - F.col(what) for what in ("customers", "pieces", "amount")}
    )
    mean = {whose: _mean(f"{whose}_") for whose in ("product", "others", "new")}
    own = _mean("")
    is_loyal = F.col("segment").isin(*rules.loyal_segments)
    return compared.select(
        "product_id",
        "segment",
        "customers",
        "pieces",
        own.cast(MONEY).alias("mean_price"),
        "min_price",
        "max_price",
        ((F.col("max_price") - F.col("min_price")) / F.nullif(own, F.lit(0))).cast(RATIO).alias("spread_ratio"),
        mean["product"].cast(MONEY).alias("product_mean_price"),
        (own / F.nullif(mean["product"], F.lit(0))).cast(RATIO).alias("price_ratio"),
        mean["others"].cast(MONEY).alias("others_mean_price"),
        mean["new"].cast(MONEY).alias("new_mean_price"),
        is_loyal.alias("is_loyal"),
        _pays_more("others_", rules).alias("is_unfair"),
        (is_loyal & _pays_more("new_", rules)).alias("is_loyalty_penalty"),
    )


def _mean(whose: str) -> Column:
    pieces = F.nullif(F.col(f"{whose}pieces"), F.lit(0)).cast(QUANTITY)
    return (F.col(f"{whose}amount").cast(MONEY) / pieces).cast("decimal(27,9)")


def _pays_more(whose: str, rules: PriceRules) -> Column:
    """Whether the mean is above (1 + tolerance) × theirs, compared by products of whole sums: nothing is rounded."""
    limit = 1 + Fraction(rules.tolerance)
    volumes = [
        F.col(f"{side}{what}") >= least
        for side in ("", whose)
        for what, least in (("pieces", rules.least_pieces), ("customers", rules.least_customers))
    ]
    here = F.col("amount") * F.col(f"{whose}pieces").cast(QUANTITY) * limit.denominator
    there = F.col(f"{whose}amount").cast(MONEY) * F.col("pieces") * limit.numerator
    enough = volumes[0] & volumes[1] & volumes[2] & volumes[3]
    return F.coalesce(enough & (here > there), F.lit(False))
