"""Where goods are sold: the tills of the stores, the chain's own web shop and a marketplace."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.simulation import catalogue
from transforms.simulation.catalogue import goods, product_columns
from transforms.simulation.dirt import typed_id, typed_phone
from transforms.simulation.draws import chance, draw, hex_id, pick, pick_weighted, steps, whole
from transforms.simulation.occasions import followed_by, in_steps, later, occasions, raw_rows
from transforms.simulation.outreach import converting_touches
from transforms.simulation.people import COOKIE_LIFE_DAYS, cookie_in, phone_on
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.times import epoch_seconds, local_time

_PLACEHOLDER_SHARE = 0.004


def store_pos(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw till lines, sales and in-store returns; one row per receipt line."""
    comes_back = chance(plan, 0.05, "pos/after", *line_keys()) & ~F.col("is_gift")
    days = 1 + F.floor(draw(plan, "pos/return_days", *line_keys()) * 20)
    rows = followed_by(store_lines(people, plan), plan, {"R": (comes_back, days)})
    is_return = F.col("step") == "R"
    own_number = F.concat(F.lit("R"), F.col("txn_no"), F.lit("-"), F.col("item"))
    columns = {
        "txn_no": F.when(is_return, own_number).otherwise(F.col("txn_no")),
        "line_no": F.col("item").cast("string"),
        "txn_type": F.col("step"),
        "txn_time": F.regexp_replace(local_time(F.col("date"), F.col("second")), "[^0-9]", ""),
        "store_code": catalogue.store_code(F.col("store")),
        "store_city": F.split(catalogue.store_city(plan, F.col("store")), r"\|")[0],
        "tablet": F.col("tablet"),
        "member_no": F.col("shown_member"),
        "phone": F.col("shown_phone"),
        "sku": F.col("sku"),
        "cate": F.col("category"),
        "brand": F.col("brand"),
        "qty": F.col("quantity").cast("string"),
        "amt_fen": F.col("paid").cast("string"),
        "disc_fen": F.col("discount").cast("string"),
        "cost_fen": F.col("cost").cast("string"),
        "coupon_code": F.when(~is_return, F.col("coupon")),
        "gift": F.when(F.col("is_gift"), "Y").otherwise("N"),
        "orig_txn_no": F.when(is_return, F.col("txn_no")),
    }
    keys = [*line_keys(), F.col("step")]
    return raw_rows(rows, plan, "store_pos", columns, keys, batch=[F.col("id"), F.col("n"), F.col("step")])


