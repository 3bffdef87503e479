"""Health of tags: shapes of two runs' values, drift worked out by hand, fresh, stale and unused tags."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from math import log
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from tests.builders import frame
from transforms.contracts import gold, silver
from transforms.drift import histogramming, population_stability_index, shapes
from transforms.tags import HealthRules, TagRules, health_rows, newest_events, tag_columns
from transforms.tags.health import newest_input

D = date(2026, 6, 30)
BEFORE = D - timedelta(days=3)  # the last published run


def tag(measure: str = "count", **keys: Any) -> dict[str, Any]:
    return {"label": "标签", "description": "A tag.", "type": "behaviour", "measure": measure} | keys


RULES = TagRules.model_validate(
    {
        "views": tag(where="event_type = 'view'", window=30, refresh="high"),
        "spent": tag("sum(net_amount)", refresh="medium"),
        "last_view": tag("max(date)", where="event_type = 'view'"),
        "city": tag("attribute(city)", refresh="low"),
        "share": tag("ratio(spent, views)"),
    }
)
HEALTH = HealthRules.model_validate({"stale_days": {"high": 2, "medium": 7, "low": 31}, "unused_days": 90})


def shapes_of(spark: SparkSession, *rows: dict[str, Any]) -> dict[str, Row]:
    table = gold.customer_tags_table(tag_columns(RULES))
    slices = frame(spark, table, rows).repartition(3)
    found = shapes(slices.mapInArrow(*histogramming(D, RULES.types))).collect()
    return {row.name: row for row in found}


def of(day: date, number: int, **tags: Any) -> dict[str, Any]:
    return {"run_date": day, "customer_id": f"C{number}", "share": None, **tags}


def test_shapes_of_two_runs(spark: SparkSession) -> None:
    spent = ["0", "431.99", "437", "0.01", "-12.50"]
    tonight = [
        of(D, n, views=views, spent=Decimal(money), last_view=day, city=city)
        for n, (views, money, day, city) in enumerate(
            zip([0, 17, 17, 123, 129], spent, [None, D, D, D, D], ["杭州", None, "上海", "上海", "上海"], strict=True)
        )
    ]
    earlier = [
        of(BEFORE, n, views=n, spent=Decimal(spent[n]), last_view=None if n == 0 else BEFORE, city="杭州")
        for n in range(5)
    ]
    found = shapes_of(spark, *tonight, *earlier)
    assert {name: (row.coverage, row.distinct_values) for name, row in found.items()} == {
        "views": (1, 3),  # 0, 17, and 123 beside 129, which are 120 both
        "spent": (1, 4),  # 431.99 and 437 are 430 both
        "last_view": (0.8, 1),
        "city": (0.8, 2),
        "share": (0, 0),
    }
    assert found["spent"].psi == 0  # the same money as before
    assert found["last_view"].psi == 0  # seen on the run date, then as now
    assert found["share"].psi == 0  # nobody had it, nobody has it
    # City: 杭州 from 5/5 to 1/5; unknown (1/5) and 上海 (3/5) were nowhere before, which is taken as 0.0001.
    by_hand = (0.2 - 1) * log(0.2 / 1) + (0.2 - 1e-4) * log(0.2 / 1e-4) + (0.6 - 1e-4) * log(0.6 / 1e-4)
    assert found["city"].psi == pytest.approx(by_hand, abs=1e-9)
    alone = shapes_of(spark, *tonight)
    assert {row.psi for row in alone.values()} == {None}  # nothing to compare with
    assert shapes_of(spark) == {}


def test_drift_of_numbers_is_over_the_deciles_of_the_earlier_run() -> None:
    earlier = {value: 10 for value in range(1, 101)}  # deciles end at 10, 20 … 100
    assert population_stability_index(earlier, earlier, True) == 0
    inside = {value: 100 for value in range(10, 101, 10)}  # others of the same deciles: nothing moved
    assert population_stability_index(earlier, inside, True) == pytest.approx(0)
    all_above = {200: 7}  # everybody in the last of ten
    by_hand = 9 * (1e-4 - 0.1) * log(1e-4 / 0.1) + (1 - 0.1) * log(1 / 0.1)
    assert population_stability_index(earlier, all_above, True) == pytest.approx(by_hand)
    # Few values: most are 0, so that deciles fall together; 0 | above.
    mostly_none = {0: 90, 5: 10}
    moved = {0: 80, 1: 20}
    assert population_stability_index(mostly_none, moved, True) == pytest.approx(
        (0.8 - 0.9) * log(0.8 / 0.9) + (0.2 - 0.1) * log(0.2 / 0.1)
    )
    lost = {None: 50, 0: 45, 5: 5}  # half of the customers have no value any more
    assert population_stability_index(mostly_none, lost, True) == pytest.approx(
        (0.5 - 1e-4) * log(0.5 / 1e-4) + (0.45 - 0.9) * log(0.45 / 0.9) + (0.05 - 0.1) * log(0.05 / 0.1)
    )
    assert population_stability_index({}, earlier, True) is None
    assert population_stability_index(earlier, {}, True) is None
    assert population_stability_index({None: 3}, {None: 1, 4: 1}, True) == pytest.approx(
        (0.5 - 1) * log(0.5) + (0.5 - 1e-4) * log(0.5 / 1e-4)
    )


def test_drift_of_texts_is_over_the_twenty_most_frequent_and_the_rest() -> None:
    earlier = {f"v{n:02}": 100 - n for n in range(25)}
    rest_moved = dict(earlier) | {"v24": 0, "new": 76, "other": 0}  # v24 and new are both among the rest
    assert population_stability_index(earlier, rest_moved, False) == pytest.approx(0)
    listed_moved = dict(earlier) | {
        "v19": 0,
        "v20": 80 + 81,
    }  # v19 is the last of the twenty, v20 the first of the rest
    total, rest = sum(earlier.values()), 80 + 79 + 78 + 77 + 76
    assert population_stability_index(earlier, listed_moved, False) == pytest.approx(
        (1e-4 - 81 / total) * log(1e-4 * total / 81) + 81 / total * log((rest + 81) / rest)
    )


def test_freshness_is_of_the_events_that_could_feed_a_tag(spark: SparkSession) -> None:
    def partial(event_type: str, days_ago: int, **said: Any) -> dict[str, Any]:
        return {"event_type": event_type, "event_date": D - timedelta(days=days_ago), "net_amount": Decimal(0)} | said

    rows = [
        partial("view", 1), partial("view", 9), partial("view", -1),  # what comes after D is not seen
        partial("order", 8, net_amount=Decimal(50)), partial("order", 2),  # the later one moved no money
        partial("return", 5, net_amount=Decimal(-50)),
        partial("consent", 40), partial("click", 0),
    ]  # fmt: skip
    found = newest_events(frame(spark, silver.ACTIVITY, rows), D).collect()
    newest = {row.event_type: row.asDict() for row in found}

    def days_ago(**declared: Any) -> int | None:
        rules = TagRules.model_validate({"base": tag(where="event_type = 'view'"), "asked": tag(**declared)})
        day = newest_input(rules.tags["asked"], rules, newest)
        return (D - day).days if day else None

    assert days_ago() == 0  # counts whatever happens
    assert days_ago(where="event_type = 'order' and day_order_count > 0") == 2
    assert days_ago(where="event_type in ('view', 'order')") == 1
    assert days_ago(where="not event_type = 'click'") == 0  # it says which not: any event may count
    assert days_ago(where="event_type = 'repay'") is None
    assert days_ago(measure="sum(net_amount)") == 5  # the return moved money last
    assert days_ago(measure="sum(net_amount)", where="event_type = 'order'") == 8
    assert days_ago(measure="top(category, net_amount)") == 5  # what weighs nothing decides nothing
    assert days_ago(measure="top(category, event_count)") == 0
    assert days_ago(measure="attribute(city)") == 40
    assert days_ago(measure="attribute(source_channel)") == 0
    assert days_ago(measure="trend(base, 30, 30)") == 1
    cases = [{"when": "base > 0 and consent_finance", "then": "x"}]
    assert days_ago(measure="case", cases=cases) == 1


def test_stale_and_unused_tags() -> None:
    newest = {
        "view": {"event_date": D - timedelta(days=3), "net_amount": None},  # a day too old for class high
        "order": {"event_date": D, "net_amount": D - timedelta(days=7)},  # just fresh enough for medium
    }
    shaped = [{"name": "views", "coverage": 0.25, "distinct_values": 3, "psi": 0.1234567}]
    since = {"views": D - timedelta(days=90), "spent": D - timedelta(days=89), "last_view": None, "city": None}
    rows = health_rows(RULES, HEALTH, shaped, newest, since, {"city", "views"}, D)
    found = {row[1]: dict(zip(gold.TAG_HEALTH.column_names, row, strict=True)) for row in rows}
    assert list(found) == list(RULES.tags)
    assert (found["views"]["coverage"], found["views"]["psi"]) == (Decimal("0.250000"), Decimal("0.123457"))
    told = {name: (row["freshness_days"], row["is_stale"]) for name, row in found.items()}
    assert told == {
        "views": (3, True),
        "spent": (7, False),
        "last_view": (3, False),  # class medium
        "city": (None, True),  # nobody ever told anything
        "share": (3, False),  # the fresher of the two that it reads
    }
    unused = {name: (row["unused_since_date"], row["is_unused"]) for name, row in found.items()}
    assert unused == {
        "views": (None, False),  # a segment reads it again
        "spent": (D - timedelta(days=89), False),
        "last_view": (D, False),  # read until the run before
        "city": (None, False),
        "share": (D, False),  # a new tag, so also without a psi
    }
    later = health_rows(RULES, HEALTH, shaped, newest, since, {"city", "views"}, D + timedelta(days=1))
    assert [row[1] for row in later if row[-1]] == ["spent"]  # ninety days it is now
    assert found["share"]["psi"] is None
