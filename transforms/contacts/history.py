"""What contacts happened to each customer, as far as caps, rests, unsubscriptions and the choice of a channel ask."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contacts.rules import ContactRules, Strategies

EVENT_TYPES = ("touch", "open", "click", "unsubscribe", "consent")


def contact_history(events: DataFrame, as_of: date, strategies: Strategies, rules: ContactRules) -> DataFrame:
    """One row per customer to whom any of this happened; key customer_id.

    Args:
        events: silver.events with `customer_id` of the lead; guests may be among them.

    Columns: `touched` (for each of `rules.caps`, in order, the touches that it counts), `answers` (contact channel to
    opens and clicks of `answered_days`), `closed` (channels unsubscribed from, and not consented to again since; an
    unsubscription that names no channel closes all), `contacted_<strategy>` (date of its last touch, by the campaign:
    its code, or what begins with it and a hyphen, as in wake_up-202606).
    """
    known = events.where(F.col("customer_id").isNotNull() & (F.col("event_date") <= F.lit(as_of)))
    seen = known.where(F.col("event_type").isin(*EVENT_TYPES)).select(
        "customer_id",
        "event_type",
        "event_at",
        "event_date",
        "campaign_id",
        F.col("props")["contact_channel"].alias("channel"),
        F.col("attributes")["consent_marketing"].try_cast("boolean").alias("consents"),
    )
    caps = [_touched(cap.channels, cap.days, as_of).alias(f"_cap_{n}") for n, cap in enumerate(rules.caps)]
    since = as_of - timedelta(days=rules.answered_days)
    answered = F.col("event_type").isin("open", "click") & (F.col("event_date") > F.lit(since))
    by_channel = [
        part
        for name in rules.channels
        for part in (
            F.count_if(answered & (F.col("channel") == name)).cast("int").alias(f"_answers_{name}"),
            F.max(F.when(_unsubscribes(name), F.col("event_at"))).alias(f"_left_{name}"),
        )
    ]
    consented = F.max(F.when((F.col("event_type") == "consent") & F.col("consents"), F.col("event_at")))
    last = [_last_contact(code).alias(f"contacted_{code}") for code in strategies]
    found = seen.groupBy("customer_id").agg(*caps, *by_channel, consented.alias("_consented"), *last)
    return found.select(
        "customer_id",
        F.array(*[f"_cap_{n}" for n in range(len(caps))]).cast("array<int>").alias("touched"),
        F.map_from_arrays(
            F.array(*map(F.lit, rules.channels)), F.array(*[f"_answers_{name}" for name in rules.channels])
        ).alias("answers"),
        F.array_compact(F.array(*[F.when(_is_closed(name), F.lit(name)) for name in rules.channels])).alias("closed"),
        *[f"contacted_{code}" for code in strategies],
    )


def _touched(channels: tuple[str, ...], days: int, as_of: date) -> Column:
    is_recent = F.col("event_date") > F.lit(as_of - timedelta(days=days))
    return F.count_if((F.col("event_type") == "touch") & F.col("channel").isin(*channels) & is_recent)


def _unsubscribes(channel: str) -> Column:
    return (F.col("event_type") == "unsubscribe") & (F.coalesce("channel", F.lit(channel)) == channel)


def _last_contact(strategy: str) -> Column:
    campaign = F.col("campaign_id")
    is_its_own = (campaign == strategy) | campaign.startswith(f"{strategy}-")
    return F.max(F.when((F.col("event_type") == "touch") & is_its_own, F.col("event_date")))


def _is_closed(channel: str) -> Column:
    """Left at a time not before the last consent; who left without ever consenting by an event stays away."""
    left = F.col(f"_left_{channel}")
    return left.isNotNull() & (F.col("_consented").isNull() | (left >= F.col("_consented")))
