"""The answer sheet of identity: which identifiers are one person."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation.catalogue import WECHAT_APP
from transforms.simulation.people import COOKIE_LIFE_DAYS, cookie_in
from transforms.simulation.plan import SimulationPlan


def true_identifiers(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """One row per identifier that a person may show: `identifier_type`, `raw_value` in normal form, `person_id`.

    What several people share (family devices, demo phones, tablets, placeholders) is nobody's and left out.
    """
    last_period = (plan.days - 1) // COOKIE_LIFE_DAYS
    cookies = F.transform(
        F.sequence(F.lit(0), F.lit(last_period)),
        lambda period: _identifier("cookie", F.when(F.col("uses_web"), cookie_in(plan, period))),
    )
    own_device = F.when(~F.col("is_family_device"), F.col("device"))
    single = F.array(
        _identifier("member", F.col("member_no")),
        _identifier("phone", F.concat(F.lit("+86"), F.col("first_phone"))),
        _identifier("phone", F.when(F.col("phone_changed_on").isNotNull(), F.concat(F.lit("+86"), "later_phone"))),
        _identifier("unionid", F.col("unionid")),
        _identifier("email", F.col("email")),
        _identifier("finance_account", F.col("finance_account")),
        _identifier("marketplace_buyer", F.col("buyer")),
        _identifier("openid", F.concat(F.lit(f"{WECHAT_APP}:"), "openid")),
        _identifier("social_account", F.col("social")),
        _identifier("device", own_device),
    )
    return (
        people.select(F.col("id").alias("person_id"), F.explode(F.concat(single, cookies)).alias("identifier"))
        .where("identifier.raw_value is not null")
        .select("identifier.*", "person_id")
    )


def _identifier(kind: str, value: Column) -> Column:
    return F.struct(F.lit(kind).alias("identifier_type"), value.alias("raw_value"))
