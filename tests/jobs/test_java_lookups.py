"""Java's names are looked up once, and what they mean stays what Java says."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from jobs.runtime.java_lookups import remember_lookups


def test_classes_and_their_methods_are_remembered(spark: SparkSession) -> None:
    remember_lookups(spark.sparkContext)
    java = spark.sparkContext._jvm
    assert java is not None
    text = getattr(java, "java.lang.String")
    assert getattr(java, "java.lang.String") is text
    assert text.valueOf is text.valueOf
    assert text.valueOf(7) == "7"
    assert text("a new one") == "a new one"


def test_what_a_field_holds_is_read_each_time(spark: SparkSession) -> None:
    """Of a Scala object its field names the instance: another one after Spark replaced it."""
    remember_lookups(spark.sparkContext)
    java = spark.sparkContext._jvm
    assert java is not None
    numbers = getattr(java, "java.lang.Integer")
    assert numbers.MAX_VALUE == 2**31 - 1
    assert "MAX_VALUE" not in vars(numbers)


def test_a_name_that_java_does_not_have_is_still_an_error(spark: SparkSession) -> None:
    remember_lookups(spark.sparkContext)
    java = spark.sparkContext._jvm
    assert java is not None
    with pytest.raises(Py4JError, match="missing_method"):
        assert getattr(java, "java.lang.String").missing_method
