"""Marketing: campaign touches and what becomes of them, and coupons redeemed."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation import catalogue
from transforms.simulation.apps import coupon_claims
from transforms.simulation.dirt import typed_id
from transforms.simulation.draws import chance, draw, hex_id, looked_up, pick_weighted, steps
from transforms.simulation.occasions import days_after, in_steps, later, occasions, raw_rows
from transforms.simulation.people import phone_on
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.times import utc_time

_CHANNELS = {"sms": 26, "app": 8, "push": 16, "email": 14, "mini_program": 10, "wechat": 14, "social": 3, "call": 4,
             "store": 3, "staff": 2}  # fmt: skip
_COST = {"sms": "0.05", "call": "1.20", "email": "0.01", "staff": "2.00", "store": "0.50"}
_KINDS = {"welcome": 16, "vip_care": 10, "wake_up": 30, "social_spread": 18, "value_activation": 14,
          "potential_nurture": 12}  # fmt: skip
_WAIT_SECONDS = {"touch": 0, "deliver": 30, "open": 2400, "click": 2520, "unsub": 2700}


def marketing(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw contact log: sent, delivered, opened, clicked, unsubscribed, and coupons redeemed; one row per event."""
    contact = (F.col("id"), F.col("n"))
    sent = touches(people, plan)
    answer = {name: F.col(f"is_{name}").cast("int") for name in ("delivered", "opened", "clicked")}
    unsubscribed = (F.col("is_opened") & chance(plan, 0.01, "touch/unsub", *contact)).cast("int")
    script = steps(
        {
            "touch": (1, 1),
            "deliver": (answer["delivered"], 1),
            "open": (answer["opened"], 1),
            "click": (answer["clicked"], 1),
            "unsub": (unsubscribed, 1),
        }
    )
    wait = looked_up(
        [str(s) for s in _WAIT_SECONDS.values()],
        F.array_position(F.array(*map(F.lit, _WAIT_SECONDS)), F.col("step")) - 1,
    )
    log = later(in_steps(sent, script), wait.cast("int")).withColumn("coupon", F.lit(None).cast("string"))
    rows = log.unionByName(_redemptions(people, plan), allowMissingColumns=True)
    return raw_rows(rows, plan, "marketing", _columns(plan), [*contact, F.col("step")])


def _columns(plan: SimulationPlan) -> dict[str, Column]:
    """The raw contact log; each way of contact knows people by another identifier."""
    contact = (F.col("id"), F.col("n"))
    via = F.col("via")
    costs = F.coalesce(*[F.when(via == name, F.lit(cost)) for name, cost in _COST.items()], F.lit("0.00"))
    return {
        "log_id": F.concat(F.lit("T"), hex_id(plan, "touch/id", *contact, F.col("step"))),
        "action": F.col("step"),
        "at": utc_time(F.col("date"), F.col("second")),
        "member": typed_id(plan, F.when(via.isin("app", "push", "store", "staff"), F.col("member_no")), *contact),
        "phone": F.when(via.isin("sms", "call"), phone_on(F.col("date"))),
        "email": F.when(via == "email", F.col("email")),
        "openid": F.when(via.isin("mini_program", "wechat"), F.col("openid")),
        "account": F.when(via == "social", F.col("social")),
        "campaign_id": F.when(F.col("step") != "redeem", F.col("campaign")),
        "content": F.col("content"),
        "experiment": F.col("experiment"),
        "variant": F.col("variant"),
        "via": via,
        "unit_cost": F.when(F.col("step") == "touch", costs),
        "coupon": F.col("coupon"),
    }


def touches(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Campaign contacts and how each was answered; key (id, n). People who refused marketing get hardly any."""
    contact = (F.col("id"), F.col("n"))
    per_year = F.when(F.col("consent_marketing"), 9.0).otherwise(0.5)
    kind = pick_weighted(_KINDS, draw(plan, "touch/kind", *contact))
    via = pick_weighted(_CHANNELS, draw(plan, "touch/via", *contact))
    is_reachable = (
        F.when(via == "email", F.col("email").isNotNull())
        .when(via.isin("mini_program", "wechat"), F.col("openid").isNotNull())
        .when(via == "social", F.col("social").isNotNull())
        .when(via.isin("app", "push", "store", "staff"), F.col("member_no").isNotNull())
        .otherwise(F.lit(True))
    )
    sent = occasions(people, plan, "touch", per_year).withColumns(
        {"kind": kind, "via": F.when(is_reachable, via).otherwise("sms")}
    )
    in_experiment = F.col("kind") == "wake_up"
    variant = F.when(chance(plan, 0.5, "experiment/wake", F.col("id")), "B").otherwise("A")
    described = sent.withColumns(
        {
            "campaign": catalogue.campaign_of(F.col("kind"), F.col("date")),
            "content": looked_up(catalogue.CONTENT_TYPES, F.floor(draw(plan, "touch/content", *contact) * 6)),
            "experiment": F.when(in_experiment, catalogue.EXPERIMENT),
            "variant": F.when(in_experiment, variant),
        }
    )
    return _answered(described, plan)


def _answered(sent: DataFrame, plan: SimulationPlan) -> DataFrame:
    """How far each contact came; variant B of the experiment is clicked, and leads to orders, more often."""
    contact = (F.col("id"), F.col("n"))
    lift = F.when(F.col("variant") == "B", 1.5).otherwise(1.0)
    eager = F.least(F.sqrt("visits"), F.lit(1.8))
    delivered = chance(plan, 0.94, "touch/delivered", *contact)
    opened = chance(plan, F.lit(0.32) * eager, "touch/opened", *contact)
    clicked = chance(plan, F.lit(0.30) * lift, "touch/clicked", *contact)
    ordered = chance(plan, F.lit(0.22) * lift, "touch/ordered", *contact)
    return (
        sent.withColumn("is_delivered", delivered)
        .withColumn("is_opened", F.col("is_delivered") & opened)
        .withColumn("is_clicked", F.col("is_opened") & clicked)
        .withColumn("is_converted", F.col("is_clicked") & ordered & F.col("uses_web"))
    )


def converting_touches(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """The web sessions that campaign clicks led to, as occasions that end in an order; key (id, n)."""
    converted = touches(people, plan).where("is_converted").withColumn("n", F.col("n") + 1_000_000)
    moved = days_after(converted, F.floor(draw(plan, "touch/days", F.col("id"), F.col("n")) * 4), plan)
    return moved.withColumn("buys", F.lit(True)).select(
        *people.columns, "n", "date", "second", "buys", F.col("campaign").alias("campaign")
    )


def _redemptions(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Coupons that were claimed in the mini program and used in a shop some days later."""
    claim = (F.col("id"), F.col("n"))
    used = coupon_claims(people, plan).where(chance(plan, 0.34, "coupon/used", *claim))
    days = F.floor(draw(plan, "coupon/days", *claim) ** 2 * 25)
    by_member = F.when(F.col("member_no").isNotNull(), "store").otherwise("mini_program")
    return days_after(used, days, plan).withColumns({"step": F.lit("redeem"), "via": by_member})
