"""What the explanations of `portraits explain` say alike: whom they are about, and why there is nothing to explain."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F
from rich.console import Console

from jobs.runtime.job import FAILED

NEVER_PUBLISHED = "that date was never published; `portraits published` tells what is"


def of_customer(customer: str) -> Column:
    """Rows of one customer."""
    return F.col("customer_id") == customer


def refused(console: Console, sentence: str) -> int:
    """Say why there is no explanation; the exit code that goes with it."""
    console.print(sentence)
    return FAILED
