"""Customer relations: the membership system and after-sale service."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation import catalogue
from transforms.simulation.dirt import typed_id, typed_phone
from transforms.simulation.draws import chance, draw, hex_id, pick, pick_weighted
from transforms.simulation.occasions import days_after, occasions, raw_rows
from transforms.simulation.people import phone_on
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.shops import line_keys, store_lines, web_steps
from transforms.simulation.times import date_of, local_time, second_of_day


def crm(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw membership changes: registrations, updates, changed phones, consent; one row per change."""
    members = people.where("is_member")
    kind = pick_weighted({"UPD": 2, "CONSENT": 1}, draw(plan, "crm/kind", F.col("id"), F.col("n")))
    changes = occasions(members, plan, "crm/change", F.lit(1.05)).withColumn("step", kind)
    rows = _milestones(members, plan).unionByName(changes)
    keys = [F.col("id"), F.col("n"), F.col("step")]
    return raw_rows(rows, plan, "crm", _crm_columns(plan, keys), keys)


def _crm_columns(plan: SimulationPlan, keys: list[Column]) -> dict[str, Column]:
    tells_all = F.col("step").isin("REG", "UPD")
    answers = F.col("step").isin("REG", "CONSENT")

    def consent(name: str) -> Column:
        changed_mind = (F.col("step") == "CONSENT") & chance(plan, 0.2, f"crm/changes_{name}", *keys)
        return F.when(answers, F.when(F.col(f"consent_{name}") != changed_mind, "Y").otherwise("N"))

    is_loud = chance(plan, 0.1, "crm/loud_email", *keys)
    return {
        "change_id": F.concat(F.lit("CRM"), hex_id(plan, "crm/change", *keys)),
        "op": F.col("step"),
        "op_time": local_time(F.col("date"), F.col("second")),
        "member_no": F.col("member_no"),
        "mobile": F.when(F.col("step") != "CONSENT", typed_phone(plan, phone_on(F.col("date")), *keys)),
        "email": F.when(tells_all, F.when(is_loud, F.upper("email")).otherwise(F.col("email"))),
        "birth": F.when(
            tells_all & chance(plan, 0.85, "crm/birth", F.col("id")), F.date_format("birth_date", "yyyy-MM-dd")
        ),
        "sex": F.when(tells_all, F.when(F.col("gender") == "female", "2").when(F.col("gender") == "male", "1")),
        "city": F.when(tells_all, F.col("city")),
        "province": F.when(tells_all, F.col("province")),
        "level": F.when(tells_all, F.col("member_level")),
        "referrer_no": F.when(F.col("step") == "REG", F.col("referred_by")),
        "union_id": F.when(tells_all & chance(plan, 0.4, "crm/unionid", F.col("id")), F.col("unionid")),
        "mkt_ok": consent("marketing"),
        "pers_ok": consent("personalised"),
        "fin_ok": consent("finance"),
        "staff": F.when(F.col("step") == "REG", F.when(F.col("is_staff"), "1").otherwise("0")),
        "store": catalogue.store_code(F.col("home_store")),
    }


def _milestones(members: DataFrame, plan: SimulationPlan) -> DataFrame:
    """When each member joined, and changed the phone number; key (id, step).

    Of members from before the history the old system kept the month of joining only.
    """
    joined = date_of(plan, F.col("start_day"))
    kept = F.when(F.col("start_day") < 0, F.trunc(joined, "MM")).otherwise(joined)
    day_changed = F.datediff(F.col("phone_changed_on"), F.lit(plan.first_date))
    has_changed = (day_changed >= F.col("start_day")) & (day_changed < F.col("end_day"))

    def milestone(step: str, day: Column) -> Column:
        return F.struct(F.lit(step).alias("step"), day.alias("date"))

    both = F.array(milestone("REG", kept), F.when(has_changed, milestone("PHONE", F.col("phone_changed_on"))))
    dated = members.withColumn("_milestone", F.explode(F.array_compact(both))).select(
        *members.columns, "_milestone.*", F.lit(0).alias("n")
    )
    keys = (F.col("id"), F.col("step"))
    second = second_of_day(draw(plan, "crm/hour", *keys), draw(plan, "crm/second", *keys))
    return dated.withColumn("second", second)


