"""What people decided about customers' finance, as the settings list it."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.keys import stored_identifier
from jobs.runtime.listed_rows import listed_rows
from transforms.loans.reviews import SCHEMA


def reviewed_customers(ctx: JobContext, identities: DataFrame) -> DataFrame:
    """Decisions that hold on the run date, with their customers, in the columns of `SCHEMA`."""
    listed = {
        (
            entry.identifier_type,
            stored_identifier(entry.identifier_type, entry.identifier, ctx.settings, ctx.env),
            entry.reviewed_date,
            entry.decision,
            entry.finance_risk_tier,
            entry.reviewed_by,
            entry.until_date,
        )
        for entry in ctx.settings.loans.reviews
        if entry.reviewed_date <= ctx.run_date and (entry.until_date is None or entry.until_date >= ctx.run_date)
    }
    said = SCHEMA.removeprefix("customer_id string, ")
    named = listed_rows(ctx.spark, [*listed], f"identifier_type string, identifier string, {said}")
    owners = identities.join(F.broadcast(named), ["identifier_type", "identifier"]).where("customer_id is not null")
    return owners.select(*[part.split()[0] for part in SCHEMA.split(", ")])
