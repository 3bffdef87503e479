"""Places without a till: the WeChat mini program, the app and the social networks."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation import catalogue
from transforms.simulation.catalogue import goods, product_columns
from transforms.simulation.dirt import typed_phone
from transforms.simulation.draws import chance, draw, hex_id, pick, pick_weighted, steps, whole
from transforms.simulation.occasions import in_steps, later, occasions, raw_rows
from transforms.simulation.people import member_number
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.times import date_of, epoch_seconds, local_time, utc_time

DEMO_DEVICES = ("demo-phone-01", "demo-phone-02")
_PAGES = {"home": 30, "category": 20, "activity": 16, "member_center": 12, "store_map": 8, "loan_intro": 6, "live": 8}
_SCENES = ("1001", "1007", "1011", "1089")
_NETWORKS = {"weibo": 5, "xiaohongshu": 4, "douyin": 3}
_ZONES = {"banner": 30, "feed": 36, "menu": 18, "footer": 6, "popup": 10}


def mini_program(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw mini program log: launches, pages, coupons, shares, invitations, bound phones; one row per event."""
    rows = mini_program_steps(people, plan).unionByName(_bindings(people, plan), allowMissingColumns=True)
    keys = [F.col("id"), F.col("n"), F.col("step"), F.col("item")]
    is_page = F.col("step").isin("launch", "page")
    has_unionid = chance(plan, 0.6, "mini/unionid", F.col("id"))
    stay = (3 + draw(plan, "mini/stay", *keys) ** 3 * 300).cast("int").cast("string")
    columns = {
        "time": F.concat(local_time(F.col("date"), F.col("second"), between="T"), F.lit("+08:00")),
        "open_id": F.col("openid"),
        "union_id": F.when(has_unionid, F.col("unionid")),
        "act": F.col("step"),
        "tel": F.col("tel"),
        "page": F.when(is_page, pick_weighted(_PAGES, draw(plan, "mini/page", *keys))),
        "zone": F.when(is_page, pick_weighted(_ZONES, draw(plan, "mini/zone", *keys))),
        "stay": F.when(is_page, stay),
        "scene": F.when(F.col("step") == "launch", pick(_SCENES, draw(plan, "mini/scene", *keys))),
        "coupon": F.when(F.col("step") == "coupon", F.col("coupon")),
        "target": F.when(F.col("step") == "share", pick(("friend", "group", "moments"), draw(plan, "mini/to", *keys))),
    }
    return raw_rows(rows, plan, "mini_program", columns, keys, batch=[F.col("id"), F.col("n")])


