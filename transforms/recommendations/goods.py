"""Goods for each customer: their purchases and categories, through `lists`, as rows of gold.recommendations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.contracts import gold
from transforms.recommendations.lists import AGAIN, CATEGORY, TOGETHER, Listed, Owned, ranked_goods
from transforms.recommendations.rules import RecommendationRules
from transforms.recommendations.shelf import Shelf, places_of

_ROWS = "customer_id string, rank int, product_id string, category string, reason string"
_AT_ONCE = 5_000  # customers: each brings up to seeds × neighbours candidates of some 100 bytes


def recommend_goods(
    customers: DataFrame, bought: DataFrame, shelf: Shelf, as_of: date, rules: RecommendationRules
) -> DataFrame:
    """Ranked goods of each customer of whom something is known, in the columns of gold.recommendations.

    Args:
        customers: customer_id, consent_personalised and the tags that name categories. Who did not consent has no list.
        bought: rows of `bought_products` as of `as_of`.
    """
    consenting = customers.where("consent_personalised")
    listed = _lists(with_owned(consenting, bought, rules.preferred_category.tags), shelf, rules)
    dated = listed.withColumns({"run_date": F.lit(as_of), "kind": F.lit("goods")})
    return dated.select(*gold.RECOMMENDATIONS.column_names)


def with_owned(customers: DataFrame, bought: DataFrame, tags: Sequence[str] = ()) -> DataFrame:
    """The customers with `owned`, what they bought as a list; one shuffle of them, to where their purchases are."""
    product = F.when(F.col("product_id").isNotNull(), F.struct("product_id", "day_count", "days_ago"))
    joined = customers.select("customer_id", *tags).join(bought, "customer_id", "left")
    return joined.groupBy("customer_id", *tags).agg(F.collect_list(product).alias("owned"))


def owned_of(lists: pa.ListArray, shelf: Shelf) -> Owned:
    """The lists of a batch of customers in arrays; products that the shelf does not know are left out."""
    rows = lists.flatten()
    customer = np.asarray(pc.list_parent_indices(lists)).astype(np.int64)
    code = places_of(rows.field("product_id"), shelf.product_ids)
    is_known = code >= 0
    numbers = [np.asarray(rows.field(name)).astype(np.int64)[is_known] for name in ("day_count", "days_ago")]
    return Owned(customer[is_known], code[is_known], *numbers)


def _lists(known: DataFrame, shelf: Shelf, rules: RecommendationRules) -> DataFrame:
    """customer_id, rank, product_id, category, reason; key (customer_id, rank) and (customer_id, product_id)."""
    tags = rules.preferred_category.tags
    has_basis = " or ".join(["size(owned) > 0", *[f"`{tag}` is not null" for tag in tags]])
    return known.where(has_basis).mapInArrow(partial(_list_batches, shelf=shelf, rules=rules), _ROWS)


def _list_batches(
    batches: Iterator[pa.RecordBatch], shelf: Shelf, rules: RecommendationRules
) -> Iterator[pa.RecordBatch]:
    for part in parts_of(batches):
        categories = [places_of(part[tag], shelf.category_ids) for tag in rules.preferred_category.tags]
        listed = ranked_goods(part.num_rows, owned_of(part["owned"], shelf), categories, shelf, rules)
        yield _told(listed, part, shelf)


def parts_of(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches in parts that lists can be made for in little memory."""
    for batch in batches:
        for start in range(0, batch.num_rows, _AT_ONCE):
            yield batch.slice(start, _AT_ONCE)


def _told(listed: Listed, batch: pa.RecordBatch, shelf: Shelf) -> pa.RecordBatch:
    """The items as rows, each with its reason."""
    product_id = shelf.product_ids.take(pa.array(listed.code))
    category = shelf.category[listed.code]
    category_id = shelf.category_ids.take(pa.array(category, mask=category < 0))
    of_seed, of_category = listed.source == TOGETHER, listed.source == CATEGORY
    reason = np.full(len(listed.code), "popular", dtype=object)
    reason[listed.source == AGAIN] = "buy_again"
    reason[of_seed] = _named("bought_together:", shelf.product_ids.take(pa.array(listed.basis[of_seed])))
    reason[of_category] = _named("preferred_category:", category_id.filter(pa.array(of_category)))
    columns = {
        "customer_id": batch["customer_id"].take(pa.array(listed.customer)),
        "rank": pa.array(listed.rank, pa.int32()),
        "product_id": product_id,
        "category": category_id,
        "reason": pa.array(reason, pa.string()),
    }
    return pa.RecordBatch.from_pydict(columns)


def _named(prefix: str, names: pa.Array) -> Any:
    return pc.binary_join_element_wise(prefix, names, "").to_numpy(zero_copy_only=False)
