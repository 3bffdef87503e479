"""Behaviour clusters: their order and names, the nearest centre, and what they are found in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from pyspark.sql import SparkSession

from tests.transforms.test_tags import D, activity_of, customers_of, event
from transforms.tags import TagRules
from transforms.values.clusters import ClusterRules, cluster_sample, named_clusters, with_behaviour_cluster
from transforms.values.features import check_features, scale_of, scaled, tags_as_of

CONF = Path(__file__).parents[2] / "conf"
TAGS = TagRules.model_validate(yaml.safe_load((CONF / "tags.yaml").read_text(encoding="utf-8"))["tags"])
RULES = ClusterRules(**yaml.safe_load((CONF / "value.yaml").read_text(encoding="utf-8"))["value"]["clusters"])
FEATURES = {"view_count_14d": "浏览", "order_count_365d": "购买", "share_count_90d": "分享"}


def test_clusters_are_ordered_and_named_by_what_stands_out() -> None:
    centres = np.array(
        [
            [-0.5, -0.7, -0.1],  # does least
            [2.0, 0.5, -0.25],
            [0.5, 2.0, 0.1],
            [0.1, 1.5, 0.25],
        ]
    )
    clusters = named_clusters(centres, FEATURES)
    assert [(c["number"], c["name"], c["label"]) for c in clusters] == [
        (1, "high_order_count_365d+high_view_count_14d", "购买高、浏览高"),
        (2, "high_view_count_14d+high_order_count_365d", "浏览高、购买高"),
        (3, "high_order_count_365d+high_share_count_90d", "购买高、分享高"),
        (4, "low_order_count_365d+low_view_count_14d", "购买低、浏览低"),
    ]
    assert clusters == named_clusters(centres[[3, 1, 0, 2]], FEATURES)  # whatever order they were found in
    alike = named_clusters(np.array([[2.0, 1.0, 0.5], [2.0, 1.0, -0.5]]), FEATURES)
    assert [c["name"].split("+")[-1] for c in alike] == ["high_share_count_90d", "low_share_count_90d"]


def test_everybody_is_in_the_nearest_cluster(spark: SparkSession) -> None:
    model = {
        "features": ["view_count_14d", "order_count_365d"],
        "means": [0.0, 0.0],
        "deviations": [1.0, 1.0],
        "clusters": [
            {"number": 1, "name": "views", "centre": [float(np.log1p(10)), 0.0]},
            {"number": 2, "name": "orders", "centre": [0.0, float(np.log1p(10))]},
            {"number": 3, "name": "nothing", "centre": [0.0, 0.0]},
        ],
    }
    people = [("viewer", 9, 1), ("buyer", 1, 9), ("tie of both", 20, 20), ("nobody", 0, 0), ("unknown", None, None)]
    customers = spark.createDataFrame(people, "customer_id string, view_count_14d bigint, order_count_365d bigint")
    rows = with_behaviour_cluster(customers, model).collect()
    assert {row.customer_id: row.behaviour_cluster for row in rows} == {
        "viewer": "views", "buyer": "orders", "tie of both": "views", "nobody": "nothing", "unknown": "nothing",
    }  # fmt: skip
    without = with_behaviour_cluster(customers, None)
    assert without.select("behaviour_cluster").distinct().collect() == [(None,)]


def test_sample_is_of_customers_known_by_then(spark: SparkSession) -> None:
    rules = RULES.model_copy(update={"features": {"view_count_14d": "浏览"}})
    rows = [event("b", "view", 1), event("a", "view", 400), event("later", "view", -1)]
    customers = customers_of(spark, *({"customer_id": c} for c in ("later", "b", "a", "silent")))
    then = tags_as_of(activity_of(spark, rows), customers, D, list(rules.features), TAGS)
    sample = cluster_sample(then, rules).collect()
    assert [(row.customer_id, row.feature_0) for row in sample] == [("a", 0.0), ("b", pytest.approx(np.log(2)))]


def test_unknown_numbers_are_the_mean_and_constant_ones_say_nothing() -> None:
    features = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, np.nan]])
    means, deviations = scale_of(features)
    assert (means, deviations) == ([2.0, 5.0, 0.0], [1.0, 0.0, 0.0])
    assert scaled(features, means, deviations).tolist() == [[-1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_shipped_features_are_tags() -> None:
    assert check_features(list(RULES.features), TAGS) == []


def test_clusters_in_which_the_same_stands_out_keep_different_names() -> None:
    clusters = named_clusters(np.array([[2.0, 1.0], [4.0, 2.0], [-1.0, 3.0]]), {"visits": "到访", "orders": "购买"})
    assert [cluster["name"] for cluster in clusters] == [
        "high_visits+high_orders_1",
        "high_visits+high_orders_2",
        "high_orders+low_visits",
    ]
