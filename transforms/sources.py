"""A source file's records applied to received rows: which events each row makes, and what is wrong with it.

The mapping is YAML (`conf/sources/<name>.yaml`), so somebody else's data needs no code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from functools import reduce
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import silver
from transforms.expressions import SqlExpression, unknown_columns

CHANNELS = (
    "store_pos", "ecommerce", "mini_program", "app", "social", "marketplace",
    "crm", "erp", "service", "finance", "marketing",
)  # fmt: skip
EVENT_TYPES = (
    "register", "profile_update", "consent", "bind", "unbind", "visit", "view", "search", "favourite", "cart_add",
    "order", "payment", "return", "cancel", "review", "share", "refer", "checkin", "consult", "coupon_claim",
    "coupon_redeem", "touch", "deliver", "open", "click", "unsubscribe", "stock", "loan_apply", "loan_approve",
    "loan_reject", "loan_disburse", "repay", "overdue", "deposit", "withdraw",
)  # fmt: skip

# Columns of silver.events that `fields` may fill, with their type; the others are the engine's own.
FIELD_TYPES = {
    column.name: column.type
    for column in silver.EVENTS.columns
    if column.name
    not in {
        "event_id", "source", "channel", "event_type", "event_at", "event_date", "arrival_date", "identifiers",
        "blocked_identifiers", "lead_identifier_type", "lead_identifier", "attributes", "props",
        "_source_file", "_row_number",
    }
}  # fmt: skip


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IdentifierColumn(_Model):
    """Where an identifier's value is: `hashed` when the source delivers it so, `app_id` for an OpenID."""

    column: str
    hashed: Literal["md5", "sha256"] | None = None
    app_id: str | None = None


class EventTime(_Model):
    """When it happened: a `column` or an `expression`, its `format` and its `timezone` (default: the settings').

    `format` is `iso`, `epoch_seconds`, `epoch_millis` or a Spark date-time pattern.
    """

    column: str | None = None
    expression: SqlExpression | None = None
    format: str = "iso"
    timezone: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> EventTime:
        if (self.column is None) == (self.expression is None):
            raise ValueError("give either column or expression")
        return self


class Check(_Model):
    """An expression over the source's columns (and the mapped `event`) that must be true."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    expression: SqlExpression
    severity: Literal["reject", "warn"] = "reject"


class Record(_Model):
    """One kind of event that rows of a source make."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    when: SqlExpression | None = None
    event_type: str
    channel: str | None = None
    event_id: tuple[str, ...] | Literal["row", "row_hash"] = "row"
    event_at: EventTime
    identifiers: dict[str, IdentifierColumn] = {}
    order_source: str | None = None
    fields: dict[str, SqlExpression] = {}
    attributes: dict[str, SqlExpression] = {}
    props: dict[str, SqlExpression] = {}
    checks: tuple[Check, ...] = ()

    @field_validator("event_at", mode="before")
    @classmethod
    def _short_event_at(cls, value: object) -> object:
        return {"column": value} if isinstance(value, str) else value

    @field_validator("identifiers", mode="before")
    @classmethod
    def _short_identifiers(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: {"column": spec} if isinstance(spec, str) else spec for name, spec in value.items()}

    @field_validator("fields", "attributes", "props", mode="before")
    @classmethod
    def _expressions_are_text(cls, value: object) -> object:
        return {name: str(spec) for name, spec in value.items()} if isinstance(value, dict) else value

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(value) - set(FIELD_TYPES))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not a column of silver.events; allowed: {', '.join(FIELD_TYPES)}")
        return value

    def expressions(self) -> list[str]:
        """Every SQL expression of the record that reads the source's columns only."""
        time = [self.event_at.expression] if self.event_at.expression else []
        when = [self.when] if self.when else []
        return [*when, *time, *self.fields.values(), *self.attributes.values(), *self.props.values()]

    def plain_columns(self) -> list[str]:
        """Every column that the record names outside expressions."""
        time = [self.event_at.column] if self.event_at.column else []
        keys = list(self.event_id) if isinstance(self.event_id, tuple) else []
        return [*time, *keys, *(identifier.column for identifier in self.identifiers.values())]


