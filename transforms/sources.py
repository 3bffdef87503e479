"""A source file's records applied to received rows: which events each row makes, and what is wrong with it.

The mapping is YAML (`conf/sources/<name>.yaml`), so somebody else's data needs no code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import silver
from transforms.expressions import SqlExpression, unknown_columns
from transforms.names import repeated

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

    `format` is `iso`, `epoch_seconds`, `epoch_millis`, `epoch_nanos` or a Spark date-time pattern.
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


_UTF8 = "utf-8"


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

    @field_validator("options")
    @classmethod
    def _marks_are_characters(cls, value: dict[str, str | bool]) -> dict[str, str | bool]:
        allowed = {"delimiter": "one character, or \\t", "quote": "one character, or none", "escape": "one character"}
        for name, what in allowed.items():
            mark = value.get(name, ",")
            is_one = isinstance(mark, str) and len(mark) == 1
            if not is_one and (name, mark) not in {("delimiter", "\\t"), ("quote", "")}:
                raise ValueError(f"{name} {mark!r}: allowed is {what}")
        return value

    @field_validator("options")
    @classmethod
    def _encoding_has_lines(cls, value: dict[str, str | bool]) -> dict[str, str | bool]:
        """Files are cut into lines before they are decoded, so a line must end in the byte that it ends in in ASCII."""
        encoding = str(value.get("encoding", _UTF8))
        try:
            has_lines = "\n".encode(encoding) == b"\n"
        except LookupError:
            has_lines = False
        if not has_lines:
            raise ValueError(
                f"encoding {encoding!r}: allowed are {_UTF8} and others that hold ASCII, as gbk, gb18030, big5"
            )
        return value

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
        problems += [f"record {name} is declared twice" for name in repeated(names)]
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
    def encoding(self) -> str:
        """How text files are encoded: `utf-8`, or what the settings name."""
        given = str(self.options.get("encoding", _UTF8))
        return _UTF8 if given.lower().replace("-", "") == "utf8" else given

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
        return {spec.column: (kind, spec) for record in self.records for kind, spec in record.identifiers.items()}


def with_problems(rows: DataFrame, source: Source, timezone: str, first_arrival_date: date | None = None) -> DataFrame:
    """The rows with `_problems`, as `apply_records` finds them, without what its event ids cost.

    Only an id of named columns can be missing; one of the content never is, whatever it comes to.
    """
    unkeyed = rows.selectExpr("*", "'any' as _content", "0 as _occurrence")
    return _judged_rows(unkeyed, source, timezone, first_arrival_date).drop("_events", "_warnings", "_is_ignored")


def apply_records(rows: DataFrame, source: Source, timezone: str, first_arrival_date: date | None = None) -> DataFrame:
    """The events that each row makes and the reasons for which it is refused.

    The mapping is put together as SQL text, as the YAML has it: some 40 records of 35 columns would cost ten
    thousand calls into the JVM as Column objects (8 s a night), and cost three as text.

    Args:
        rows: bronze rows of `source` (its columns as text, lineage columns); key (_source_file, _row_number).
        timezone: the business timezone, which decides event_date.
        first_arrival_date: the source's first arrival date, on which lateness is not applied.

    Returns:
        The same rows with `_events` (array of event structs, without lead), `_problems` (reasons to refuse the
        row, empty when it is good), `_warnings` and `_is_ignored`. A row is refused or taken as a whole, so that
        a replay after a fix never counts half of it twice.
    """
    return _judged_rows(_with_content_key(rows, source), source, timezone, first_arrival_date)


def _judged_rows(keyed: DataFrame, source: Source, timezone: str, first_arrival_date: date | None) -> DataFrame:
    """What `apply_records` returns, of its rows with `_content` and `_occurrence`."""
    received = [f"`{name}`" for name in keyed.columns if name not in ("_content", "_occurrence")]
    made = keyed.selectExpr(
        "*", *[f"{_event_of(record, source, timezone)} as {_made(record)}" for record in source.records]
    )
    judged = made.selectExpr(
        "*", *[f"{_verdict(record, source, first_arrival_date)} as {_judged(record)}" for record in source.records]
    )
    events = ", ".join(f"if({_made(r)} is null, array(), array({_made(r)}.event))" for r in source.records)
    ignored = f"coalesce(({source.ignore}), false)" if isinstance(source.ignore, str) else str(source.ignore).lower()
    taken = judged.selectExpr(
        *received,
        f"flatten(array({events})) as _events",
        f"{_joined([f'{_judged(r)}.problems' for r in source.records])} as _found",
        f"{_joined([f'{_judged(r)}.warnings' for r in source.records])} as _warnings",
        f"{ignored} as _may_be_ignored",
    )
    return taken.selectExpr(
        *received,
        "_events",
        "if(size(_events) = 0 and not _may_be_ignored, array('no_record'), _found) as _problems",
        "_warnings",
        "size(_events) = 0 and _may_be_ignored as _is_ignored",
    )


def row_arrival_date(source: Source, timezone: str) -> Column:
    """For `arrival_date: event_date`: the business date of the first record that takes the row; null if none does."""
    dates = [
        f"if({record.when or 'true'}, {_business_date(_event_at(record.event_at, timezone), timezone)}, null)"
        for record in source.records
    ]
    return F.expr(f"coalesce({', '.join(dates)})")


def _with_content_key(rows: DataFrame, source: Source) -> DataFrame:
    """Rows with a hash of their content and their number among equal rows of the same file.

    So a file that is delivered twice counts once, and equal lines inside one file all count. The window is one
    shuffle of the new rows, sorted by content first: of a file's name many rows have the same. Sources that name their
    event_id do not pay it.
    """
    if all(isinstance(record.event_id, tuple) for record in source.records):
        return rows.selectExpr("*", "cast(null as string) as _content", "0 as _occurrence")
    columns = ", ".join(f"`{name}`" for name in source.columns)
    content = rows.selectExpr("*", f"sha2(to_json(struct({columns})), 256) as _content")
    return content.selectExpr(
        "*", "row_number() over (partition by _content, _source_file order by _row_number) as _occurrence"
    )


def _made(record: Record) -> str:
    return f"_made_{record.name}"


def _judged(record: Record) -> str:
    return f"_judged_{record.name}"


def _event_of(record: Record, source: Source, timezone: str) -> str:
    """SQL of a struct (event, bad): what `record` makes of a row; null where its `when` does not hold."""
    event_at = _event_at(record.event_at, timezone)
    values = dict(record.fields)
    order_id = values.pop("order_id", None)
    prefix = _text(f"{record.order_source or source.name}:")
    columns = {
        "event_id": _event_id(record, source),
        "source": _text(source.name),
        "channel": _text(record.channel or source.channel),
        "event_type": _text(record.event_type),
        "event_at": event_at,
        "event_date": _business_date(event_at, timezone),
        "arrival_date": "_arrival_date",
        "identifiers": _map_of({kind: _filled(f"`{spec.column}`") for kind, spec in record.identifiers.items()}),
        "blocked_identifiers": _map_of({k: f"_blocked[{_text(s.column)}]" for k, s in record.identifiers.items()}),
        "order_id": f"concat({prefix}, {_filled(order_id)})" if order_id else "null",
        "attributes": _map_of({name: _filled(value) for name, value in record.attributes.items()}),
        "props": _map_of({name: _filled(value) for name, value in record.props.items()}),
        "_source_file": "_source_file",
        "_row_number": "_row_number",
    }
    fields = []
    for column in silver.EVENTS.columns:
        if not column.name.startswith("lead_"):
            value = columns.get(column.name, values.get(column.name, "null"))
            cast = "try_cast" if column.name in values else "cast"
            fields.append(f"'{column.name}', {cast}({value} as {column.type})")
    mistyped = [
        f"if({_filled(value)} is not null and try_cast({value} as {FIELD_TYPES[name]}) is null, 'bad_{name}', null)"
        for name, value in values.items()
        if FIELD_TYPES[name] != "string"
    ]
    struct = f"named_struct('event', named_struct({', '.join(fields)}), 'bad', {_present(mistyped)})"
    return f"if({record.when}, {struct}, null)" if record.when else struct


def _verdict(record: Record, source: Source, first_arrival_date: date | None) -> str:
    """SQL of a struct (problems, warnings) for the event that `record` made; null where it made none."""
    event = f"{_made(record)}.event"
    standing = [
        f"if({event}.event_at is null, 'bad_event_at', null)",
        f"if({event}.event_id is null, 'missing_event_id', null)",
    ]
    if source.arrival_rule[0] != "event_date":
        standing.append(f"if(datediff({event}.event_date, _arrival_date) > 1, 'future_event', null)")
    if source.lateness_days is not None and source.arrival_rule[0] in ("folder", "from_path"):
        is_first = f"_arrival_date <=> date'{first_arrival_date}'" if first_arrival_date else "false"
        late = f"datediff(_arrival_date, {event}.event_date) > {source.lateness_days}"
        standing.append(f"if({late} and not {is_first}, 'too_late', null)")
    checks: dict[str, list[str]] = {"reject": standing, "warn": []}
    for check in record.checks:
        # In YAML the mapped event is called `event`; a check that is null does not hold.
        holds = re.sub(r"\bevent\.", f"{event}.", check.expression)
        checks[check.severity].append(f"if(coalesce(({holds}), false), null, {_text(check.name)})")
    problems = f"concat({_present(checks['reject'])}, {_made(record)}.bad)"
    struct = f"named_struct('problems', {problems}, 'warnings', {_present(checks['warn'])})"
    return f"if({_made(record)} is null, null, {struct})"


def _event_at(time: EventTime, timezone: str) -> str:
    raw = f"`{time.column}`" if time.column else f"({time.expression})"
    text = f"trim(cast({raw} as string))"
    if time.format == "epoch_seconds":
        return f"timestamp_seconds(try_cast({text} as bigint))"
    if time.format == "epoch_millis":
        return f"timestamp_millis(try_cast({text} as bigint))"
    if time.format == "epoch_nanos":  # timestamps hold microseconds: what is finer is cut off
        return f"timestamp_micros(try_cast({text} as bigint) div 1000)"
    zone = _text(time.timezone or timezone)
    if time.format == "iso":
        # Spark would read a time alone as of today: law 1 knows no such day. And it wants the seconds before an offset,
        # where Java prints a full minute as 10:00+08:00.
        has_date = f"{text} rlike '^[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}'"
        whole = f"regexp_replace({text}, '([T ][0-9]{{1,2}}:[0-9]{{2}})( *[A-Za-z+-])', '$1:00$2')"
        parsed = f"if({has_date}, try_cast({whole} as timestamp), null)"
        has_zone = f"{text} rlike ':[0-9]{{1,2}}([.][0-9]*)? *[A-Za-z+-]'"  # Z, +08:00, +0800, +08, a zone's name
        return f"if({has_zone}, {parsed}, to_utc_timestamp({parsed}, {zone}))"
    parsed = f"try_to_timestamp({text}, {_text(time.format)})"
    zoned = any(mark in re.sub(r"'[^']*'", "", time.format) for mark in "XxZVzO")
    return parsed if zoned else f"to_utc_timestamp({parsed}, {zone})"


def _business_date(event_at: str, timezone: str) -> str:
    return f"to_date(from_utc_timestamp({event_at}, {_text(timezone)}))"


def _event_id(record: Record, source: Source) -> str:
    """128 bits of SHA-256 over source, record and key, as hex; null when every key column is empty."""
    if record.event_id == "row":
        key = ["_content", "cast(_occurrence as string)"]
    elif record.event_id == "row_hash":
        key = ["_content"]
    else:
        key = [f"`{name}`" for name in record.event_id]
    # Unit separator between parts and NUL for a missing one, so that ('a', null) and ('', 'a') stay apart.
    parts = [_text(source.name), _text(record.name), *[f"coalesce({part}, '\\u0000')" for part in key]]
    has_key = " or ".join(f"{_filled(part)} is not null" for part in key)
    return f"if({has_key}, substring(sha2(concat_ws('\\u001f', {', '.join(parts)}), 256), 1, 32), null)"


def _map_of(values: dict[str, str]) -> str:
    """SQL of a map of the non-null values, keys in alphabetical order so that equal events are equal bytes."""
    if not values:
        return "null"
    nothing = "cast(map() as map<string,string>)"
    entries = [f"if({values[name]} is null, {nothing}, map({_text(name)}, {values[name]}))" for name in sorted(values)]
    return f"if(coalesce({', '.join(values.values())}) is null, null, map_concat({', '.join(entries)}))"


def _filled(text: str) -> str:
    """The trimmed text, or null where nothing is left."""
    return f"nullif(trim(cast({text} as string)), '')"


_NONE = "cast(array() as array<string>)"


def _present(candidates: Sequence[str]) -> str:
    """Those names that are not null, of most rows none. Without a function over an array, which is never compiled."""
    if not candidates:
        return _NONE
    listed = ", ".join(candidates)
    return f"if(coalesce({listed}) is null, {_NONE}, split(concat_ws(',', {listed}), ','))"


def _joined(arrays: Sequence[str]) -> str:
    """The distinct items of arrays of which some are null."""
    return f"array_distinct(flatten(array({', '.join(f'coalesce({array}, {_NONE})' for array in arrays)})))"


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