def service(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw service tickets: returns and cancellations of other sources' orders, questions, ratings; one row each."""
    orders = web_steps(people, plan).where((F.col("step") == "order") & ~F.col("is_gift"))
    fate = draw(plan, "web/after", *line_keys())
    stays = ~chance(plan, 0.03, "web/cancels", F.col("id"), F.col("n"))
    days = 2 + F.floor(draw(plan, "service/days", *line_keys()) * 15)
    web_step = F.when(fate < 0.08, "RT").otherwise("CX")
    web = _about(orders.where((fate < 0.09) & stays), web_step, "EC", "order_sn")
    bought = store_lines(people, plan).where(~F.col("is_gift"))
    till_fate = draw(plan, "pos/after", *line_keys())
    till = _about(bought.where((till_fate >= 0.05) & (till_fate < 0.06)), F.lit("RT"), "POS", "txn_no")
    wait = F.when(F.col("step") == "CX", 0).otherwise(days)
    rows = days_after(web.unionByName(till), wait, plan).unionByName(_contacts(people, plan), allowMissingColumns=True)
    keys = [*line_keys(), F.col("step"), F.col("about")]
    return raw_rows(rows, plan, "service", _service_columns(plan, keys), keys)


def _about(lines: DataFrame, step: Column, source: str, order: str) -> DataFrame:
    """Tickets about order lines; both shops' lines come down to the same columns."""
    return lines.select(
        "id", "n", "item", "date", "second", "member_no", "first_phone", "later_phone", "phone_changed_on", "sku",
        "category", "quantity", "paid", step.alias("step"), F.lit(source).alias("about"),
        F.col(order).alias("order_no"),
    )  # fmt: skip


def _contacts(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Questions and ratings that people bring to the service desk."""
    contact = (F.col("id"), F.col("n"))
    kind = pick_weighted({"ASK": 55, "RATE": 40, "TEST": 3}, draw(plan, "service/kind", *contact))
    contacts = occasions(people, plan, "service", F.sqrt("spend") * 1.1)
    return contacts.withColumns({"step": kind, "item": F.lit(0), "about": F.lit("-")})


def _service_columns(plan: SimulationPlan, keys: list[Column]) -> dict[str, Column]:
    score = catalogue.stars(plan, F.lit("service"), *keys)
    question = pick(catalogue.QUESTIONS, draw(plan, "service/question", *keys))
    verdict = catalogue.review_text(plan, score, F.lit("service"), *keys)
    showing = draw(plan, "service/showing", *keys)
    phone = F.when((showing >= 0.6) | F.col("member_no").isNull(), phone_on(F.col("date")))
    is_line = F.col("step").isin("RT", "CX")
    return {
        "ticket_no": F.concat(F.lit("K"), F.upper(hex_id(plan, "service/ticket", *keys))),
        "kind": F.col("step"),
        "opened": F.substring(local_time(F.col("date"), F.col("second"), "dd.MM.yyyy"), 1, 16),
        "member": typed_id(plan, F.when(showing < 0.7, F.col("member_no")), *keys),
        "tel": typed_phone(plan, phone, *keys),
        "src": F.when(is_line, F.col("about")),
        "order_no": F.col("order_no"),
        "line_no": F.when(is_line, F.col("item").cast("string")),
        "sku": F.col("sku"),
        "cat": F.col("category"),
        "qty": F.col("quantity").cast("string"),
        "refund": (F.col("paid") / 100).cast("decimal(18,2)").cast("string"),
        "score": F.when(F.col("step") == "RATE", score.cast("string")),
        "content": F.when(F.col("step") == "ASK", question).when(F.col("step") == "RATE", verdict),
        "line": F.when(F.col("step") == "ASK", pick(("hotline", "chat", "store"), draw(plan, "service/line", *keys))),
    }
