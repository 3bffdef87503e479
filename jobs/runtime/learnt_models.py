"""The models that learn from tags: the probability of becoming high value, and behaviour clusters.

Both are fitted on the driver (`transforms.values.learning`) to a sample chosen by hash, in a fixed order.
"""

from __future__ import annotations

import json
from datetime import date
from functools import cache

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.models import Model, digest_of, stored_model
from transforms.contracts import silver
from transforms.identity.anchors import with_owner
from transforms.values.clusters import ClusterRules, cluster_sample
from transforms.values.features import fingerprint, known_activity, sample_of, tags_as_of, tags_for
from transforms.values.learning import FITTED_BY, fitted_clusters, fitted_potential
from transforms.values.potential import PotentialModelRules, potential_sample


def learnt_models(ctx: JobContext, effective: date) -> tuple[Model, Model]:
    """The potential model and the clusters of an effective date, stored or fitted now.

    Each is a function of what was known then of the customers chosen to learn from, under tonight's identities.
    """
    rules, tags = ctx.settings.value, ctx.settings.tags
    everybody = ctx.without_staff(ctx.tables.read(silver.CUSTOMERS))
    customers = ctx.settled(sample_of(everybody, rules.learning_customers, rules.seed), rules.learning_customers)
    # Their identifiers are few: what everybody did is looked through where it lies, not moved to its owners.
    owners = ctx.tables.read(silver.IDENTITIES).join(F.broadcast(customers), "customer_id", "left_semi")
    activity = with_owner(ctx.tables.read(silver.ACTIVITY), F.broadcast(owners))
    known = known_activity(activity, customers, effective)
    digest = digest_of(json.dumps(fingerprint(known).collect()[0].asDict()))
    of_potential, of_clusters = rules.potential.model, rules.clusters

    def made_of(model_rules: PotentialModelRules | ClusterRules, names: list[str]) -> dict[str, str]:
        declared = {name: tag.model_dump(mode="json") for name, tag in tags_for(names, tags).items()}
        settings = [model_rules.model_dump(mode="json"), declared, rules.seed, FITTED_BY]
        return {"settings": digest_of(json.dumps(settings)), "records": digest}

    @cache
    def learnt_from() -> DataFrame:  # all of activity is looked through: outside of the interpreted blocks below
        return ctx.settled(known, rules.learning_customers)

    @cache
    def then() -> DataFrame:
        read = [of_potential.outcome, *of_clusters.features]
        return ctx.settled(tags_as_of(learnt_from(), customers, effective, read, tags), rules.learning_customers)

    def potential() -> Model:
        rows = learnt_from()
        with ctx.interpreted(0):  # so few customers
            sample = potential_sample(rows, customers, then(), effective, tags, of_potential).toArrow().to_pandas()
            return fitted_potential(sample, of_potential)

    def clusters() -> Model:
        learnt_from()  # here, not in the block: `then` reads it
        with ctx.interpreted(0):
            sample = cluster_sample(then(), of_clusters).toArrow().to_pandas()
            return fitted_clusters(sample, of_clusters, rules.seed)

    return (
        stored_model(
            ctx,
            "potential",
            effective,
            made_of(of_potential, [*of_potential.features, of_potential.outcome]),
            potential,
        ),
        stored_model(ctx, "clusters", effective, made_of(of_clusters, list(of_clusters.features)), clusters),
    )
