"""What is bought together, from baskets (orders): the chance that a basket with one product holds another.

The confidence of the rule a → b (Agrawal, Imielinski, Swami 1993), damped, as similarity for item-based lists as in
Deshpande & Karypis 2004, "Item-based top-N recommendation algorithms" (their conditional probability-based similarity).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from transforms.recommendations.products import ratio
from transforms.recommendations.rules import CoPurchaseRules
from transforms.recommendations.shelf import Integers

_ITEMS_AT_ONCE = 100_000  # of up to `most_basket_products` pairs of 8 bytes each


def count_pairs(purchases: DataFrame, products: DataFrame, rules: CoPurchaseRules) -> DataFrame:
    """one, other, together: baskets that hold both products, by their places, one < other; key the first two.

    Args:
        purchases: rows of `purchases_of`. A basket is an order's distinct products; baskets of more than
            `most_basket_products` are left out, also of how many hold a product.
        products: product_id and `place`, a whole number of its own, of all that was bought.

    Pairs in fewer than `least_baskets` are left out. Of a product with itself `together` is the baskets that hold it,
    however few. Baskets are told by a hash of their order, each whole to one task: Spark's own collect_set and explode
    took several times as long over 3 million lines.
    """
    places = products.select("product_id", F.col("place").cast("bigint").alias("place"))
    named = purchases.select(F.xxhash64("order_id").alias("basket"), "product_id")
    items = named.join(F.broadcast(places), "product_id").select("basket", "place").repartition("basket")
    told = items.mapInArrow(partial(_pair_batches, most=rules.most_basket_products), "pair bigint, together bigint")
    counted = told.groupBy("pair").agg(F.sum("together").alias("together"))
    one, other = F.shiftright("pair", 32).alias("one"), F.col("pair").bitwiseAND((1 << 32) - 1).alias("other")
    return counted.select(one, other, "together").where((F.col("together") >= rules.least_baskets) | (one == other))


def co_purchases(counted: DataFrame, products: DataFrame, rules: CoPurchaseRules) -> DataFrame:
    """Pairs of products in enough baskets, both ways; key (product_id, neighbour_id).

    Args:
        counted: rows of `count_pairs`; looked at twice.
        products: as there.

    Returns:
        product_id, neighbour_id, together (baskets that hold both), similarity: together / (baskets that hold
        product_id + damping), exact to six decimals.
    """
    held = counted.where("one = other").select(F.col("one").alias("place"), F.col("together").alias("baskets"))
    named = products.select(F.col("place").cast("bigint").alias("place"), "product_id").join(F.broadcast(held), "place")
    ends = (("one", "other"), ("other", "one"))
    ways = F.array(*[F.struct(F.col(a).alias("from"), F.col(b).alias("to")) for a, b in ends])
    both = counted.where("one <> other").select(F.explode(ways).alias("way"), "together").select("way.*", "together")
    of_product = named.withColumnRenamed("place", "from")
    of_neighbour = named.select(F.col("place").alias("to"), F.col("product_id").alias("neighbour_id"))
    joined = both.join(F.broadcast(of_product), "from").join(F.broadcast(of_neighbour), "to")
    similarity = ratio(F.col("together"), F.col("baskets") + rules.damping)
    return joined.select("product_id", "neighbour_id", "together", similarity.alias("similarity"))


def _pair_batches(batches: Iterator[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    """Pairs of a task's baskets, the smaller place × 2³² + the greater; a pair may be told several times."""
    parts = [[np.asarray(column) for column in batch.columns] for batch in batches]
    if not parts:
        return
    basket, place = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    for pair in pairs_of_baskets(basket, place, most):
        pairs, together = np.unique(pair, return_counts=True)
        yield pa.RecordBatch.from_pydict({"pair": pairs, "together": together})


def pairs_of_baskets(basket: Integers, place: Integers, most: int) -> Iterator[Integers]:
    """The pairs of products that each basket of at most `most` holds, each product with itself too, in parts."""
    order = np.lexsort((place, basket))
    basket, place = basket[order], place[order]
    is_first = (np.diff(basket, prepend=basket[:1] - 1) != 0) | (np.diff(place, prepend=place[:1] - 1) != 0)
    basket, place = basket[is_first], place[is_first]
    ends = np.append(np.flatnonzero(basket[1:] != basket[:-1]) + 1, len(basket))
    sizes = np.diff(ends, prepend=0)
    end = np.repeat(ends, sizes)
    rows = np.flatnonzero(np.repeat(sizes, sizes) <= most)
    for start in range(0, len(rows), _ITEMS_AT_ONCE):
        some = rows[start : start + _ITEMS_AT_ONCE]
        counts = end[some] - some  # itself, and those after it in its basket
        first = np.repeat(some, counts)
        later = first + np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield (place[first] << 32) + place[later]


def best_neighbours(pairs: DataFrame, available: DataFrame, rules: CoPurchaseRules) -> DataFrame:
    """For each product its likeliest available neighbours; key (product_id, neighbour_id), with `millionths`.

    Args:
        pairs: rows of `co_purchases`.
        available: product_id of what may be recommended.

    Equal similarities: the pair in more baskets first, then the smaller neighbour_id. `millionths` is the similarity as
    a whole number, so that sums of it are exact.
    """
    open_to = available.select(F.col("product_id").alias("neighbour_id"))
    likeliest = Window.partitionBy("product_id").orderBy(F.desc("similarity"), F.desc("together"), "neighbour_id")
    kept = pairs.join(F.broadcast(open_to), "neighbour_id", "left_semi")
    best = kept.withColumn("place", F.row_number().over(likeliest)).where(F.col("place") <= rules.neighbours)
    millionths = (F.col("similarity") * 1_000_000).cast("bigint").alias("millionths")
    return best.select("product_id", "neighbour_id", millionths)
