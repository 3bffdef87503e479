"""Campaign results: whom campaigns touched, what those people did next, and what it brought for what it cost.

One row per customer holds their touches in the order of time; whatever happened later finds its touches there.
Everything that counts becomes a credit (touch, delivery, opening, order …), and results are sums of credits.
"""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.campaigns.attribution import METHODS, shares
from transforms.campaigns.rules import CampaignRules
from transforms.contracts import MONEY, RATIO, gold

UNATTRIBUTED = "unattributed"
ALL, NONE = "all", "none"

# What an event says about the touch before it.
ANSWERS = {
    "deliver": "reached",
    "open": "opened",
    "click": "clicked",
    "unsubscribe": "unsubscribed",
    "coupon_claim": "coupons_claimed",
    "coupon_redeem": "coupons_redeemed",
}
EVENT_TYPES = ("touch", "visit", "order", *ANSWERS)

_COUNTED = ("targeted", *ANSWERS.values(), "woken_up", "activated")
_WAKING = ("open", "visit", "order")
_DAY = 86_400_000_000  # microseconds
_CREDIT = "struct<campaign_id:string,channel:string,content_type:string,kind:string,cents:bigint,order_id:string>"
_GROUP = ("campaign_id", "channel", "content_type")


def campaign_results(
    events: DataFrame, touches: DataFrame, bought: DataFrame, segments: DataFrame, as_of: date, rules: CampaignRules
) -> DataFrame:
    """Results of the campaigns of the period, in the columns of gold.campaign_results.

    Args:
        events: silver.events as known on `as_of`, with `customer_id`; of EVENT_TYPES.
        touches, bought: `campaign_touches` and `campaign_purchases` of that date, which are looked at several times.
        segments: (customer_id, segment), key customer_id: primary segments.

    The period is the `look_back_days` up to `as_of`: touches and purchases of it count. An order belongs to the
    customer's touches at or before its first line and within `window_days` of it, by each method of
    `attribution.shares`. For every method and segment, revenue of all campaigns (where channel is all) and the
    unattributed one add up to the net amount of all purchases of the period. An answer belongs to the last touch of
    its campaign at or before it, through the channel that it names where there is one; an answer that names no
    campaign (coupons often do not) to the last touch of any within `window_days`. A customer counts once in each
    group, and once in its total.
    """
    known = bought.where("customer_id is not null").join(touches, "customer_id", "left")
    answers = _heard(_answers(events, as_of, rules).join(touches, "customer_id"))
    followed = _followed(known.unionByName(answers, allowMissingColumns=True), rules)
    guests = bought.where("customer_id is null").select("customer_id", F.inline(_unattributed(F.col("cents"))))
    sent = touches.select("customer_id", F.inline(F.transform("touches", _sent)))
    credits = followed.unionByName(guests).unionByName(sent, allowMissingColumns=True)
    return _summed(_stories(credits).join(segments.select("customer_id", "segment"), "customer_id", "left"), as_of)


def campaign_touches(events: DataFrame, orders: DataFrame, as_of: date, rules: CampaignRules) -> DataFrame:
    """(customer_id, `touches`: the customer's touches of the period by time, then event_id), key customer_id.

    Args:
        events: silver.events as known on `as_of`, with `customer_id`.
        orders: silver.orders as of that date, with `customer_id`.
    """
    sent = events.where(
        (F.col("event_type") == "touch")
        & F.col("customer_id").isNotNull()
        & F.col("campaign_id").isNotNull()
        & _in_period("event_date", as_of, rules)
    )
    touch = F.struct(
        F.unix_micros("event_at").alias("at"),
        F.col("event_id").alias("touch_id"),
        F.col("event_date").alias("date"),
        "campaign_id",
        F.coalesce(F.col("props")["contact_channel"], F.lit(NONE)).alias("channel"),
        F.coalesce("content_type", F.lit(NONE)).alias("content_type"),
        F.coalesce(F.col("props")["cost"].try_cast("decimal(18,6)"), F.lit(0).cast("decimal(18,6)")).alias("cost"),
    )
    listed = sent.groupBy("customer_id").agg(F.sort_array(F.collect_list(touch)).alias("touches"))
    purchases = orders.where(F.col("is_purchase") & F.col("customer_id").isNotNull())
    bought = purchases.groupBy("customer_id").agg(F.collect_set("order_date").alias("bought"))

    def judged(touch: Column) -> Column:
        last = F.array_max(F.filter("bought", lambda day: day < touch["date"]))
        is_asleep = F.coalesce(F.datediff(touch["date"], last) > rules.asleep_days, F.lit(False))
        return touch.withField("is_asleep", is_asleep).withField("is_new", last.isNull())

    return listed.join(bought, "customer_id", "left").select(
        "customer_id", F.transform("touches", judged).alias("touches")
    )


