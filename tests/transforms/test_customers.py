"""The golden record: which source and which answer wins, and what follows from birth date and city."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import Row, SparkSession

from tests.builders import DAY, at, days_before, event, frame, identity, order
from transforms.contracts import conform, silver
from transforms.customers import CustomerRules, build_customers

RULES = CustomerRules(
    age_bands=(18, 25, 65),
    city_tiers={"tier_1": ("北京", "上海"), "tier_2": ("无锡", "上海")},  # 上海 twice: the first tier has it
    other_city_tier="tier_3",
)
PRIORITIES = {"crm": 10, "app": 50, "web": 50}  # others count as the least trusted
Said = tuple[dict[str, str], dict[str, Any]]


def says(attributes: dict[str, str], **said: Any) -> dict[str, Any]:
    """An event of a customer that carries attributes: from the app at noon unless said."""
    return {"source": "app", "event_type": "profile_update", **said, "attributes": attributes}


def built(spark: SparkSession, stories: dict[str, list[dict[str, Any]]], orders: list[Any] = ()) -> dict[str, Row]:  # type: ignore[assignment]
    """Golden records by customer, each customer with the events of a story."""
    events = []
    for customer, told in stories.items():
        for number, said in enumerate(told):
            kind = said.pop("event_type")
            events.append({**event(f"{customer} {number}", kind, **said), "customer_id": customer})
    guest = {**event("guest", "view", attributes={"gender": "male"}), "customer_id": None}
    population = [identity("member", customer, customer) for customer in stories]
    customers = build_customers(
        frame(spark, silver.IDENTITIES, [*population, identity("phone", "blocked", None)]),
        frame(spark, silver.EVENTS, [*events, guest], customer_id="string"),
        frame(spark, silver.ORDERS, orders, customer_id="string"),
        DAY,
        RULES,
        PRIORITIES,
    )
    rows = conform(customers, silver.CUSTOMERS).collect()
    assert len(rows) == len(stories)  # one row each, none for guests or blocked values
    return {row.customer_id: row for row in rows}


def test_trusted_source_wins_then_the_latest(spark: SparkSession) -> None:
    stories = {
        "priority": [
            says({"gender": "female"}, source="crm", event_date=days_before(900)),
            says({"gender": "male"}, source="app"),  # newer, and less trusted
        ],
        "latest": [
            says({"gender": "female"}, source="app", event_at=at(DAY, 9)),
            says({"gender": "male"}, source="web", event_at=at(DAY, 10)),  # as trusted, and newer
        ],
        "tie": [
            says({"gender": "male"}, source="app"),
            says({"gender": "female"}, source="web"),  # as trusted, at the same time: the smaller value
        ],
        "unlisted source": [
            says({"gender": "female"}, source="app", event_date=days_before(900)),
            says({"gender": "male"}, source="somebody"),
        ],
        "each on its own": [
            says({"gender": "female", "city": "北京"}, source="crm", event_at=at(DAY, 9)),
            says({"city": "上海", "member_level": "gold"}, source="crm", event_at=at(DAY, 10)),  # says no gender
        ],
        "after D": [
            says({"gender": "female"}),
            says({"gender": "male"}, event_date=days_before(-1), arrival_date=DAY),
        ],
        "nothing said": [{"event_type": "view"}],
    }
    found = built(spark, stories)
    genders = {name: row.gender for name, row in found.items()}
    assert genders == {
        "priority": "female",
        "latest": "male",
        "tie": "female",
        "unlisted source": "female",
        "each on its own": "female",
        "after D": "female",
        "nothing said": None,
    }
    own = found["each on its own"]
    assert (own.city, own.member_level, own.province) == ("上海", "gold", None)


def test_consent_is_the_latest_answer_whoever_asked(spark: SparkSession) -> None:
    yes, no = {"consent_marketing": "true"}, {"consent_marketing": "false"}
    stories = {
        "never asked": [{"event_type": "view"}],
        "agreed": [says(yes)],
        "withdrawn": [says(yes, event_at=at(DAY, 9)), says(no, event_at=at(DAY, 10))],
        "given again": [says(no, event_at=at(DAY, 9)), says(yes, event_at=at(DAY, 10))],
        # A withdrawal in the app counts, however trusted the source of the older answer is for other things.
        "withdrawn elsewhere": [says(yes, source="crm", event_date=days_before(9)), says(no, source="app")],
        "both at once": [says(yes, source="crm"), says(no, source="app")],  # in doubt the refusal
        "no answer": [says({"consent_marketing": "later"})],
        "of each its own": [says(yes), says({"consent_finance": "false"})],
    }
    found = built(spark, stories)
    assert {name: row.consent_marketing for name, row in found.items()} == {
        "never asked": None,
        "agreed": True,
        "withdrawn": False,
        "given again": True,
        "withdrawn elsewhere": False,
        "both at once": False,
        "no answer": None,
        "of each its own": True,
    }
    own = found["of each its own"]
    assert (own.consent_finance, own.consent_personalised) == (False, None)


def test_ages_change_on_birthdays_and_cities_have_tiers(spark: SparkSession) -> None:
    def born(year: int, month: int, day: int) -> list[dict[str, Any]]:
        return [says({"birth_date": date(year, month, day).isoformat()})]

    bands = {  # on 30 June 2026
        "17, 18 tomorrow": (born(2008, 7, 1), "under_18", True),
        "18 today": (born(2008, 6, 30), "18-24", False),
        "24, 25 tomorrow": (born(2001, 7, 1), "18-24", False),
        "25 today": (born(2001, 6, 30), "25-64", False),
        "64": (born(1961, 7, 1), "25-64", False),
        "65 today": (born(1961, 6, 30), "65+", False),
        "unknown": ([says({"birth_date": "30/06/1990"})], None, None),  # not a date as dates are written here
        "unsaid": ([says({"city": "无锡"})], None, None),
    }
    tiers = {"上海": "tier_1", "北京市": "tier_1", "无锡": "tier_2", "无锡市": "tier_2", "丽江": "tier_3"}
    stories = {name: told for name, (told, _, _) in bands.items()} | {city: [says({"city": city})] for city in tiers}
    found = built(spark, stories)
    for name, (_, band, is_minor) in bands.items():
        assert (found[name].age_band, found[name].is_minor) == (band, is_minor), name
    assert {city: found[city].city_tier for city in tiers} == tiers
    assert found["18 today"].city_tier is None  # no city, no tier


def test_first_contacts_and_first_order(spark: SparkSession) -> None:
    stories = {
        "buyer": [
            {"event_type": "register", "channel": "crm", "event_date": days_before(5)},
            {"event_type": "register", "channel": "app", "event_date": days_before(3)},  # registered again elsewhere
            {"event_type": "view", "channel": "app", "event_date": days_before(9)},  # the first event of all
            {"event_type": "view", "channel": "social", "event_date": days_before(9)},  # at the same time: by name
        ],
        "browser": [{"event_type": "view", "channel": "app"}],
    }
    orders = [
        {**order("returned", order_date=days_before(8), returned_amount=100), "customer_id": "buyer"},
        {**order("second", order_date=days_before(2)), "customer_id": "buyer"},
        {**order("first", order_date=days_before(4)), "customer_id": "buyer"},
        {**order("guest", order_date=days_before(4)), "customer_id": None},
    ]
    found = built(spark, stories, orders)
    buyer, browser = found["buyer"], found["browser"]
    assert buyer.first_order_date == days_before(4)  # what was given back is no purchase
    assert buyer.registered_at == at(days_before(5)).replace(tzinfo=None)
    assert buyer.source_channel == "app"
    assert (browser.first_order_date, browser.registered_at, browser.source_channel) == (None, None, "app")


@pytest.mark.parametrize("bands", [(), (25, 18), (18, 18)])
def test_age_bands_have_to_ascend(bands: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        CustomerRules(age_bands=bands, other_city_tier="x")