def store_lines(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Lines of the receipts of the stores, guests' among them; key (id, n, item)."""
    visit = (F.col("id"), F.col("n"))
    elsewhere = F.floor(draw(plan, "pos/store", *visit) * plan.stores).cast("int")
    showing = draw(plan, "pos/showing", *visit)
    shown_member = F.when((showing < 0.62), F.col("member_no"))
    shown_phone = F.when((showing < 0.15) | ((showing >= 0.62) & (showing < 0.86)), phone_on(F.col("date")))
    receipts = occasions(people, plan, "pos", F.col("spend") * 4.2).withColumns(
        {
            "store": F.when(chance(plan, 0.75, "pos/home", *visit), F.col("home_store")).otherwise(elsewhere),
            "shown_member": typed_id(plan, shown_member, *visit),
            "shown_phone": typed_phone(plan, shown_phone, *visit),
        }
    )
    receipts = receipts.withColumns(
        {
            "tablet": F.when(chance(plan, 0.55, "pos/guided", *visit), catalogue.tablet(plan, F.col("store"), *visit)),
            "txn_no": F.concat(
                catalogue.store_code(F.col("store")),
                F.date_format("date", "yyMMdd"),
                F.upper(F.substring(hex_id(plan, "pos/number", *visit), 1, 10)),
            ),
        }
    )
    count = 1 + whole(0.9, draw(plan, "pos/lines", *visit)) + whole(F.least(F.col("spend") / 4, F.lit(2.0)), showing)
    return priced(in_steps(receipts, steps({"S": (count, 5)})), plan, "pos")


def ecommerce(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw web shop feed: clicks, order lines and cancelled lines in one stream; one row per event."""
    rows = web_steps(people, plan)
    sells = F.col("step").isin("order", "cancel")
    touches_goods = ~F.col("step").isin("search", "heartbeat")
    columns = {
        "evt": F.col("step"),
        "ts": F.concat(epoch_seconds(F.col("date"), F.col("second")), F.lpad(F.pmod("id", F.lit(1000)), 3, "0")),
        "cookie": F.col("cookie"),
        "member_id": F.when(F.col("is_signed_in"), F.col("member_no")),
        "mobile": F.when(F.col("step") == "order", F.col("typed_mobile")),
        "order_sn": F.when(sells, F.col("order_sn")),
        "item_no": F.when(sells, F.col("item").cast("string")),
        "goods_id": F.when(touches_goods, F.col("sku")),
        "cat": F.when(touches_goods, F.col("category")),
        "brand": F.when(touches_goods, F.col("brand")),
        "num": F.when(sells, F.col("quantity").cast("string")),
        "pay_amount": F.when(sells, _yuan(F.col("paid"))),
        "off_amount": F.when(F.col("step") == "order", _yuan(F.col("discount"))),
        "cost": F.when(F.col("step") == "order", _yuan(F.col("cost"))),
        "coupon": F.when(F.col("step") == "order", F.col("coupon")),
        "kw": F.when(
            F.col("step") == "search", pick(catalogue.SEARCHES, draw(plan, "web/kw", F.col("id"), F.col("n")))
        ),
        "campaign": F.col("campaign"),
        "ship_city": F.when(F.col("step") == "order", F.col("city")),
        "ship_province": F.when(F.col("step") == "order", F.col("province")),
        "page": F.when(F.col("step") == "browse", "detail").when(F.col("step") == "search", "search"),
        "zone": F.when(F.col("step") == "browse", F.col("zone")),
        "stay": F.when(F.col("step") == "browse", F.col("stay").cast("string")),
        "ref": F.col("ref"),
    }
    return raw_rows(rows, plan, "ecommerce", columns, [F.col("id"), F.col("n"), F.col("step"), F.col("item")],
                    batch=[F.col("id"), F.col("n")])  # fmt: skip


def web_steps(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """What happens in the sessions of the web shop, in order; key (id, n, step, item).

    A session is a visit of one's own accord, or one that a campaign's click led to and that ends in an order. The
    first product looked at is the one that goes into the cart and is bought.
    """
    session = (F.col("id"), F.col("n"))
    own = occasions(people.where("uses_web"), plan, "web", F.col("visits") * 8.0)
    will_buy = chance(plan, F.least(F.lit(0.28) * F.sqrt("spend"), F.lit(0.8)), "web/buys", *session)
    own = own.withColumns({"buys": will_buy, "campaign": F.lit(None).cast("string")})
    sessions = own.unionByName(converting_touches(people, plan))
    lines = F.when(F.col("buys"), 1 + whole(0.6, draw(plan, "web/lines", *session)))
    cancelled = F.when(chance(plan, 0.03, "web/cancels", *session), lines)
    cart = F.when(F.col("buys"), 1).otherwise(whole(0.22, draw(plan, "web/cart", *session)))
    script = steps(
        {
            "heartbeat": (whole(0.03, draw(plan, "web/heartbeat", *session)), 1),
            "search": (whole(0.45, draw(plan, "web/search", *session)), 1),
            "browse": (1 + F.floor(draw(plan, "web/browse", *session) ** 2 * 5).cast("int"), 5),
            "fav": (whole(0.16, draw(plan, "web/fav", *session)), 1),
            "cart": (cart, 1),
            "order": (F.coalesce(lines, F.lit(0)), 2),
            "cancel": (F.coalesce(cancelled, F.lit(0)), 2),
        }
    )
    happened = in_steps(_web_session(sessions, plan), script)
    waits = F.when(F.col("step") == "cancel", 1200).otherwise(F.col("position") * 40)
    rows = later(happened, waits).withColumn(
        "stay", (5 + draw(plan, "web/stay", *session, F.col("position")) ** 3 * 240).cast("int")
    )
    return priced(rows, plan, "web")


def _web_session(sessions: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Who the session belongs to, as far as the shop can tell."""
    session = (F.col("id"), F.col("n"))
    period = F.floor(F.datediff(F.col("date"), F.lit(plan.first_date)) / COOKIE_LIFE_DAYS)
    return sessions.withColumns(
        {
            "cookie": cookie_in(plan, period),
            "is_signed_in": F.col("buys") | chance(plan, 0.5, "web/signed_in", *session),
            "typed_mobile": typed_phone(
                plan, F.when(chance(plan, 0.85, "web/mobile", *session), phone_on(F.col("date"))), *session
            ),
            "order_sn": F.concat(
                F.date_format("date", "yyyyMMdd"), F.substring(hex_id(plan, "web/order", *session), 1, 12)
            ),
            "zone": pick(("banner", "list", "recommended", "search"), draw(plan, "web/zone", *session)),
            "ref": pick_weighted({"direct": 4, "baidu": 3, "weibo": 1, "wechat": 2}, draw(plan, "web/ref", *session)),
        }
    )


def marketplace(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Raw marketplace trades: paid, refunded, closed and rated lines; one row per line and status."""
    fate = draw(plan, "market/after", *line_keys())
    days = 1 + F.floor(draw(plan, "market/days", *line_keys()) * 14)
    sequels = {
        "REFUND": (fate < 0.07, days),
        "CLOSED": (fate.between(0.07, 0.10), F.lit(1)),
        "RATED": (fate >= 0.65, days),
    }
    rows = followed_by(marketplace_lines(people, plan), plan, sequels)
    has_money = F.col("step") != "RATED"
    keys = [*line_keys(), F.col("step")]
    rating = catalogue.stars(plan, *line_keys())
    buyer_hash = F.md5(F.concat(F.lit("+86"), phone_on(F.col("date"))))
    placeholder = chance(plan, _PLACEHOLDER_SHARE, "market/placeholder", F.col("id"), F.col("n"))
    columns = {
        "TradeID": F.col("trade"),
        "SubID": F.col("item").cast("string"),
        "Status": F.col("step"),
        "ActionTime": F.substring(local_time(F.col("date"), F.col("second"), "yyyy/MM/dd"), 1, 16),
        "BuyerNick": F.col("buyer"),
        "MobileMD5": F.when(placeholder, F.md5(F.lit("+8613800138000"))).otherwise(buyer_hash),
        "Title": F.concat(F.col("brand"), F.lit(" "), F.col("category_name"), F.lit(", "), F.col("sku")),
        "OuterSku": F.col("sku"),
        "Cat": F.col("category_name"),
        "Num": F.when(has_money, F.col("quantity").cast("string")),
        "Payment": F.when(has_money, F.concat(F.lit("¥"), _yuan(F.col("paid")))),
        "Promo": F.when(F.col("step") == "PAID", _yuan(F.col("discount"))),
        "Cost": F.when(F.col("step") == "PAID", _yuan(F.col("cost"))),
        "Stars": F.when(F.col("step") == "RATED", rating.cast("string")),
        "Comment": F.when(F.col("step") == "RATED", catalogue.review_text(plan, rating, *line_keys())),
        "ToCity": F.col("city"),
        "ToProvince": F.col("province"),
    }
    return raw_rows(rows, plan, "marketplace", columns, keys, batch=[F.col("id"), F.col("n"), F.col("step")])


def marketplace_lines(people: DataFrame, plan: SimulationPlan) -> DataFrame:
    """Lines of the trades on the marketplace; key (id, n, item)."""
    trade = (F.col("id"), F.col("n"))
    trades = occasions(people.where("buyer is not null"), plan, "market", F.col("spend") * 3.5).withColumn(
        "trade", F.concat(F.lit("TB"), F.upper(hex_id(plan, "market/trade", *trade)))
    )
    count = 1 + whole(0.3, draw(plan, "market/lines", *trade))
    return priced(in_steps(trades, steps({"PAID": (count, 2)})), plan, "market")


def line_keys() -> tuple[Column, Column, Column]:
    """What names one line of one purchase."""
    return F.col("id"), F.col("n"), F.col("item")


def priced(rows: DataFrame, plan: SimulationPlan, purpose: str) -> DataFrame:
    """The rows with a product and, in 分, what it costs: `paid` is after `discount`; a gift is paid with nothing."""
    keys = line_keys()
    chosen = rows.withColumns(goods(plan, F.lit(purpose), *keys)).withColumns(product_columns(plan))
    is_promotion = chance(plan, F.col("promotion_share"), f"{purpose}/promotion", F.col("id"), F.col("n"))
    quantity = pick_weighted({"1": 80, "2": 14, "3": 4, "6": 1}, draw(plan, f"{purpose}/quantity", *keys))
    off = pick_weighted({"0.1": 5, "0.2": 3, "0.3": 1}, draw(plan, f"{purpose}/off", *keys)).cast("double")
    uses_coupon = is_promotion & chance(plan, 0.45, f"{purpose}/coupon", F.col("id"), F.col("n"))
    counted = chosen.withColumns(
        {
            "quantity": quantity.cast("bigint"),
            "is_gift": chance(plan, 0.012, f"{purpose}/gift", *keys),
            "off": F.when(is_promotion, off).otherwise(0.0),
            "coupon": F.when(uses_coupon, catalogue.coupon_of(plan, F.col("date"), F.col("id"), F.col("n"))),
        }
    )
    full = F.col("price") * F.col("quantity")
    discount = F.when(F.col("is_gift"), full).otherwise(F.round(full * F.col("off")).cast("bigint"))
    return counted.withColumn("discount", discount).withColumns(
        {"paid": full - F.col("discount"), "cost": F.col("unit_cost") * F.col("quantity")}
    )


def _yuan(fen: Column) -> Column:
    """分 as 元 with two decimals."""
    return (fen / 100).cast("decimal(18,2)").cast("string")