def campaign_purchases(events: DataFrame, orders: DataFrame, as_of: date, rules: CampaignRules) -> DataFrame:
    """Purchases of the period with the time of their first line: (customer_id, event_type, at, order_id, cents).

    Args:
        events: silver.events as known on `as_of`.
        orders: silver.orders as of that date, with `customer_id`; guests are among them.
    """
    in_time = (F.col("event_type") == "order") & ~F.coalesce("is_gift", F.lit(False))
    key = F.coalesce("order_id", F.concat_ws(":", "source", "event_id"))
    # No line of an order is of before its date.
    lines = events.where(in_time & _in_period("event_date", as_of, rules)).groupBy(key.alias("order_id"))
    began = lines.agg(F.min(F.unix_micros("event_at")).alias("at"))
    bought = orders.where(F.col("is_purchase") & _in_period("order_date", as_of, rules))
    midnight = F.unix_micros(F.col("order_date").cast("timestamp"))
    return bought.join(began, "order_id", "left").select(
        "customer_id",
        F.lit("order").alias("event_type"),
        F.coalesce("at", midnight).alias("at"),
        "order_id",
        (F.col("net_amount") * 100).cast("bigint").alias("cents"),
    )


def _answers(events: DataFrame, as_of: date, rules: CampaignRules) -> DataFrame:
    """What customers did that may answer a touch: (customer_id, event_type, at, campaign_id, channel)."""
    is_answer = F.col("event_type").isin("visit", *ANSWERS) & _in_period("event_date", as_of, rules)
    return events.where(is_answer & F.col("customer_id").isNotNull()).select(
        "customer_id",
        "event_type",
        F.unix_micros("event_at").alias("at"),
        "campaign_id",
        F.col("props")["contact_channel"].alias("channel"),
    )


def _heard(answers: DataFrame) -> DataFrame:
    """Answers that some touch came before; a visit says something only to who was asleep.

    Most events of a chain are visits of people who were never touched, or only later.
    """
    wakes = F.exists("touches", lambda touch: touch["is_asleep"])
    return answers.where(F.col("touches")[0]["at"] <= F.col("at")).where((F.col("event_type") != "visit") | wakes)


def _followed(happened: DataFrame, rules: CampaignRules) -> DataFrame:
    """(customer_id and a credit): what each happening counts for, given the customer's touches."""
    before = happened.withColumn("before", F.filter("touches", lambda touch: touch["at"] <= F.col("at")))
    near = before.withColumn("in_window", _within(rules.window_days))
    return near.select("customer_id", F.inline(_credits(rules)))


def _within(days: int) -> Column:
    """The touches before a happening, at most so many days."""
    return F.filter("before", lambda touch: F.col("at") <= touch["at"] + days * _DAY)


def _credits(rules: CampaignRules) -> Column:
    """All credits of one happening."""
    before, in_window = F.col("before"), F.col("in_window")
    of_campaign = F.filter(before, lambda touch: touch["campaign_id"] == F.col("campaign_id"))
    of_channel = F.filter(of_campaign, lambda touch: touch["channel"] == F.col("channel"))
    last = F.when(F.col("campaign_id").isNull(), F.slice(in_window, -1, 1)).otherwise(
        F.when(F.size(of_channel) > 0, F.slice(of_channel, -1, 1)).otherwise(F.slice(of_campaign, -1, 1))
    )
    kind = F.lit(None).cast("string")
    for event_type, name in ANSWERS.items():
        kind = F.when(F.col("event_type") == event_type, F.lit(name)).otherwise(kind)
    is_order = F.col("event_type") == "order"
    woken = F.filter(_within(rules.wake_up_days), lambda touch: touch["is_asleep"])
    activated = F.filter(in_window, lambda touch: touch["is_new"])
    nothing = F.array().cast(f"array<{_CREDIT}>")

    def where(condition: Column, credits: Column) -> Column:
        return F.coalesce(F.when(condition, credits), nothing)

    def sold(method: str) -> Column:
        return shares(method, in_window, F.col("cents"), lambda touch, cents: _credit(touch, F.lit(method), cents))

    is_followed = F.coalesce(F.size(in_window), F.lit(0)) > 0
    return F.concat(
        where(kind.isNotNull(), F.transform(last, lambda touch: _credit(touch, kind))),
        where(F.col("event_type").isin(*_WAKING), F.transform(woken, lambda touch: _credit(touch, F.lit("woken_up")))),
        where(is_order, F.transform(activated, lambda touch: _credit(touch, F.lit("activated")))),
        *[where(is_order & is_followed, sold(method)) for method in METHODS],
        where(is_order & ~is_followed, _unattributed(F.col("cents"))),
    )


