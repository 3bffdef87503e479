"""Behaviour clusters: customers of like behaviour, by k-means over standardised tags, named by what stands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.digits import six_digits_each
from transforms.values.features import as_sql, damped, in_order, standardised

_STANDS_OUT = 2  # so many features make a name, and more only where two clusters would be called the same


class ClusterRules(BaseModel):
    """How customers are clustered (section `value.clusters` of the settings).

    Attributes:
        clusters: how many (k). features: numeric tags that say how somebody behaves, with their short 中文 names.
        least_customers: with fewer in the sample there are no clusters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    clusters: int = Field(ge=2, le=20)
    features: dict[str, str] = Field(min_length=1)
    least_customers: int = Field(ge=2)


def cluster_sample(then: DataFrame, rules: ClusterRules) -> DataFrame:
    """What the clusters of an effective date are found in; key customer_id, sorted by it.

    Args:
        then: tags as of the effective date, the features among them, of customers who had done something; key
            customer_id.

    Returns:
        customer_id and the features (damped doubles).
    """
    features = [F.expr(damped(name)).alias(f"feature_{place}") for place, name in enumerate(rules.features)]
    return then.select("customer_id", *features).orderBy("customer_id")


def named_clusters(centres: npt.NDArray[np.float64], features: Mapping[str, str]) -> list[dict[str, Any]]:
    """The clusters in their stable order: `number`, `name`, `label` and `centre`, six digits each.

    A cluster comes before those that do less: by falling sum of its standardised centre, then by the centre itself.
    Its name tells the features farthest from the mean of all, the farthest first.
    """
    rounded = {tuple(six_digits_each(centre)): six_digits_each(centre) for centre in centres}
    ordered = sorted(rounded.values(), key=lambda centre: (-round(sum(centre), 6), centre))
    words = [_standing_out(centre, features) for centre in ordered]
    lengths = [_length(number, words) for number in range(len(words))]
    return [
        {
            "number": number,
            "name": "+".join(name for name, _ in told[:length]) + suffix,
            "label": "、".join(label for _, label in told[:length]) + suffix,
            "centre": centre,
        }
        for number, (centre, told, length, suffix) in enumerate(
            zip(ordered, words, lengths, _suffixes(words), strict=True), start=1
        )
    ]


def with_behaviour_cluster(customers: DataFrame, model: dict[str, Any] | None) -> DataFrame:
    """The frame with `behaviour_cluster`, the name of the nearest centre (Euclidean); of equals the first.

    Args:
        customers: one row per customer with the features as of tonight. model: null without one.
    """
    if model is None or not model["clusters"]:
        return customers.withColumn("behaviour_cluster", F.lit(None).cast("string"))
    scales = list(zip(model["features"], model["means"], model["deviations"], strict=True))
    axes = {_axis(place): F.expr(standardised(*scale)) for place, scale in enumerate(scales)}
    candidates = ", ".join(
        f"named_struct('distance', {_distance(cluster['centre'])}, 'place', {place})"
        for place, cluster in enumerate(model["clusters"])
    )
    names = F.array(*[F.lit(cluster["name"]) for cluster in model["clusters"]])
    nearest = F.expr(f"array_min(array({candidates})).place")
    # Not one array: interpreted, Spark looks at its settings for each element that it reads, 200 a customer.
    placed = customers.withColumns(axes).withColumn("behaviour_cluster", F.element_at(names, nearest + 1))
    return placed.drop(*axes)


def nearest_cluster(features: npt.NDArray[np.float64], clusters: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.int64]:
    """What `with_behaviour_cluster` does, for an array of standardised features: the place of each row's cluster."""
    centres = np.array([cluster["centre"] for cluster in clusters])
    return np.argmin(((features[:, np.newaxis, :] - centres) ** 2).sum(axis=2), axis=1)


def _axis(place: int) -> str:
    """The column of the feature in this place, standardised."""
    return f"_axis_{place}"


def _distance(centre: list[float]) -> str:
    """SQL of the square of the distance of a customer's features to a centre."""
    steps = [f"({_axis(place)} - {as_sql(at)})" for place, at in enumerate(centre)]
    return in_order([f"{step} * {step}" for step in steps])


def _standing_out(centre: list[float], features: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, label) of each feature, the farthest from the mean first; equally far ones in their declared order."""
    by_distance = sorted(zip(features.items(), centre, strict=True), key=lambda part: -abs(part[1]))
    return [
        (f"{'high' if at > 0 else 'low'}_{name}", f"{label}{'高' if at > 0 else '低'}")
        for (name, label), at in by_distance
    ]


def _length(number: int, words: list[list[tuple[str, str]]]) -> int:
    """How many features the name of a cluster needs to differ from all others; all of them where none suffices."""
    most = len(words[number])
    for length in range(min(_STANDS_OUT, most), most + 1):
        if all(words[number][:length] != other[:length] for n, other in enumerate(words) if n != number):
            return length
    return most


def _suffixes(words: list[list[tuple[str, str]]]) -> list[str]:
    """What tells clusters apart in which the same features stand out in the same order: their number."""
    return [f"_{number}" if words.count(told) > 1 else "" for number, told in enumerate(words, start=1)]
