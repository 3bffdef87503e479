"""What contacts happened, and who is in which experiment after merges of customers."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

from pyspark.sql import Row, SparkSession

from tests.builders import DAY, at, event, frame, identity
from tests.transforms.test_contact_plan import rules, strategy
from transforms.contacts.assignments import (
    HOLDOUT,
    carried_assignments,
    drawn_assignments,
    recorded_variants,
)
from transforms.contacts.history import contact_history
from transforms.contracts import conform, gold, silver
from transforms.identity.anchors import with_owner


def ago(days: int) -> date:
    return DAY - timedelta(days=days)


def contact(event_id: str, kind: str, days_ago: int, channel: str | None = "sms", **said: Any) -> dict[str, Any]:
    props = {"contact_channel": channel} if channel else None
    return event(event_id, kind, event_date=ago(days_ago), props=props, **said)


def test_history_counts_what_each_cap_and_channel_asks(spark: SparkSession) -> None:
    """Caps of the test's rules: two sms, and three sms and e-mails together, in 7 days; answers count for 180."""
    yes, no = {"consent_marketing": "true"}, {"consent_marketing": "false"}
    events = [
        # M1: touches on both ends of the week, through channels inside and outside the caps
        contact("m1-a", "touch", 0, campaign_id="s-202606"),
        contact("m1-b", "touch", 6, "email", campaign_id="s"),
        contact("m1-c", "touch", 7),  # one day too old
        contact("m1-d", "touch", 1, "app", campaign_id="spring"),  # no cap counts it; not of strategy s
        contact("m1-e", "touch", -1),  # after the run date
        contact("m1-f", "open", 179),
        contact("m1-g", "click", 0),
        contact("m1-h", "open", 180),  # too old to count as an answer
        contact("m1-i", "open", 3, "email"),
        # M2 left sms and consented again; e-mail was left on the very moment of the consent, which does not heal it
        contact("m2-a", "unsubscribe", 9, identifiers={"member": "M2"}),
        contact("m2-b", "consent", 5, None, identifiers={"member": "M2"}, attributes=yes),
        contact("m2-c", "unsubscribe", 5, "email", identifiers={"member": "M2"}),
        # M3 left without naming a channel, and then refused
        contact("m3-a", "unsubscribe", 9, None, identifiers={"member": "M3"}),
        contact("m3-b", "consent", 5, None, identifiers={"member": "M3"}, attributes=no),
        contact("guest", "touch", 0, identifiers=None),
        event("m4", identifiers={"member": "M4"}),  # bought, and was never contacted
    ]
    owners = [identity("member", f"M{n}", f"C{n}") for n in (1, 2, 3, 4)]
    owned = with_owner(frame(spark, silver.EVENTS, events), frame(spark, silver.IDENTITIES, owners))
    found = contact_history(owned, DAY, {"s": strategy(), "t": strategy(priority=2)}, rules()).collect()

    assert {row.customer_id: row.touched for row in found} == {"C1": [1, 2], "C2": [0, 0], "C3": [0, 0]}
    assert {row.customer_id: row.closed for row in found} == {"C1": [], "C2": ["email"], "C3": ["sms", "email", "app"]}
    by_customer = {row.customer_id: row for row in found}
    assert by_customer["C1"].answers == {"sms": 2, "email": 1, "app": 0}
    assert (by_customer["C1"].contacted_s, by_customer["C1"].contacted_t) == (DAY, None)


def assignment(anchor: str, variant: str, days_ago: int, source: str = "hash", experiment: str = "E") -> Row:
    return Row(experiment, anchor, "as it was then", variant, ago(days_ago), source)


def test_merges_keep_the_earlier_assignment_and_events_win(spark: SparkSession) -> None:
    recorded = [
        assignment("member:M1", "A", 9),  # C1 took in M1b, who was assigned later
        assignment("member:M1b", "B", 8),
        assignment("member:M2", "A", 9),  # an event said otherwise
        assignment("member:M2", "B", 1, "event"),
        assignment("member:M3", "A", 9),  # two of the same day that differ
        assignment("member:M3b", "B", 9),
        assignment("member:M4", "A", 9),  # two of the same day that agree
        assignment("member:M4b", "A", 9),
        assignment("member:M5", "A", -1),  # not known yet on the run date
        assignment("member:M6", "A", 9),
        assignment("member:M6", "holdout", 9, experiment=HOLDOUT),
        assignment("member:gone", "A", 9),  # blocked since: nobody's
    ]
    owners = [identity("member", f"M{n}", f"C{n}") for n in (1, 2, 3, 4, 5, 6)]
    owners += [identity("member", f"M{n}b", f"C{n}") for n in (1, 3, 4)] + [identity("member", "gone", None)]
    assignments = spark.createDataFrame(recorded, gold.EXPERIMENT_ASSIGNMENTS.schema)
    found = recorded_variants(assignments, frame(spark, silver.IDENTITIES, owners), DAY).collect()
    assert {row.customer_id: row.variants for row in found} == {
        "C1": {"E": "A"},
        "C2": {"E": "B"},
        "C3": {"E": "conflict"},
        "C4": {"E": "A"},
        "C6": {"E": "A", HOLDOUT: "holdout"},
    }