class Source(_Model):
    """One feed: where its files are, what they look like, and which events their rows make."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str = ""
    channel: str
    format: Literal["csv", "json", "parquet"]
    options: dict[Literal["header", "delimiter", "quote", "escape", "encoding"], str | bool] = {}
    columns: tuple[str, ...] = Field(min_length=1)
    files: str | None = None
    arrival_date: str = "folder"
    expected: Literal["daily", "any"] = "any"
    lateness_days: int | None = Field(default=None, ge=0)
    priority: int = 100
    ignore: bool | SqlExpression = False
    records: tuple[Record, ...] = Field(min_length=1)

    @field_validator("arrival_date")
    @classmethod
    def _arrival_rule(cls, value: str) -> str:
        kind, _, argument = value.partition(" ")
        if kind in ("folder", "event_date") and not argument:
            return value
        if kind == "from_path" and re.compile(argument).groups == 1:
            return value
        if kind == "fixed" and date.fromisoformat(argument.strip()):
            return value
        raise ValueError(
            f"{value!r} is not an arrival rule; allowed: folder, event_date, fixed YYYY-MM-DD, "
            "from_path REGEX (with one group that holds YYYY-MM-DD)"
        )

    @model_validator(mode="after")
    def _columns_exist(self) -> Source:
        known = [*self.columns, "event"]
        problems = []
        for record in self.records:
            for expression in [*record.expressions(), *(check.expression for check in record.checks)]:
                problems += [f"record {record.name}: {p}" for p in unknown_columns(expression, known)]
            for column in record.plain_columns():
                problems += [f"record {record.name}: {p}" for p in unknown_columns(f"`{column}`", known)]
        if isinstance(self.ignore, str):
            problems += [f"ignore: {p}" for p in unknown_columns(self.ignore, known)]
        names = [record.name for record in self.records]
        problems += [f"record {name} is declared twice" for name in sorted({n for n in names if names.count(n) > 1})]
        problems += self._identifier_clashes()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _identifier_clashes(self) -> list[str]:
        """A column becomes one token at ingest, so it can hold one type of identifier only."""
        kinds: dict[str, set[str]] = {}
        for record in self.records:
            for identifier_type, spec in record.identifiers.items():
                kinds.setdefault(spec.column, set()).add(f"{identifier_type} {spec.hashed or ''}{spec.app_id or ''}")
        return [f"column {c} is used as {' and as '.join(sorted(k))}" for c, k in sorted(kinds.items()) if len(k) > 1]

    @property
    def arrival_rule(self) -> tuple[str, str]:
        """The rule's name and its argument, as in (`fixed`, `2018-01-02`)."""
        kind, _, argument = self.arrival_date.partition(" ")
        return kind, argument.strip()

    @property
    def pattern(self) -> str:
        """Glob of the source's files below the landing folder."""
        return self.files or f"{self.name}/dt=*/*"

    def identifier_columns(self) -> dict[str, tuple[str, IdentifierColumn]]:
        """Column name to (identifier type, how it is delivered), over all records."""
        return {
            spec.column: (kind, spec) for record in self.records for kind, spec in record.identifiers.items()
        }


def apply_records(
    rows: DataFrame, source: Source, timezone: str, first_arrival_date: date | None = None
) -> DataFrame:
    """The events that each row makes and the reasons for which it is refused.

    Args:
        rows: bronze rows of `source` (its columns as text, lineage columns); key (_source_file, _row_number).
        timezone: the business timezone, which decides event_date.
        first_arrival_date: the source's first arrival date, on which lateness is not applied.

    Returns:
        The same rows with `_events` (array of event structs, without lead), `_problems` (reasons to refuse the
        row, empty when it is good), `_warnings` and `_is_ignored`. A row is refused or taken as a whole, so that
        a replay after a fix never counts half of it twice.
    """
    keyed = _with_content_key(rows, source)
    names = [f"_record_{record.name}" for record in source.records]
    for record, name in zip(source.records, names, strict=True):
        keyed = keyed.withColumn(name, _event_of(record, source, timezone))
    judged = [f"_judged_{record.name}" for record in source.records]
    for record, name, verdict in zip(source.records, names, judged, strict=True):
        keyed = keyed.withColumn(verdict, _verdict(record, source, name, first_arrival_date))
    taken = F.filter(F.array(*[F.col(name) for name in names]), lambda event: event.isNotNull())
    problems = _flatten([F.col(f"{name}.problems") for name in judged])
    ignored = F.lit(source.ignore) if isinstance(source.ignore, bool) else F.coalesce(F.expr(source.ignore), F.lit(False))
    nothing_took_it = F.size(taken) == 0
    return keyed.select(
        *rows.columns,
        F.transform(taken, lambda event: event.dropFields("_bad")).alias("_events"),
        F.when(nothing_took_it & ~ignored, F.array(F.lit("no_record"))).otherwise(problems).alias("_problems"),
        _flatten([F.col(f"{name}.warnings") for name in judged]).alias("_warnings"),
        (nothing_took_it & ignored).alias("_is_ignored"),
    )


