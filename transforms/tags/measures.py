"""The measures of tags: their mini-language, and the type of what they give.

`measure: top(category, quantity)` is a name and arguments. An argument is a SQL expression over the columns of
silver.activity, the name of another tag, a number of days, or a column of silver.customers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.annotate_types import annotate_types

from transforms.contracts import MONEY, QUANTITY, RATIO, silver
from transforms.expressions import nearest

Kind = Literal["column", "tag", "days", "attribute"]

MEASURES: dict[str, tuple[Kind, ...]] = {
    "count": (),
    "sum": ("column",),
    "avg": ("column",),
    "min": ("column",),
    "max": ("column",),
    "count_distinct": ("column",),
    "top": ("column", "column"),
    "first": ("column",),
    "last": ("column",),
    "days_since": (),
    "interval_mean": (),
    "interval_max": (),
    "ratio": ("tag", "tag"),
    "trend": ("tag", "days", "days"),
    "case": (),
    "attribute": ("attribute",),
}
DERIVED = frozenset({"ratio", "trend", "case", "attribute"})
"""Measures that read other tags or silver.customers; all others read silver.activity inside a window."""

NEVER_NULL = frozenset({"count", "sum", "count_distinct"})
"""Of an empty window these are 0: nothing was counted, and that is known. All other measures are null."""

TIE_RULES = {
    "top": "more, then later, then the smaller value",
    "first": "earliest date, then hour, then the smaller value; an unknown hour loses",
    "last": "latest date, then hour, then the smaller value; an unknown hour loses",
}

ACTIVITY_TYPES = {column.name: column.type for column in silver.ACTIVITY.columns} | {
    "customer_id": "string",
    "date": "date",
    "day_order_count": "bigint",
}
"""Columns that expressions of a tag may read: silver.activity, `date` (short for counts_on_date), and
`day_order_count`, the purchases of the customer on that date after returns."""

ATTRIBUTE_TYPES = {column.name: column.type for column in silver.CUSTOMERS.columns}

_NUMBERS = ("int", "bigint", MONEY, QUANTITY, RATIO)
_DAYS = re.compile(r"[1-9]\d*")


@dataclass(frozen=True)
class Measure:
    """A parsed measure: `top(category, quantity)` is name `top` with arguments (`category`, `quantity`)."""

    name: str
    arguments: tuple[str, ...] = ()

    def of_kind(self, kind: Kind) -> list[str]:
        """The arguments that are of `kind`, in order."""
        return [text for text, its in zip(self.arguments, MEASURES[self.name], strict=True) if its == kind]

    @property
    def windows(self) -> tuple[int, ...]:
        """The days that the measure itself names (trend)."""
        return tuple(int(days) for days in self.of_kind("days"))


@lru_cache(maxsize=4096)
def parse_measure(text: str) -> Measure:
    """`text` as a measure.

    Raises:
        ValueError: no such measure, or other arguments than it takes; the message shows what is allowed.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text, flags=re.DOTALL)
    if not match or match[1] not in MEASURES:
        name = match[1] if match else text
        allowed = ", ".join(_usage(known) for known in MEASURES)
        raise ValueError(f"{text!r} is not a measure{nearest(name, MEASURES)}; write one of {allowed}")
    name, kinds = match[1], MEASURES[match[1]]
    arguments = tuple(_split(match[2] or ""))
    if len(arguments) != len(kinds):
        raise ValueError(f"{text!r} has {len(arguments)} arguments; write {_usage(name)}")
    bad_days = [a for a, kind in zip(arguments, kinds, strict=True) if kind == "days" and not _DAYS.fullmatch(a)]
    if bad_days:
        raise ValueError(f"{text!r}: {', '.join(bad_days)} is not a window; write whole days from 1")
    return Measure(name, arguments)


def measure_type(measure: Measure, tag_types: Mapping[str, str]) -> str:
    """Spark DDL type of what `measure` gives; `tag_types` are the types of the tags that it reads.

    Raises:
        ValueError: the measure cannot take its arguments' types.
    """
    match measure.name:
        case "count" | "count_distinct":
            return "bigint"
        case "days_since" | "interval_max":
            return "int"
        case "case":
            return "string"
        case "attribute":
            return ATTRIBUTE_TYPES[measure.arguments[0]]
        case "interval_mean" | "ratio" | "trend":
            for name in measure.of_kind("tag"):
                _require_number(name, tag_types[name])
            return RATIO
        case "sum" | "avg":
            kind = _require_number(measure.arguments[0], expression_type(measure.arguments[0]))
            if measure.name == "sum":
                return "bigint" if kind == "int" else kind
            return RATIO if kind in ("int", "bigint") else kind
        case "top":
            _require_number(measure.arguments[1], expression_type(measure.arguments[1]))
    return expression_type(measure.arguments[0])


@lru_cache(maxsize=4096)
def expression_type(expression: str) -> str:
    """Contract type of a SQL expression over silver.activity, found without Spark.

    Raises:
        ValueError: it cannot be told, or is floating point, whose sums depend on the order of rows (law 3).
    """
    tree = sqlglot.parse_one(expression, dialect="spark").transform(_typed_null)
    kind = annotate_types(tree, dialect="spark").type
    if kind is not None and kind.this == exp.DataType.Type.DECIMAL:
        scale = kind.expressions[1].name if len(kind.expressions) == 2 else ""
        return {"2": MONEY, "3": QUANTITY}.get(scale, RATIO)
    found = _CONTRACT_TYPES.get(kind.this) if kind is not None else None
    if found is None:
        raise ValueError(f"the type of {expression!r} cannot be told or is floating point; wrap it in cast(… as …)")
    return found


_CONTRACT_TYPES = {
    exp.DataType.Type.TINYINT: "int",
    exp.DataType.Type.SMALLINT: "int",
    exp.DataType.Type.INT: "int",
    exp.DataType.Type.BIGINT: "bigint",
    exp.DataType.Type.TEXT: "string",
    exp.DataType.Type.VARCHAR: "string",
    exp.DataType.Type.CHAR: "string",
    exp.DataType.Type.BOOLEAN: "boolean",
    exp.DataType.Type.DATE: "date",
}


def _typed_null(node: exp.Expression) -> exp.Expression:
    """Columns become nulls of their type, so that the type of an expression follows without a schema."""
    if not isinstance(node, exp.Column):
        return node
    return exp.cast(exp.null(), ACTIVITY_TYPES[node.parts[0].name.lower()], dialect="spark")


def _require_number(text: str, kind: str) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"{text!r} is {kind}, and a number is needed")
    return kind


def _usage(name: str) -> str:
    return f"{name}({', '.join(MEASURES[name])})" if MEASURES[name] else name


def _split(arguments: str) -> list[str]:
    """Arguments between the commas that stand outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in arguments:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"`":
            quote = character
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts] if arguments.strip() else []
