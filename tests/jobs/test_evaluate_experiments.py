"""evaluate-experiments over a small lake: who counts from which day on, what counts, and what is read out."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import yaml
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from jobs import evaluate_experiments
from jobs.runtime.job import JobContext
from tests.builders import DAY, days_before, event, frame, identity
from tests.nights import night
from transforms.contacts.assignments import HOLDOUT
from transforms.contracts import gold, silver
from transforms.experiments.outcomes import outcomes

SETTINGS = {
    "experiments": {
        "minimum_sample": 2,
        "minimum_expected": 0,
        "window_days": 10,
        "declared": {
            "dated": {"label": "甲", "description": "From a day on.", "start_date": days_before(4), "window_days": 2},
            "weekend_effect": {"window_days": 14, "minimum_sample": 2},
        },
    }
}


def assignment(n: int, variant: str, days_ago: int, source: str = "hash", experiment: str = "E") -> Row:
    return Row(experiment, f"member:M{n}", "as it was then", variant, days_before(days_ago), source)


# Customer C1 is member M1, and so on; M9 was merged into C1.
ASSIGNMENTS = [
    assignment(1, "A", 9),  # first day 8 days ago, its window open
    assignment(9, "B", 8),  # later: C1 stays in A
    assignment(2, "B", 20),  # window over
    assignment(3, "A", 9),
    assignment(3, "B", 3, "event"),  # an event said so later: in B, but counted from where they were drawn
    assignment(4, "A", 5, "event"),  # recorded 5 days ago; the event is older
    assignment(5, "A", 9),
    assignment(19, "B", 9),  # M19 was merged into C5: a conflict
    assignment(6, "B", 0),  # drawn tonight: begins tomorrow
    assignment(7, "B", 9),  # staff
    assignment(8, "B", 9),  # a customer without any activity
    assignment(1, "contact", 30, experiment=HOLDOUT),
    assignment(2, "holdout", 30, experiment=HOLDOUT),
    *[assignment(n, v, 20, "event", "dated") for n, v in ((1, "x"), (2, "y"))],
]
EVENTS = [
    event("t3", "touch", identifiers={"member": "M3"}, experiment_id="E", variant="B", event_date=days_before(3)),
    event("t4", "touch", identifiers={"member": "M4"}, experiment_id="E", variant="A", event_date=days_before(12)),
    event("t4b", "open", identifiers={"member": "M4"}, experiment_id="E", variant="A", event_date=days_before(2)),
    event("o", "visit", identifiers={"member": "M4"}),  # names no experiment
]
OWNERS = {**{n: f"C{n}" for n in range(1, 9)}, 9: "C1", 19: "C5"}


def stay(n: int, segment: str, entered: int, exited: int | None = None, kind: str = "primary") -> dict[str, Any]:
    return {
        "segment": segment, "customer_id": f"C{n}", "kind": kind, "entered_date": days_before(entered),
        "exited_date": None if exited is None else days_before(exited),
    }  # fmt: skip


STAYS = [
    stay(1, "sleeping", 40, 5),  # on the eve, 9 days ago; active since is what the experiment may have done
    stay(1, "active", 5),
    stay(1, "pareto_top20", 40, kind="secondary"),
    stay(2, "new", 30, 20),  # left on the eve itself
    stay(2, "active", 20),
    stay(3, "sleeping", 8),  # not known on the eve
]


def did(n: int | None, days_ago: int, event_type: str = "order", **over: Any) -> dict[str, Any]:
    """A daily partial of a member: by default one purchase of 100.00; of another type one event."""
    sale = event_type == "order"
    day = days_before(days_ago)
    zeros = {column.name: 0 for column in silver.ACTIVITY.columns if column.type == "bigint"}
    money = {c.name: Decimal(0) for c in silver.ACTIVITY.columns if c.type.startswith("decimal")}
    return {
        **zeros, **money, "lead_identifier_type": "member" if n else None, "lead_identifier": f"M{n}" if n else None,
        "event_date": day, "arrival_date": day, "counts_on_date": day, "event_type": event_type, "event_count": 1,
        "order_count": 1 if sale else 0, "net_amount": Decimal(100) if sale else Decimal(0), **over,
    }  # fmt: skip


ACTIVITY = [
    did(1, 8),  # the first day of E
    did(9, 1, net_amount=Decimal("50.25")),  # also C1's
    did(1, 3, "return", counts_on_date=days_before(8), order_count=-1, net_amount=Decimal(-100)),  # of the first one
    did(1, 9),  # the eve: the past of E
    did(1, 98),  # 90 days before the first
    did(1, 99, net_amount=Decimal(7)),  # too long ago
    did(2, 19),
    did(2, 10),  # the last of ten days
    did(2, 9),  # too late for E
    did(2, 4, "visit"),  # the first of the two days of `dated`; of E too late
    did(1, 3, "view"),  # the last
    did(1, 2, "view"),  # beyond
    did(3, 8, "visit"),  # before the event that names them, after they were drawn
    did(4, 12, net_amount=Decimal(30)),  # the day of the event that names them
    did(4, 3, net_amount=Decimal(40)),
    did(4, 13),  # past
    did(7, 1),  # staff
    did(None, 1, net_amount=Decimal(1_000)),  # a guest: days count them
    did(4, 5, "stock"),  # nothing that a metric counts
]


@pytest.fixture(scope="module")
def ctx(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobContext]:
    """The lake as earlier steps would leave it."""
    lake = tmp_path_factory.mktemp("experiments") / "lake"
    lake.mkdir()
    (lake / "mine.yaml").write_text(yaml.safe_dump(SETTINGS, allow_unicode=True))
    context = night(lake, lake / "landing", DAY, [str(lake / "mine.yaml")])
    made = {
        silver.EVENTS: EVENTS,
        silver.IDENTITIES: [identity("member", f"M{n}", owner) for n, owner in OWNERS.items()],
        silver.CUSTOMERS: [{"customer_id": owner, "is_staff": owner == "C7"} for owner in {*OWNERS.values()}],
        silver.ACTIVITY: ACTIVITY,
        gold.SEGMENT_HISTORY: STAYS,
    }
    with context.interpreted(0):
        for table, rows in made.items():
            context.tables.replace(table, frame(spark, table, rows).where(F.lit(True)))
        recorded = spark.createDataFrame(ASSIGNMENTS, gold.EXPERIMENT_ASSIGNMENTS.schema)
        context.tables.replace(gold.EXPERIMENT_ASSIGNMENTS, recorded)
        yield context


def test_who_counts_from_when_on_and_what_they_did(ctx: JobContext) -> None:
    assigned = evaluate_experiments._assigned(ctx)
    activity = ctx.owned(silver.ACTIVITY).where("customer_id is not null")
    rules = ctx.settings.experiments
    first = {(r.experiment_id, r.customer_id): (r.variant, (DAY - r.first_date).days, r.segments) for r in
             assigned.collect()}  # fmt: skip
    assert first == {
        ("E", "C1"): ("A", 8, ["all", "sleeping"]),
        ("E", "C2"): ("B", 19, ["all", "active"]),
        ("E", "C3"): ("B", 8, ["all"]),
        ("E", "C4"): ("A", 12, ["all"]),
        ("E", "C5"): ("conflict", 8, ["all"]),
        ("E", "C8"): ("B", 8, ["all"]),
        (HOLDOUT, "C1"): ("contact", 29, ["all", "sleeping"]),
        (HOLDOUT, "C2"): ("holdout", 29, ["all", "new"]),
        ("dated", "C1"): ("x", 4, ["all", "active"]),
        ("dated", "C2"): ("y", 4, ["all", "active"]),
    }
    found = {(r.experiment_id, r.customer_id): r for r in outcomes(assigned, activity, rules, DAY).collect()}
    values = {
        key: [int(r[f"y_{code}"]) for code in ("visit", "order", "repurchase", "order_count")] + [str(r.y_net_amount)]
        for key, r in found.items()
    }
    assert values == {
        ("E", "C1"): [1, 1, 0, 1, "50.25"],  # one purchase came back
        ("E", "C2"): [0, 1, 1, 2, "200.00"],
        ("E", "C3"): [1, 0, 0, 0, "0.00"],
        ("E", "C4"): [0, 1, 1, 2, "70.00"],
        ("E", "C5"): [0, 0, 0, 0, "0.00"],
        ("E", "C8"): [0, 0, 0, 0, "0.00"],
        (HOLDOUT, "C1"): [1, 1, 1, 2, "150.25"],  # 90 days: the eve's purchase too
        (HOLDOUT, "C2"): [1, 1, 1, 3, "300.00"],
        ("dated", "C1"): [1, 0, 0, 0, "0.00"],
        ("dated", "C2"): [1, 0, 0, 0, "0.00"],
    }
    past = {key: str(r.x_net_amount) for key, r in found.items() if r.x_net_amount}
    assert past == {("E", "C1"): "200.00", ("E", "C4"): "100.00", (HOLDOUT, "C1"): "107.00",
                    ("dated", "C1"): "100.00", ("dated", "C2"): "300.00"}  # fmt: skip
    assert {r.x_visit + r.x_order for r in found.values()} == {0}  # shipped rates look at no past
    assert {key[1] for key, r in found.items() if r.is_complete and key[0] == "E"} == {"C2", "C4"}


def test_what_is_read_out_and_again(ctx: JobContext) -> None:
    evaluate_experiments.run(ctx)
    before = ctx.tables.read(gold.EXPERIMENT_RESULTS).collect()
    found = {(r.experiment_id, r.metric, r.segment, r.variant): r for r in before}
    assert {key[0] for key in found} == {"E", HOLDOUT, "dated", "weekend_effect"}
    mine = found["E", "order", "all", "B"]
    assert (mine.customers, mine.complete_count, mine.conflict_count, mine.control_variant) == (3, 1, 1, "A")
    assert (mine.value, mine.control_value) == (Decimal("0.333333"), Decimal(1))
    spent = found["E", "net_amount", "all", "B"]
    assert (spent.cuped_used, spent.numerator) == (True, Decimal(200))
    assert found["E", "order", "sleeping", "A"].verdict == "control"
    assert found[HOLDOUT, "visit", "all", "contact"].verdict == "too few customers"
    # DAY is a Tuesday: weekends are 2, 3, 9 and 10 days ago, with 0 (a view), 40, 100 + 100 and 100. Other days with
    # anything that counts are 1, 4, 8, 12 and 13 days ago: guests and staff count, and what came back does not.
    weekend, weekday = (found["weekend_effect", "net_amount", "all", kind] for kind in ("weekend", "weekday"))
    assert (weekend.customers, weekend.numerator, weekend.value) == (4, 340, 85)
    assert (weekday.customers, weekday.numerator) == (5, Decimal("1280.25"))
    assert (weekend.srm_p_value, weekend.cuped_used, weekend.verdict) == (None, False, "no difference shown")
    assert ctx.facts["experiments"] == 4
    evaluate_experiments.run(ctx)
    assert sorted(ctx.tables.read(gold.EXPERIMENT_RESULTS).collect()) == sorted(before)
