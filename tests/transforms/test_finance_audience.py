"""Whom finance may be offered and why not, counted as DuckDB counts it; and what a person's decision changes."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from tests.builders import DAY, days_before, frame
from transforms.contracts import conform, gold, silver
from transforms.loans.audience import finance_audience, finance_audience_reasons, finance_portraits
from transforms.loans.reviews import SCHEMA, with_reviews
from transforms.loans.rules import Cohort, LoanRules, Review, check_reviews

RULES = LoanRules(period_days=30, cohort=Cohort(look_back_days=90, window_days=60))


def loan(customer: str | None, event_type: str, days: int) -> dict[str, Any]:
    return {"customer_id": customer, "event_type": event_type, "event_date": days_before(days)}


def test_the_audience_adds_up_as_duckdb_says(spark: SparkSession) -> None:
    """200 people: what bars them, what is offered, and the totals by tier and segment."""
    chance = random.Random(20_261_122)
    people, judged, segments, loans, offers = [], [], [], [], []
    for number in range(200):
        name = f"C{number:03}"
        consent, minor = chance.choice([True, True, True, False, None]), chance.choice([False, False, None, True])
        tier = chance.choice(["low", "high", None])
        decision = chance.choice([None, None, "approved", "refused"])
        people.append({"customer_id": name, "consent_finance": consent, "is_minor": minor})
        judged.append(
            {
                "run_date": DAY,
                "customer_id": name,
                "finance_risk_tier": tier,
                "finance_risk_reasons": chance.sample(["NO_LOAN", "LATE", "SHORT"], chance.randint(0, 3))
                if tier
                else None,
                "needs_human_review": decision == "refused" or (tier == "high" if tier else None),
                "review_decision": decision,
                "asset_amount": Decimal(chance.randint(-2, 5) * 100) if consent else None,
                "loan_demand_score": chance.randint(0, 100) if consent else None,
            }
        )
        segments += [(name, chance.choice(["active", "lost"]))] if number % 10 else []
        loans += [loan(name, chance.choice(["loan_apply", "loan_disburse", "deposit"]), chance.choice([0, 29, 30, -1]))]
        if tier == "low" and consent:
            ranked = enumerate(chance.sample(["loan", "deposit"], chance.randint(0, 2)), start=1)
            offers += [(name, "finance", product, rank) for rank, product in ranked] + [(name, "goods", "P1", 1)]
    columns = ("customer_id", "kind", "product_id", "rank")
    recommended = [{"run_date": DAY, **dict(zip(columns, offer, strict=True))} for offer in offers]
    portraits = finance_portraits(
        frame(spark, silver.CUSTOMERS, people),
        frame(spark, gold.CUSTOMER_VALUES, judged),
        spark.createDataFrame(segments, "customer_id string, segment string"),
        frame(spark, silver.ACTIVITY, [*loans, loan(None, "loan_apply", 1)], customer_id="string"),
        DAY,
        RULES,
    ).persist()
    assert portraits.count() == len(people)
    lists = frame(spark, gold.RECOMMENDATIONS, recommended)
    audience = conform(finance_audience(portraits, DAY), gold.FINANCE_AUDIENCE).toPandas()
    reasons = conform(finance_audience_reasons(portraits, lists, DAY), gold.FINANCE_AUDIENCE_REASONS).toPandas()

    base = duckdb.connect()
    told = pd.DataFrame(judged).drop(columns=["run_date"])
    for name, table in {
        "people": pd.DataFrame(people),
        "judged": told,
        "segments": pd.DataFrame(segments, columns=["customer_id", "segment"]),
        "loans": pd.DataFrame(loans),
        "offers": pd.DataFrame(offers, columns=[*columns]),
    }.items():
        base.register(name, table)
    since = days_before(29)
    base.execute(
        f"""create table p as
        select *, coalesce(segment, 'unknown') as place, coalesce(finance_risk_tier, 'none') as tier,
            case when consent_finance is not true then 'no_finance_consent' when is_minor then 'minor'
                when needs_human_review then 'human_review' end as bar,
            exists (from loans l where l.customer_id = people.customer_id and event_type = 'loan_apply'
                and event_date between date '{since}' and date '{DAY}') as applied,
            exists (from loans l where l.customer_id = people.customer_id and event_type = 'loan_disburse'
                and event_date between date '{since}' and date '{DAY}') as borrowed
        from people join judged using (customer_id) left join segments using (customer_id)"""
    )
    expected = base.execute(
        """select coalesce(tier, 'all') as tier, coalesce(place, 'all') as place, count(*) as customers,
            count(*) filter (consent_finance) as consenting, count(*) filter (is_minor) as minors,
            count(*) filter (needs_human_review and review_decision is distinct from 'refused') as awaiting_review,
            count(*) filter (review_decision = 'approved' and needs_human_review is not true) as review_approved,
            count(*) filter (review_decision = 'refused') as review_refused, count(*) filter (bar is null) as eligible,
            count(*) filter (asset_amount > 0) as depositors, coalesce(sum(asset_amount), 0) as asset_amount,
            round(sum(loan_demand_score)::decimal(18, 6) / count(loan_demand_score), 6) as mean_loan_demand_score,
            count(*) filter (applied) as applicants, count(*) filter (borrowed) as borrowers
        from p group by cube (tier, place) order by 1, 2"""
    ).df()
    found = audience.drop(columns=["run_date"]).rename(columns={"finance_risk_tier": "tier", "segment": "place"})
    found = found.sort_values(["tier", "place"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found.astype(expected.dtypes.to_dict()), expected)
    coded = base.execute(
        """with said as (
            select customer_id, 'barred' as kind, bar as code from p where bar is not null
            union all select customer_id, 'risk', unnest(finance_risk_reasons) from p
            union all select customer_id, 'offer', product_id from offers where kind = 'finance')
        select coalesce(tier, 'all'), coalesce(place, 'all'), kind, code, count(*)
        from said join p using (customer_id) group by grouping sets (
            (kind, code, tier, place), (kind, code, tier), (kind, code, place), (kind, code))"""
    ).fetchall()
    assert sorted(map(tuple, reasons.drop(columns=["run_date"]).to_numpy())) == sorted(coded)
    whole = found[(found.tier == "all") & (found.place == "all")].iloc[0]
    barred = reasons[(reasons.finance_risk_tier == "all") & (reasons.segment == "all") & (reasons.kind == "barred")]
    assert {*barred.code} == {"no_finance_consent", "minor", "human_review"}
    assert whole.customers == len(people) == whole.eligible + barred.customers.sum()


def test_a_decision_changes_the_bar_only_as_stated(spark: SparkSession) -> None:
    def said(decision: str, tier: str = "high", days: int = 5, by: str = "R1") -> tuple[Any, ...]:
        return days_before(days), decision, tier, by, None

    # tier and bar by the score card; decisions; the bar with them and the decision shown
    cases: dict[str, tuple[str | None, bool | None, list[tuple[Any, ...]], bool | None, str | None]] = {
        "nobody looked": ("high", True, [], True, None),
        "approved": ("high", True, [said("approved")], False, "approved"),
        "approved when the tier was better": ("very_high", True, [said("approved")], True, "approved"),
        "approved when it was worse": ("high", True, [said("approved", "very_high")], True, "approved"),
        "approved without need": ("low", False, [said("approved", "low")], False, "approved"),
        "refused": ("high", True, [said("refused")], True, "refused"),
        "refused at another tier": ("low", False, [said("refused", "high")], True, "refused"),
        "refused, nothing known": (None, None, [said("refused")], True, "refused"),
        "approved, nothing known": (None, None, [said("approved")], None, "approved"),
        "approved later": ("high", True, [said("refused", days=5), said("approved", days=4)], False, "approved"),
        "refused later": ("high", True, [said("approved", days=5), said("refused", days=4)], True, "refused"),
        "both on a day": ("high", True, [said("refused", by="R1"), said("approved", by="R2")], True, "refused"),
    }
    judged = spark.createDataFrame(
        [(name, case[0], case[1]) for name, case in cases.items()],
        "customer_id string, finance_risk_tier string, needs_human_review boolean",
    )
    reviews = spark.createDataFrame([(name, *one) for name, case in cases.items() for one in case[2]], SCHEMA)
    found = {row.customer_id: row for row in with_reviews(judged, reviews).collect()}
    assert {n: (row.finance_risk_tier, row.needs_human_review, row.review_decision) for n, row in found.items()} == {
        name: (tier, needs, decision) for name, (tier, _, _, needs, decision) in cases.items()
    }
    shown = found["approved when it was worse"]
    assert (shown.reviewed_tier, shown.reviewed_by, shown.reviewed_date) == ("very_high", "R1", days_before(5))


def test_a_review_names_what_is_declared_and_ends_on_or_after_its_day() -> None:
    told = {
        "identifier_type": "member",
        "identifier": "M1",
        "finance_risk_tier": "high",
        "decision": "approved",
        "reviewed_by": "R1",
        "reviewed_date": "2026-06-01",
    }
    assert Review.model_validate({**told, "until_date": ""}).until_date is None
    assert Review.model_validate({**told, "until_date": "2026-06-01"}).until_date == date(2026, 6, 1)
    with pytest.raises(ValidationError, match="is before reviewed_date"):
        Review.model_validate({**told, "until_date": "2026-05-31"})
    listed = RULES.model_copy(update={"reviews": (Review.model_validate(told),)})
    assert check_reviews(listed, ["member"], ["high"]) == []
    unknown = check_reviews(listed, ["members"], ["low"])
    assert [problem.split(";")[0] for problem in unknown] == [
        "loans.reviews: identifier 'member' is not declared",
        "loans.reviews: finance_risk_tier 'high' is not declared",
    ]
