"""The chain's goods, stores, cities, campaigns and words: small constants and expressions over them."""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

from transforms.simulation.draws import chance, draw, looked_up, number, pick, pick_weighted
from transforms.simulation.plan import SimulationPlan

CATEGORIES = (
    "skincare", "makeup", "women_wear", "men_wear", "shoes", "kids", "food", "household", "electronics", "jewellery",
)  # fmt: skip
CATEGORY_NAMES = ("护肤", "彩妆", "女装", "男装", "鞋靴", "童装", "食品", "家居", "数码", "珠宝")
_CATEGORY_WEIGHTS = (16, 12, 18, 9, 9, 9, 12, 8, 5, 2)
_TYPICAL_PRICE = (18_900, 12_900, 25_900, 28_900, 35_900, 15_900, 5_900, 8_900, 129_900, 289_900)  # 分
_BRANDS = ("云上", "清和", "Lumi", "Norda", "素白", "Kestrel", "织语", "Alba")
PRODUCTS_PER_CATEGORY = 80
_BREAKOUT_RANK = 5
_BREAKOUT_DAYS = 10
BREAKOUT_SKU = f"P00{_BREAKOUT_RANK:03}"
WECHAT_APP = "wx7f3retail"

CITIES = {
    "上海|上海": 12, "北京|北京": 11, "广州|广东": 9, "深圳|广东": 9, "成都|四川": 8, "杭州|浙江": 7, "武汉|湖北": 6,
    "重庆|重庆": 6, "南京|江苏": 5, "苏州|江苏": 5, "西安|陕西": 4, "长沙|湖南": 4, "青岛|山东": 3, "合肥|安徽": 3,
    "昆明|云南": 2, "洛阳|河南": 2, "绵阳|四川": 1, "赣州|江西": 1, "遵义|贵州": 1, "大理|云南": 1,
}  # fmt: skip

CAMPAIGNS = ("vip_care", "welcome", "wake_up", "social_spread", "value_activation", "potential_nurture")
CONTENT_TYPES = ("new_arrival", "discount", "benefit", "story", "finance_offer", "recall")
EXPERIMENT = "EXP-WAKE-01"

SEARCHES = ("防晒", "连衣裙", "运动鞋", "口红", "面霜", "羽绒服", "耳机", "儿童外套", "礼物", "gift", "serum", "坚果")
PRAISE = (
    "质量很好，会回购", "物流很快，包装用心", "颜色好看，家人很喜欢", "Love it, will buy again", "性价比高，推荐！",
    "店员很热情，体验很好", 'Great fit, the "classic" cut; true to size', "第二次买了，一如既往地好",
)  # fmt: skip
COMPLAINTS = (
    "和图片色差有点大", "尺码偏小，退货麻烦", "物流太慢了", "The zip broke after a week", "客服回复慢，不太满意",
    "有异味，不推荐", "价格降得太快",
)  # fmt: skip
QUESTIONS = (
    "请问什么时候到货？", "Can I change the delivery address?", "会员积分怎么用", "分期付款怎么申请；利率多少",
    "这款有现货吗", "优惠券用不了", "How do I get an invoice?",
)  # fmt: skip


def category_drawn(uniform: Column) -> Column:
    """A category's place, popular ones more often."""
    places = {str(place): weight for place, weight in enumerate(_CATEGORY_WEIGHTS)}
    return pick_weighted({place: float(weight) for place, weight in places.items()}, uniform).cast("int")


def goods(plan: SimulationPlan, *keys: Column) -> dict[str, Column]:
    """What somebody looks at or buys: one product, its price, cost and names; `keys` name the choice.

    Needs the person's columns `affinity`, `second_affinity` and `premium_share`. The rank within a category is Zipf
    distributed (inverse of its cumulative distribution), so few products carry most sales.
    """
    taste = draw(plan, "goods/taste", *keys)
    own = F.when(taste < 0.60, F.col("affinity")).when(taste < 0.80, F.col("second_affinity"))
    place = F.coalesce(own, category_drawn(draw(plan, "goods/category", *keys)))
    rank = F.floor(F.pow(F.lit(float(PRODUCTS_PER_CATEGORY)), draw(plan, "goods/rank", *keys))).cast("int")
    premium = chance(plan, F.col("premium_share"), "goods/premium", *keys)
    return {"place": place, "rank": rank, "is_premium": premium}