def row_arrival_date(source: Source, timezone: str) -> Column:
    """For `arrival_date: event_date`: the business date of the first record that takes the row; null if none does."""
    candidates = []
    for record in source.records:
        when = F.expr(record.when) if record.when else F.lit(True)
        candidates.append(F.when(when, _business_date(_event_at(record.event_at, timezone), timezone)))
    return F.coalesce(*candidates)


def _with_content_key(rows: DataFrame, source: Source) -> DataFrame:
    """Rows with a hash of their content and their number among equal rows of the same file.

    So a file that is delivered twice counts once, and equal lines inside one file all count. The window is one
    shuffle of the new rows; sources that name their event_id do not pay it.
    """
    if all(isinstance(record.event_id, tuple) for record in source.records):
        return rows.withColumn("_content", F.lit(None).cast("string")).withColumn("_occurrence", F.lit(0))
    content = F.sha2(F.to_json(F.struct(*[F.col(f"`{name}`") for name in source.columns])), 256)
    equal_rows = Window.partitionBy("_source_file", "_content").orderBy("_row_number")
    return rows.withColumn("_content", content).withColumn("_occurrence", F.row_number().over(equal_rows))


def _event_of(record: Record, source: Source, timezone: str) -> Column:
    """The event struct that `record` makes of a row, or null where its `when` does not hold."""
    event_at = _event_at(record.event_at, timezone)
    values = {name: F.expr(expression) for name, expression in record.fields.items()}
    order_id = _filled(values.pop("order_id")) if "order_id" in values else None
    columns = {
        "event_id": _event_id(record, source),
        "source": F.lit(source.name),
        "channel": F.lit(record.channel or source.channel),
        "event_type": F.lit(record.event_type),
        "event_at": event_at,
        "event_date": _business_date(event_at, timezone),
        "arrival_date": F.col("_arrival_date"),
        "identifiers": _identifier_map(record),
        "blocked_identifiers": _blocked_map(record),
        "order_id": F.concat(F.lit(f"{record.order_source or source.name}:"), order_id) if order_id is not None else None,
        "attributes": _text_map(record.attributes),
        "props": _text_map(record.props),
        "_source_file": F.col("_source_file"),
        "_row_number": F.col("_row_number"),
    }
    fields = []
    for column in silver.EVENTS.columns:
        if column.name.startswith("lead_"):
            continue
        value = columns.get(column.name)
        if value is None:
            value = _typed(values[column.name], column.type) if column.name in values else F.lit(None)
        fields.append(value.cast(column.type).alias(column.name))
    mistyped = [
        F.when(_filled(text.cast("string")).isNotNull() & _typed(text, FIELD_TYPES[name]).isNull(), F.lit(f"bad_{name}"))
        for name, text in values.items()
        if FIELD_TYPES[name] != "string"
    ]
    bad = F.array_compact(F.array(*mistyped)) if mistyped else F.array().cast("array<string>")
    when = F.expr(record.when) if record.when else F.lit(True)
    return F.when(when, F.struct(*fields, bad.alias("_bad")))


def _verdict(record: Record, source: Source, name: str, first_arrival_date: date | None) -> Column:
    """Reasons to refuse and to warn, as a struct (problems, warnings), for the event in column `name`."""
    event = F.col(name)
    arrival = event["arrival_date"]
    standing: list[Column] = [
        F.when(event["event_at"].isNull(), F.lit("bad_event_at")),
        F.when(event["event_id"].isNull(), F.lit("missing_event_id")),
    ]
    if source.arrival_rule[0] != "event_date":
        standing.append(F.when(F.datediff(event["event_date"], arrival) > 1, F.lit("future_event")))
    if source.lateness_days is not None and source.arrival_rule[0] in ("folder", "from_path"):
        is_late = F.datediff(arrival, event["event_date"]) > source.lateness_days
        is_first = F.lit(first_arrival_date).cast("date") == arrival
        standing.append(F.when(is_late & ~F.coalesce(is_first, F.lit(False)), F.lit("too_late")))
    checks = {"reject": standing, "warn": []}
    for check in record.checks:
        holds = F.coalesce(_check_column(check.expression, name), F.lit(False))
        checks[check.severity].append(F.when(~holds, F.lit(check.name)))
    problems = F.concat(F.array_compact(F.array(*checks["reject"])), event["_bad"])
    warnings = F.array_compact(F.array(*checks["warn"])) if checks["warn"] else F.array().cast("array<string>")
    return F.when(event.isNotNull(), F.struct(problems.alias("problems"), warnings.alias("warnings")))


