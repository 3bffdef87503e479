"""ops.tombstones: the identifiers that may not come back, known by a salted hash."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame

from jobs.runtime.job import JobContext
from jobs.runtime.keys import token_key
from transforms.contracts import ops
from transforms.erasure import Reader
from transforms.identity.identifiers import converter


@dataclass(frozen=True)
class Tombstones:
    """(identifier_type, tombstone) of all that was ever erased, and the lake's salt."""

    rows: DataFrame
    salt: str


def known_tombstones(ctx: JobContext) -> Tombstones | None:
    """The lake's; None where nobody was ever erased."""
    if not ctx.tables.exists(ops.TOMBSTONES):
        return None
    stored = ctx.tables.read(ops.TOMBSTONES)
    first = stored.head()
    return Tombstones(stored.select("identifier_type", "tombstone"), first.salt) if first else None


def salt_of(ctx: JobContext) -> str:
    """The lake's salt; a new one, 128 bits, before the first erasure."""
    known = known_tombstones(ctx)
    return known.salt if known else secrets.token_hex(16)


def readers(ctx: JobContext) -> Sequence[Reader]:
    """How a raw value becomes what tables hold of it: of every type, in every way that a source delivers it."""
    rules, key = ctx.settings.identity, token_key(ctx.env)
    plain = {(kind.type, None, None) for kind in rules.types}
    of_sources = {
        (kind, spec.hashed, spec.app_id)
        for source in ctx.settings.sources.values()
        for kind, spec in source.identifier_columns().values()
    }
    ways = sorted(plain | of_sources, key=str)
    return [
        converter(rules.named(kind), rules.default_region, key, ctx.settings.common_hash(kind), hashed, app)
        for kind, hashed, app in ways
    ]
