"""Versions of tables: what was read at one stays, whatever is written after."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from jobs.runtime.tables import Tables
from tests.builders import frame
from transforms.contracts import silver


def test_a_version_stays_though_its_table_is_written_before_its_rows_are_asked_for(
    spark: SparkSession, tmp_path: Path
) -> None:
    """So a command that reads a publication sees one night, also while the next one commits."""

    def owners(*customers: str) -> DataFrame:
        rows = [{"identifier_type": "member", "identifier": f"m{n}", "customer_id": c} for n, c in enumerate(customers)]
        return frame(spark, silver.IDENTITIES, rows)

    tables = Tables(spark, str(tmp_path / "lake"), "run", None)
    published = tables.replace(silver.IDENTITIES, owners("C0", "C1")).version
    seen, as_it_stands = tables.read(silver.IDENTITIES, published), tables.read(silver.IDENTITIES)
    tables.replace(silver.IDENTITIES, owners("C0", "C1", "C2"))
    assert {row.customer_id for row in seen.collect()} == {"C0", "C1"}
    assert {row.customer_id for row in as_it_stands.collect()} == {"C0", "C1", "C2"}
