"""vault.identifiers: kept by ingest-events, opened by export-contacts, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from cryptography.exceptions import InvalidTag
from pyspark.sql import DataFrame

from jobs.runtime.job import JobContext, RunFailed
from jobs.runtime.keys import opened
from jobs.runtime.tables import Tables
from transforms.contracts.vault import IDENTIFIERS
from transforms.vault import fresh_entries, vault_entries


def keep(ctx: JobContext, received: Sequence[DataFrame]) -> None:
    """Put the plain values of received rows into the vault; values that it has are not written again.

    Args:
        received: rows of sources with `_brought` and `_arrival_date`. With --full they are all there is, and the
            vault holds nothing else afterwards.
    """
    if not received:
        return
    parts = [rows.select("_brought", "_arrival_date") for rows in received]
    entries = vault_entries(reduce(DataFrame.unionByName, parts))
    if ctx.full or not ctx.tables.exists(IDENTIFIERS):
        ctx.facts["vault entries"] = ctx.tables.replace(IDENTIFIERS, entries).rows
        return
    kept = readable_vault(ctx.tables, ctx.env)
    fresh = fresh_entries(entries, kept).localCheckpoint()  # read before the write that it goes into
    counts = {row.is_kept: row["count"] for row in fresh.groupBy("is_kept").count().collect()}
    if True in counts:  # rare: a file of an earlier date came late
        others = kept.join(fresh, list(IDENTIFIERS.key), "left_anti")
        ctx.tables.replace(IDENTIFIERS, others.unionByName(fresh.drop("is_kept")))
    elif counts:
        ctx.tables.append(IDENTIFIERS, fresh.drop("is_kept"))
    ctx.facts["vault entries"] = sum(counts.values())


def readable_vault(tables: Tables, env: str) -> DataFrame:
    """vault.identifiers, still sealed.

    Raises:
        RunFailed: it was sealed under another key.
    """
    vault = tables.read(IDENTIFIERS)
    row = vault.head()
    try:
        if row:
            opened(row.value, row.identifier, env)
    except InvalidTag:
        raise RunFailed(
            f"{tables.path(IDENTIFIERS)} was sealed under another key than the one given in PORTRAITS_VAULT_KEY; give "
            f"that key, or make the vault again from the landing files: portraits nightly --full"
        ) from None
    return vault
