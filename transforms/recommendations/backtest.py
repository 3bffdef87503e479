"""The offline test: lists made of what was known some weeks ago, held against what was bought since.

Judged is who bought in the window before the split and in the holdout after it. A hit: at least one of the first ten
is among the products bought in the holdout. Popularity is the usual baseline: the chain's ten best sellers, less what
the customer bought and is not bought again. Lists are made without categories, which are tags of tonight, and also for
customers who did not consent to lists: nobody sees them, and only the two shares are kept.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.recommendations.goods import goods_lists
from transforms.recommendations.purchases import purchases_of
from transforms.recommendations.rules import RecommendationRules
from transforms.recommendations.shelf import Shelf
from transforms.values.checks import Check, check_row

HIT_PLACES = 10
_BEST_SELLERS = 1_000  # of which even customers who bought most best sellers lack ten
_NOTES = {
    "hit_rate_at_10": "share of customers who bought one of ten products listed; expected: of the ten best sellers",
    "hit_rate_at_10_new": "the same among products that the customer had not bought in the window, both lists of such",
}


def split_of(effective: date, rules: RecommendationRules) -> date:
    """The last day that lists of the test know."""
    return effective - timedelta(days=rules.test.holdout_days)


def count_hits(lines: DataFrame, bought: DataFrame, shelf: Shelf, split: date, rules: RecommendationRules) -> DataFrame:
    """Two rows, key `bin`: customers judged, hits of our lists and of popularity.

    Args:
        lines: as for `purchases_of`, up to the end of the holdout at least.
        bought: `bought_products` as of `split`.
        shelf: what was known on `split`.

    Bin hit_rate_at_10 judges all products that were bought in the holdout; hit_rate_at_10_new those only that the
    customer had not bought in the window, by lists of such products only, customers who bought one.
    """
    rules = rules.model_copy(update={"best_sellers": _BEST_SELLERS, "rank_count": HIT_PLACES})
    end = split + timedelta(days=rules.test.holdout_days)
    later = purchases_of(lines, end, rules.test.holdout_days).select("customer_id", "product_id").distinct()
    before = bought.join(later.select("customer_id").distinct(), "customer_id", "left_semi")
    customers = before.select("customer_id").distinct()
    judged = later.join(customers, "customer_id", "left_semi")
    had = before.select("customer_id", "product_id", F.lit(True).alias("had"))
    is_new = F.col("had").isNull().alias("is_new")
    judged = judged.join(had, ["customer_id", "product_id"], "left").select("customer_id", "product_id", is_new)
    shelves = {"": shelf, "new_": shelf.nothing_again()}
    lists = [
        goods_lists(customers, before, on_it, rules, is_baseline=is_baseline).select(
            "customer_id", "product_id", F.lit(f"{prefix}{'popular_' if is_baseline else ''}hits").alias("list")
        )
        for prefix, on_it in shelves.items()
        for is_baseline in (False, True)
    ]
    found = judged.join(reduce(DataFrame.unionAll, lists), ["customer_id", "product_id"], "left")
    both = found.withColumn("bin", F.explode(F.when(F.col("is_new"), F.array(*map(F.lit, _NOTES))).otherwise(_all())))
    prefix = F.when(F.col("bin") == "hit_rate_at_10_new", "new_").otherwise("")
    counts = {name: F.when(F.col("list") == F.concat(prefix, F.lit(name)), F.col("customer_id")) for name in _HITS}
    everybody = F.count_distinct("customer_id").alias("customers")
    return both.groupBy("bin").agg(everybody, *[F.count_distinct(who).alias(name) for name, who in counts.items()])


_HITS = ("hits", "popular_hits")


def _all() -> Column:
    return F.array(F.lit("hit_rate_at_10"))


def hit_rates(counted: dict[str, dict[str, int]], rules: RecommendationRules) -> list[Check]:
    """The rows of gold.model_checks of the counts by bin: expected is popularity's rate, actual ours."""
    checks = []
    for bin, note in _NOTES.items():
        counts = counted.get(bin, {"customers": 0, "hits": 0, "popular_hits": 0})
        customers = counts["customers"]
        ours, popular = ((counts[name] / customers if customers else None) for name in _HITS)
        is_passed = None if customers < rules.test.least_customers else counts["hits"] > counts["popular_hits"]
        checks.append(check_row("recommendations", "backtest", bin, customers, popular, ours, is_passed, note))
    return checks
