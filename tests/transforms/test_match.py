"""Profile records from events, links from probabilities, and their place behind every rule."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from tests.builders import DAY, at, days_before, event, frame
from transforms.contracts import conform, silver
from transforms.identity.identifiers import IdentifierType, IdentityRules
from transforms.identity.match import MatchRules, match_links, profile_records, training_condition
from transforms.identity.replay import Limits, Link, Outcome, replay

WRITTEN: dict[str, Any] = {
    "records": ["member", "crm"],
    "columns": {"name": "attributes['name']", "born": "attributes['born']", "phone": "identifiers['phone']"},
    "blocking": [["name"], ["substr(born, 1, 4)", "phone"]],
    "comparisons": [{"column": "name", "kind": "name"}, {"column": "born", "kind": "date_of_birth"}],
    "deterministic": {"rules": [["name", "born"]]},
    "training": [["name"], ["substr(born, 1, 4)"]],
    "max_block": 3,
}
RULES = MatchRules.model_validate(WRITTEN)
TIER = {"member": 0, "phone": 1, "crm": 2}


def told(number: int, attributes: dict[str, str], **held: str) -> dict[str, Any]:
    """An event, number minutes after noon, that says something of whoever its identifiers name."""
    said = {"event_at": at(DAY, minute=number), "identifiers": held, "attributes": attributes}
    return event(f"e{number:02d}", "profile_update", **said)


# -- profile records -------------------------------------------------------------------------------------------------


def test_a_record_is_the_latest_that_was_said_of_it(spark: SparkSession) -> None:
    rows = [
        told(1, {"name": " Ann  LEE ", "born": "1980-01-02"}, member="1", phone="p"),
        told(2, {"name": "Ann Ray"}, member="1"),  # says nothing of the birth, which stays
        told(3, {"born": " "}, member="1"),
        told(4, {"name": "Bo"}, member="2", crm="2"),  # an event may speak of two records
        told(5, {"name": "Cy"}, phone="p"),  # a phone is no record
        {**told(6, {"name": "Di"}, member="6"), "blocked_identifiers": {"member": "null_like"}},  # nor a blocked value
        told(7, {}, member="7"),  # nothing is known of it
    ]
    records = {row.unique_id: row for row in profile_records(frame(spark, silver.EVENTS, rows), RULES).collect()}
    assert {key: (row["name"], row.born, row.phone) for key, row in records.items()} == {
        "member:1": ("ann ray", "1980-01-02", "p"),
        "member:2": ("bo", None, None),
        "crm:2": ("bo", None, None),
    }
    assert records["member:1"].last_seen_at == at(DAY, minute=2).replace(tzinfo=None)
    assert records["member:1"]["_key_1"] == "1980\u001fp"
    assert records["member:2"]["_key_1"] is None  # a part is missing


def test_a_value_that_too_many_records_share_brings_none_together(spark: SparkSession) -> None:
    rows = [told(n, {"name": "Wang" if n < 4 else "Li"}, member=str(n)) for n in range(7)]
    rows += [told(10 + n, {"born": "1980-01-01"}, member=f"nameless {n}") for n in range(5)]
    keys = [row["_key_0"] for row in profile_records(frame(spark, silver.EVENTS, rows), RULES).collect()]
    assert sorted(key or "-" for key in keys) == ["-"] * 9 + ["li"] * 3


def test_training_names_what_the_rule_reads() -> None:
    assert training_condition(("name",), RULES) == 'l."name" = r."name" and l."_key_0" = r."_key_0"'
    by_year = training_condition(("substr(born, 1, 4)",), RULES)  # the expression is Spark's: its key stands for it
    assert by_year == 'l."_key_2" = r."_key_2" and (l."born" is null or l."born" is not null)'


# -- links -----------------------------------------------------------------------------------------------------------


def test_likely_pairs_are_links_by_the_stronger_end(spark: SparkSession) -> None:
    old, new = days_before(9), DAY
    dates = "first_arrival_date_l date, first_arrival_date_r date, last_seen_at_l timestamp, last_seen_at_r timestamp"
    scored = [
        ("crm:a:b", "member:1", 0.9512345678, old, new, at(old), at(new)),  # values may hold colons
        ("member:1", "member:2", 0.8999996, old, old, at(old), at(old)),  # 0.9 once rounded
        ("member:1", "member:3", 0.8999994, old, old, at(old), at(old)),
        ("crm:c", "member:1", 0.99, old, old, at(old), at(old)),  # seen together anyway
    ]
    pairs = spark.createDataFrame(scored, f"unique_id_l string, unique_id_r string, match_probability double, {dates}")
    seen = {"type_a": "member", "value_a": "1", "type_b": "crm", "value_b": "c", "event_count": 4, "sources": ["crm"]}
    links = match_links(pairs, frame(spark, silver.IDENTITY_LINKS, [seen]), RULES, TIER)
    found = {(r.value_a, r.type_b, r.value_b): r for r in conform(links, silver.IDENTITY_LINKS).collect()}
    assert {key: (row.event_count, row.sources, row.probability) for key, row in found.items()} == {
        ("1", "crm", "c"): (4, ["crm"], None),
        ("1", "crm", "a:b"): (0, ["splink"], 0.951235),
        ("1", "member", "2"): (0, ["splink"], 0.9),
    }
    assert found["1", "crm", "a:b"].first_arrival_date == new  # not evident before both were known


# -- behind every rule -----------------------------------------------------------------------------------------------

LIMITS = Limits(tier=TIER, unique=frozenset({"member"}), most={"phone": 1})


def crm(name: str) -> tuple[str, str]:
    return "crm", name


def likely(a: tuple[str, str], b: tuple[str, str], probability: float) -> Link:
    return Link(a, b, probability=probability)


def customers(outcome: Outcome) -> list[list[str]]:
    return sorted(sorted(value for _, value in group) for group in outcome.customers)


def test_a_likeness_joins_no_two_members_and_takes_no_seen_link_away() -> None:
    seen = [Link(("member", "m1"), crm("r1")), Link(("member", "m2"), crm("r2"))]
    outcome = replay([likely(crm("r1"), crm("r2"), 0.999999), *seen], LIMITS)
    assert customers(outcome) == [["m1", "r1"], ["m2", "r2"]]
    assert outcome.refused == {(crm("r1"), crm("r2")): "unique_conflict"}
    assert outcome.ambiguous == set()


def test_of_two_likenesses_the_more_probable_is_taken() -> None:
    seen = [Link(("member", "m1"), crm("r1")), Link(("member", "m2"), crm("r2"))]
    outcome = replay([*seen, likely(crm("r1"), crm("x"), 0.95), likely(crm("r2"), crm("x"), 0.96)], LIMITS)
    assert customers(outcome) == [["m1", "r1"], ["m2", "r2", "x"]]
    equal = replay([*seen, likely(crm("r2"), crm("x"), 0.95), likely(crm("r1"), crm("x"), 0.95)], LIMITS)
    assert customers(equal) == [["m1", "r1", "x"], ["m2", "r2"]]  # then by value


def test_likenesses_keep_to_limits_cannot_links_and_ambiguity() -> None:
    phones = [Link(("phone", "p1"), crm("r1")), Link(("phone", "p2"), crm("r2"))]
    assert replay(
        [*phones, likely(crm("r1"), crm("r2"), 1.0)], LIMITS, counted=[("phone", "p1"), ("phone", "p2")]
    ).refused == {(crm("r1"), crm("r2")): "over_limit"}
    apart = [(crm("a"), crm("b"))]
    assert replay([likely(crm("a"), crm("b"), 1.0)], LIMITS, apart=apart).refused == {
        (crm("a"), crm("b")): "cannot_link"
    }
    torn = [Link(("member", "m1"), crm("x")), Link(("member", "m2"), crm("x"))]
    outcome = replay([*torn, likely(crm("x"), crm("y"), 1.0)], LIMITS)
    assert outcome.ambiguous == {crm("x")}
    assert outcome.refused[crm("x"), crm("y")] == "ambiguous"


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ({"blocking": [["nane"]]}, ["nane", "name"]),
        ({"columns": {"name": "atributes['name']"}}, ["atributes", "attributes"]),
        ({"columns": {**WRITTEN["columns"], "event_at": "event_at"}}, ["event_at", "engine's own"]),
        ({"comparisons": [*WRITTEN["comparisons"], {"column": "city", "kind": "exact"}]}, ["city"]),
        ({"comparisons": [{"column": "name", "kind": "sounds_like"}]}, ["kind", "jaro_winkler"]),
        ({"comparisons": [{"column": "name", "kind": "exact", "thresholds": [0.9]}]}, ["takes no thresholds", "name"]),
        ({"comparisons": [{"column": "name", "kind": "name", "thresholds": [2]}]}, ["between 0 and 1"]),
        ({"training": [["name"], ["name", "born"]]}, ["every rule reads name"]),
        ({"threshhold": 0.9}, ["threshhold"]),
    ],
)
def test_wrong_rules_are_told(written: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ValidationError) as fault:
        MatchRules.model_validate({**WRITTEN, **written})
    assert [part for part in named if part not in str(fault.value)] == []


def test_records_are_of_types_that_link() -> None:
    types = [IdentifierType(type="crm", label="档案"), IdentifierType(type="member", label="平板", shared=True)]
    with pytest.raises(ValidationError, match=r"match\.records: member: not a type that links; allowed: crm"):
        IdentityRules(types=tuple(types), match=RULES)
