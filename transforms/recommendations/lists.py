"""Ranked goods of many customers at once, in numpy: what `goods` does for each batch of customers.

The sources take turns: the best of each, then the second of each, and so on, each for as many places as it has; after
that their rest, by turns too, and at last the chain's best sellers. What a customer bought in the window comes as
`buy_again` or not at all: the same thing once more is no news, and what is not bought again is done with.

As Spark expressions over arrays the same took a hundred times as long. All numbers are whole, so that the order of
rows means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transforms.recommendations.rules import RecommendationRules
from transforms.recommendations.shelf import Flags, Integers, Shelf

AGAIN, TOGETHER, CATEGORY, POPULAR = range(4)  # in the order of their turns


@dataclass(frozen=True)
class Owned:
    """What a batch of customers bought, a row for each customer and product; rows in any order.

    Attributes:
        customer: place of the customer in the batch.
        code: the product.
        day_count: days on which it was bought.
        days_ago: since the last of them.
    """

    customer: Integers
    code: Integers
    day_count: Integers
    days_ago: Integers


@dataclass(frozen=True)
class Listed:
    """Items of lists, ordered by customer and rank.

    Attributes:
        customer, code: whose item, and which product.
        rank: 1 is the best.
        source: AGAIN, TOGETHER, CATEGORY or POPULAR.
        basis: the seed of TOGETHER, as code; the place of CATEGORY among the customer's categories.
    """

    customer: Integers
    code: Integers
    rank: Integers
    source: Integers
    basis: Integers


def ranked_goods(
    customers: int, owned: Owned, categories: list[Integers], shelf: Shelf, rules: RecommendationRules
) -> Listed:
    """Lists of the customers 0 … customers - 1 of whom something is known.

    Args:
        categories: for each tag the category of each customer, as place in `shelf.category_ids`, -1 for none.
    """
    products, most = len(shelf.product_ids), rules.rank_count
    own = np.sort(owned.customer * products + owned.code)
    again = _buy_again(owned, shelf, most)
    together = _bought_together(owned, own, shelf, rules)
    taken = np.sort(np.concatenate([own, together.customer * products + together.code]))
    preferred = _preferred(categories, taken, shelf, rules.preferred_category.most)
    turns = _in_turn([again, together, preferred], rules)
    chosen = _limited(turns, most)
    keys = np.sort(np.concatenate([own, chosen.customer * products + chosen.code]))
    known = np.unique(np.concatenate([owned.customer, preferred.customer]))
    is_short = np.bincount(chosen.customer, minlength=customers)[known] < most
    fill = best_sellers(known[is_short], keys, shelf, most, rules.best_sellers)
    whole = _joined([chosen, fill])
    return _limited(_sorted(whole, (whole.rank, whole.source == POPULAR)), most)


def popular_goods(owned: Owned, shelf: Shelf, rules: RecommendationRules) -> Listed:
    """The chain's best sellers for each customer who bought anything, less what they are done with: the baseline."""
    done_with = shelf.again[owned.code] < 0
    keys = np.sort(owned.customer[done_with] * len(shelf.product_ids) + owned.code[done_with])
    return best_sellers(np.unique(owned.customer), keys, shelf, rules.rank_count, rules.best_sellers)


def best_sellers(known: Integers, keys: Integers, shelf: Shelf, most: int, of: int) -> Listed:
    """For each customer the best of the first `of` sellers that are not among `keys` (customer × products + code)."""
    sellers = shelf.best_sellers[:of]
    customer = np.repeat(known, len(sellers))
    code = np.tile(sellers, len(known))
    is_new = ~among(customer * len(shelf.product_ids) + code, keys)
    return _limited(_items(customer[is_new], code[is_new], POPULAR), most)


def _buy_again(owned: Owned, shelf: Shelf, most: int) -> Listed:
    """The likeliest to be bought again: days on which the customer bought it × share of its buyers who buy it again.

    Of equals what was bought last, then the smaller product_id.
    """
    comes = (shelf.again[owned.code] >= 0) & shelf.is_available[owned.code]
    customer, code = owned.customer[comes], owned.code[comes]
    likely = owned.day_count[comes] * shelf.again[code]
    order = np.lexsort((code, owned.days_ago[comes], -likely, customer))
    return _limited(_items(customer[order], code[order], AGAIN), most)


