"""People whom the settings list as not to be contacted."""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.keys import stored_identifier
from jobs.runtime.listed_rows import listed_rows


def suppressed_customers(ctx: JobContext, identities: DataFrame) -> DataFrame:
    """(customer_id, `is_suppressed`) of those listed on the contact date of the run date's plan."""
    contacts = ctx.settings.contacts
    day = ctx.run_date + timedelta(days=contacts.days_ahead)
    listed = [
        (entry.identifier_type, stored_identifier(entry.identifier_type, entry.identifier, ctx.settings, ctx.env))
        for entry in contacts.suppressed
        if entry.until_date is None or entry.until_date >= day
    ]
    named = listed_rows(ctx.spark, sorted({*listed}), "identifier_type string, identifier string")
    owners = identities.join(F.broadcast(named), ["identifier_type", "identifier"]).where("customer_id is not null")
    return owners.select("customer_id", F.lit(True).alias("is_suppressed")).distinct()
