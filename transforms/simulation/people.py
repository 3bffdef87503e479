"""The people behind the events: who they are, how they can be recognised, and how much they buy."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation.catalogue import CITIES, category_drawn
from transforms.simulation.draws import chance, draw, hex_id, normal, pick, pick_weighted
from transforms.simulation.plan import SimulationPlan

COOKIE_LIFE_DAYS = 180
_MEMBER_SHARE = 0.72
_PHONE_PREFIXES = ("13", "15", "17", "18", "19")
_PHONE_STEP = 387_420_489  # 3^18: prime to 10^9, so id -> nine digits is one to one
_SURNAMES = ("wang", "li", "zhang", "liu", "chen", "yang", "zhao", "huang", "zhou", "wu", "xu", "sun")
_MAILBOXES = {"qq.com": 5, "163.com": 4, "126.com": 1, "gmail.com": 1, "outlook.com": 1}
_AGE_BANDS = {"14": 1, "18": 14, "25": 26, "32": 24, "40": 17, "50": 11, "60": 6, "68": 1}


def simulate_people(ids: DataFrame, plan: SimulationPlan) -> DataFrame:
    """One row per person; key `id`.

    Args:
        ids: column `id bigint`, from 0 to `plan.customers` - 1.
    """
    people = ids.select(F.col("id").cast("bigint").alias("id")).withColumns(_portrait(plan))
    return people.withColumns(_presence(plan)).withColumns(_reach(plan)).withColumns(_temper(plan))


def member_number(person: Column) -> Column:
    """The membership number that a person has, if a member."""
    return F.concat(F.lit("M"), F.lpad((person + 10_000_000).cast("string"), 9, "0"))


def is_member(plan: SimulationPlan, person: Column) -> Column:
    """Whether the person joined the loyalty programme."""
    return chance(plan, _MEMBER_SHARE, "person/member", person)


def phone_on(day: Column) -> Column:
    """The number that the person uses on a date."""
    return F.when(day >= F.col("phone_changed_on"), F.col("later_phone")).otherwise(F.col("first_phone"))


def cookie_in(plan: SimulationPlan, period: Column) -> Column:
    """The browser cookie of a period: browsers are cleared about twice a year."""
    return F.concat(F.lit("ck."), hex_id(plan, "person/cookie", F.col("id"), period.cast("bigint")))


def _portrait(plan: SimulationPlan) -> dict[str, Column]:
    """Who the person is."""
    person = F.col("id")
    young = pick_weighted(_AGE_BANDS, draw(plan, "person/age", person)).cast("int")
    age_days = (young + 7 * draw(plan, "person/years", person)) * 365.25
    place = F.split(pick_weighted(CITIES, draw(plan, "person/city", person)), r"\|")
    referrer = F.floor(draw(plan, "person/referrer", person) * person).cast("bigint")
    is_referred = chance(plan, 0.10, "person/referred", person) & (person > 0) & is_member(plan, referrer)
    return {
        "gender": pick_weighted({"female": 62, "male": 36, "": 2}, draw(plan, "person/gender", person)),
        "birth_date": F.date_sub(F.lit(plan.end_date), age_days.cast("int")),
        "city": place[0],
        "province": place[1],
        "is_member": is_member(plan, person),
        "is_staff": chance(plan, 0.005, "person/staff", person),
        "referred_by": F.when(is_referred, member_number(referrer)),
        "consent_marketing": chance(plan, 0.78, "person/marketing", person),
        "consent_personalised": chance(plan, 0.66, "person/personalised", person),
        "consent_finance": chance(plan, 0.35, "person/consent_finance", person),
        "home_store": F.floor(draw(plan, "person/store", person) ** 1.5 * plan.stores).cast("int"),
    }


def _presence(plan: SimulationPlan) -> dict[str, Column]:
    """Since when the person is a customer and until when: `start_day` to `end_day`, in days of the history.

    Six in ten were customers before the history begins; half of all leave one day (churn).
    """
    person = F.col("id")
    was_before = chance(plan, 0.60, "person/before", person)
    when = draw(plan, "person/start", person)
    start = F.when(was_before, F.floor(when * -720)).otherwise(F.floor(when * plan.days)).cast("int")
    life = F.floor(30 - 500 * F.log(1 - draw(plan, "person/life", person))).cast("int")
    leaves = chance(plan, 0.50, "person/leaves", person)
    changed = F.floor(draw(plan, "person/phone_day", person) * plan.days).cast("int")
    return {
        "start_day": start,
        "end_day": F.when(leaves, F.greatest(start, F.lit(-90)) + life).otherwise(plan.days),
        "phone_changed_on": F.when(
            chance(plan, 0.07, "person/phone_changes", person), F.date_add(F.lit(plan.first_date), changed)
        ),
    }


def _reach(plan: SimulationPlan) -> dict[str, Column]:
    """How the person can be recognised; null where a channel is not used."""
    person = F.col("id")
    household = F.floor(person / 3).cast("bigint")
    is_family_device = chance(plan, 0.06, "household/device", household)
    own_device = F.concat(F.lit("d-"), hex_id(plan, "person/device", person))
    family_device = F.concat(F.lit("f-"), hex_id(plan, "household/device_id", household))
    surname, mailbox = draw(plan, "person/surname", person), draw(plan, "person/mailbox", person)
    address = F.concat(pick(_SURNAMES, surname), person + 1000, F.lit("@"), pick_weighted(_MAILBOXES, mailbox))

    def used(share: float, channel: str, identifier: Column) -> Column:
        return F.when(chance(plan, share, f"person/uses_{channel}", person), identifier)

    return {
        "member_no": F.when(F.col("is_member"), member_number(person)),
        "first_phone": _phone(plan, person, 0),
        "later_phone": _phone(plan, person, 500_000_000),
        "email": used(0.45, "email", address),
        "unionid": F.concat(F.lit("oU"), hex_id(plan, "person/unionid", person)),
        "openid": used(0.62, "mini_program", F.concat(F.lit("oX"), hex_id(plan, "person/openid", person))),
        "uses_web": chance(plan, 0.60, "person/uses_web", person),
        "device": used(0.42, "app", F.when(is_family_device, family_device).otherwise(own_device)),
        "is_family_device": is_family_device,
        "buyer": used(0.34, "marketplace", F.concat(F.lit("tb"), hex_id(plan, "person/buyer", person))),
        "social": used(0.28, "social", F.concat(F.lit("wb_"), hex_id(plan, "person/social", person))),
        "finance_account": used(0.16, "finance", F.concat(F.lit("FA"), F.lpad((person + 1).cast("string"), 10, "0"))),
    }


def _phone(plan: SimulationPlan, person: Column, shift: int) -> Column:
    """Eleven digits; persons below 500 million and both shifts never share one."""
    mixed = ((person + shift) * _PHONE_STEP + plan.seed * 7919) % 1_000_000_000
    prefix = pick(_PHONE_PREFIXES, draw(plan, "phone/prefix", person))
    return F.concat(prefix, F.lpad(mixed.cast("string"), 9, "0"))


def _temper(plan: SimulationPlan) -> dict[str, Column]:
    """How much and what the person buys: log-normal spending with a Pareto tail of a few very heavy buyers."""
    person = F.col("id")
    tail = F.least(F.pow(1 - draw(plan, "person/tail", person), F.lit(-1 / 1.8)), F.lit(12.0))
    is_heavy = chance(plan, 0.05, "person/heavy", person)
    spend = F.exp(normal(plan, "person/spend", person) * 0.8 - 0.32) * F.when(is_heavy, tail).otherwise(1.0)
    visits = F.exp(normal(plan, "person/visits", person) * 0.6 - 0.18) * F.sqrt(spend)
    return {
        "spend": F.round(spend, 6),
        "visits": F.round(visits, 6),
        "affinity": category_drawn(draw(plan, "person/affinity", person)),
        "second_affinity": category_drawn(draw(plan, "person/second_affinity", person)),
        "premium_share": F.least(F.round(spend * 0.06, 6), F.lit(0.6)),
        "promotion_share": F.round(0.10 + 0.5 * draw(plan, "person/promotion", person) ** 2, 6),
        "member_level": F.when(spend > 3.5, "diamond")
        .when(spend > 1.8, "gold")
        .when(spend > 0.9, "silver")
        .otherwise("basic"),
        "risk": F.round(draw(plan, "person/risk", person), 6),
    }


def adult_on(day: Column | date) -> Column:
    """Whether the person is 18 on a date; nobody younger is lent money."""
    return F.add_months(F.col("birth_date"), 12 * 18) <= day