def _credit(touch: Column, kind: Column, cents: Column | None = None) -> Column:
    order_id = F.lit(None) if cents is None else F.col("order_id")
    amount = F.lit(None) if cents is None else cents
    return F.struct(*[touch[name] for name in _GROUP], kind, amount, order_id).cast(_CREDIT)


def _unattributed(cents: Column) -> Column:
    """An order that followed no touch, once for each method."""
    place = [F.lit(UNATTRIBUTED), F.lit(ALL), F.lit(ALL)]
    return F.array(*[F.struct(*place, F.lit(m), cents, F.col("order_id")).cast(_CREDIT) for m in METHODS])


def _sent(touch: Column) -> Column:
    """The touch itself as a credit, with its cost and date."""
    group = [touch[name].alias(name) for name in _GROUP]
    return F.struct(*group, F.lit("targeted").alias("kind"), touch["cost"].alias("cost"), touch["date"].alias("date"))


def _stories(credits: DataFrame) -> DataFrame:
    """One row per customer (null: all guests) and group or total of a campaign: what became of them."""
    own = F.struct("channel", "content_type")
    total = F.struct(F.lit(ALL).alias("channel"), F.lit(ALL).alias("content_type"))
    places = F.when(F.col("campaign_id") == UNATTRIBUTED, F.array(total)).otherwise(F.array(own, total))
    kept = [name for name in credits.columns if name not in ("channel", "content_type")]
    # The least text of a group is found by sorting all credits, the least number is not. Two orders are one number
    # once in 10^19 pairs.
    hashed = credits.withColumn("order_hash", F.when(F.col("order_id").isNotNull(), F.xxhash64("order_id")))
    placed = hashed.select(*kept, "order_hash", F.inline(places)).drop("order_id")
    of_method = {
        f"{name}_{method}": function(F.when(F.col("kind") == method, F.col(column)))
        for method in METHODS
        for name, function, column in (
            ("cents", F.sum, "cents"),
            ("lowest", F.min, "order_hash"),
            ("highest", F.max, "order_hash"),
        )
    }
    return placed.groupBy("customer_id", *_GROUP).agg(
        F.min("date").alias("started_date"),
        F.sum("cost").alias("cost"),
        *[F.bool_or(F.col("kind") == name).alias(name) for name in _COUNTED],
        *[value.alias(name) for name, value in of_method.items()],
    )


def _summed(stories: DataFrame, as_of: date) -> DataFrame:
    """Stories by segment and in total, a row per method."""
    of_segment = F.explode(F.array(F.coalesce("segment", F.lit(NONE)), F.lit(ALL)))
    placed = stories.withColumn("segment", of_segment)
    is_known = F.col("customer_id").isNotNull()

    def per_method(method: str) -> list[Column]:
        lowest, highest = F.col(f"lowest_{method}"), F.col(f"highest_{method}")
        return [
            F.count_if(is_known & lowest.isNotNull()).alias(f"converted_{method}"),
            F.count_if(is_known & (lowest != highest)).alias(f"repurchased_{method}"),
            F.coalesce(F.sum(f"cents_{method}"), F.lit(0)).alias(f"cents_{method}"),
        ]

    summed = placed.groupBy("campaign_id", "segment", "channel", "content_type").agg(
        F.min("started_date").alias("started_date"),
        *[F.count_if(name).alias(name) for name in _COUNTED],
        F.coalesce(F.sum("cost"), F.lit(0)).cast(MONEY).alias("cost"),
        *[column for method in METHODS for column in per_method(method)],
    )
    methods = F.array(
        *[
            F.struct(
                F.lit(method).alias("attribution"),
                F.col(f"converted_{method}").alias("converted"),
                F.col(f"repurchased_{method}").alias("repurchased"),
                (F.col(f"cents_{method}").cast("decimal(18,0)") / 100).cast(MONEY).alias("revenue"),
            )
            for method in METHODS
        ]
    )
    rows = summed.select("*", F.inline(methods)).withColumn("run_date", F.lit(as_of))
    roi = F.try_divide(F.col("revenue") - F.col("cost"), F.col("cost")).cast(RATIO)
    return rows.withColumn("roi", roi).select(*gold.CAMPAIGN_RESULTS.column_names)


def _in_period(day: str, as_of: date, rules: CampaignRules) -> Column:
    return F.col(day).between(F.lit(as_of - timedelta(days=rules.look_back_days - 1)), F.lit(as_of))
