"""report-loan-funnel on a lake as earlier steps leave it; and people's decisions, from their list to customers."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs import report_loan_funnel
from jobs.runtime.keys import stored_identifier
from jobs.runtime.reviews import reviewed_customers
from tests.builders import DAY, days_before, event, frame, identity
from tests.nights import night
from transforms.contracts import gold, silver

LIST = f"""identifier_type,identifier,finance_risk_tier,decision,reviewed_by,reviewed_date,until_date
member,m1,high,approved,R7,{days_before(10)},
phone,139 1234 0002,high,approved,R7,{days_before(10)},{DAY}
phone,13912340002,high,refused,R8,{DAY},
member,M3,high,approved,R7,{days_before(10)},{days_before(1)}
member,M4,high,approved,R7,{days_before(-1)},
member,nobody,high,approved,R7,{DAY},
"""


def test_a_lake_gets_its_funnel_and_its_audience(spark: SparkSession, tmp_path: Path) -> None:
    """Applied as M1 and looked as M2, who waits for a person; nobody is in a segment or has a recommendation."""
    (tmp_path / "reviews.csv").write_text(LIST)
    (tmp_path / "mine.yaml").write_text("loans: {reviews: reviews.csv}\n")
    ctx = night(tmp_path / "lake", tmp_path / "landing", DAY, [str(tmp_path / "mine.yaml")])
    phone = stored_identifier("phone", "13912340002", ctx.settings, "local")
    owners = [identity("member", f"M{n}", f"C{n}") for n in (1, 2, 3, 4)]
    place = {"event_date": DAY, "lead_identifier_type": "member", "event_hour": 9, "order_count": 0, "store_id": "S1"}
    made = {
        silver.EVENTS: [event("e1")],
        silver.IDENTITIES: [*owners, identity("phone", phone, "C2")],
        silver.CUSTOMERS: [{"customer_id": f"C{n}", "consent_finance": n < 3} for n in (1, 2, 3, 4)],
        silver.ORDERS: [],
        silver.ACTIVITY: [
            {**place, "lead_identifier": "M1", "event_type": "loan_apply", "other_amount": Decimal("500.00")},
            {**place, "lead_identifier": "M2", "event_type": "visit", "other_amount": Decimal("0.00")},
        ],
        gold.CUSTOMER_VALUES: [
            {"run_date": DAY, "customer_id": "C1", "finance_risk_tier": "low", "needs_human_review": False},
            {"run_date": DAY, "customer_id": "C2", "finance_risk_tier": "high", "needs_human_review": True},
        ],
    }
    with ctx.interpreted(0):
        for table, rows in made.items():
            ctx.tables.replace(table, frame(spark, table, rows).where(F.lit(DAY).isNotNull()))
        listed = reviewed_customers(ctx, ctx.tables.read(silver.IDENTITIES)).collect()
        assert sorted((row.customer_id, row.decision, row.reviewed_date) for row in listed) == [
            ("C1", "approved", days_before(10)),  # the raw value in its normal form
            ("C2", "approved", days_before(10)),  # on its last day
            ("C2", "refused", DAY),  # C3's is over, C4's is of tomorrow
        ]
        report_loan_funnel.run(ctx)
        funnel = ctx.tables.read(gold.LOAN_FUNNEL).where("grain = 'chain'").collect()
        found = {(row["mode"], row.stage): (row.customers, row.amount) for row in funnel if row.customers}
        assert found == {("period", "reached"): (1, 0), ("period", "applied"): (1, 500), ("cohort", "reached"): (1, 0)}
        totals = ctx.tables.read(gold.FINANCE_AUDIENCE).where("segment = 'all'").collect()
        assert {row.finance_risk_tier: (row.customers, row.eligible, row.applicants) for row in totals} == {
            "all": (4, 1, 1),
            "low": (1, 1, 1),
            "high": (1, 0, 0),
            "none": (2, 0, 0),
        }
        reasons = ctx.tables.read(gold.FINANCE_AUDIENCE_REASONS).where("segment = 'all'").collect()
        assert {(row.finance_risk_tier, row.code): row.customers for row in reasons} == {
            ("all", "human_review"): 1,
            ("high", "human_review"): 1,
            ("all", "no_finance_consent"): 2,
            ("none", "no_finance_consent"): 2,
        }
