"""The vault: which plain values rows bring, and which of them it does not have yet. Values are sealed throughout."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts.vault import IDENTIFIERS

_KEY = list(IDENTIFIERS.key)


def vault_entries(rows: DataFrame) -> DataFrame:
    """vault.identifiers of received rows; key (identifier_type, identifier).

    A token stands for one value, and equal values are sealed to equal text, so that any row's will do.

    Args:
        rows: `_brought` (what `brought` gives) and `_arrival_date`; rows without an arrival date are no events.
    """
    entries = rows.where("_arrival_date is not null").select(F.explode("_brought").alias("entry"), "_arrival_date")
    return (
        entries.select("entry.*", "_arrival_date")
        .groupBy(*_KEY)
        .agg(F.min("value").alias("value"), F.min("_arrival_date").alias("first_arrival_date"))
    )


def brought(found: dict[str, tuple[str, Column]]) -> Column:
    """The array of a row's (identifier_type, identifier, sealed value).

    Args:
        found: column name to its identifier type and what `identified` gives with a seal. Null values are left out.
    """
    entries = [
        F.struct(
            F.lit(kind).alias("identifier_type"),
            column["value"].alias("identifier"),
            column["sealed"].alias("value"),
        )
        for _, (kind, column) in sorted(found.items())
    ]
    return F.filter(F.array(*entries), lambda entry: entry["value"].isNotNull())


def fresh_entries(entries: DataFrame, kept: DataFrame) -> DataFrame:
    """Entries that the vault lacks, and those that arrived earlier than it says (`is_kept`: a file came late).

    Args:
        entries: as `vault_entries` gives them.
        kept: vault.identifiers as it is.
    """
    known = kept.select(*_KEY, F.col("first_arrival_date").alias("_kept_date"))
    is_earlier = F.col("first_arrival_date") < F.col("_kept_date")
    return (
        entries.join(known, _KEY, "left")
        .where(F.col("_kept_date").isNull() | is_earlier)
        .select(*entries.columns, F.col("_kept_date").isNotNull().alias("is_kept"))
    )
