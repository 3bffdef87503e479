"""Fitting the models that learn from tags: the probability of becoming high value, and behaviour clusters.

By scipy, of a sample that fits the driver. What is kept has six significant digits, and what is fitted are those
rounded numbers, so that a stored model says all that there is to it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.cluster.vq import kmeans2
from scipy.optimize import minimize
from scipy.special import expit

from transforms.digits import six_digits, six_digits_each
from transforms.values.checks import Check, check_row
from transforms.values.clusters import ClusterRules, named_clusters, nearest_cluster
from transforms.values.features import scale_of, scaled, undamped
from transforms.values.likelihood import Array
from transforms.values.potential import PotentialModelRules, deciles, labelled, probabilities

FITTED_BY = "scipy"  # models that were fitted another way are fitted again
_STARTS, _STEPS = 4, 50  # of k-means: 30,000 customers take about a second


def nothing_learnt(note: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Neither model, while too little is known for any, with a check that says so."""
    checks = [{**_precondition(name, "effective_date", 0, 1, 0), "note": note} for name in ("potential", "clusters")]
    unknown: dict[str, Any] = {"effective_date": None, "features": []}
    return {**unknown, "intercept": None, "checks": checks[:1]}, {**unknown, "clusters": [], "checks": checks[1:]}


def centres_of(model: dict[str, Any]) -> list[Check]:
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


def fitted_potential(sample: pd.DataFrame, rules: PotentialModelRules) -> dict[str, Any]:
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
    known = scaled(_features(learnt), means, deviations)
    *weights, constant = _logistic_regression(known, learnt["is_positive"].to_numpy(float), float(rules.regularisation))
    coefficients, intercept = six_digits_each(weights), six_digits(constant)
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


def fitted_clusters(sample: pd.DataFrame, rules: ClusterRules, seed: int) -> dict[str, Any]:
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
    clusters = named_clusters(_centres(standardised, rules.clusters, seed), rules.features)
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


def _features(sample: pd.DataFrame) -> Array:
    names = [name for name in sample.columns if name.startswith("feature_")]
    return sample[names].to_numpy(dtype=float)


def _logistic_regression(features: Array, is_positive: Array, penalty: float) -> Array:
    """Weights and, last, the intercept, for which mean log-loss and `penalty` / 2 of the squared weights are least.

    The intercept is not penalised. Newton's steps within a trusted region (Conn, Gould and Toint: Trust Region Methods,
    2000): the function is convex and has some ten parameters.
    """
    rows = np.column_stack([features, np.ones(len(features))])
    held_back = np.append(np.full(features.shape[1], penalty), 0.0)

    def loss(weights: Array) -> float:
        margin = rows @ weights
        return float(np.mean(np.logaddexp(0, margin) - is_positive * margin) + held_back @ weights**2 / 2)

    def slope(weights: Array) -> Array:
        return rows.T @ (expit(rows @ weights) - is_positive) / len(rows) + held_back * weights

    def curvature(weights: Array) -> Array:
        likely = expit(rows @ weights)
        return (rows * (likely * (1 - likely))[:, np.newaxis]).T @ rows / len(rows) + np.diag(held_back)

    start = np.zeros(rows.shape[1])
    return minimize(loss, start, jac=slope, hess=curvature, method="trust-exact", options={"gtol": 1e-9}).x


def _centres(features: Array, clusters: int, seed: int) -> Array:
    """Centres of k-means (Lloyd) from starting points far from each other (k-means++), the best of a few starts.

    Of fewer different customers than clusters, each is a centre.
    """
    most = min(clusters, len(np.unique(features, axis=0)))
    tried = []
    for start in range(_STARTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a cluster that lost all its customers stays where it was
            centres, places = kmeans2(features, most, _STEPS, minit="++", rng=np.random.default_rng(seed + start))
        tried.append((float(((features - centres[places]) ** 2).sum()), start, centres))
    return min(tried, key=lambda one: one[:2])[2]


def _precondition(model: str, name: str, customers: int, least: float, found: float) -> Check:
    note = None if found >= least else "too few to learn from: no model"
    return check_row(model, "precondition", name, customers, least, found, is_passed=found >= least, note=note)


def _mean(column: Array) -> float | None:
    """Mean of the known values; None without one."""
    known = column[~np.isnan(column)]
    return round(float(known.mean()), 6) if len(known) else None
