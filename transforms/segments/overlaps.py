"""Overlaps: how many customers any two segments share."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.bits import bit_of, names_of
from transforms.contracts import RATIO, gold
from transforms.segments.membership import SegmentRules


def segment_overlaps(members: DataFrame, as_of: date, rules: SegmentRules) -> DataFrame:
    """Pairs of segments with a customer in both, in the columns of gold.segment_overlaps; key (segment_a, segment_b).

    Args:
        members: gold.segment_members of `as_of`.

    Jaccard's index is customers in both over customers in either. Customers are counted once by the set of segments
    that they are in, of which there are few; pairs are made of these sets and not of customers.
    """
    codes = [segment.code for segment in rules.all]
    of_customer = members.groupBy("customer_id").agg(F.bit_or(bit_of("segment", codes)).alias("bits"))
    sets = of_customer.groupBy("bits").agg(F.count("*").alias("customers"))
    named = sets.select("customers", names_of("bits", codes).alias("names"))
    counted = named.select("customers", F.inline(_pairs())).groupBy("segment_a", "segment_b").agg(F.sum("customers"))
    pairs = counted.withColumnRenamed("sum(customers)", "customers")
    alone = F.when(F.col("segment_a") == F.col("segment_b"), F.col("customers"))  # a segment's pair with itself
    sized = pairs.withColumns(
        {name: F.max(alone).over(Window.partitionBy(f"segment_{name[-1]}")) for name in ("size_a", "size_b")}
    )
    either = F.col("size_a") + F.col("size_b") - F.col("customers")
    jaccard = F.col("customers").cast("decimal(20,0)") / either.cast("decimal(20,0)")
    both = sized.where("segment_a < segment_b").withColumn("jaccard", jaccard.cast(RATIO))
    return both.withColumn("run_date", F.lit(as_of)).select(*gold.SEGMENT_OVERLAPS.column_names)


def _pairs() -> Column:
    """Of a sorted list of names every two, each with itself too."""
    return F.expr(
        "flatten(transform(names, a -> transform(filter(names, b -> b >= a), "
        "b -> named_struct('segment_a', a, 'segment_b', b))))"
    )
