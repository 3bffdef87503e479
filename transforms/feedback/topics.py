"""What is said of each product: by topic, how often, how well, and whether that is news."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import RATIO, gold
from transforms.feedback.opinions import MENTIONS, with_opinions
from transforms.feedback.rules import ALL, Alarm, FeedbackRules


def feedback_topics(events: DataFrame, as_of: date, rules: FeedbackRules) -> DataFrame:
    """Mentions by product and topic, in the columns of gold.feedback_topics; no text.

    Args:
        events: silver.events as known on `as_of`; guests speak too.

    The window is (as_of - window_days, as_of], the baseline the `baseline_days` before it. One piece of feedback
    mentions a topic once, the topic `all` always, and counts for its product and for the chain (`product_id` `all`).

    Expected of a product are its mentions in the baseline, times what all other products' mentions of the topic
    became: what moves the chain (a season, a feed that is new or late) moves no product. Of the chain, its mentions in
    the baseline by the day. `z` compares two Poisson counts by square roots, after Huffman, An improved approximate
    two-sample Poisson test, Applied Statistics 33 (1984): 2 (√(x + 3/8) − √(d (y + 3/8))) / √(1 + d), of x mentions
    in the window, y in the baseline, and d times as many expected. Of `negative_z` x and y are the negative ones.
    """
    counted = _counted(_mentions(events, as_of, rules), as_of, rules)
    topic = Window.partitionBy("topic")
    is_chain = F.col("product_id") == ALL

    def of_others(name: str) -> Column:
        return F.sum(F.when(~is_chain, F.col(name))).over(topic) - F.col(name)

    by_days = F.lit(rules.window_days / rules.baseline_days)
    others = of_others("mentions") / F.nullif(of_others("previous_mentions"), F.lit(0))
    growing = counted.withColumn("_growth", F.when(is_chain, by_days).otherwise(others))
    spoken_of = growing.where("mentions > 0")
    judged = spoken_of.withColumns(
        {
            "run_date": F.lit(as_of),
            "label": F.element_at(_labels(rules), F.col("topic")),
            "positive_share": _share("positive_mentions", "negative_mentions"),
            "previous_positive_share": _share("previous_positive_mentions", "previous_negative_mentions"),
            "expected_mentions": _ratio(F.col("previous_mentions") * F.col("_growth")),
            "z": _z("mentions", "previous_mentions"),
            "negative_z": _z("negative_mentions", "previous_negative_mentions"),
        }
    )
    is_good = F.coalesce(F.col("positive_share") >= rules.breakout.least_positive_share, F.lit(False))
    marked = judged.withColumns(
        {
            "is_breakout": ~is_chain & is_good & _stands_out(rules.breakout, "mentions", "z"),
            "is_complained_of": _stands_out(rules.complaint, "negative_mentions", "negative_z"),
        }
    )
    return marked.select(*gold.FEEDBACK_TOPICS.column_names)


def _mentions(events: DataFrame, as_of: date, rules: FeedbackRules) -> DataFrame:
    """(product_id, category, event_date, topic, sentiment): one row for each event, product or chain, and topic."""
    days = rules.window_days + rules.baseline_days
    is_seen = F.col("event_date").between(F.lit(as_of - timedelta(days=days - 1)), F.lit(as_of))
    seen = events.where(is_seen).select("event_type", "event_date", "product_id", "category", "text", "rating")
    said = with_opinions(seen, rules).where("sentiment is not null")
    whole = F.array(F.struct(F.lit(ALL).alias("topic"), "sentiment")).cast(MENTIONS)
    products = F.array_compact(F.array("product_id", F.lit(ALL)))
    by_product = said.withColumn("mention", F.explode(F.concat(whole, "mentions"))).withColumn(
        "spoken_of", F.explode(products)
    )
    category = F.when(F.col("spoken_of") != ALL, F.col("category"))
    return by_product.select(
        F.col("spoken_of").alias("product_id"), category.alias("category"), "event_date", "mention.*"
    )


def _counted(mentions: DataFrame, as_of: date, rules: FeedbackRules) -> DataFrame:
    """Mentions of the window and of the baseline before it; key (product_id, topic)."""
    is_now = F.col("event_date") > F.lit(as_of - timedelta(days=rules.window_days))
    kinds = {
        "mentions": F.lit(True),
        "positive_mentions": F.col("sentiment") > 0,
        "negative_mentions": F.col("sentiment") < 0,
    }
    counts = [F.count_if(is_now & holds).alias(name) for name, holds in kinds.items()]
    before = [F.count_if(~is_now & holds).alias(f"previous_{name}") for name, holds in kinds.items()]
    category = F.mode("category", True).alias("category")  # of equals the smallest
    return mentions.groupBy("product_id", "topic").agg(category, *counts, *before)


def _stands_out(alarm: Alarm, counted: str, z: str) -> Column:
    """Many, many times as many as expected, and beyond chance; not where nothing can be expected."""
    expected = F.col(f"previous_{counted}") * F.col("_growth")
    enough = F.col(counted) >= alarm.least_mentions
    holds = enough & (F.col(counted) >= alarm.least_ratio * expected) & (F.col(z) >= alarm.least_z)
    return F.coalesce(holds, F.lit(False))


def _z(now: str, before: str) -> Column:
    growth = F.col("_growth")
    apart = F.sqrt(F.col(now) + 0.375) - F.sqrt(growth * (F.col(before) + 0.375))
    return _ratio(2 * apart / F.sqrt(1 + growth))


def _share(positive: str, negative: str) -> Column:
    """Of the opinions, not of the mentions: most questions are neither good nor bad."""
    return _ratio(F.col(positive) / F.nullif(F.col(positive) + F.col(negative), F.lit(0)))


def _ratio(value: Column) -> Column:
    return F.round(value, 6).cast(RATIO)


def _labels(rules: FeedbackRules) -> Column:
    named = {ALL: "全部"} | {name: topic.label for name, topic in rules.topics.items()}
    return F.create_map(*[F.lit(text) for pair in named.items() for text in pair])
