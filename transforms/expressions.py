"""SQL expressions that people write in YAML: which columns they read, and what is wrong with them.

They are parsed with sqlglot, so that a misspelt column stops a run before Spark starts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import cache
from typing import Annotated

import sqlglot
from pydantic import AfterValidator
from sqlglot import exp
from sqlglot.errors import SqlglotError


@cache  # a definition is read when it is checked, again with what it names, and again when it is planned
def columns_in(expression: str) -> frozenset[str]:
    """Names of the columns that `expression` reads; of `event.amount` the first part.

    Raises:
        ValueError: the text is not one Spark SQL expression.
    """
    try:
        tree = sqlglot.parse_one(expression, dialect="spark")
    except SqlglotError as error:
        raise ValueError(f"not a Spark SQL expression: {expression!r} ({str(error).splitlines()[0]})") from None
    return frozenset(column.parts[0].name for column in tree.find_all(exp.Column))


def columns_in_order(expression: str) -> list[str]:
    """The same in the order in which the expression names them."""
    places = {name: re.search(rf"\b{re.escape(name)}\b", expression) for name in columns_in(expression)}
    ends = {name: place.start() if place else len(expression) for name, place in places.items()}
    return sorted(ends, key=lambda name: (ends[name], name))


def unknown_columns(expression: str, known: Iterable[str]) -> list[str]:
    """A sentence for each column of `expression` that is not in `known` (case does not count)."""
    names = {name.lower(): name for name in known}
    missing = sorted(name for name in columns_in(expression) if name.lower() not in names)
    return [f"{name!r} is not a column here{nearest(name, names.values())}" for name in missing]


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; nearest: a, b` for the allowed names most like `name`, or all of them where few, or nothing."""
    choices = sorted(set(allowed))
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    if close:
        return f"; nearest: {', '.join(close)}"
    return f"; allowed: {', '.join(choices)}" if len(choices) <= 40 else ""


def _is_expression(text: str) -> str:
    columns_in(text)
    return text


SqlExpression = Annotated[str, AfterValidator(_is_expression)]
"""A string that parses as one Spark SQL expression."""
