"""What lists are made from, as numpy arrays by product: as much as there are products, whatever the customers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Shelf:
    """Products, each by its place in the order of product_id (`code`).

    Attributes:
        product_ids, category_ids: names, in their order.
        category: place in `category_ids`, -1 without one.
        again: millionths of the buyers who buy it again; -1 where that is too few to recommend it once more.
        is_available: whether it may be recommended.
        first: where a product's neighbours begin; of the last one where they end.
        neighbour, millionths: neighbours of all products and their similarities.
        best_sellers: available products, by buyers.
    """

    product_ids: pa.Array
    category_ids: pa.Array
    category: Integers
    again: Integers
    is_available: Flags
    first: Integers
    neighbour: Integers
    millionths: Integers
    best_sellers: Integers

    def nothing_again(self) -> Shelf:
        """The same shelf where nobody buys anything twice."""
        return replace(self, again=np.full_like(self.again, -1))


def shelf_of(products: pa.Table, neighbours: pa.Table) -> Shelf:
    """The shelf of rows of `known_products` with is_available, and of `best_neighbours`, in any order."""
    # One chunk each: a table that Spark hands over is in several.
    products = products.sort_by("product_id")
    ids = products["product_id"].combine_chunks()
    categories = pc.unique(products["category"].combine_chunks().drop_null()).sort()
    share = pc.cast(pc.multiply(products["repeat_share"], pa.scalar(1_000_000)), pa.int64())
    again = np.where(_flags(products["is_repeatable"]), _integers(share), -1)
    is_available = _flags(products["is_available"])
    sellers = np.argsort(_integers(products["place"]), kind="stable")
    return Shelf(
        product_ids=ids,
        category_ids=categories,
        category=places_of(products["category"].combine_chunks(), categories),
        again=again,
        is_available=is_available,
        **_by_product(neighbours, ids),
        best_sellers=sellers[is_available[sellers]],
    )


def places_of(names: pa.Array, known: pa.Array) -> Integers:
    """Where each name stands among the known ones; -1 for others and for null."""
    return _integers(pc.fill_null(pc.index_in(names, value_set=known, skip_nulls=True), -1))


def _by_product(neighbours: pa.Table, ids: pa.Array) -> dict[str, Integers]:
    """Neighbours of the first product, then of the second …; within a product by code."""
    of = places_of(neighbours["product_id"].combine_chunks(), ids)
    to = places_of(neighbours["neighbour_id"].combine_chunks(), ids)
    order = np.lexsort((to, of))
    counts = np.bincount(of, minlength=len(ids))
    return {
        "first": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "neighbour": to[order],
        "millionths": _integers(neighbours["millionths"])[order],
    }


def _integers(values: pa.Array | pa.ChunkedArray) -> Integers:
    numbers: Integers = np.asarray(values).astype(np.int64)
    return numbers


def _flags(values: pa.ChunkedArray) -> Flags:
    flags: Flags = np.asarray(values).astype(bool)
    return flags
