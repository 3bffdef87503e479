"""What a tag declaration may say, and everything that is wrong with one, found before Spark starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from transforms.contracts import Column, silver
from transforms.expressions import SqlExpression, columns_in, nearest, unknown_columns
from transforms.tags.measures import (
    ACTIVITY_TYPES,
    ATTRIBUTE_TYPES,
    DERIVED,
    TIE_RULES,
    Measure,
    measure_type,
    parse_measure,
)

TYPES = ("basic", "behaviour", "value", "interest", "social", "preference", "channel", "lifecycle", "finance")
_RESERVED = ("run_date", "customer_id", "as_of")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Case(_Model):
    """One tier of a `case` tag: `then` where the SQL predicate `when` holds and none before it did."""

    when: SqlExpression
    then: str


class Tag(_Model):
    """One tag: a measure over a customer's activity inside a window, or over other tags and attributes.

    Attributes:
        window: days (w days are the dates in (D − w, D]) or `lifetime`; not given where the measure reads tags.
        where: SQL over silver.activity, `date` and `day_order_count`; only rows for which it holds qualify.
        null_policy: `clear`, or `keep_last`: the value at the latest date ≤ D whose window was not empty.
        tie_rule: how equal candidates are decided; each measure has one rule, which may be repeated here.
        refresh: when its input counts as stale. allowed: the values a `case` may give.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str
    type: Literal[TYPES]  # type: ignore[valid-type]
    measure: str
    window: int | Literal["lifetime"] = "lifetime"
    where: SqlExpression | None = None
    cases: tuple[Case, ...] = ()
    otherwise: str | None = None
    null_policy: Literal["clear", "keep_last"] = "clear"
    tie_rule: str | None = None
    refresh: Literal["high", "medium", "low"] = "medium"
    owner: str = "growth"
    allowed: tuple[str, ...] = ()

    @field_validator("window", mode="before")
    @classmethod
    def _possible_window(cls, value: object) -> object:
        is_days = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value != "lifetime" and not is_days:
            raise ValueError(f"{value!r} is not a window; allowed: whole days from 1, or lifetime")
        return value

    @cached_property
    def parsed(self) -> Measure:
        """The measure, parsed."""
        return parse_measure(self.measure)

    @property
    def reads_activity(self) -> bool:
        """Whether it is measured over activity rows, and not over tags or attributes."""
        return self.parsed.name not in DERIVED

    def columns_of_cases(self) -> set[str]:
        """Tags and attributes that the predicates of a `case` read."""
        return {name.lower() for case in self.cases for name in columns_in(case.when)}


class TagRules(_Model):
    """All tags in their declared order, which is the order of the columns of gold.customer_tags.

    The section of conf/tags.yaml is a mapping of tags, and may be given as it is.
    """

    tags: dict[str, Tag]

    @model_validator(mode="before")
    @classmethod
    def _bare_section(cls, value: Any) -> Any:
        return value if isinstance(value, dict) and set(value) == {"tags"} else {"tags": value}

    @field_validator("tags", mode="before")
    @classmethod
    def _every_problem_at_once(cls, declared: dict[str, Any]) -> dict[str, Tag]:
        tags: dict[str, Tag] = {}
        problems: list[str] = []
        for name, spec in declared.items():
            try:
                tags[name] = spec if isinstance(spec, Tag) else Tag.model_validate({"name": name, **spec})
            except ValidationError as error:
                problems += [f"tag {name}: {_sentence(fault)}" for fault in error.errors()]
        problems += [f"tag {name}: {problem}" for name, tag in tags.items() for problem in _problems(tag, declared)]
        if not problems:
            problems = _cycles(tags) or _type_problems(tags)
        if problems:
            raise ValueError("\n  ".join(["the tags cannot be computed:", *problems]))
        return tags

    def read_by(self, tag: Tag) -> list[Tag]:
        """The tags that a ratio, trend or case reads, in declared order."""
        read = _tags_read(tag, self.tags)
        return [other for name, other in self.tags.items() if name in read]

    def in_order_of_use(self) -> list[list[Tag]]:
        """The tags in levels: each reads only tags of earlier levels."""
        sorter = TopologicalSorter({name: _tags_read(tag, self.tags) for name, tag in self.tags.items()})
        sorter.prepare()
        levels = []
        while sorter.is_active():
            ready = sorter.get_ready()
            levels.append([self.tags[name] for name in sorted(ready, key=list(self.tags).index)])
            sorter.done(*ready)
        return levels

    @cached_property
    def types(self) -> dict[str, str]:
        """Spark DDL type of each tag."""
        found: dict[str, str] = {}
        for level in self.in_order_of_use():
            found |= {tag.name: measure_type(tag.parsed, found) for tag in level}
        return found


def tag_columns(rules: TagRules) -> dict[str, Column]:
    """The contract column of each tag, in declared order. An attribute stays as personal as its customer column."""
    personal = {column.name: column.personal for column in silver.CUSTOMERS.columns}
    return {
        name: Column(
            name=name,
            type=rules.types[name],
            label=tag.label,
            comment=tag.description,
            personal=personal[tag.parsed.arguments[0]] if tag.parsed.name == "attribute" else "none",
        )
        for name, tag in rules.tags.items()
    }


