"""The rules of conf/identity.yaml over events: who holds too much, what an unbind ends, and what changes overnight."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from tests.builders import DAY, days_before, event, frame
from transforms.contracts import conform, silver
from transforms.events import with_lead
from transforms.identity.anchors import name_customers
from transforms.identity.changes import (
    anchored_customers,
    changed_owners,
    extend_history,
    id_change_rate,
    identity_changes,
    identity_history,
    links_of_changed,
    mapping_before,
    mapping_on,
    told_changes,
)
from transforms.identity.combinations import carrying, combine, straddling, unbound_pairs
from transforms.identity.components import connected_components
from transforms.identity.identifiers import IdentifierType, IdentityRules
from transforms.identity.lawful import (
    MUST_LINK,
    lawful_components,
    place,
    refused_links,
    replay_unlawful,
    unlawful_components,
)
from transforms.identity.links import (
    MAX_HOLDERS,
    blocked_pairs,
    identifiers_seen,
    link_identifiers,
    over_held,
    with_decisions,
    without_linking_power,
)

RULES = IdentityRules(
    types=(
        IdentifierType(type="member", label="会员", anchor=True, unique=True),
        IdentifierType(type="phone", label="手机", anchor=True, max_per_customer=2, period_days=30, max_holders=2),
        IdentifierType(type="device", label="设备", max_holders=2),
        IdentifierType(type="cookie", label="浏览器"),
    )
)
PAIR = "type_a string, value_a string, type_b string, value_b string"
ANCHORS = ["member", "phone"]


def together(number: int, day: date = DAY, kind: str = "visit", **held: str) -> dict[str, Any]:
    """An event that carries these identifiers."""
    return event(f"e{number}", kind, event_date=day, identifiers=held)


def combined(spark: SparkSession, rows: list[dict[str, Any]]) -> DataFrame:
    """Combinations of the events' identifiers with their leads."""
    return with_lead(combine(frame(spark, silver.EVENTS, rows)), RULES.linking).localCheckpoint()


def linked(together: DataFrame) -> DataFrame:
    return link_identifiers(together, RULES.linking, ["store_pos"])


def rebuilt(placed: DataFrame, links: DataFrame, apart: DataFrame) -> DataFrame:
    unlawful = unlawful_components(placed, apart, DAY, RULES)
    return replay_unlawful(placed, unlawful, links, apart, DAY, RULES).localCheckpoint()


def mapped(spark: SparkSession, together: DataFrame, apart: list[tuple] = ()) -> tuple[DataFrame, DataFrame]:
    """silver.identities and the refused links, as resolve-identities makes them."""
    links = linked(together)
    pairs = spark.createDataFrame(list(apart), PAIR)
    placed = place(identifiers_seen(together, RULES.linking), connected_components(links)).localCheckpoint()
    replayed = rebuilt(placed, links, pairs)
    identities = name_customers(lawful_components(placed, replayed), RULES)
    return conform(identities, silver.IDENTITIES).localCheckpoint(), refused_links(replayed)


def grouped(identities: DataFrame) -> set[str]:
    """Customers as the values they hold."""
    owners: dict[str, list[str]] = {}
    for row in identities.where("customer_id is not null").collect():
        owners.setdefault(row.customer_id, []).append(row.identifier)
    return {" ".join(sorted(values)) for values in owners.values()}


# -- holders ---------------------------------------------------------------------------------------------------------


def test_holders_are_counted_per_stronger_type_the_largest_deciding(spark: SparkSession) -> None:
    rows = [
        *[together(n, member=f"m{n}", device="three members") for n in range(3)],
        *[together(10 + n, member=f"m{n}", phone=f"p{n}", device="two of each") for n in range(2)],
        *[together(20 + n, phone=f"q{n}", device="three phones") for n in range(3)],
        *[together(30, member="m0", device="one member thrice") for _ in range(3)],
        *[together(40 + n, device="d", cookie=f"weaker {n}") for n in range(3)],  # weaker ones do not hold
        *[together(50 + n, member=f"n{n}", cookie="no limit") for n in range(3)],
    ]
    held = over_held(combined(spark, rows), RULES)
    assert held is not None
    assert {tuple(row) for row in held.collect()} == {("device", "three members", 3), ("device", "three phones", 3)}


