"""Concentration: which share of money the best customers bring (Pareto), and how unevenly it is spread (Gini)."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import RATIO, gold
from transforms.quantiles import ranked_values

_SUM = "decimal(24,2)"


def top_percent() -> Column:
    """The smallest whole percent x such that at most x % of customers have as much or more, of `ranked_values`.

    Equal values have equal percents: the customers up to x % are never more than x % of all. It is the rule of the
    value tiers and of RFM's quantile cuts.
    """
    return F.expr("cast((100 * (above + customers) + everybody - 1) div everybody as int)")


def concentration(facts: DataFrame, as_of: date) -> DataFrame:
    """100 rows, one for each percent, in the columns of gold.pareto; none where nobody bought anything.

    Args:
        facts: `segment_facts`; those with a positive net_amount count.

    The top x % of n customers are floor(x n / 100), by falling net amount for `amount_share`, by falling profit for
    `profit_share`: which of equal customers are among them does not change a sum. Gini is the mean absolute
    difference between any two customers over twice the mean (Gini 1912): 0 if all bring the same, near 1 if one brings
    all. Where some customers bring losses, shares of profit pass 1 before they come back, and `profit_gini` may too;
    both are null where there is no profit in all.
    """
    buyers = facts.where("net_amount > 0")
    of_amount, of_profit = (_curve(buyers, f"{name}_amount", said) for name, said in _MEASURES.items())
    both = of_amount.join(F.broadcast(of_profit), "top_percent")
    return both.withColumn("run_date", F.lit(as_of)).select(*gold.PARETO.column_names)


_MEASURES = {"net": ("amount_share", "gini"), "profit": ("profit_share", "profit_gini")}


def _curve(buyers: DataFrame, amount: str, names: tuple[str, str]) -> DataFrame:
    """For each whole percent the share of the best so many, and the Gini coefficient, of one kind of money.

    Customers are first put together by the percent from which on they are inside. Of those just beyond a percent as
    many of the greatest value are added as floor(x n / 100) leaves room for: they all have that value.
    """
    ranked = ranked_values(buyers.groupBy(F.col(amount).alias("value")).agg(F.count("*").alias("customers")))
    ranks = F.expr("customers * above + customers * (customers + 1) div 2").cast("decimal(20,0)")  # 1 is the best
    steps = ranked.groupBy(top_percent().alias("step"), "everybody").agg(
        F.sum("customers").alias("customers"),
        F.sum(F.col("value") * F.col("customers")).cast(_SUM).alias("amount"),
        F.max("value").alias("greatest"),
        F.sum(F.col("value") * ranks).alias("weighted"),
    )
    of_each = steps.select("*", F.explode(F.sequence(F.lit(1), F.lit(100))).alias("top_percent"))
    is_inside = F.col("step") <= F.col("top_percent")
    sums = of_each.groupBy("top_percent", "everybody").agg(
        F.coalesce(F.sum(F.when(is_inside, F.col("customers"))), F.lit(0)).alias("inside"),
        F.coalesce(F.sum(F.when(is_inside, F.col("amount"))), F.lit(0)).cast(_SUM).alias("amount_inside"),
        F.max(F.when(~is_inside, F.col("greatest"))).alias("next_value"),
        F.sum("amount").cast(_SUM).alias("total"),
        F.sum("weighted").alias("weighted"),
    )
    room = F.expr("top_percent * everybody div 100 - inside")
    added = F.coalesce(F.col("next_value") * room, F.lit(0)).cast(_SUM)
    share = (F.col("amount_inside") + added).cast(_SUM) / F.when(F.col("total") > 0, F.col("total"))
    return sums.select("top_percent", share.cast(RATIO).alias(names[0]), _gini().alias(names[1]))


def _gini() -> Column:
    """(n + 1)/n - 2 Σ rank × value / (n Σ value), where rank 1 has most: one division of whole sums at the end."""
    n, total = F.col("everybody").cast("double"), F.when(F.col("total") > 0, F.col("total").cast("double"))
    return F.round((n + 1) / n - 2 * F.col("weighted").cast("double") / (n * total), 6).cast(RATIO)
