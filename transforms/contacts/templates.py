"""Messages from templates: `{column}` is the customer's value, `{column|otherwise}` has words for where it is null."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

# What a message may read besides the portrait: the strategy's offer, and the best recommendation and its category.
PLACES = ("offer", "product", "category")

_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)(?:\|([^{}]*))?\}")


def places_in(template: str) -> list[str]:
    """Names that a template reads, in their order."""
    return [name for name, _ in _PLACE.findall(template)]


def filled(template: str, values: Mapping[str, Column], words: Mapping[str, str]) -> Column:
    """The template with its values; null where one without an otherwise is null.

    Args:
        values: a column for each name that the template reads.
        words: how values read in messages; others read as they are. Decimals lose what follows the point.
    """
    parts, end = [], 0
    for place in _PLACE.finditer(template):
        parts.append(F.lit(template[end : place.start()]))
        value = _in_words(values[place[1]], words)
        parts.append(value if place[2] is None else F.coalesce(value, F.lit(place[2])))
        end = place.end()
    return F.concat(*parts, F.lit(template[end:]))


def _in_words(value: Column, words: Mapping[str, str]) -> Column:
    text = F.regexp_replace(value.cast("string"), r"^(-?\d+)\.\d+$", "$1")
    if not words:
        return text
    known = F.create_map(*[F.lit(part) for item in sorted(words.items()) for part in item])
    return F.coalesce(F.try_element_at(known, text), text)