def test_an_over_held_value_stays_on_its_events_but_links_and_leads_nothing(spark: SparkSession) -> None:
    rows = [
        *[together(n, member=f"m{n}", device="hub") for n in range(3)],
        together(4, device="hub", cookie="c"),  # led by the cookie from now on
        together(5, device="hub"),  # a guest
    ]
    events = frame(spark, silver.EVENTS, rows)
    held = over_held(combined(spark, rows), RULES)
    assert held is not None
    judged = without_linking_power(events, held, RULES)
    leads = {row.event_id: (row.lead_identifier, row.identifiers["device"]) for row in judged.collect()}
    assert leads == {
        "e0": ("m0", "hub"),
        "e1": ("m1", "hub"),
        "e2": ("m2", "hub"),
        "e4": ("c", "hub"),
        "e5": (None, "hub"),
    }
    seen_together = without_linking_power(combined(spark, rows), held, RULES)
    pairs = blocked_pairs(seen_together, RULES.linking).collect()
    assert {(row.value_a, row.value_b, row.rule) for row in pairs} == {
        *[(f"m{n}", "hub", MAX_HOLDERS) for n in range(3)],
        ("c", "hub", MAX_HOLDERS),
    }
    assert linked(seen_together).isEmpty()
    identities, _ = mapped(spark, seen_together)
    assert grouped(identities) == {"m0", "m1", "m2", "c"}
    status = {row.identifier: row.status for row in identities.collect()}
    assert status["hub"] == "blocked"


# -- audit and replay ------------------------------------------------------------------------------------------------


def test_only_unlawful_components_are_rebuilt(spark: SparkSession) -> None:
    rows = [
        together(1, member="a", phone="a1", cookie="ac"),  # lawful
        together(2, member="b", cookie="shared"),
        together(3, member="c", cookie="shared"),  # two members over a cookie
        together(4, member="b", phone="b1"),
        together(5, days_before(40), member="d", phone="d1"),  # outside the period: does not count
        together(6, member="d", phone="d2"),
        together(7, member="d", phone="d3"),
        together(8, days_before(2), member="e", phone="e1"),
        together(9, days_before(1), member="e", phone="e2"),
        together(10, member="e", phone="e3"),
    ]
    identities, refused = mapped(spark, combined(spark, rows))
    assert grouped(identities) == {"a a1 ac", "b b1", "c", "shared", "d d1 d2 d3", "e e2 e3", "e1"}
    assert {tuple(row) for row in refused.collect()} == {
        ("member", "b", "cookie", "shared", "ambiguous"),
        ("member", "c", "cookie", "shared", "ambiguous"),
        ("member", "e", "phone", "e1", "over_limit"),
    }
    status = {row.identifier: row.status for row in identities.collect()}
    assert (status["shared"], status["c"], status["e1"], status["b"]) == ("ambiguous", "alone", "alone", "linked")


def test_people_decide_over_evidence(spark: SparkSession) -> None:
    rows = [
        together(1, member="a", phone="a1"),
        together(2, member="b", phone="b1"),
        together(3, phone="b1", cookie="x"),
    ]
    seen_together = combined(spark, rows)
    identities, refused = mapped(spark, seen_together, [("member", "b", "cookie", "x")])
    assert grouped(identities) == {"a a1", "b b1", "x"}
    assert {tuple(row) for row in refused.collect()} == {("phone", "b1", "cookie", "x", "cannot_link")}
    links = linked(seen_together)
    decided = [{"type_a": "member", "value_a": "a", "type_b": "member", "value_b": "b", "sources": [MUST_LINK]}]
    decided = [{**row, "first_arrival_date": DAY, "event_count": 0} for row in decided]
    links = with_decisions(links, frame(spark, silver.IDENTITY_LINKS, decided))
    placed = place(identifiers_seen(seen_together, RULES.linking), connected_components(links)).localCheckpoint()
    replayed = rebuilt(placed, links, spark.createDataFrame([], PAIR))
    assert grouped(name_customers(lawful_components(placed, replayed), RULES)) == {"a a1 b b1 x"}


