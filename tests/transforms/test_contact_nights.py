"""Thirty nights of a small chain: what is planned is sent the next day, people answer, leave, refuse and merge.

Whatever happens, nobody is planned above a cap, without consent, unsubscribed or in the holdout. The rules are judged
here by plain Python over the days' events, not by the code that plans.
"""

from __future__ import annotations

from datetime import date, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from pyspark.sql import Row, SparkSession

from tests.builders import at, event, frame, identity
from tests.transforms.test_contact_plan import people, rules, strategy
from transforms.contacts.assignments import HOLDOUT, drawn_assignments, recorded_variants
from transforms.contacts.history import contact_history
from transforms.contacts.plan import plan_contacts
from transforms.contracts import gold, silver
from transforms.identity.anchors import with_owner

FIRST, NIGHTS, MEMBERS = date(2026, 6, 1), 30, 80
RULES = rules(
    contacts_per_day=2,
    holdout={"share": 0.2, "salt": "h"},
    caps=[
        {"channels": ["sms"], "contacts": 1, "days": 3},
        {"channels": ["email"], "contacts": 2, "days": 5},
        {"channels": ["sms", "email", "app"], "contacts": 5, "days": 10},
    ],
)
STRATEGIES = {
    "best": strategy(segments=["gold"], rest_days=2),
    "rich": strategy(segments=["rich"], needs_finance=True, channels=["app", "email"], priority=2),
    "test": strategy(
        segments=["gold", "mail"],
        channels=["email", "sms"],
        priority=3,
        experiment={
            "id": "E",
            "salt": "e",
            "variants": {"A": {"share": 0.5}, "none": {"share": 0.5, "is_contacted": False}},
        },
    ),
}


def test_nobody_is_ever_planned_who_must_not_be(spark: SparkSession) -> None:
    chance = Random(20260601)
    world = World(spark, chance)
    seen: set[str | None] = set()
    for night in range(NIGHTS):
        day = FIRST + timedelta(days=night)
        plan = world.plan(day)
        assert_lawful(plan, world, day)
        seen |= {row.suppressed_reason for row in plan}
        world.live_through(day + timedelta(days=1), plan)
        if night == 15:
            world.merge("M0", "M1")
    assert seen >= {None, "no_consent", "holdout", "contacted_recently", "unsubscribed", "over_cap", "control"}
    assert world.variants_changed() == []


