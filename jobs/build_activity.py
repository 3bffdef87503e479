"""build-activity: silver.events -> silver.activity (daily partials)."""

from __future__ import annotations

from jobs.runtime.job import JobContext, main
from transforms.activity import build_activity
from transforms.contracts import silver


def run(ctx: JobContext) -> None:
    """Daily partials of all events known on the run date."""
    settings = ctx.settings
    partials = build_activity(
        ctx.events(), ctx.run_date, settings.timezone, settings.identity.tier, settings.rfm.zero_value_orders
    )
    ctx.facts["partials"] = ctx.tables.replace(silver.ACTIVITY, partials).rows


if __name__ == "__main__":
    main(run)