def test_unbind_ends_the_evidence_up_to_its_time(spark: SparkSession) -> None:
    rows = [
        together(1, days_before(9), phone="old", device="d"),
        together(2, days_before(5), "unbind", phone="old", device="d"),
        together(3, days_before(9), phone="again", device="e"),
        together(4, days_before(5), "unbind", device="e", phone="again"),
        together(5, days_before(1), phone="again", device="e"),  # bound anew
        together(6, days_before(9), phone="late", device="f"),
        together(7, days_before(9), member="m", device="d"),  # another pair's evidence stands
    ]
    still = {("again", "e", 1), ("late", "f", 1), ("m", "d", 1)}
    events = frame(spark, silver.EVENTS, rows)
    unbinds = unbound_pairs(combine(events)).localCheckpoint()
    torn = straddling(combine(events), unbinds)
    assert [row.identifiers for row in torn.collect()] == [{"phone": "again", "device": "e"}]
    some, others = carrying(events, torn)
    exact = [combine(events, unbinds), combine(some, unbinds).unionByName(combine(others))]
    for seen_together in exact:  # all events marked, or only those of which some count and some do not
        links = linked(with_lead(seen_together, RULES.linking)).collect()
        assert {(row.value_a, row.value_b, row.event_count) for row in links} == still


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=12))
def test_nights_of_events_add_up(spark: SparkSession, happenings: list[tuple[int, str, bool]]) -> None:
    """Combinations of each night's events beside those of the nights before are evidence as all at once are."""
    rows = [
        together(n, days_before(3 - day), "unbind" if ends else "visit", phone="p", device=value)
        for n, (day, value, ends) in enumerate(happenings)
    ]
    kept = combine(frame(spark, silver.EVENTS, []))
    for day in (days_before(3 - n) for n in range(4)):
        arrived = frame(spark, silver.EVENTS, [row for row in rows if row["event_date"] == day])
        unbinds = unbound_pairs(kept.unionByName(combine(arrived)))
        kept = kept.unionByName(combine(arrived, unbinds)).localCheckpoint()
    added = linked(with_lead(kept, RULES.linking)).collect()
    events = frame(spark, silver.EVENTS, rows)
    whole = linked(with_lead(combine(events, unbound_pairs(combine(events))), RULES.linking)).collect()
    assert sorted(added) == sorted(whole)
    last = {value: max((day for day, v, ends in happenings if v == value and ends), default=-1) for value in "abc"}
    counts = Counter(value for day, value, ends in happenings if not ends and day > last[value])
    assert {row.value_b: row.event_count for row in whole} == counts


# -- changes ---------------------------------------------------------------------------------------------------------

NIGHTS = [days_before(3), days_before(2), days_before(1), DAY]
# What arrives on each night, and what must be told of it: identifier -> (change, cause).
STORY: list[tuple[list[dict[str, Any]], dict[str, tuple[str, str, str | None]]]] = [
    (
        [
            together(1, NIGHTS[0], member="a", phone="a1"),
            together(2, NIGHTS[0], member="b"),
            together(3, NIGHTS[0], cookie="x"),
        ],
        {name: ("created", "first_seen", None) for name in ("a", "a1", "b", "x")},
    ),
    (  # the visitor is identified, and has a device by now
        [together(4, NIGHTS[1], member="b", cookie="x"), together(5, NIGHTS[1], member="b", device="bd")],
        {"x": ("merged", "link", "member:b"), "bd": ("joined", "link", "member:b")},
    ),
    ([together(6, NIGHTS[2], phone="p", device="pd")], {name: ("created", "first_seen", None) for name in ("p", "pd")}),
    (  # the cookie turns out to be shared: it leaves b and stands alone
        [together(7, NIGHTS[3], member="a", cookie="x")],
        {"x": ("split", "ambiguous", "member:b")},
    ),
]


