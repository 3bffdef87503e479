"""What one value of a tag stands on: the rows of silver.activity that count for it, and what each of them gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.tags.declarations import Tag, TagRules
from transforms.tags.measures import ATTRIBUTE_TYPES
from transforms.tags.streams import condition, reads_day_orders

Dates = tuple[date | None, date]
"""The first date (null: from the beginning) and the last one, both included."""

_SAID_AS = {"age_band": "birth_date", "is_minor": "birth_date", "city_tier": "city"}


def tags_behind(name: str, rules: TagRules) -> list[str]:
    """The tags that a tag reads, and those that they read, each before its readers; the tag itself is the last."""
    found: dict[str, None] = {}
    for other in rules.read_by(rules.tags[name]):
        found |= dict.fromkeys(tags_behind(other.name, rules))
    return [*found, name]


def measured_tag(tag: Tag, rules: TagRules) -> Tag | None:
    """Whose rows of activity a tag measures: its own, or of a trend those of the tag that it compares."""
    if tag.parsed.name == "trend":
        return rules.tags[tag.parsed.of_kind("tag")[0]]
    return tag if tag.reads_activity else None


def attribute_said(tag: Tag) -> str | None:
    """The customer attribute, as events carry it, of which a tag over silver.customers is made; null for the others."""
    if tag.parsed.name != "attribute":
        return None
    return _SAID_AS.get(tag.parsed.arguments[0], tag.parsed.arguments[0])


def attributes_read(tag: Tag, rules: TagRules) -> list[str]:
    """Columns of silver.customers that the predicates of a `case` read; a tag hides the column of its name."""
    return [name for name in ATTRIBUTE_TYPES if name in tag.columns_of_cases() and name not in rules.tags]


def rows_for(tags: Sequence[Tag], activity: DataFrame, as_of: date) -> DataFrame:
    """One customer's rows as known on D, with what each gives to each tag where it qualifies, whatever the window.

    Args:
        activity: silver.activity of one customer.

    Returns:
        Its columns, `date`, `day_order_count`, and for each tag `gives_<name>`, a text, null where the row does not
        qualify or adds 0 to a sum: partials of all kinds do.
    """
    is_seen = (F.col("event_date") <= F.lit(as_of)) & (F.col("counts_on_date") <= F.lit(as_of))
    of_day = Window.partitionBy("counts_on_date")
    rows = activity.where(is_seen & (F.col("arrival_date") <= F.lit(as_of))).withColumns(
        {"date": F.col("counts_on_date"), "day_order_count": F.sum("order_count").over(of_day)}
    )
    return rows.withColumns({f"gives_{tag.name}": F.when(F.expr(condition(tag)), _gives(tag)) for tag in tags})


def dates_of(tag: Tag, as_of: date, qualifying: Iterable[date]) -> dict[str, Dates]:
    """The dates that count, by what they are: `window`, or `recent` and `earlier` of a trend.

    Args:
        qualifying: dates of the rows that qualify; with keep_last the latest of them may pull the window back.
    """
    if tag.parsed.windows:
        recent, earlier = tag.parsed.windows
        edge = as_of - timedelta(recent)
        return {"recent": (edge + timedelta(1), as_of), "earlier": (edge - timedelta(earlier - 1), edge)}
    if not isinstance(tag.window, int):
        return {"window": (None, as_of)}
    last = max(qualifying, default=as_of)
    end = as_of
    if tag.null_policy == "keep_last":  # the latest date whose window was not empty
        end = min(as_of, last + timedelta(tag.window - 1))
    return {"window": (end - timedelta(tag.window - 1), end)}


def is_within(day: date, windows: Mapping[str, Dates]) -> bool:
    """Whether a date lies in one of the windows."""
    return any((first is None or first <= day) and day <= last for first, last in windows.values())


def reads_the_day(tag: Tag) -> bool:
    """Whether other rows of a day decide whether one of its rows counts for a tag."""
    return reads_day_orders([condition(tag), *tag.parsed.of_kind("column")])


def _gives(tag: Tag) -> Column:
    """What a row adds, in words."""
    columns = tag.parsed.of_kind("column")
    if tag.parsed.name == "count":
        return F.col("event_count").cast("string")
    if not columns:  # days_since and the intervals look at dates only
        return F.col("date").cast("string")
    value = F.expr(columns[0]).cast("string")
    if tag.parsed.name != "top":
        return value
    weight = F.coalesce(F.expr(columns[1]).cast("string"), F.lit("0"))
    return F.concat(value, F.lit(" "), weight)
