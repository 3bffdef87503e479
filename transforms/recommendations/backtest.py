"""The offline test: lists made of what was known some weeks ago, held against what was bought since.

Judged is who bought in the window before the split and in the holdout after it. A hit: at least one of the first ten
is among the products bought in the holdout. Popularity is the usual baseline: the chain's ten best sellers, less what
the customer bought and is not bought again. Lists are made without categories, which are tags of tonight, and also for
customers who did not consent to lists: nobody sees them, and only the two shares are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.recommendations.goods import owned_of, parts_of, with_owned
from transforms.recommendations.lists import Listed, among, popular_goods, ranked_goods
from transforms.recommendations.purchases import purchases_of
from transforms.recommendations.rules import RecommendationRules
from transforms.recommendations.shelf import Integers, Shelf, places_of
from transforms.values.checks import Check, check_row

HIT_PLACES = 10
_HITS = ("hits", "popular_hits")
_COUNTS = "bin string, customers bigint, hits bigint, popular_hits bigint"
_BEST_SELLERS = 1_000  # of which even customers who bought most best sellers lack ten
_NOTES = {
    "hit_rate_at_10": "share of customers who bought one of ten products listed; expected: of the ten best sellers",
    "hit_rate_at_10_new": "the same among products that the customer had not bought in the window, both lists of such",
}


def split_of(effective: date, rules: RecommendationRules) -> date:
    """The last day that lists of the test know."""
    return effective - timedelta(days=rules.test.holdout_days)


def count_hits(lines: DataFrame, bought: DataFrame, shelf: Shelf, split: date, rules: RecommendationRules) -> DataFrame:
    """Two rows, key `bin`: customers judged, hits of our lists and popular_hits of popularity.

    Args:
        lines: as for `purchases_of`, up to the end of the holdout at least.
        bought: `bought_products` as of `split`.
        shelf: what was known on `split`.

    Bin hit_rate_at_10 judges all products that were bought in the holdout; hit_rate_at_10_new those only that the
    customer had not bought in the window, by lists of such products only, customers who bought one.
    """
    end = split + timedelta(days=rules.test.holdout_days)
    later = purchases_of(lines, end, rules.test.holdout_days).groupBy("customer_id")
    foreseen = later.agg(F.collect_set("product_id").alias("foreseen"))
    known = with_owned(foreseen, bought).where("size(owned) > 0").join(foreseen, "customer_id")
    few = {"best_sellers": _BEST_SELLERS, "rank_count": HIT_PLACES}
    counts = known.mapInArrow(partial(_hit_batches, shelf=shelf, rules=rules.model_copy(update=few)), _COUNTS)
    return counts.groupBy("bin").agg(*[F.sum(name).alias(name) for name in ("customers", *_HITS)])


def _hit_batches(
    batches: Iterator[pa.RecordBatch], shelf: Shelf, rules: RecommendationRules
) -> Iterator[pa.RecordBatch]:
    for part in parts_of(batches):
        owned = owned_of(part["owned"], shelf)
        wanted = np.asarray(pc.list_parent_indices(part["foreseen"])).astype(np.int64)
        code = places_of(part["foreseen"].flatten(), shelf.product_ids)
        products = len(shelf.product_ids)
        is_new = ~among(wanted * products + code, np.sort(owned.customer * products + owned.code))
        is_new |= code < 0  # nobody had bought it
        bins = zip(_NOTES, (is_new | True, is_new), (shelf, shelf.nothing_again()), strict=True)
        for bin, is_judged, on in bins:
            keys = np.sort((wanted * products + code)[is_judged & (code >= 0)])
            lists = (ranked_goods(part.num_rows, owned, [], on, rules), popular_goods(owned, on, rules))
            counts = [len(np.unique(wanted[is_judged])), *[_customers_hit(listed, keys, on) for listed in lists]]
            named = dict(zip(("customers", *_HITS), counts, strict=True))
            yield pa.RecordBatch.from_pylist([{"bin": bin, **named}])


def _customers_hit(listed: Listed, keys: Integers, shelf: Shelf) -> int:
    """Customers of whose lists one item or more is among the keys (customer × products + code)."""
    return len(np.unique(listed.customer[among(listed.customer * len(shelf.product_ids) + listed.code, keys)]))


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