def _bought_together(owned: Owned, own: Integers, shelf: Shelf, rules: RecommendationRules) -> Listed:
    """What goes best with the newest products: the sum of the similarities; of equals the smaller product_id.

    Newest: bought last, then on most days, then the smaller product_id. The basis is the seed with the greatest
    similarity, of equals the newest.
    """
    order = np.lexsort((owned.code, -owned.day_count, owned.days_ago, owned.customer))
    place = _place_in_group(owned.customer[order])
    seeds = order[place < rules.co_purchase.seeds]
    seed = owned.code[seeds]
    counts = shelf.first[seed + 1] - shelf.first[seed]
    of = np.repeat(np.arange(len(seeds)), counts)
    near = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts) + shelf.first[seed][of]
    keys = owned.customer[seeds][of] * len(shelf.product_ids) + shelf.neighbour[near]
    is_new = ~among(keys, own)
    keys, of, weight = keys[is_new], of[is_new], shelf.millionths[near][is_new]
    order = np.argsort(keys, kind="stable")  # seeds are in the order of their places already
    keys, of, weight = keys[order], of[order], weight[order]
    begins = np.flatnonzero(np.diff(keys, prepend=-1))
    score, greatest = (sums.reduceat(weight, begins) if len(keys) else weight for sums in (np.add, np.maximum))
    is_greatest = np.flatnonzero(weight == np.repeat(greatest, np.diff(begins, append=len(keys))))
    speaks = seed[of[is_greatest[np.searchsorted(is_greatest, begins)]]]
    customer, code = np.divmod(keys[begins], len(shelf.product_ids))
    best = np.lexsort((code, -score, customer))
    return _limited(_items(customer[best], code[best], TOGETHER, speaks[best]), rules.rank_count)


def _preferred(categories: list[Integers], taken: Integers, shelf: Shelf, most: int) -> Listed:
    """Best sellers of each customer's categories that no earlier source names; a category named twice counts once."""
    order = np.argsort(shelf.category[shelf.best_sellers], kind="stable")
    by_category = shelf.best_sellers[order]
    by_category = by_category[shelf.category[by_category] >= 0]
    place = _place_in_group(shelf.category[by_category])
    by_category = by_category[place < most]
    sizes = np.bincount(shelf.category[by_category], minlength=len(shelf.category_ids))
    first = np.cumsum(sizes) - sizes
    parts = []
    for number, category in enumerate(categories):
        is_again = np.zeros(len(category), dtype=bool)
        for earlier in categories[:number]:
            is_again |= earlier == category
        customer = np.flatnonzero((category >= 0) & ~is_again)
        counts = sizes[category[customer]]
        of = np.repeat(np.arange(len(customer)), counts)
        near = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts) + first[category[customer]][of]
        code = by_category[near]
        is_new = ~among(customer[of] * len(shelf.product_ids) + code, taken)
        listed = _items(customer[of][is_new], code[is_new], CATEGORY, np.full(int(is_new.sum()), number))
        parts.append(_limited(listed, most))
    return _joined(parts)


def _in_turn(sources: list[Listed], rules: RecommendationRules) -> Listed:
    """All items in the order of turns; what goes beyond a source's places comes after what does not."""
    joined, places = _joined(sources), rules.places
    of_source = np.array([places.buy_again, places.bought_together, places.preferred_category])
    is_rest = joined.rank > of_source[joined.source]
    return _sorted(
        joined, (joined.code, joined.basis * (joined.source == CATEGORY), joined.source, joined.rank, is_rest)
    )


def _sorted(listed: Listed, by: tuple[Integers | Flags, ...]) -> Listed:
    """By customer, then by the last of the keys, then by the one before it."""
    return _taken(listed, np.lexsort((*by, listed.customer)))


def _limited(listed: Listed, most: int) -> Listed:
    """The first `most` of each customer, ranked from 1; rows of a customer are together and in order."""
    place = _place_in_group(listed.customer)
    kept = np.flatnonzero(place < most)
    first = _taken(listed, kept)
    return Listed(first.customer, first.code, place[kept] + 1, first.source, first.basis)


def _items(customer: Integers, code: Integers, source: int, basis: Integers | None = None) -> Listed:
    nothing = np.zeros(len(code), dtype=np.int64)
    return Listed(customer, code, nothing, nothing + source, nothing if basis is None else basis)


def _joined(parts: list[Listed]) -> Listed:
    names = ("customer", "code", "rank", "source", "basis")
    columns = [[getattr(part, name) for part in parts] for name in names]
    return Listed(*[np.concatenate([np.zeros(0, dtype=np.int64), *column]) for column in columns])


def _taken(listed: Listed, rows: Integers) -> Listed:
    return Listed(listed.customer[rows], listed.code[rows], listed.rank[rows], listed.source[rows], listed.basis[rows])


def _place_in_group(group: Integers) -> Integers:
    """0, 1, 2 … within each run of equal values."""
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(begins, np.diff(begins, append=len(group)))


def among(keys: Integers, known: Integers) -> Flags:
    """Whether each key is among the sorted known ones."""
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    found: Flags = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
    return found
