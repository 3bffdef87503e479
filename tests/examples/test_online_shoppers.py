"""UCI Online Shoppers (Sakar, Kastro 2018; CC BY 4.0): visits that buy, told by a funnel with scopes of its own."""

from __future__ import annotations

import csv
import gzip
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.builders import DAY, at, event, frame
from transforms.contracts import gold, silver
from transforms.funnels import Funnel, count_funnels

DATA = (Path(__file__).parents[2] / "../shared/data/clickstream/online_shoppers_intention.csv.gz").resolve()

pytestmark = pytest.mark.skipif(not DATA.is_file(), reason=f"the data set is not in the repository, nor at {DATA}")

VISITS = Funnel.model_validate(
    {
        "label": "访问漏斗",
        "description": "Visits that buy.",
        "mode": "ordered",
        "window_days": 1,
        "look_back_days": 1,
        "scopes": {"visitor": "props['visitor']", "month": "props['month']", "weekend": "props['weekend']"},
        "steps": [
            {"name": "visited", "label": "访问", "when": "event_type = 'visit'"},
            {"name": "bought", "label": "购买", "when": "event_type = 'order'"},
        ],
    }
)


def test_visits_buy_as_published(spark: SparkSession) -> None:
    """Each line of the file is a visit, and by nobody else: the file does not say whose."""
    events = []
    with gzip.open(DATA, "rt", encoding="utf-8", newline="") as lines:
        for number, visit in enumerate(csv.DictReader(lines)):
            who = {"cookie": f"v{number}"}
            said = {"visitor": visit["VisitorType"], "month": visit["Month"], "weekend": visit["Weekend"]}
            events.append(event(f"v{number}", "visit", identifiers=who, props=said))
            if visit["Revenue"] in ("1", "TRUE"):
                later = at(DAY) + timedelta(minutes=10)
                events.append(event(f"o{number}", "order", identifiers=who, event_at=later))
    owned = frame(spark, silver.EVENTS, events).selectExpr("*", "lead_identifier as customer_id")
    orders = frame(spark, silver.ORDERS, []).selectExpr("*", "lead_identifier as customer_id")
    nobody = spark.createDataFrame([], "customer_id string, segment string")
    rows = count_funnels(owned, orders, nobody, DAY, {"visits": VISITS}).select(*gold.FUNNELS.column_names).collect()
    found: dict[tuple[str, str], dict[int, int]] = {}
    for row in rows:
        found.setdefault((row.scope, row.scope_value), {})[row.step_number] = row.customers
    bought = {key: (steps[2], steps[1]) for key, steps in found.items()}
    assert bought["chain", "all"] == (1_908, 12_330)
    assert bought["visitor", "New_Visitor"] == (422, 1_694)
    assert bought["visitor", "Returning_Visitor"] == (1_470, 10_551)
    assert bought["visitor", "Other"] == (16, 85)
    assert bought["month", "Nov"] == (760, 2_998)
    assert bought["month", "Feb"] == (3, 184)
    assert (bought["weekend", "1"], bought["weekend", "0"]) == ((499, 2_868), (1_409, 9_462))