def test_what_a_plan_drew_is_recorded_once(spark: SparkSession) -> None:
    """Customers are named by their member number; the reasons say who was drawn for the holdout."""
    ids = {value: "C" + sha256(f"member:{value}".encode()).hexdigest()[:32] for value in ("M1", "M2", "M3", "M4")}
    owners = [identity("member", value, owner) for value, owner in ids.items()]
    owners.append(identity("phone", "p1", ids["M1"]))  # not what names the customer
    identities = frame(spark, silver.IDENTITIES, owners)
    defaults = {"run_date": DAY, "strategy": "s", "priority": 1, "cost_amount": Decimal(0)}
    plan = [
        {**defaults, "customer_id": ids["M1"], "experiment_id": "E", "variant": "A"},
        {**defaults, "customer_id": ids["M1"], "strategy": "t", "suppressed_reason": "lower_priority"},
        {**defaults, "customer_id": ids["M2"], "experiment_id": "E", "suppressed_reason": "holdout"},
        {**defaults, "customer_id": ids["M3"], "experiment_id": "E", "suppressed_reason": "no_consent"},
        {**defaults, "customer_id": ids["M4"], "experiment_id": "E", "variant": "B"},  # recorded before
    ]
    planned = frame(spark, gold.CONTACT_PLAN, plan)
    before = spark.createDataFrame([assignment("member:M4", "B", 3)], gold.EXPERIMENT_ASSIGNMENTS.schema)
    drawn = conform(drawn_assignments(planned, before, identities, DAY), gold.EXPERIMENT_ASSIGNMENTS).collect()
    assert {(row.experiment_id, row.anchor, row.customer_id, row.variant) for row in drawn} == {
        ("E", "member:M1", ids["M1"], "A"),
        (HOLDOUT, "member:M1", ids["M1"], "contact"),
        (HOLDOUT, "member:M2", ids["M2"], "holdout"),
        (HOLDOUT, "member:M4", ids["M4"], "contact"),
    }
    assert len(drawn) == 4
    assert {(row.assigned_date, row.source) for row in drawn} == {(DAY, "hash")}
    again = before.unionByName(spark.createDataFrame(drawn, gold.EXPERIMENT_ASSIGNMENTS.schema))
    assert drawn_assignments(planned, again, identities, DAY + timedelta(days=1)).count() == 0


def test_assignments_that_events_carry(spark: SparkSession) -> None:
    """The first variant of each lead; what is recorded stays, also when an earlier event comes to light."""
    said = {"experiment_id": "E"}
    events = [
        event("a", "touch", variant="B", event_at=at(ago(2)), **said),
        event("b", "touch", variant="A", event_at=at(ago(1)), **said),
        event("c", "touch", variant="A", event_at=at(ago(2)), identifiers={"phone": "p1"}, **said),
        event("d", "touch", variant="A", event_at=at(ago(9)), identifiers={"member": "M2"}, **said),  # recorded as B
        event("e", "touch", variant="A", identifiers=None, **said),  # a guest
        event("f", "touch", identifiers={"member": "M3"}, **said),  # names no variant
        event("g", "touch", variant="A", event_date=ago(-1), identifiers={"member": "M3"}, **said),  # tomorrow
    ]
    owners = [identity("member", "M1", "C1"), identity("phone", "p1", "C1"), identity("member", "M2", "C2")]
    owners.append(identity("member", "M3", "C3"))
    owned = with_owner(frame(spark, silver.EVENTS, events), frame(spark, silver.IDENTITIES, owners))
    recorded = spark.createDataFrame([assignment("member:M2", "B", 3, "event")], gold.EXPERIMENT_ASSIGNMENTS.schema)
    found = conform(carried_assignments(owned, recorded, DAY), gold.EXPERIMENT_ASSIGNMENTS).collect()
    assert {(row.anchor, row.customer_id, row.variant, row.assigned_date, row.source) for row in found} == {
        ("member:M1", "C1", "B", DAY, "event"),
        ("phone:p1", "C1", "A", DAY, "event"),
    }