def catalogue_rows(rules: TagRules, used_by: Mapping[str, Sequence[str]]) -> list[tuple[Any, ...]]:
    """The rows of gold.tag_catalogue, in its column order.

    Args:
        used_by: tag to the segments, strategies and KPIs that read it; tags that read it are added here.
    """
    readers: dict[str, set[str]] = {name: set(used_by.get(name, ())) for name in rules.tags}
    for name, tag in rules.tags.items():
        for read in _tags_read(tag, rules.tags):
            readers[read].add(name)
    return [
        (
            name,
            tag.label,
            tag.description,
            tag.type,
            _window_text(tag, rules.tags),
            _definition(tag),
            tag.null_policy,
            TIE_RULES.get(tag.parsed.name),
            tag.refresh,
            tag.owner,
            sorted(readers[name]),
        )
        for name, tag in rules.tags.items()
    ]


def _problems(tag: Tag, declared: Mapping[str, Any]) -> list[str]:
    """What is wrong with one declaration, given the names of all."""
    name_problems = [f"{tag.name} is the name of another column"] if tag.name in _RESERVED else []
    where_problems = [f"where: {p}" for p in unknown_columns(tag.where, ACTIVITY_TYPES)] if tag.where else []
    try:
        measure = tag.parsed
    except ValueError as error:
        return [*name_problems, f"measure: {error}", *where_problems]
    return [
        *name_problems,
        *[f"measure: {p}" for p in _argument_problems(measure, declared)],
        *where_problems,
        *_case_problems(tag, declared),
        *_misplaced_keys(tag),
    ]


def _argument_problems(measure: Measure, declared: Mapping[str, Any]) -> list[str]:
    problems = []
    for expression in measure.of_kind("column"):
        try:
            problems += unknown_columns(expression, ACTIVITY_TYPES)
        except ValueError as error:
            problems.append(str(error))
    problems += [f"{t!r} is not a tag{nearest(t, declared)}" for t in measure.of_kind("tag") if t not in declared]
    problems += [
        f"{a!r} is not a column of silver.customers{nearest(a, ATTRIBUTE_TYPES)}"
        for a in measure.of_kind("attribute")
        if a not in ATTRIBUTE_TYPES
    ]
    return problems


def _case_problems(tag: Tag, declared: Mapping[str, Any]) -> list[str]:
    if tag.parsed.name != "case":
        return ["cases and otherwise belong to `measure: case`"] if tag.cases or tag.otherwise is not None else []
    known = [*declared, *ATTRIBUTE_TYPES, "as_of"]
    problems = [f"case {c.then}: {p}" for c in tag.cases for p in unknown_columns(c.when, known)]
    outputs = [case.then for case in tag.cases] + ([tag.otherwise] if tag.otherwise is not None else [])
    strange = [value for value in dict.fromkeys(outputs) if tag.allowed and value not in tag.allowed]
    problems += [f"case gives {value!r}, which is not allowed{nearest(value, tag.allowed)}" for value in strange]
    return problems if tag.cases else ["measure case needs `cases`, a list of {when, then}"]


def _misplaced_keys(tag: Tag) -> list[str]:
    """Keys that this measure would silently ignore."""
    problems = []
    name = tag.parsed.name
    if not tag.reads_activity:
        is_set = {"window": tag.window != "lifetime", "where": tag.where, "null_policy": tag.null_policy == "keep_last"}
        problems += [f"{key} does not apply to {name}, which reads no activity" for key in is_set if is_set[key]]
    if tag.tie_rule is not None and tag.tie_rule != TIE_RULES.get(name):
        problems.append(f"tie_rule of {name} is always: {TIE_RULES.get(name, 'none, it has no ties')}")
    if tag.allowed and name not in ("case", "attribute", "top", "first", "last"):
        problems.append(f"allowed does not apply to {name}, which gives numbers or dates")
    return problems


def _cycles(tags: Mapping[str, Tag]) -> list[str]:
    try:
        TopologicalSorter({name: _tags_read(tag, tags) for name, tag in tags.items()}).prepare()
    except CycleError as error:
        return [f"tags read each other in a circle: {' → '.join(reversed(error.args[1]))}"]
    return []


def _type_problems(tags: Mapping[str, Tag]) -> list[str]:
    problems: list[str] = []
    types: dict[str, str] = {}
    for name in TopologicalSorter({name: _tags_read(tag, tags) for name, tag in tags.items()}).static_order():
        tag = tags[name]
        try:
            types[name] = measure_type(tag.parsed, types)
        except ValueError as error:
            problems.append(f"tag {name}: measure: {error}")
            types[name] = "bigint"  # so that its readers are not reported for its fault
        bases = [tags[base] for base in tag.parsed.of_kind("tag")] if tag.parsed.name == "trend" else []
        problems += [
            f"tag {name}: trend needs a tag that adds up (count or sum); {base.name} is {base.measure}"
            for base in bases
            if base.parsed.name not in ("count", "sum")
        ]
    return problems


def _tags_read(tag: Tag, tags: Mapping[str, Any]) -> set[str]:
    """Tags that must be known before `tag`. A trend measures its tag's rows anew, but is still a reader of it."""
    return {*tag.parsed.of_kind("tag"), *(tag.columns_of_cases() & set(tags))}


def _window_text(tag: Tag, tags: Mapping[str, Tag]) -> str:
    """Days or lifetime; a ratio shows the windows of its tags, a trend its own two."""
    if tag.parsed.windows:
        return " after ".join(str(days) for days in tag.parsed.windows)
    if tag.parsed.name == "ratio":
        return " / ".join(dict.fromkeys(_window_text(tags[name], tags) for name in tag.parsed.of_kind("tag")))
    return str(tag.window)


def _definition(tag: Tag) -> str:
    cases = [f"when {case.when} then {case.then}" for case in tag.cases]
    otherwise = [f"otherwise {tag.otherwise}"] if tag.otherwise is not None else []
    where = [f"where {tag.where}"] if tag.where else []
    return " ".join([tag.measure, *where, *cases, *otherwise])


def _sentence(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}"
