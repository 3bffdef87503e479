"""What a night's events can reach: customers tied by refused links, what ends with the date, and what a lead tells."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from tests.builders import DAY, event, frame, identity
from transforms.contracts import silver
from transforms.identity.combinations import combine, with_static_lead
from transforms.identity.identifiers import IdentifierType, IdentityRules
from transforms.identity.touched import carrying_any, due, led_by, owners_around, tied_customers

KEY = "identifier_type string, identifier string"
RULES = IdentityRules(
    types=(
        IdentifierType(type="member", label="会员", anchor=True, unique=True),
        IdentifierType(type="phone", label="手机", anchor=True, max_per_customer=2, period_days=30),
        IdentifierType(type="device", label="设备", max_holders=2),
        IdentifierType(type="cookie", label="浏览器"),
    )
)
TYPES = [kind.type for kind in RULES.types]


def refusal(one: str, other: str, reason: str, rule: str | None = None) -> dict[str, Any]:
    """A refused link between a member and another's device."""
    ends = dict(zip(("type_a", "value_a", "type_b", "value_b"), ("member", one, "device", other), strict=True))
    return {**dict.fromkeys(silver.IDENTITY_REFUSALS.column_names), **ends, "reason": reason, "rule": rule}


def test_refused_links_tie_customers_from_one_to_the_next(spark: SparkSession) -> None:
    """A - B by one refusal, B - C by one of another identifier of B; D and E are tied to each other only."""
    held = {"A": ["a"], "B": ["b", "dB"], "C": ["c", "dC"], "D": ["d", "dD"], "E": ["e", "dE"], "F": ["f", "dF"]}
    identities = frame(
        spark,
        silver.IDENTITIES,
        [
            identity("device" if value.startswith("d") and len(value) > 1 else "member", value, owner)
            for owner, values in held.items()
            for value in values
        ],
    )
    refusals = frame(
        spark,
        silver.IDENTITY_REFUSALS,
        [
            refusal("a", "dB", "unique_conflict"),
            refusal("b", "dC", "over_limit"),  # of an audit: no rule blocks the value
            refusal("d", "dE", "ambiguous"),
            refusal("a", "dF", "over_limit", "max_holders"),  # a blocked value ties nobody
        ],
    )
    starts = spark.createDataFrame([("member", "c"), ("member", "new")], KEY)
    around = owners_around(starts, refusals, identities, due(RULES, DAY, DAY))
    assert {row.customer_id for row in tied_customers(around, refusals).collect()} == {"A", "B", "C"}


def test_a_value_is_due_on_the_day_on_which_it_counts_no_longer(spark: SparkSession) -> None:
    """Seen on the 1st, with a period of 30 days: it counts up to the 30th of June, and no longer on the 1st of July."""
    seen = identity("phone", "p", "C", last_seen_date=date(2026, 6, 1))
    rows = frame(spark, silver.IDENTITIES, [seen, {**seen, "identifier_type": "member"}])
    nights = [date(2026, 6, 30) + timedelta(days=number) for number in range(3)]
    found = [
        [row.identifier_type for row in rows.where(due(RULES, then, now)).collect()]
        for then, now in zip(nights, nights[1:], strict=False)
    ]
    assert found == [["phone"], []]


def test_leads_find_what_identifiers_find(spark: SparkSession) -> None:
    """Of closed parts: a person's member, phone, device and cookie, some seen on a device that too many hold.

    Person 3's phone is blocked on events of other sources, so that it is nobody's; on these it still leads.
    """
    chance = Random(5)
    rows = [_seen(chance, number) for number in range(200)]
    together = with_static_lead(combine(frame(spark, silver.EVENTS, rows)), RULES.linking).localCheckpoint()
    bad = spark.createDataFrame([("device", "kiosk"), ("phone", "phone3")], KEY)
    for person, kinds in ((0, TYPES), (3, [kind for kind in TYPES if kind != "phone"])):
        part = spark.createDataFrame([(kind, f"{kind}{person}") for kind in kinds], KEY)
        near = led_by(together, part, bad).localCheckpoint()
        exact = _listed(carrying_any(together, part, TYPES))
        assert _listed(carrying_any(near.select(*together.columns), part, TYPES)) == exact
        assert _listed(near.where("is_led").select(*together.columns)) <= exact
        assert near.count() < together.count()


def _seen(chance: Random, number: int) -> dict[str, Any]:
    person = chance.randint(0, 9)
    carried = {kind: f"{kind}{person}" for kind in TYPES if chance.random() < 0.5} or {"cookie": f"cookie{person}"}
    if chance.random() < 0.3:
        carried = {"device": "kiosk", "cookie": f"cookie{person}"}
    kind = "unbind" if chance.random() < 0.05 else "view"
    return event(f"e{number}", kind, identifiers=carried, event_date=DAY)


def _listed(rows: DataFrame) -> set[str]:
    return {repr(row) for row in rows.collect()}