def _check_column(expression: str, event_column: str) -> Column:
    """The check as a Column; in YAML the mapped event is called `event`."""
    return F.expr(re.sub(r"\bevent\.", f"{event_column}.", expression))


def _event_at(time: EventTime, timezone: str) -> Column:
    raw = F.col(f"`{time.column}`") if time.column else F.expr(time.expression or "")
    text = F.trim(raw.cast("string"))
    if time.format == "epoch_seconds":
        return F.timestamp_seconds(text.try_cast("bigint"))
    if time.format == "epoch_millis":
        return F.timestamp_millis(text.try_cast("bigint"))
    zone = time.timezone or timezone
    if time.format == "iso":
        has_zone = text.rlike(r"(Z|[+-]\d{2}:?\d{2})$") & text.contains(":")
        parsed = text.try_cast("timestamp")
        return F.when(has_zone, parsed).otherwise(F.to_utc_timestamp(parsed, zone))
    parsed = F.try_to_timestamp(text, F.lit(time.format))
    zoned = any(mark in re.sub(r"'[^']*'", "", time.format) for mark in "XxZVzO")
    return parsed if zoned else F.to_utc_timestamp(parsed, zone)


def _business_date(event_at: Column, timezone: str) -> Column:
    return F.to_date(F.from_utc_timestamp(event_at, timezone))


def _event_id(record: Record, source: Source) -> Column:
    """128 bits of SHA-256 over source, record and key, as hex; null when every key column is empty."""
    if record.event_id == "row":
        key = [F.col("_content"), F.col("_occurrence").cast("string")]
    elif record.event_id == "row_hash":
        key = [F.col("_content")]
    else:
        key = [F.col(f"`{name}`") for name in record.event_id]
    parts = [F.lit(source.name), F.lit(record.name), *[F.coalesce(part, F.lit("\u0000")) for part in key]]
    digest = F.substring(F.sha2(F.concat_ws("\u001f", *parts), 256), 1, 32)
    has_key = reduce(lambda left, right: left | right, [_filled(part).isNotNull() for part in key])
    return F.when(has_key, digest)


def _identifier_map(record: Record) -> Column:
    present = {kind: _filled(F.col(f"`{spec.column}`")) for kind, spec in record.identifiers.items()}
    return _map_of(present)


def _blocked_map(record: Record) -> Column:
    rules = {kind: F.col("_blocked")[spec.column] for kind, spec in record.identifiers.items()}
    return _map_of(rules)


def _text_map(expressions: dict[str, str]) -> Column:
    return _map_of({name: _filled(F.expr(expression).cast("string")) for name, expression in expressions.items()})


def _map_of(values: dict[str, Column]) -> Column:
    """A map of the non-null values, keys in alphabetical order so that equal events are equal bytes."""
    if not values:
        return F.lit(None).cast("map<string,string>")
    entries = [F.struct(F.lit(name).alias("key"), values[name].alias("value")) for name in sorted(values)]
    present = F.filter(F.array(*entries), lambda entry: entry["value"].isNotNull())
    return F.when(F.size(present) > 0, F.map_from_entries(present))


def _filled(text: Column) -> Column:
    """The trimmed text, or null where nothing is left."""
    trimmed = F.trim(text)
    return F.when(trimmed != "", trimmed)


def _typed(value: Column, kind: str) -> Column:
    return value if kind == "string" else value.try_cast(kind)


def _flatten(arrays: Sequence[Column]) -> Column:
    empty = F.array().cast("array<string>")
    return F.array_distinct(F.flatten(F.array(*[F.coalesce(array, empty) for array in arrays])))
