"""The models that learn from tags: the probability of becoming high value, and behaviour clusters.

Spark MLlib fits both on one partition in a fixed order, of a sample chosen by hash. What is kept has six significant
digits, and what is fitted are those rounded numbers, so that a stored model says all that there is to it.
"""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.clustering import KMeans
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from jobs.runtime.models import Model, digest_of, stored_model
from transforms.contracts import silver
from transforms.digits import six_digits, six_digits_each
from transforms.identity.anchors import with_owner
from transforms.values.checks import Check, check_row
from transforms.values.clusters import ClusterRules, cluster_sample, named_clusters, nearest_cluster
from transforms.values.features import (
    fingerprint,
    known_activity,
    sample_of,
    scale_of,
    scaled,
    tags_as_of,
    tags_for,
    undamped,
)
from transforms.values.potential import PotentialModelRules, deciles, labelled, potential_sample, probabilities

Numbers = npt.NDArray[np.float64]


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
        settings = [model_rules.model_dump(mode="json"), declared, rules.seed]
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
            return fitted_potential(ctx.spark, sample, of_potential)

    def clusters() -> Model:
        learnt_from()  # here, not in the block: `then` reads it
        with ctx.interpreted(0):
            sample = cluster_sample(then(), of_clusters).toArrow().to_pandas()
            return fitted_clusters(ctx.spark, sample, of_clusters, rules.seed)

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


def nothing_learnt(note: str) -> tuple[Model, Model]:
    """Neither model, while too little is known for any, with a check that says so."""
    checks = [{**_precondition(name, "effective_date", 0, 1, 0), "note": note} for name in ("potential", "clusters")]
    unknown: Model = {"effective_date": None, "features": []}
    return {**unknown, "intercept": None, "checks": checks[:1]}, {**unknown, "clusters": [], "checks": checks[1:]}


def centres_of(model: Model) -> list[Check]:
    """Rows of gold.cluster_centres without date: each feature of each cluster."""
    return [
        {
            "behaviour_cluster": cluster["name"],
            "label": cluster["label"],
            "customers": cluster["customers"],
            "feature": feature,
            "centre": centre,
            "mean": mean,
        }
        for cluster in model["clusters"]
        for feature, centre, mean in zip(model["features"], cluster["centre"], cluster["means"], strict=True)
    ]


def fitted_potential(spark: SparkSession, sample: pd.DataFrame, rules: PotentialModelRules) -> Model:
    """Logistic regression on a sample, and its checks; without an intercept where there is too little to learn from.

    Args:
        sample: rows of `potential_sample`, in order of customer_id.

    The part held out is not learnt from: calibration and lift by decile are of that part.
    """
    judged, bound = labelled(sample, rules.share)
    positives, customers = int(judged["is_positive"].sum()), len(judged)
    share = positives / max(customers, 1)
    checks = [
        _precondition("potential", "positives", customers, rules.least_positives, positives),
        _precondition("potential", "positive_share", customers, float(rules.least_positive_share), share),
    ]
    learnt, held_out = judged[~judged["is_held_out"]], judged[judged["is_held_out"]]
    if not all(check["is_passed"] for check in checks) or learnt["is_positive"].nunique() < 2:
        return {"features": list(rules.features), "intercept": None, "checks": checks}
    means, deviations = scale_of(_features(learnt))
    frame = _one_partition(spark, scaled(_features(learnt), means, deviations), learnt["is_positive"].to_numpy(float))
    regression = LogisticRegression(regParam=rules.regularisation, standardization=False, maxIter=100, tol=1e-9)
    fit = regression.fit(frame)
    coefficients, intercept = six_digits_each(fit.coefficients.toArray()), six_digits(fit.intercept)
    model = {
        "features": list(rules.features),
        "means": means,
        "deviations": deviations,
        "coefficients": coefficients,
        "intercept": intercept,
        "bound": bound,
    }
    parameters = zip((*rules.features, "intercept"), (*coefficients, intercept), strict=True)
    parts = [check_row("potential", "parameter", name, len(learnt), None, value) for name, value in parameters]
    found = deciles(probabilities(_features(held_out), model), held_out["is_positive"].to_numpy())
    for row in found.itertuples():
        parts.append(check_row("potential", "calibration", str(row.bin), row.customers, row.expected, row.actual))
        parts.append(check_row("potential", "lift", str(row.bin), row.customers, 1.0, row.lift))
    return {**model, "checks": [*checks, *parts]}


def fitted_clusters(spark: SparkSession, sample: pd.DataFrame, rules: ClusterRules, seed: int) -> Model:
    """k-means on a sample; no clusters where the sample is too small.

    Args:
        sample: rows of `cluster_sample`, in order of customer_id.

    Returns:
        features, means, deviations, `clusters` (of `named_clusters`, with `customers` and the `means` of their tags)
        and `checks`: the share of the sample that each holds.
    """
    enough = _precondition("clusters", "customers", len(sample), rules.least_customers, len(sample))
    if not enough["is_passed"]:
        return {"features": list(rules.features), "clusters": [], "checks": [enough]}
    features = _features(sample)
    means, deviations = scale_of(features)
    standardised = scaled(features, means, deviations)
    fit = KMeans(k=rules.clusters, seed=seed, maxIter=50).fit(_one_partition(spark, standardised))
    clusters = named_clusters(np.array(fit.clusterCenters()), rules.features)
    places = nearest_cluster(standardised, clusters)
    for place, cluster in enumerate(clusters):
        members = undamped(features[places == place])
        cluster["customers"] = len(members)
        cluster["means"] = [_mean(column) for column in members.T]
    shares = [
        check_row("clusters", "size", cluster["name"], cluster["customers"], None, cluster["customers"] / len(sample))
        for cluster in clusters
    ]
    return {
        "features": list(rules.features),
        "means": means,
        "deviations": deviations,
        "clusters": clusters,
        "checks": [enough, *shares],
    }


def _features(sample: pd.DataFrame) -> Numbers:
    names = [name for name in sample.columns if name.startswith("feature_")]
    return sample[names].to_numpy(dtype=float)


def _one_partition(spark: SparkSession, features: Numbers, label: Numbers | None = None) -> DataFrame:
    """Rows as MLlib takes them, in their order: its sums of floating-point numbers depend on it."""
    columns: dict[str, Any] = {"place": np.arange(len(features)), "values": list(features)}
    if label is not None:
        columns["label"] = label
    rows = spark.createDataFrame(pa.table(columns)).repartition(1).sortWithinPartitions("place")
    return rows.withColumn("features", array_to_vector(F.col("values"))).drop("values", "place")


def _precondition(model: str, name: str, customers: int, least: float, found: float) -> Check:
    note = None if found >= least else "too few to learn from: no model"
    return check_row(model, "precondition", name, customers, least, found, is_passed=found >= least, note=note)


def _mean(column: Numbers) -> float | None:
    """Mean of the known values; None without one."""
    known = column[~np.isnan(column)]
    return round(float(known.mean()), 6) if len(known) else None