def product_columns(plan: SimulationPlan) -> dict[str, Column]:
    """Names and prices over the columns `place`, `rank` and `is_premium`; the same product always costs the same."""
    place, rank, premium = F.col("place"), F.col("rank"), F.col("is_premium")
    spread = 0.6 + draw(plan, "product/price", place, rank)
    price = F.round(typical_price(place) * spread * F.when(premium, 3.0).otherwise(1.0) / 100).cast("bigint") * 100
    code = F.concat(F.lit("P"), F.lpad(place.cast("string"), 2, "0"), F.lpad(rank.cast("string"), 3, "0"))
    return {
        "sku": F.concat(code, F.when(premium, "X").otherwise("")),
        "category": looked_up(CATEGORIES, place),
        "category_name": looked_up(CATEGORY_NAMES, place),
        "brand": pick(_BRANDS, draw(plan, "product/brand", place, rank)),
        "price": price,
        "unit_cost": F.round(price * (0.45 + 0.3 * draw(plan, "product/cost", place, rank))).cast("bigint"),
    }


def typical_price(place: Column) -> Column:
    """What a piece of a category costs as a rule, in 分."""
    return looked_up([str(price) for price in _TYPICAL_PRICE], place).cast("bigint")


def category_share(place: Column) -> Column:
    """How many of a hundred pieces sold are of a category."""
    return looked_up([str(weight) for weight in _CATEGORY_WEIGHTS], place).cast("int")


def store_code(place: Column) -> Column:
    """`S0001` for the store numbered 0."""
    return F.concat(F.lit("S"), F.lpad((place + 1).cast("string"), 4, "0"))


def store_city(plan: SimulationPlan, place: Column) -> Column:
    """`city|province` of a store."""
    return pick_weighted({name: float(weight) for name, weight in CITIES.items()}, draw(plan, "store/city", place))


def tablet(plan: SimulationPlan, place: Column, *keys: Column) -> Column:
    """One of the two tablets of a store, which all its customers share."""
    return F.concat(F.lit("TAB-"), store_code(place), F.lit("-"), F.abs(number(plan, "tablet", *keys) % 2) + 1)


def review_text(plan: SimulationPlan, stars: Column, *keys: Column) -> Column:
    """Words that fit a number of stars."""
    uniform = draw(plan, "review/words", *keys)
    return F.when(stars >= 4, pick(PRAISE, uniform)).otherwise(pick(COMPLAINTS, uniform))


def stars(plan: SimulationPlan, *keys: Column) -> Column:
    """1 to 5, mostly 5."""
    return pick_weighted({"5": 52, "4": 25, "3": 11, "2": 5, "1": 7}, draw(plan, "review/stars", *keys)).cast("int")


def breakout(plan: SimulationPlan, *keys: Column) -> dict[str, Column]:
    """What people do on social networks, but that in the last days every second act praises one product, 爆款.

    Needs `date`, `step` and what `goods` chose; `is_breakout` says which acts these are.
    """
    began = F.lit(plan.end_date - timedelta(days=_BREAKOUT_DAYS))
    is_breakout = (F.col("date") > began) & chance(plan, 0.5, "social/breakout", *keys)
    changed = {"step": F.lit("post"), "place": F.lit(0), "rank": F.lit(_BREAKOUT_RANK), "is_premium": F.lit(False)}
    said = {name: F.when(is_breakout, value).otherwise(F.col(name)) for name, value in changed.items()}
    return said | {"is_breakout": is_breakout}


def campaign_of(kind: Column, day: Column) -> Column:
    """One campaign of each kind a month, as in `wake_up-202606`."""
    return F.concat(kind, F.lit("-"), F.date_format(day, "yyyyMM"))


def coupon_of(plan: SimulationPlan, day: Column, *keys: Column) -> Column:
    """A coupon of the month, as in `CP202606-10`: ten, twenty or fifty 元 off."""
    off = pick_weighted({"10": 5, "20": 3, "50": 1}, draw(plan, "coupon/off", *keys))
    return F.concat(F.lit("CP"), F.date_format(day, "yyyyMM"), F.lit("-"), off)