def mini_program_steps(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """What happens in the sessions of the mini program; key (id, n, step, item)."""
    session = (F.col("id"), F.col("n"))
    sessions = occasions(people.where("openid is not null"), plan, "mini", F.col("visits") * 10.0)
    sessions = sessions.withColumn("coupon", catalogue.coupon_of(plan, F.col("date"), *session))
    script = steps(
        {
            "launch": (1, 1),
            "page": (F.floor(draw(plan, "mini/pages", *session) ** 2 * 4).cast("int"), 3),
            "coupon": (whole(0.16, draw(plan, "mini/coupon", *session)), 1),
            "share": (whole(0.06, draw(plan, "mini/share", *session)), 1),
            "refer": (whole(0.02, draw(plan, "mini/refer", *session)), 1),
            "debug": (whole(0.005, draw(plan, "mini/debug", *session)), 1),
        }
    )
    return later(in_steps(sessions, script), F.col("position") * 35)


def coupon_claims(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Coupons claimed in the mini program, with the claim's `coupon`; key (id, n)."""
    return mini_program_steps(people, plan).where(F.col("step") == "coupon").drop("step", "item", "position")


def _bindings(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Phones bound to the mini program: once, and again (after an `unbind`) when the number changes."""
    person = F.col("id")
    binders = people.where(F.col("openid").isNotNull() & chance(plan, 0.6, "bind/does", person))
    first_day = F.greatest(F.lit(0), F.col("start_day")) + F.floor(draw(plan, "bind/day", person) * 30)
    bound_on = date_of(plan, first_day)
    changed_on = F.col("phone_changed_on")
    rebinds = (changed_on > bound_on) & chance(plan, 0.6, "bind/again", person)
    first_number = F.when(changed_on <= bound_on, F.col("later_phone")).otherwise(F.col("first_phone"))

    def act(step: str, day: Column, phone: Column) -> Column:
        return F.struct(F.lit(step).alias("step"), day.alias("date"), phone.alias("tel"))

    acts = F.array(
        act("bind", bound_on, first_number),
        F.when(rebinds, act("unbind", F.date_add(changed_on, 1), F.col("first_phone"))),
        F.when(rebinds, act("bind", F.date_add(changed_on, 1), F.col("later_phone"))),
    )
    rows = binders.select("*", F.posexplode(F.array_compact(acts)).alias("item", "_act")).select(
        *people.columns, "item", "_act.*"
    )
    rows = rows.where(F.col("date") <= F.lit(plan.end_date)).withColumns(
        {"n": F.lit(0), "second": (43_200 + F.col("item") * 60).cast("int")}
    )
    is_bind = F.col("step") == "bind"
    typed = typed_phone(plan, F.col("tel"), person, F.col("item"))
    return rows.withColumn("tel", F.when(is_bind, typed).otherwise(F.col("tel")))


def app(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw app events; one row per event. Families share a device, and so do visitors of a store (demo phones)."""
    session = (F.col("id"), F.col("n"))
    sessions = occasions(people.where("device is not null"), plan, "app", F.col("visits") * 8.5)
    script = steps(
        {
            "start": (1, 1),
            "view": (F.floor(draw(plan, "app/views", *session) * 4).cast("int"), 3),
            "search": (whole(0.3, draw(plan, "app/search", *session)), 1),
            "like": (whole(0.14, draw(plan, "app/like", *session)), 1),
            "cart": (whole(0.16, draw(plan, "app/cart", *session)), 1),
            "push_open": (whole(0.14, draw(plan, "app/push", *session)), 1),
            "push_click": (whole(0.06, draw(plan, "app/push", *session)), 1),
            "signin": (whole(0.3, draw(plan, "app/signin", *session)), 1),
            "crash": (whole(0.01, draw(plan, "app/crash", *session)), 1),
        }
    )
    rows = later(in_steps(sessions, script), F.col("position") * 25)
    keys = (F.col("id"), F.col("n"), F.col("item"))
    rows = rows.withColumns(goods(plan, F.lit("app"), *keys)).withColumns(product_columns(plan))
    has_goods, is_push = F.col("step").isin("view", "like", "cart"), F.col("step").startswith("push")
    demo_device = pick(DEMO_DEVICES, draw(plan, "app/which_demo", *session))
    is_demo = chance(plan, 0.008, "app/demo", *session)
    stay = (4 + draw(plan, "app/stay", *keys) ** 3 * 200).cast("int")
    columns = {
        "event_time": epoch_seconds(F.col("date"), F.col("second")),
        "device_id": F.when(is_demo, demo_device).otherwise(F.col("device")),
        "member_id": F.when(chance(plan, 0.75, "app/signed_in", *session), F.col("member_no")),
        "action": F.col("step"),
        "sku": F.when(has_goods, F.col("sku")),
        "category": F.when(has_goods, F.col("category")),
        "brand": F.when(has_goods, F.col("brand")),
        "keyword": F.when(F.col("step") == "search", pick(catalogue.SEARCHES, draw(plan, "app/kw", *keys))),
        "page": F.when(F.col("step") == "view", F.lit("detail")).when(F.col("step") == "start", F.lit("home")),
        "stay_sec": F.when(F.col("step") == "view", stay),
        "push_campaign": F.when(is_push, catalogue.campaign_of(F.lit("wake_up"), F.col("date"))),
        "os": F.when(chance(plan, 0.45, "person/os", F.col("id")), "ios").otherwise("android"),
    }
    return raw_rows(rows, plan, "app", columns, [*keys, F.col("step")], batch=[*session])


def social(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw social listening feed: posts, likes, shares, invitations, questions; one row per act."""
    act = (F.col("id"), F.col("n"))
    kinds = {"post": 18, "like": 44, "share": 16, "invite": 7, "ask": 8, "follow": 3}
    acts = occasions(people.where("social is not null"), plan, "social", F.col("visits") * 7.0)
    acts = acts.withColumn("step", pick_weighted(kinds, draw(plan, "social/kind", *act)))
    acts = acts.withColumns(goods(plan, F.lit("social"), *act)).withColumns(catalogue.breakout(plan, *act))
    acts = acts.withColumns(product_columns(plan))
    mood = F.when(F.col("is_breakout"), 5).otherwise(catalogue.stars(plan, F.lit("social"), *act))
    words = F.when(F.col("step") == "post", catalogue.review_text(plan, mood, F.lit("social"), *act)).when(
        F.col("step") == "ask", pick(catalogue.QUESTIONS, draw(plan, "social/question", *act))
    )
    friend = F.floor(draw(plan, "social/friend", *act) * plan.customers).cast("bigint")
    columns = {
        "post_id": F.concat(F.lit("s"), hex_id(plan, "social/id", *act)),
        "created_at": utc_time(F.col("date"), F.col("second")),
        "network": pick_weighted(_NETWORKS, draw(plan, "social/network", F.col("id"))),
        "account": F.col("social"),
        "union_id": F.when(chance(plan, 0.3, "social/unionid", F.col("id")), F.col("unionid")),
        "kind": F.col("step"),
        "sku": F.when(F.col("step") != "invite", F.col("sku")),
        "category": F.when(F.col("step") != "invite", F.col("category_name")),
        "words": words,
        "invited": F.when(F.col("step") == "invite", member_number(friend)),
    }
    return raw_rows(acts, plan, "social", columns, list(act))
