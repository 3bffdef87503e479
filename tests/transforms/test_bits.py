"""Names as bits of one number, and back."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from transforms.bits import bit_of, names_of


def test_names_put_together_come_back_sorted(spark: SparkSession):
    rows = [("A", "pos"), ("A", "app"), ("A", "app"), ("B", None), ("C", "fax")]  # fax is none of the names
    frame = spark.createDataFrame(rows, "id string, channel string")
    for names, found in (
        (["pos", "app"], ["app", "pos"]),
        ([], []),
    ):  # a night on which nothing was accepted has no names
        bits = frame.groupBy("id").agg(F.bit_or(bit_of("channel", names)).alias("bits"))
        together = {row.id: row.names for row in bits.select("id", names_of("bits", names).alias("names")).collect()}
        assert together == {"A": found, "B": [], "C": []}
