"""Consumer finance: loans from application to repayment, savings, and purchases paid in instalments."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.simulation import catalogue
from transforms.simulation.dirt import typed_phone
from transforms.simulation.draws import chance, draw, hex_id, pick_weighted, steps
from transforms.simulation.occasions import days_after, in_steps, occasions, raw_rows
from transforms.simulation.people import adult_on, phone_on
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.times import clock

_MOST_INSTALMENTS = 12


def finance(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw entries of the consumer finance system; one row per entry."""
    clients = people.where(F.col("finance_account").isNotNull() & adult_on(plan.first_date))
    rows = _loans(clients, plan).unionByName(_moves(clients, plan))
    keys = [F.col("id"), F.col("n"), F.col("step"), F.col("item"), F.col("product")]
    contract = (F.col("id"), F.col("n"), F.col("product"))
    is_over = F.col("step") == "OVD"
    days_over = 5 + F.floor(draw(plan, "loan/days_overdue", *keys) ** 3 * 85)
    columns = {
        "serial_no": F.concat(F.lit("F"), F.upper(hex_id(plan, "finance/serial", *keys))),
        "biz_type": F.col("step"),
        "biz_date": F.date_format("date", "yyyy.MM.dd"),
        "biz_time": clock(F.col("second"), ""),
        "account": F.col("finance_account"),
        "phone": F.when(chance(plan, 0.6, "finance/phone", *keys), typed_phone(plan, phone_on(F.col("date")), *keys)),
        "member": F.when(chance(plan, 0.3, "finance/member", F.col("id")), F.col("member_no")),
        "amount": F.format_number(F.col("fen") / 100, 2),
        "product": F.col("product"),
        "terms": F.when(F.col("step").isin("LOAN", "APPLY", "PAY"), F.col("terms").cast("string")),
        "days_over": F.when(is_over, days_over.cast("string")),
        "contract": F.concat(F.lit("C"), F.upper(hex_id(plan, "finance/contract", *contract))),
        "outlet": catalogue.store_code(F.col("home_store")),
    }
    return raw_rows(rows, plan, "finance", columns, keys)


def _loans(clients: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Applications and what follows: approval or rejection a day later, disbursement, monthly repayment, arrears."""
    loan = (F.col("id"), F.col("n"))
    asked = occasions(clients, plan, "loan", 0.4 + F.col("risk") * 0.8)
    approved = chance(plan, F.lit(0.85) - F.col("risk") * 0.5, "loan/approved", *loan)
    paid_out = approved & chance(plan, 0.9, "loan/paid_out", *loan)
    terms = pick_weighted({"3": 3, "6": 4, "12": 3}, draw(plan, "loan/terms", *loan)).cast("int")
    asked = asked.withColumns({"terms": terms, "product": F.lit("cash_loan")})
    script = steps(
        {
            "APPLY": (1, 1),
            "APPR": (approved.cast("int"), 1),
            "REJ": ((~approved).cast("int"), 1),
            "LOAN": (paid_out.cast("int"), 1),
            "REPAY": (F.when(paid_out, F.col("terms")).otherwise(0), _MOST_INSTALMENTS),
            "OVD": (F.when(paid_out, F.col("terms")).otherwise(0), _MOST_INSTALMENTS),
        }
    )
    entries = in_steps(asked, script)
    is_bad = chance(plan, F.col("risk") ** 3 * 0.3, "loan/overdue", *loan, F.col("item"))
    entries = entries.where((F.col("step") != "OVD") | is_bad)
    wait = (
        F.when(F.col("step").isin("APPR", "REJ"), 1)
        .when(F.col("step") == "LOAN", 2)
        .when(F.col("step") == "REPAY", F.col("item") * 30 + F.when(is_bad, 12).otherwise(0))
        .when(F.col("step") == "OVD", F.col("item") * 30 + 5)
        .otherwise(0)
    )
    principal = F.round((2_000 + draw(plan, "loan/amount", *loan) ** 2 * 48_000) / 100).cast("bigint") * 10_000
    due = F.round(principal * 1.06 / F.col("terms")).cast("bigint")
    fen = F.when(F.col("step").isin("REPAY", "OVD"), due).otherwise(principal)
    return _entries(days_after(entries.withColumn("fen", fen), wait, plan))


def _moves(clients: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Deposits, smaller withdrawals, purchases paid in instalments, and interest that is no act of the client."""
    entry = (F.col("id"), F.col("n"))
    moves = occasions(clients, plan, "money/move", 3.8 * F.least(F.col("spend"), F.lit(4.0)) + 2.0)
    kind = pick_weighted({"DEP": 54, "WDR": 30, "PAY": 13, "INT": 3}, draw(plan, "money/kind", *entry))
    terms = pick_weighted({"1": 2, "3": 4, "6": 3, "12": 2}, draw(plan, "money/terms", *entry)).cast("int")
    size = draw(plan, "money/amount", *entry) ** 3
    yuan = (
        F.when(kind == "DEP", 500 + size * 30_000)
        .when(kind == "PAY", 300 + size * 8_000)
        .otherwise(250 + size * 15_000)
    )
    described = moves.withColumns(
        {
            "step": kind,
            "fen": F.round(yuan * 100).cast("bigint"),
            "item": F.lit(0),
            "product": F.when(kind == "PAY", "instalment").otherwise("savings"),
            "terms": terms,
        }
    )
    return _entries(described)


def _entries(rows: DataFrame) -> DataFrame:
    """The columns that all kinds of entry share."""
    return rows.select(
        "id", "n", "step", "item", "date", "second", "finance_account", "first_phone", "later_phone",
        "phone_changed_on", "member_no", "home_store", "fen", "product", "terms",
    )  # fmt: skip
