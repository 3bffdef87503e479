"""What the audit counts: repeated keys are found, whether all rows are compared or only those that share a new key."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql.functions import lit

from jobs.runtime import table_measures
from jobs.runtime.table_measures import measure
from tests.builders import frame, order
from tests.nights import night
from transforms.contracts import gold, silver

MAY, JUNE = date(2026, 5, 4), date(2026, 6, 30)
OLD = [order(f"o{number}", order_date=MAY) for number in range(30)]  # untouched by the night


@pytest.mark.parametrize(
    ("came", "repeated"),
    [
        (["n1", "n2"], 0),
        (["n1", "n1"], 1),  # twice among the new
        (["n1", "o7"], 1),  # once new, once in a file of another month that the night left alone
    ],
)
def test_repeated_keys_are_found(spark: SparkSession, tmp_path: Path, came: list[str], repeated: int) -> None:
    ctx = night(tmp_path / "lake", tmp_path, JUNE)
    published = ctx.tables.replace(silver.ORDERS, frame(spark, silver.ORDERS, OLD)).version
    new = frame(spark, silver.ORDERS, [order(name, order_date=JUNE) for name in came])
    ctx.tables.overwrite_where(silver.ORDERS, new, f"order_date = date'{JUNE}'")
    added = ctx.tables.files_since(silver.ORDERS, published)
    assert added is not None and added.rows == len(came)  # few of all rows: only keys that came are looked up

    few, all_keys = (measure(ctx, [silver.ORDERS], versions) for versions in ({silver.ORDERS.full_name: published}, {}))

    assert few == all_keys
    assert few[silver.ORDERS.full_name]["repeated"] == repeated
    assert few[silver.ORDERS.full_name]["rows"] == len(OLD) + len(came)
    assert few[silver.ORDERS.full_name]["net_amount"] == Decimal(100) * (len(OLD) + len(came))


def test_all_keys_are_counted_where_most_of_a_table_is_new(spark: SparkSession, tmp_path: Path) -> None:
    ctx = night(tmp_path / "lake", tmp_path, JUNE)
    ctx.tables.replace(silver.ORDERS, frame(spark, silver.ORDERS, OLD[:1]))
    ctx.tables.replace(silver.ORDERS, frame(spark, silver.ORDERS, [*OLD, OLD[3]]))
    assert measure(ctx, [silver.ORDERS], {silver.ORDERS.full_name: 0})[silver.ORDERS.full_name]["repeated"] == 1


@pytest.mark.parametrize("few", [0, 150_000])  # counted by Spark, and without it
def test_keys_of_a_slice_are_compared_among_themselves(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(table_measures, "_FEW_ROWS", few)
    places = {
        MAY: [("浙江", "杭州")],
        JUNE: [
            ("浙江", "杭州"),  # in another slice too
            ("浙江", ""),
            ("浙江", None),  # unknown is a value of a key, and no empty text
            ("浙江", None),
            ("江苏", None),
            (None, "江苏"),  # the same value elsewhere: another key
        ],
    }
    ctx = night(tmp_path / "lake", tmp_path, JUNE)
    for day, found in places.items():
        rows = spark.createDataFrame([(day, *place) for place in found], "run_date date, province string, city string")
        wanted = gold.REGION_QUALITY.schema
        absent = {field.name: lit(None).cast(field.dataType) for field in wanted if field.name not in rows.columns}
        ctx.tables.overwrite_slice(gold.REGION_QUALITY, rows.withColumns(absent), run_date=day)
    measured = measure(ctx, [gold.REGION_QUALITY], {})[gold.REGION_QUALITY.full_name]
    assert measured == {"rows": Decimal(6), "repeated": Decimal(1)}
