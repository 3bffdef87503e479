"""What each piece of feedback says, as columns beside the event."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.feedback.reading import Reader
from transforms.feedback.rules import FeedbackRules

_MENTION = "struct<topic: string, sentiment: int>"
MENTIONS = f"array<{_MENTION}>"
_OPINION = pa.struct(
    {
        "sentiment": pa.int32(),
        "topic": pa.string(),
        "mentions": pa.list_(pa.struct({"topic": pa.string(), "sentiment": pa.int32()})),
    }
)


def with_opinions(events: DataFrame, rules: FeedbackRules) -> DataFrame:
    """Events with what they say; the text itself goes no further than this.

    Args:
        events: rows with silver.events' event_type, text and rating.

    Returns:
        all rows, with `sentiment` (1 good, -1 bad, 0 neither), `topic` (what it is mostly about) and `mentions` (topic
        and sentiment, each topic once); all three null on events that are no feedback, `topic` also where none is
        mentioned. Feedback is an event of `event_types` with a text or a rating; only what has a text meets Python.
    """
    is_feedback, has_text = F.col("event_type").isin(*rules.event_types), F.col("text").isNotNull()
    read = events.where(is_feedback & has_text).withColumn("_told", _opinion(F.col("text"), F.col("rating"), rules))
    told = read.select(*events.columns, *[f"_told.{field.name}" for field in _OPINION])
    is_starred, stars = is_feedback & F.col("rating").isNotNull(), F.col("rating")
    verdict = F.when(stars >= rules.good_stars, 1).when(stars <= rules.poor_stars, -1).otherwise(0)
    wordless = {
        "sentiment": F.when(is_starred, verdict),
        "topic": F.lit(None).cast("string"),
        "mentions": F.when(is_starred, F.array().cast(MENTIONS)),
    }
    return told.unionByName(events.where(~(is_feedback & has_text)).withColumns(wordless))


def _opinion(text: Column, rating: Column, rules: FeedbackRules) -> Column:
    from pyspark.sql.functions import arrow_udf  # only workers and drivers with Arrow need it

    reader = Reader(rules)

    @arrow_udf(f"struct<sentiment: int, topic: string, mentions: {MENTIONS}>")
    def read(texts: pa.Array, ratings: pa.Array) -> pa.Array:
        told = (reader.opinion(text, stars) for text, stars in zip(texts.to_pylist(), ratings.to_pylist(), strict=True))
        return pa.array([{**vars(opinion), "mentions": _structs(opinion.mentions)} for opinion in told], _OPINION)

    return read(text, rating)


def _structs(mentions: tuple[tuple[str, int], ...]) -> list[dict[str, str | int]]:
    return [{"topic": topic, "sentiment": sentiment} for topic, sentiment in mentions]
