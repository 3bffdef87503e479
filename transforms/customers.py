"""The golden record: one row per customer, each attribute the latest from the most trusted source."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import silver

TEXT_ATTRIBUTES = ("gender", "city", "province", "member_level", "referred_by")
FLAG_ATTRIBUTES = ("consent_marketing", "consent_personalised", "consent_finance", "is_staff")


class CustomerRules(BaseModel):
    """Age bands start at these ages; cities belong to the first tier that lists them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    age_bands: tuple[int, ...] = Field(min_length=1)
    city_tiers: dict[str, tuple[str, ...]] = {}
    other_city_tier: str

    @field_validator("age_bands")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(low >= high for low, high in pairwise(value)):
            raise ValueError("ages must ascend")
        return value


def build_customers(
    identities: DataFrame,
    events: DataFrame,
    orders: DataFrame,
    as_of: date,
    rules: CustomerRules,
    priorities: Mapping[str, int],
) -> DataFrame:
    """One row per customer, in the columns of silver.customers.

    Args:
        identities: silver.identities; every customer_id in it gets a row.
        events: silver.events with `customer_id` of the lead; guests may be among them.
        orders: silver.orders with `customer_id`.
        priorities: source name to its priority; attributes of the least one win, then the latest.
    """
    population = identities.where("customer_id is not null").select("customer_id").distinct()
    owned = events.where(F.col("customer_id").isNotNull() & (F.col("event_date") <= F.lit(as_of)))
    golden = _attributes(owned, priorities)
    firsts = _first_contacts(owned)
    bought = orders.where("is_purchase").groupBy("customer_id").agg(F.min("order_date").alias("first_order_date"))
    joined = (
        population.join(golden, "customer_id", "left")
        .join(firsts, "customer_id", "left")
        .join(bought, "customer_id", "left")
    )
    age = F.floor(F.months_between(F.lit(as_of), F.col("birth_date")) / 12).cast("int")
    return joined.select(
        *[
            _derived(name, age, rules).alias(name) if name in ("age_band", "city_tier", "is_minor") else F.col(name)
            for name in silver.CUSTOMERS.column_names
        ]
    )


def _attributes(events: DataFrame, priorities: Mapping[str, int]) -> DataFrame:
    """Customer attributes as typed columns; grain customer_id.

    The most trusted source's latest value wins; of consents the latest answer of any source, so that a withdrawal
    always counts. Ties go to the smaller value (`false` before `true`), so that the result never depends on order.
    """
    priority = F.lit(1_000)
    for source, value in sorted(priorities.items()):
        priority = F.when(F.col("source") == source, F.lit(value)).otherwise(priority)
    said = events.where("attributes is not null").select(
        "customer_id", F.explode("attributes").alias("name", "value"), "event_at", priority.alias("priority")
    )
    trust = F.when(F.col("name").startswith("consent_"), F.lit(0)).otherwise(F.col("priority"))
    rank = F.struct(trust, -F.unix_micros("event_at"), F.col("value"))
    golden = said.groupBy("customer_id").agg(
        *[
            F.min(F.when(F.col("name") == name, rank))["value"].alias(name)
            for name in (*TEXT_ATTRIBUTES, *FLAG_ATTRIBUTES, "birth_date")
        ]
    )
    return golden.select(
        "customer_id",
        *TEXT_ATTRIBUTES,
        *[F.col(name).try_cast("boolean").alias(name) for name in FLAG_ATTRIBUTES],
        F.col("birth_date").try_cast("date").alias("birth_date"),
    )


def _first_contacts(events: DataFrame) -> DataFrame:
    """First registration and the channel of the first event; grain customer_id."""
    return events.groupBy("customer_id").agg(
        F.min(F.when(F.col("event_type") == "register", F.col("event_at"))).alias("registered_at"),
        F.min(F.struct("event_at", "channel"))["channel"].alias("source_channel"),
    )


def _derived(name: str, age: Column, rules: CustomerRules) -> Column:
    if name == "is_minor":
        return age < 18
    if name == "age_band":
        bands = [f"under_{rules.age_bands[0]}", *[f"{low}-{high - 1}" for low, high in pairwise(rules.age_bands)]]
        column = F.when(age >= rules.age_bands[-1], F.lit(f"{rules.age_bands[-1]}+"))
        for upper, band in zip(reversed(rules.age_bands), reversed(bands), strict=True):
            column = F.when(age < upper, F.lit(band)).otherwise(column)
        return column
    tier = F.lit(rules.other_city_tier)
    for code, cities in reversed(rules.city_tiers.items()):
        listed = [spelling for city in cities for spelling in (city, f"{city}市")]
        tier = F.when(F.col("city").isin(*listed), F.lit(code)).otherwise(tier)
    return F.when(F.col("city").isNotNull(), tier)
