"""Identifiers: one normal form per type, keyed tokens for personal ones, and the static rules that block a value.

Runs in Python because phone numbers need `phonenumbers`, and because a key among Spark literals would be printed
in every query plan. Each distinct value of an Arrow batch is worked on once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Literal

import phonenumbers
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pyspark.sql import Column

from transforms.identity.match import MatchRules
from transforms.names import repeated

_WORDS_FOR_NOTHING = (
    "null none nil nan n/a na undefined unknown anonymous guest test -1 0 - -- . true false not_authenticated "
    "empty blocked declined 无 未知 匿名 空"
)

NULL_LIKES = frozenset([*_WORDS_FOR_NOTHING.split(" "), "[object object]"])
_CHINESE_MOBILE = re.compile(r"^(?:\+86|0086|86)?(1[3-9]\d{9})$")
_SEPARATORS = re.compile(r"[\s\-().·]+")
_HASH_DIGITS = {"md5": 32, "sha256": 64}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IdentifierType(_Model):
    """One type of identifier and how far it is trusted; conf/identity.yaml lists them strongest first.

    Attributes:
        kind: normaliser: `phone` (E.164), `email`, or `id` (trimmed, in the `case` given, less the `strip` regex).
        personal: stored as a keyed token only.
        anchor: may name a customer before cookies and devices do.
        shared: links nothing and owns nothing (a store tablet, a guide's phone).
        unique: two values are never one customer. With `max_per_customer` and `max_holders` a rule of the audit.
        blocked: values that link nothing; `blocked_patterns`: regular expressions over the normal form.
    """

    type: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str = ""
    kind: Literal["phone", "email", "id"] = "id"
    case: Literal["keep", "lower", "upper"] = "keep"
    strip: str | None = None
    personal: bool = False
    anchor: bool = False
    shared: bool = False
    unique: bool = False
    max_per_customer: int | None = Field(default=None, ge=1)
    period_days: int | None = Field(default=None, ge=1)
    max_holders: int | None = Field(default=None, ge=1)
    blocked: tuple[str, ...] = ()
    blocked_patterns: tuple[str, ...] = ()

    @field_validator("blocked_patterns", "strip")
    @classmethod
    def _compiles(cls, value: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        for pattern in (value,) if isinstance(value, str) else value or ():
            re.compile(pattern)
        return value


class Decision(_Model):
    """What a person decided about two raw identifiers, from that date on: one customer, or never."""

    decision: Literal["must_link", "cannot_link"]
    type_a: str
    value_a: str
    type_b: str
    value_b: str
    decided_date: date


class IdentityRules(_Model):
    """conf/identity.yaml: identifier types in priority order, strongest first.

    Attributes:
        max_customer_size: identifiers that one customer may have; a larger one is rebuilt and split (super_cluster).
        decisions: must-links and cannot-links; settings name a CSV file of them.
        one_task_links: links up to which components are found in one task; above, in distributed rounds.
        whole_up_to: combinations of identifiers up to which every night works out all of them; above, the part of the
            graph that it touches.
        match: probable links between profile records, the last tier; none without it.
    """

    types: tuple[IdentifierType, ...] = Field(min_length=1)
    default_region: str = Field(default="CN", pattern=r"^[A-Z]{2}$")
    max_customer_size: int | None = Field(default=1_000, ge=2)
    decisions: tuple[Decision, ...] = ()
    one_task_links: int = Field(default=50_000_000, ge=0)
    whole_up_to: int = Field(default=200_000, ge=0)
    match: MatchRules | None = None

    @model_validator(mode="after")
    def _distinct(self) -> IdentityRules:
        names = [kind.type for kind in self.types]
        twice = repeated(names)
        if twice:
            raise ValueError(f"declared twice: {', '.join(twice)}")
        unheard = sorted({kind for d in self.decisions for kind in (d.type_a, d.type_b)} - set(self.linking))
        if unheard:
            raise ValueError(f"decisions name types that do not link: {', '.join(unheard)}")
        recordless = sorted(set(self.match.records if self.match else ()) - set(self.linking))
        if recordless:
            allowed = ", ".join(self.linking)
            raise ValueError(f"match.records: {', '.join(recordless)}: not a type that links; allowed: {allowed}")
        return self

    def named(self, name: str) -> IdentifierType:
        """The type called `name`."""
        return next(kind for kind in self.types if kind.type == name)

    @property
    def linking(self) -> list[str]:
        """Names of the types that may link, strongest first."""
        return [kind.type for kind in self.types if not kind.shared]

    @property
    def limited(self) -> list[str]:
        """Names of the types of which a value that too many people hold is blocked, strongest first."""
        return [kind.type for kind in self.types if kind.max_holders]

    @property
    def anchors(self) -> list[str]:
        """Names of the types that a customer's id is made from, strongest first."""
        return [kind.type for kind in self.types if kind.anchor]

    @property
    def tier(self) -> dict[str, int]:
        """Type to its place in the priority order, 0 the strongest."""
        return {kind.type: place for place, kind in enumerate(self.types)}


def identified(
    value: Column,
    kind: IdentifierType,
    *,
    region: str,
    key: bytes,
    common_hash: str | None = None,
    delivered_hash: str | None = None,
    app_id: str | None = None,
    seal: Callable[[str, str], str] | None = None,
) -> Column:
    """A struct (value, rule): the normal form or token of a raw identifier, and the static rule that blocks it.

    Args:
        common_hash: when any source delivers this type hashed, that hash: plain values take it before the token,
            so that hashed and plain sources meet.
        delivered_hash: the hash in which this column arrives.
        seal: seals a normal form for its token. With it the struct has a third field `sealed`: what the vault keeps,
            null for blocked values and for those that arrive hashed.
    """
    from pyspark.sql.functions import arrow_udf  # only workers and drivers with Arrow need it

    convert = _reader(kind, region, key, common_hash, delivered_hash, app_id)
    fields = ["value", "rule", "sealed"] if seal else ["value", "rule"]

    @arrow_udf(f"struct<{', '.join(f'{field}: string' for field in fields)}>")
    def identify(values: pa.Array) -> pa.Array:
        encoded = values.dictionary_encode()
        found = [convert(raw) for raw in encoded.dictionary.to_pylist()]
        if seal:
            found = [(stored, rule, _sealed(stored, rule, plain, seal)) for stored, rule, plain in found]
        places = range(len(fields))
        arrays = [pa.array([of[place] for of in found], pa.string()).take(encoded.indices) for place in places]
        return pa.StructArray.from_arrays(arrays, fields)

    return identify(value)


def identified_by_type(
    kind: Column, value: Column, rules: IdentityRules, key: bytes, common_hashes: Mapping[str, str | None]
) -> Column:
    """The normal form or token of raw values whose type stands beside them; null for a type that is not declared."""
    from pyspark.sql.functions import arrow_udf

    converters = {
        declared.type: converter(declared, rules.default_region, key, common_hashes.get(declared.type))
        for declared in rules.types
    }

    @arrow_udf("string")
    def identify(kinds: pa.Array, values: pa.Array) -> pa.Array:
        pairs = zip(kinds.to_pylist(), values.to_pylist(), strict=True)
        return pa.array([converters[k](raw)[0] if k in converters else None for k, raw in pairs], pa.string())

    return identify(kind, value)


def converter(
    kind: IdentifierType,
    region: str,
    key: bytes,
    common_hash: str | None = None,
    delivered_hash: str | None = None,
    app_id: str | None = None,
) -> Callable[[str | None], tuple[str | None, str | None]]:
    """The same as a plain function from raw text to (normal form or token, blocking rule)."""
    read = _reader(kind, region, key, common_hash, delivered_hash, app_id)

    def convert(raw: str | None) -> tuple[str | None, str | None]:
        stored, rule, _ = read(raw)
        return stored, rule

    return convert


def _reader(
    kind: IdentifierType,
    region: str,
    key: bytes,
    common_hash: str | None,
    delivered_hash: str | None,
    app_id: str | None,
) -> Callable[[str | None], tuple[str | None, str | None, str | None]]:
    """From raw text to (normal form or token, blocking rule, normal form where it arrives in plain text)."""
    prefix = f"{app_id}:" if app_id else ""
    blocked = {_clean(value, kind) for value in kind.blocked}
    patterns = [re.compile(pattern) for pattern in kind.blocked_patterns]
    bad_hashes = _bad_hashes(kind, region, delivered_hash) if delivered_hash else {}

    def read(raw: str | None) -> tuple[str | None, str | None, str | None]:
        if raw is None or not raw.strip():
            return None, None, None
        plain = None
        if delivered_hash:
            normal = raw.strip().lower()
            is_hash = re.fullmatch(rf"[0-9a-f]{{{_HASH_DIGITS[delivered_hash]}}}", normal)
            rule = bad_hashes.get(normal) if is_hash else "not_a_hash"
        else:
            normal, rule = normalised(raw, kind, region)
            rule = _static_rule(normal, kind, blocked, patterns) or rule
            plain = prefix + normal
            if common_hash:
                normal = _hashed(normal, common_hash)
        normal = prefix + normal
        return (token(key, kind.type, normal) if kind.personal else normal), rule, plain

    return read


def _sealed(stored: str | None, rule: str | None, plain: str | None, seal: Callable[[str, str], str]) -> str | None:
    """What the vault keeps of a value: nothing where a rule blocks it or only its hash is known."""
    return None if stored is None or plain is None or rule else seal(plain, stored)


def normalised(raw: str, kind: IdentifierType, region: str) -> tuple[str, str | None]:
    """The normal form of a value, and `not_a_phone` or `not_an_email` where it cannot be one."""
    cleaned = _clean(raw, kind)
    if kind.kind == "phone":
        return _phone(cleaned, region)
    if kind.kind == "email":
        return cleaned, None if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", cleaned) else "not_an_email"
    return cleaned, None


def token(key: bytes, identifier_type: str, normal: str) -> str:
    """`hex(HMAC_SHA256(key, type + ":" + normal form))`."""
    return hmac.new(key, f"{identifier_type}:{normal}".encode(), hashlib.sha256).hexdigest()


def _hashed(text: str, algorithm: str) -> str:
    return hashlib.new(algorithm, text.encode()).hexdigest()


def _bad_hashes(kind: IdentifierType, region: str, algorithm: str) -> dict[str, str]:
    """Hash of each value that may not link to the rule it breaks: a value that arrives hashed cannot be looked into."""
    nothing = {_hashed(text, algorithm): "null_like" for text in ("", *NULL_LIKES)}
    listed = {_hashed(normalised(text, kind, region)[0], algorithm): "blocked_value" for text in kind.blocked}
    return {**nothing, **listed}


def _clean(raw: str, kind: IdentifierType) -> str:
    """Full-width forms folded (NFKC), trimmed, in the type's case, without its `strip` pattern."""
    text = unicodedata.normalize("NFKC", raw).strip()
    if kind.kind == "phone":
        return _SEPARATORS.sub("", text)
    if kind.kind == "email" or kind.case == "lower":
        text = text.lower()
    elif kind.case == "upper":
        text = text.upper()
    return re.sub(kind.strip, "", text) if kind.strip else text


def _phone(digits: str, region: str) -> tuple[str, str | None]:
    mobile = _CHINESE_MOBILE.match(digits)
    if mobile and region == "CN":  # nearly all values: phonenumbers takes some 30 µs each, this under 1
        return f"+86{mobile.group(1)}", None
    try:
        number = phonenumbers.parse("+" + digits[2:] if digits.startswith("00") else digits, region)
    except phonenumbers.NumberParseException:
        return digits, "not_a_phone"
    if not phonenumbers.is_possible_number(number):
        return digits, "not_a_phone"
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164), None


def _static_rule(
    normal: str, kind: IdentifierType, blocked: set[str], patterns: Sequence[re.Pattern[str]]
) -> str | None:
    """The first static rule that blocks the value: listed, null-like, pattern, repeated or ascending digits."""
    bare = normal.removeprefix("+86") if kind.kind == "phone" else normal
    if bare in blocked or normal in blocked:
        return "blocked_value"
    if not normal or normal.lower() in NULL_LIKES:  # separators alone, or nothing left by `strip`
        return "null_like"
    if any(pattern.search(bare) for pattern in patterns):
        return "blocked_pattern"
    digits = bare.removeprefix("+")
    if len(digits) >= 6 and digits.isdigit():
        tail = digits[-8:]
        if len(set(tail)) == 1:
            return "repeated_digits"
        if all((int(b) - int(a)) % 10 == 1 for a, b in pairwise(tail)):
            return "ascending_digits"
    return None
