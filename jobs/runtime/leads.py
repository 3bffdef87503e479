"""Who leads an event as of a run date: silver.events keeps the lead that static rules leave."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.identity.identifiers import IdentityRules
from transforms.identity.links import MAX_HOLDERS, without_linking_power


def led(events: DataFrame, held: DataFrame | None, rules: IdentityRules) -> DataFrame:
    """The events, led by identifiers that may lead: values that too many people hold change with the date.

    Args:
        events: or combinations of their identifiers.
        held: `held_by_too_many` on that date.
    """
    return events if held is None else without_linking_power(events, held, rules)


def held_by_too_many(bad_values: DataFrame) -> DataFrame | None:
    """Those of silver.identity_bad_values that more people hold than their rule allows; None where there are none."""
    held = bad_values.where(F.col("rule") == MAX_HOLDERS)
    return None if held.isEmpty() else held