class World:
    """People, what they are and what happened to them."""

    def __init__(self, spark: SparkSession, chance: Random) -> None:
        self.spark, self.chance = spark, chance
        names = [f"M{n}" for n in range(MEMBERS)]
        self.owner = {name: "C" + sha256(f"member:{name}".encode()).hexdigest()[:32] for name in names}
        self.events: list[dict[str, Any]] = []
        self.recorded: list[Row] = []
        self.state: dict[str, dict[str, Any]] = {}
        for member in self.owner:
            reach = [kind for kind, share in (("phone", 0.8), ("email", 0.7), ("member", 1)) if chance.random() < share]
            self.state[member] = {
                "segments": sorted(chance.sample(["gold", "rich", "mail"], chance.randint(0, 3))),
                "consent_marketing": chance.choice([True, True, True, False, None]),
                "consent_finance": chance.choice([True, False]),
                "is_minor": chance.random() < 0.1,
                "reach": reach,
            }

    def plan(self, day: date) -> list[Row]:
        identities = frame(
            self.spark, silver.IDENTITIES, [identity("member", member, owner) for member, owner in self.owner.items()]
        )
        owned = with_owner(frame(self.spark, silver.EVENTS, self.events), identities)
        assignments = self.spark.createDataFrame(self.recorded, gold.EXPERIMENT_ASSIGNMENTS.schema)
        customers = {self.owner[member]: state for member, state in self.state.items()}  # of a merge the later one's
        given = [*contacted(), "touched", "answers", "closed", "variants"]
        base = people(self.spark, customers, STRATEGIES).drop(*given)
        history = contact_history(owned, day, STRATEGIES, RULES)
        variants = recorded_variants(assignments, identities, day)
        known = base.join(history, "customer_id", "left").join(variants, "customer_id", "left")
        planned = plan_contacts(known, day, STRATEGIES, RULES).localCheckpoint()
        drawn = drawn_assignments(planned, assignments, identities, day).collect()
        self.recorded += drawn
        return planned.collect()

    def live_through(self, day: date, plan: list[Row]) -> None:
        """Everything planned is sent; some answer or leave; another system contacts some; some change their minds."""
        members = {owner: member for member, owner in self.owner.items()}
        for row in plan:
            if row.suppressed_reason is None:
                self._happens("touch", day, members[row.customer_id], row.channel, row.strategy)
                answer = self.chance.choice(["open", "click", "unsubscribe", *[None] * 9])
                if answer:
                    self._happens(answer, day, members[row.customer_id], row.channel, row.strategy)
        for member in self.state:
            if self.chance.random() < 0.03:
                self._happens("touch", day, member, self.chance.choice(["sms", "email", "app"]), "elsewhere")
            if self.chance.random() < 0.02:
                self.state[member]["consent_marketing"] = self.chance.choice([True, False])
            if self.chance.random() < 0.05:
                self.state[member]["segments"] = sorted(self.chance.sample(["gold", "rich", "mail"], 2))

    def merge(self, one: str, other: str) -> None:
        """From now on both are one customer, the first's."""
        self.owner[other] = self.owner[one]
        self.state[one] = self.state[other]

    def variants_changed(self) -> list[tuple[str, str]]:
        """Anchors with two variants of one experiment: nobody is ever drawn again."""
        found: dict[tuple[str, str], set[str]] = {}
        for row in self.recorded:
            found.setdefault((row.experiment_id, row.anchor), set()).add(row.variant)
        return [key for key, variants in found.items() if len(variants) > 1]

    def contacts(self, customer: str, kind: str) -> list[tuple[date, str, str]]:
        """(date, channel, campaign) of a customer's events of a kind, by today's owners."""
        return [
            (row["event_date"], row["props"]["contact_channel"], row["campaign_id"])
            for row in self.events
            if row["event_type"] == kind and self.owner[row["lead_identifier"]] == customer
        ]

    def _happens(self, kind: str, day: date, member: str, channel: str, campaign: str) -> None:
        number = f"e{len(self.events)}"
        props = {"contact_channel": channel}
        said = {"identifiers": {"member": member}, "props": props, "campaign_id": campaign}
        self.events.append(event(number, kind, event_at=at(day, 10), **said))


def assert_lawful(plan: list[Row], world: World, day: date) -> None:
    """Every rule, row by row, from the world as it is."""
    state = {world.owner[member]: state for member, state in world.state.items()}
    tonight: dict[str, list[str]] = {}
    expected = {
        (customer, code)
        for customer, said in state.items()
        for code, one in STRATEGIES.items()
        if {*one.segments} & {*said["segments"]}
    }
    assert {(row.customer_id, row.strategy) for row in plan} == expected
    assert len(plan) == len(expected)
    for row in sorted(plan, key=lambda row: row.priority):
        if row.suppressed_reason is not None:
            continue
        said, customer = state[row.customer_id], row.customer_id
        assert said["consent_marketing"] is True, row
        assert row.channel in STRATEGIES[row.strategy].channels, row
        assert {*RULES.channels[row.channel].reached_by} & {*said["reach"]}, row
        assert row.channel not in {channel for _, channel, _ in world.contacts(customer, "unsubscribe")}, row
        if row.strategy == "rich":
            assert said["consent_finance"], row
            assert not said["is_minor"], row
        anchors = [member for member, owner in world.owner.items() if owner == customer]
        drawn = [r for r in world.recorded if r.experiment_id == HOLDOUT and r.anchor.partition(":")[2] in anchors]
        assert min(drawn, key=lambda r: r.assigned_date).variant == "contact", row
        assert row.variant != "none", row
        tonight.setdefault(customer, []).append(row.channel)
    for customer, channels in tonight.items():
        assert len(channels) <= RULES.contacts_per_day
        touches = world.contacts(customer, "touch")
        for cap in RULES.caps:
            before = [c for when, c, _ in touches if c in cap.channels and when > day - timedelta(days=cap.days)]
            planned = [channel for channel in channels if channel in cap.channels]
            if planned:
                assert len(before) + len(planned) <= cap.contacts, (customer, cap, before, planned)


def contacted() -> list[str]:
    return [f"contacted_{code}" for code in STRATEGIES]
