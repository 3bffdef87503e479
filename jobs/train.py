"""train: silver -> the models of the run date's effective date, in LAKE/models; nights then only score.

A night fits what is missing by itself. Training before it takes the time out of the first night of a month.
"""

from __future__ import annotations

from jobs.runtime.job import JobContext, main
from jobs.runtime.learnt_models import learnt_models
from jobs.runtime.match import model_in_force
from jobs.runtime.recommendation_models import tested_recommendations
from jobs.runtime.value_models import value_date, value_model


def run(ctx: JobContext) -> None:
    """Fit every model that is missing, or that was made of other settings or records than are known now."""
    if ctx.settings.identity.match:
        matching = model_in_force(ctx, ctx.settings.identity.match)
        ctx.facts["match"] = matching["effective_date"] if matching else "too little is known"
    effective = value_date(ctx)
    ctx.facts["value"] = value_model(ctx, effective)["effective_date"] if effective else "too little is known"
    if effective:
        learnt_models(ctx, effective)
        tested_recommendations(ctx, effective)


if __name__ == "__main__":
    main(run)
