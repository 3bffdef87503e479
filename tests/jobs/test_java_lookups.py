"""Java's names are looked up once, and what they mean stays what Java says."""

from __future__ import annotations

import pytest
from py4j.java_gateway import JVMView
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from jobs.runtime.java_lookups import remember_lookups


@pytest.fixture
def java(spark: SparkSession) -> JVMView:
    remember_lookups(spark.sparkContext)
    view = spark.sparkContext._jvm
    assert view is not None
    return view


def test_classes_and_their_methods_are_remembered(java: JVMView) -> None:
    text = getattr(java, "java.lang.String")
    assert getattr(java, "java.lang.String") is text
    assert text.valueOf is text.valueOf
    assert text.valueOf(7) == "7"
    assert text("a new one") == "a new one"


def test_what_a_field_holds_is_read_each_time(java: JVMView) -> None:
    """Of a Scala object its field names the instance: another one after Spark replaced it."""
    numbers = getattr(java, "java.lang.Integer")
    assert numbers.MAX_VALUE == 2**31 - 1
    assert "MAX_VALUE" not in vars(numbers)


def test_a_name_that_java_does_not_have_is_still_an_error(java: JVMView) -> None:
    with pytest.raises(Py4JError, match="missing_method"):
        assert getattr(java, "java.lang.String").missing_method
