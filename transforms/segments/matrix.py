"""The value × activity matrix: how many customers of each value tier were active how lately."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import gold
from transforms.names import repeated

NO_TIER = "none"  # without a value (never bought), and without any action of one's own


class ActivityTier(BaseModel):
    """Customers whose last action of their own is at most `up_to_days` ago, and who are in no earlier tier."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str
    up_to_days: int | None = Field(default=None, ge=0)


class ActivityTiers(BaseModel):
    """From the most active on; the last tier takes everybody else who ever did something (section `activity_tiers`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tiers: tuple[ActivityTier, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_after_the_other(self) -> ActivityTiers:
        names = [tier.name for tier in self.tiers]
        *days, last = [tier.up_to_days for tier in self.tiers]
        given = [bound for bound in days if bound is not None]
        problems = [f"activity tier {name} is declared twice" for name in repeated(names)]
        problems += [f"{NO_TIER!r} is the tier of who never did anything"] if NO_TIER in names else []
        if last is not None or len(given) < len(days) or given != sorted(set(given)):
            problems.append("up_to_days must rise from tier to tier, and the last tier has none")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def value_activity_matrix(
    portraits: DataFrame, as_of: date, value_tiers: Sequence[str], activity: ActivityTiers
) -> DataFrame:
    """Customers of each cell, also of empty ones, in the columns of gold.value_activity_matrix.

    Args:
        portraits: value_tier and last_active_date of every customer, staff included. The cells sum to their number.
    """
    tier = F.coalesce("value_tier", F.lit(NO_TIER))
    placed = portraits.select(tier.alias("value_tier"), _activity_tier(as_of, activity).alias("activity_tier"))
    cell = ["value_tier", "activity_tier"]
    counted = placed.groupBy(*cell).agg(F.count("*").alias("found"))
    whole = counted.agg(F.count("*")).select(_each(value_tiers, "value_tier"))
    cells = whole.select("value_tier", _each([tier.name for tier in activity.tiers], "activity_tier"))
    customers = F.coalesce("found", F.lit(0).cast("bigint")).alias("customers")
    # A full join: a value tier that the settings no longer name would otherwise lose its customers.
    joined = cells.join(counted, cell, "full").select(F.lit(as_of).alias("run_date"), *cell, customers)
    return joined.select(*gold.VALUE_ACTIVITY_MATRIX.column_names)


def _activity_tier(as_of: date, activity: ActivityTiers) -> Column:
    days = F.datediff(F.lit(as_of), "last_active_date")
    *bounded, last = activity.tiers
    chain = F.lit(last.name)
    for tier in reversed(bounded):
        chain = F.when(days <= tier.up_to_days, F.lit(tier.name)).otherwise(chain)
    return F.when(days.isNull(), F.lit(NO_TIER)).otherwise(chain)


def _each(names: Sequence[str], column: str) -> Column:
    return F.explode(F.array(*[F.lit(name) for name in (*names, NO_TIER)])).alias(column)