def test_each_night_tells_what_changed_and_why(spark: SparkSession) -> None:
    log, mapping, rates = frame(spark, silver.IDENTITY_CHANGES, []), {}, []
    kept = frame(spark, silver.IDENTITY_HISTORY, [])
    arrived: list[dict[str, Any]] = []
    for night, (rows, expected) in zip(NIGHTS, STORY, strict=True):
        arrived += rows
        seen_together = combined(spark, arrived)
        identities, refused = mapped(spark, seen_together)
        links = linked(seen_together).localCheckpoint()
        before = mapping_before(log, night).localCheckpoint()
        assert sorted(before.collect()) == sorted(mapping_on(kept, night).collect())
        refusals = links.join(refused, list(silver.IDENTITY_REFUSALS.key)).localCheckpoint()
        changed = changed_owners(before, identities).localCheckpoint()
        made = []
        for is_few in (True, False) if night == NIGHTS[1] else (True,):
            told = told_changes(changed, before, identities, is_few).localCheckpoint()
            theirs = links_of_changed(links, told, is_few)
            caused = identity_changes(told, before, identities, theirs, refusals, night, is_few)
            made.append(conform(caused, silver.IDENTITY_CHANGES).collect())
        assert sorted(made[0]) == sorted(made[-1])
        found = made[0]
        causes = {row.identifier: (row.change, row.cause_type, row.cause_identifier) for row in found}
        assert causes == expected, night
        for row in found:
            mapping[row.identifier] = row.customer_id
        assert mapping == {row.identifier: row.customer_id for row in identities.collect()}, night
        changes = frame(spark, silver.IDENTITY_CHANGES, [row.asDict() for row in found])
        rates.append(id_change_rate(changes, anchored_customers(before, ANCHORS), ANCHORS).collect()[0][0])
        log = log.unionByName(changes)
        for _ in range(2):  # a night that runs twice
            kept = extend_history(kept, changes, night).localCheckpoint()
        assert sorted(kept.collect(), key=repr) == sorted(identity_history(log).collect(), key=repr), night
    assert rates == [None, 0.0, 0.0, 0.0]  # a cookie that comes or goes changes nobody's id
    history = conform(identity_history(log), silver.IDENTITY_HISTORY).where("identifier = 'x'").orderBy("valid_from")
    days = [(row.valid_from, row.valid_to) for row in history.collect()]
    assert days == [(NIGHTS[0], NIGHTS[1]), (NIGHTS[1], NIGHTS[3]), (NIGHTS[3], None)]


def test_a_known_customer_who_gets_another_id_raises_the_rate(spark: SparkSession) -> None:
    """Two of three known customers become one: one id is gone."""
    old = [("member", "a", "CA"), ("member", "b", "CB"), ("member", "c", "CC"), ("cookie", "x", "CX")]
    before = spark.createDataFrame(old, "identifier_type string, identifier string, customer_id string")
    moved = {"run_date": DAY, "identifier_type": "member", "identifier": "b", "change": "merged"}
    rows = [
        {**moved, "customer_id": "CA", "previous_customer_id": "CB"},
        {**moved, "identifier_type": "cookie", "identifier": "x", "customer_id": "CA", "previous_customer_id": "CX"},
    ]
    changes = frame(spark, silver.IDENTITY_CHANGES, rows)
    assert id_change_rate(changes, anchored_customers(before, ["member"]), ["member"]).collect()[0][0] == round(
        1 / 3, 6
    )
