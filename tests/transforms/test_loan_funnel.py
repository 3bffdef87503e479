"""The loan funnel: each border with one customer inside and one outside, and random stories against DuckDB."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import yaml
from pyspark.sql import DataFrame, SparkSession

from tests.builders import DAY, days_before, frame, order
from transforms.contracts import conform, gold, silver
from transforms.loans.funnel import loan_funnel, stage_dates
from transforms.loans.rules import Cohort, LoanRules
from transforms.stages import StageRules

CONF = Path(__file__).parents[2] / "conf"
STAGES = StageRules.model_validate(yaml.safe_load((CONF / "stages.yaml").read_text(encoding="utf-8"))["stages"])
RULES = LoanRules(period_days=30, cohort=Cohort(look_back_days=90, window_days=60))
WAY = ("reached", "engaged", "converted", "applied", "approved", "disbursed")
PLACES = {"chain": "null", "store": "store_id", "channel": "channel", "segment": "segment"}


def did(customer: str | None, event_type: str, days: int, amount: Any = 0, **said: Any) -> dict[str, Any]:
    """A row of silver.activity: by default at noon in store S1, so many days ago."""
    row = {
        "customer_id": customer,
        "event_type": event_type,
        "event_date": days_before(days),
        "channel": "store_pos",
        "store_id": "S1",
        "event_hour": 12,
        "order_count": 1 if event_type == "order" else 0,
        "other_amount": Decimal(amount).quantize(Decimal("0.01")),
    }
    return {**row, **said}


def bought(rows: Iterable[Mapping[str, Any]], *returned: tuple[str, int]) -> list[dict[str, Any]]:
    """The orders of the rows; those of (customer, days ago) were given back."""
    gone = {(customer, days_before(days)) for customer, days in returned}
    return [
        order(
            f"o{n}",
            lead_identifier=row["customer_id"],
            order_date=row["event_date"],
            channel=row["channel"],
            store_id=row["store_id"],
            returned_amount=100 if (row["customer_id"], row["event_date"]) in gone else 0,
        )
        for n, row in enumerate(row for row in rows if row["event_type"] == "order" and row["order_count"])
    ]


def frames(
    spark: SparkSession,
    rows: list[dict[str, Any]],
    orders: list[dict[str, Any]],
    segments: Mapping[str, str],
) -> tuple[DataFrame, DataFrame, DataFrame]:
    activity = frame(spark, silver.ACTIVITY, rows, customer_id="string")
    owned = frame(spark, silver.ORDERS, orders).selectExpr("*", "lead_identifier as customer_id")
    return activity, owned, spark.createDataFrame([*segments.items()], "customer_id string, segment string")


def funnel(activity: DataFrame, orders: DataFrame, segments: DataFrame) -> list[dict[str, Any]]:
    steps = stage_dates(activity, orders, DAY, STAGES, RULES)
    told = conform(loan_funnel(steps, segments, DAY, STAGES, RULES), gold.LOAN_FUNNEL)
    return [row.asDict() for row in told.collect()]


def test_borders(spark: SparkSession) -> None:
    """Everybody is a segment of their own; expected: the stages at which they count, by mode."""

    def all_the_way(name: str, *days: int) -> list[dict[str, Any]]:
        kinds = ("visit", "share", "order", "loan_apply", "loan_approve", "loan_disburse")
        return [did(name, kind, ago) for kind, ago in zip(kinds, days, strict=False)]

    reached, engaged, converted, applied = WAY[:1], WAY[:2], WAY[:3], WAY[:4]
    cases: dict[str, tuple[list[dict[str, Any]], tuple[str, ...], tuple[str, ...]]] = {  # rows, period, cohort
        "first day of the period": ([did("", "touch", 29)], reached, reached),
        "day before the period": ([did("", "touch", 30)], (), reached),
        "first day of the cohort": ([did("", "consult", 89)], (), reached),
        "day before the cohort": ([did("", "visit", 90), did("", "open", 80)], (), ()),
        "comes after the run date": ([did("", "visit", -1)], (), ()),
        "comes on the run date": ([did("", "visit", 0)], reached, reached),
        "all on one day": (all_the_way("", 5, 5, 5, 5, 5, 5), WAY, WAY),
        "last day of the window": (all_the_way("", 80, 70, 60, 20), ("applied",), applied),
        "day after the window": (all_the_way("", 80, 70, 60, 19), ("applied",), converted),
        "engaged before reached": (all_the_way("", 9, 10, 8), converted, reached),
        "engaged before and after": ([*all_the_way("", 9, 10, 8), did("", "search", 9)], converted, converted),
        "engaged, but not in between": ([*all_the_way("", 9, 10, 8), did("", "search", 7)], converted, engaged),
        "converted before engaged": (all_the_way("", 9, 7, 8), converted, engaged),
        "applied without buying": ([did("", "visit", 9), did("", "cart_add", 8), did("", "loan_apply", 7)],
                                   (*engaged, "applied"), engaged),
        "never reached": (all_the_way("", 9, 8, 7, 6)[1:], applied[1:], ()),
        "deposits": ([did("", "visit", 9), did("", "open", 9), did("", "deposit", 9)], converted, converted),
        "withdraws": ([did("", "visit", 9), did("", "open", 9), did("", "withdraw", 9)], engaged, engaged),
        "further line of an order": (
            [did("", "visit", 9), did("", "open", 9), did("", "order", 9, order_count=0)], engaged, engaged,
        ),
        "gave it back": (all_the_way("", 9, 8, 7), engaged, engaged),
        "approved before applying": (all_the_way("", 9, 8, 7, 6, 7, 5), WAY, (*applied, "disbursed")),
        "approved on the day": (all_the_way("", 9, 8, 7, 6, 6), WAY[:5], WAY[:5]),
        "paid out too late": (all_the_way("", 89, 88, 87, 86, 29, 28), WAY[4:], WAY[:5]),
        "rejected": ([*all_the_way("", 9, 8, 7, 6), did("", "loan_reject", 5)], applied, applied),
    }  # fmt: skip
    rows = [{**row, "customer_id": name} for name, (told, _, _) in cases.items() for row in told]
    guest = [did(None, "visit", 1), did(None, "order", 1)]
    orders = bought(rows, ("gave it back", 7))
    told = funnel(*frames(spark, [*rows, *guest], orders, {name: name for name in cases}))
    found: dict[tuple[str, str], list[str]] = {}
    for row in sorted(told, key=lambda row: row["stage_number"]):
        if row["grain"] == "segment" and row["customers"]:
            found.setdefault((row["segment"], row["mode"]), []).append(row["stage"])
    modes = {"period": 1, "cohort": 2}
    expected = {(name, mode): [*case[place]] for name, case in cases.items() for mode, place in modes.items()}
    assert found == {key: stages for key, stages in expected.items() if stages}
    chain = {(row["mode"], row["stage"]): row["customers"] for row in told if row["grain"] == "chain"}
    assert chain == {
        (mode, stage): sum(stage in expected[name, mode] for name in cases) for mode in modes for stage in WAY
    }


def test_places_amounts_and_rates(spark: SparkSession) -> None:
    """One customer who is reached by message, in a store, and takes a loan elsewhere; and one without a segment."""
    rows = [
        did("A", "visit", 10, event_hour=15),
        did("A", "touch", 10, event_hour=9, channel="marketing", store_id=None),  # the first of the day
        did("A", "share", 9, channel="app", store_id=None),
        did("A", "deposit", 8, "1000.10", channel="finance", store_id="S2"),
        did("A", "deposit", 8, "0.05", channel="finance", store_id="S3"),
        did("A", "loan_apply", 7, 5000, channel="finance", store_id="S2"),
        did("A", "loan_apply", 80, 800, channel="finance", store_id="S2"),  # before they were reached
        did("A", "loan_apply", 6, 7000, channel="finance", store_id="S3"),
        did("A", "loan_approve", 6, 7000, channel="finance", store_id="S3"),
        did("B", "visit", 3),
    ]
    told = funnel(*frames(spark, rows, [], {"A": "active"}))
    place = {"store": "store_id", "channel": "channel", "segment": "segment", "chain": "grain"}

    def seen(mode: str) -> dict[tuple[str, str], list[int]]:
        found: dict[tuple[str, str], list[int]] = {}
        for row in sorted(told, key=lambda row: row["stage_number"]):
            if row["mode"] == mode:
                assert [row[name] is None for name in place.values() if name != "grain"] == [
                    grain != row["grain"] for grain in ("store", "channel", "segment")
                ]
                found.setdefault((row["grain"], row[place[row["grain"]]]), []).append(row["customers"])
        return found

    assert seen("cohort") == {
        ("chain", "chain"): [2, 1, 1, 1, 1, 0],
        ("store", "unknown"): [1, 1, 1, 1, 1, 0],  # A's first contact was a message
        ("store", "S1"): [1, 0, 0, 0, 0, 0],
        ("channel", "marketing"): [1, 1, 1, 1, 1, 0],
        ("channel", "store_pos"): [1, 0, 0, 0, 0, 0],
        ("segment", "active"): [1, 1, 1, 1, 1, 0],
        ("segment", "unknown"): [1, 0, 0, 0, 0, 0],
    }
    assert seen("period") == {
        ("chain", "chain"): [2, 1, 1, 1, 1, 0],
        ("store", "unknown"): [1, 1, 0, 0, 0, 0],
        ("store", "S1"): [2, 0, 0, 0, 0, 0],
        ("store", "S2"): [0, 0, 1, 1, 0, 0],
        ("store", "S3"): [0, 0, 1, 1, 1, 0],
        ("channel", "marketing"): [1, 0, 0, 0, 0, 0],
        ("channel", "store_pos"): [2, 0, 0, 0, 0, 0],
        ("channel", "app"): [0, 1, 0, 0, 0, 0],
        ("channel", "finance"): [0, 0, 1, 1, 1, 0],
        ("segment", "active"): [1, 1, 1, 1, 1, 0],
        ("segment", "unknown"): [1, 0, 0, 0, 0, 0],
    }
    chain = {(row["mode"], row["stage"]): row for row in told if row["grain"] == "chain"}
    for mode in ("period", "cohort"):
        amounts = [chain[mode, stage]["amount"] for stage in WAY]
        assert amounts == [0, 0, Decimal("1000.15"), 12_000, 7_000, 0]
        rates = [chain[mode, stage]["rate"] for stage in WAY]
        assert rates == [None, Decimal("0.5"), 1, 1, 1, 0]
        assert [chain[mode, stage]["rate_from_first"] for stage in WAY] == [1, *[Decimal("0.5")] * 4, 0]
        assert [chain[mode, stage]["is_beside"] for stage in WAY] == [False] * 4 + [True] * 2
    at_s2 = next(r for r in told if (r["mode"], r["store_id"], r["stage"]) == ("period", "S2", "converted"))
    assert (at_s2["rate"], at_s2["rate_from_first"]) == (None, None)  # nobody was engaged or reached there


def brute_force(activity: pd.DataFrame, orders: pd.DataFrame, segments: pd.DataFrame) -> pd.DataFrame:
    """The same by DuckDB from the definitions: one query per mode, grain and stage."""
    base = duckdb.connect()
    base.register("a", activity)
    base.register("o", orders)
    base.register("s", segments)
    base.execute(
        f"""create table seen as
        select a.*, coalesce(s.segment, 'unknown') as seg from a left join s using (customer_id)
        where a.customer_id is not null and event_date <= date '{DAY}' and (event_type <> 'order' or exists (
            from o where o.customer_id = a.customer_id and o.is_purchase and o.order_date = a.event_date
            and o.channel is not distinct from a.channel and o.store_id is not distinct from a.store_id))"""
    )
    when = {name: f"({stage.when})" for name, stage in STAGES.stages.items()}
    since = {mode: days_before(days) for mode, days in (("period", 30), ("cohort", 90))}
    base.execute(
        f"""create table cohort_reached as select customer_id, min(event_date) as first, min(event_date) as came,
            arg_min(struct_pack(store_id, channel), struct_pack(d := event_date, h := event_hour,
                c := coalesce(channel, ''), s := coalesce(store_id, ''))) as place
        from seen where {when["reached"]} and event_date > date '{since["cohort"]}' group by 1"""
    )
    previous = dict(zip(WAY[1:], [*WAY[:4], WAY[3]], strict=True))
    for stage, before in previous.items():
        base.execute(
            f"""create table cohort_{stage} as select customer_id, any_value(first) as first,
                min(event_date) as came, any_value(place) as place
            from seen join cohort_{before} using (customer_id)
            where {when[stage]} and event_date >= came and event_date <= first + interval 60 day group by 1"""
        )
    parts = []
    for n, stage in enumerate(WAY):
        for grain, name in PLACES.items():
            mine = "seg" if grain == "segment" else name
            value = "'all'" if grain == "chain" else f"coalesce({mine}, 'unknown')"
            parts.append(
                f"""select 'period' as mode, '{grain}' as grain, {value} as place, {n + 1} as stage_number,
                    count(distinct customer_id) as customers, sum(other_amount) as amount
                from seen where {when[stage]} and event_date > date '{since["period"]}' group by 3"""
            )
            first = value if grain in ("chain", "segment") else f"coalesce(c.place.{name}, 'unknown')"
            start = (
                "first"
                if n == 0
                else f"(select came from cohort_{previous[stage]} p where p.customer_id = c.customer_id)"
            )
            parts.append(
                f"""select 'cohort', '{grain}', {first}, {n + 1}, count(distinct customer_id), sum(other_amount)
                from seen join cohort_{stage} c using (customer_id)
                where {when[stage]} and event_date >= {start} and event_date <= c.first + interval 60 day group by 3"""
            )
    return base.execute(" union all ".join(parts)).df()


def test_random_stories_are_as_duckdb_counts_them(spark: SparkSession) -> None:
    """200 people over 120 days in few stores and channels; the same rows however they are spread."""
    chance = random.Random(20_261_122)
    kinds = ["touch", "visit", "open", "share", "order", "deposit", "loan_apply", "loan_approve", "loan_disburse", "x"]
    rows = []
    for number in range(200):
        for _ in range(chance.randint(1, 40)):
            rows.append(
                did(
                    f"C{number:03}" if number else None,
                    chance.choices(kinds, [4, 4, 4, 4, 4, 1, 2, 2, 2, 1])[0],
                    chance.randint(-1, 118),
                    chance.randint(0, 999),
                    store_id=chance.choice(["S1", "S2", None]),
                    channel=chance.choice(["app", "store_pos"]),
                    event_hour=chance.randint(9, 10),
                )
            )
    returned = [(f"C{number:03}", days) for number in range(0, 200, 3) for days in range(0, 119, 2)]
    known = [row for row in rows if row["customer_id"]]
    segments = {f"C{number:03}": chance.choice(["active", "lost"]) for number in range(1, 150)}
    activity, orders, placed = frames(spark, rows, bought(known, *returned), segments)
    told = funnel(activity, orders, placed)
    spread = funnel(activity.repartition(7), orders.repartition(3), placed.repartition(5))
    key = ("mode", "grain", "store_id", "channel", "segment", "stage_number")

    def ordered(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(found, key=lambda row: [str(row[name]) for name in key])

    assert ordered(told) == ordered(spread)
    listed = pd.DataFrame(rows)
    of_order = ["order_date", "channel", "store_id", "is_purchase", "lead_identifier"]
    purchases = pd.DataFrame([{name: row[name] for name in of_order} for row in bought(known, *returned)])
    purchases = purchases.rename(columns={"lead_identifier": "customer_id"})
    for day in (listed["event_date"], purchases["order_date"]):
        assert isinstance(day.iloc[0], date)
    expected = brute_force(listed, purchases, pd.DataFrame([*segments.items()], columns=["customer_id", "segment"]))
    counted = {
        (row.mode, row.grain, row.place, row.stage_number): (row.customers, row.amount) for row in expected.itertuples()
    }

    def place(row: dict[str, Any]) -> str:
        return "all" if row["grain"] == "chain" else row[PLACES[row["grain"]]]

    found = {
        (row["mode"], row["grain"], place(row), row["stage_number"]): (row["customers"], row["amount"])
        for row in told
        if row["customers"]
    }
    assert found == counted
    assert {row["stage"] for row in told if row["mode"] == "cohort" and row["customers"]} == {*WAY}
