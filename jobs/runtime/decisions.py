"""Must-links and cannot-links that people decided, in stored form, as known on the run date."""

from __future__ import annotations

from datetime import date, datetime, time

from pyspark.sql import DataFrame

from jobs.runtime.job import JobContext
from jobs.runtime.keys import stored_identifier
from jobs.runtime.listed_rows import listed_rows
from transforms.contracts import silver
from transforms.identity.lawful import MUST_LINK
from transforms.identity.replay import Node

_PAIR = "type_a string, value_a string, type_b string, value_b string"


def must_links(ctx: JobContext) -> DataFrame:
    """silver.identity_links' rows for pairs that a person declared one customer."""
    rows = [
        {
            **dict(zip(silver.IDENTITY_LINKS.key, (*one, *other), strict=True)),
            "first_arrival_date": decided,
            "last_seen_at": datetime.combine(decided, time()),
            "event_count": 0,
            "sources": [MUST_LINK],
            "probability": None,
        }
        for one, other, decided in _decided(ctx, MUST_LINK)
    ]
    return ctx.small_frame(rows, silver.IDENTITY_LINKS)


def apart(ctx: JobContext) -> DataFrame:
    """Pairs (type_a, value_a, type_b, value_b) that a person declared never one customer."""
    pairs = [(*one, *other) for one, other, _ in _decided(ctx, "cannot_link")]
    return listed_rows(ctx.spark, pairs, _PAIR)


def _decided(ctx: JobContext, kind: str) -> list[tuple[Node, Node, date]]:
    """(stronger identifier, other identifier, date) of every decision of a kind that stood on the run date."""
    rules = ctx.settings.identity
    found = set()
    for decision in rules.decisions:
        if decision.decision == kind and decision.decided_date <= ctx.run_date:
            ends = [(decision.type_a, decision.value_a), (decision.type_b, decision.value_b)]
            stored = [(kind, stored_identifier(kind, raw, ctx.settings, ctx.env)) for kind, raw in ends]
            one, other = sorted(stored, key=lambda end: (rules.tier[end[0]], end[1]))
            found.add((one, other, decision.decided_date))
    return sorted(found)
