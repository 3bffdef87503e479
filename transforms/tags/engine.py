"""Tag declarations compiled into one plan: one shuffle of activity by customer, one aggregate, one projection.

A measure that adds up is a conditional aggregate. A measure that needs a customer's rows side by side (`top`,
intervals, `keep_last`) collects its few qualifying rows into an array, from which the projection takes the value:
so activity is read and shuffled once however many tags there are, and small nights do not pay for a join per
dimension. Sums are decimals or integers, and arrays are read in an order of their values, never of arrival.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import MONEY, QUANTITY, RATIO, silver
from transforms.expressions import columns_in
from transforms.tags.declarations import Tag, TagRules
from transforms.tags.measures import ATTRIBUTE_TYPES, NEVER_NULL, expression_type

_COLLECTED = ("top", "interval_mean", "interval_max")
_DISTINCT = ("count_distinct", "interval_mean", "interval_max")
_OPERAND = "decimal(20,6)"  # a quotient of two keeps 18 decimals, so that rounding it to 6 is rounding once
_TOTALS = {MONEY: "decimal(28,2)", QUANTITY: "decimal(28,3)", RATIO: "decimal(28,6)"}
_ADDITIVE = frozenset(silver.ACTIVITY.column_names) - frozenset(silver.ACTIVITY.key)


def compute_tags(activity: DataFrame, customers: DataFrame, as_of: date, rules: TagRules) -> DataFrame:
    """Every tag of every customer as of D.

    Args:
        activity: silver.activity with a non-null `customer_id`; its rows add up, whichever identifier led them.
        customers: silver.customers, key customer_id: the population.
        as_of: D. Rows of event_date > D are not seen; a window of w days is the counts_on_date in (D − w, D].

    Returns:
        customer_id and one column per tag in declared order; key customer_id, one row per row of `customers`.
    """
    per_customer = _measured(_rows_seen(activity, as_of, rules), as_of, rules)
    population = customers.join(per_customer, "customer_id", "left")
    tagged = population.select("customer_id", *_first_columns(as_of, rules))
    for level in rules.in_order_of_use():
        tagged = tagged.withColumns({tag.name: _derived(tag) for tag in level if _reads_tags(tag)})
    return tagged.select("customer_id", *rules.tags)


def _rows_seen(activity: DataFrame, as_of: date, rules: TagRules) -> DataFrame:
    """Activity as known on D, all rows of a customer in one partition, with `date` and `day_order_count`.

    The one shuffle: whatever groups by customer_id and more finds its rows already together. The window is left
    out where no tag asks for it, because it sorts all rows.
    """
    is_seen = (F.col("event_date") <= F.lit(as_of)) & (F.col("counts_on_date") <= F.lit(as_of))
    rows = activity.where(is_seen).withColumn("date", F.col("counts_on_date")).repartition("customer_id")
    if not any("day_order_count" in _columns_read(tag) for tag in rules.tags.values()):
        return rows
    day = Window.partitionBy("customer_id", "counts_on_date")
    return rows.withColumn("day_order_count", F.sum("order_count").over(day))


def _measured(rows: DataFrame, as_of: date, rules: TagRules) -> DataFrame:
    """Per customer: `_tag_<name>` for each tag over activity, `_recent_<name>` and `_earlier_<name>` for trends."""
    aggregates = [_aggregate(t, as_of).alias(f"_tag_{t.name}") for t in rules.tags.values() if t.reads_activity]
    for tag in rules.tags.values():
        if tag.parsed.name == "trend":
            aggregates += _trend_sums(tag, rules.tags[tag.parsed.arguments[0]], as_of)
    if not aggregates:
        return rows.select("customer_id").distinct()
    return rows.groupBy("customer_id").agg(*aggregates)


def _aggregate(tag: Tag, as_of: date) -> Column:
    """What one tag keeps of a customer's rows: its value so far, or for some measures the qualifying rows."""
    qualifies = _qualifies(tag)
    if isinstance(tag.window, int) and tag.null_policy == "clear":
        qualifies = qualifies & _between(as_of - timedelta(tag.window), as_of)
    if _is_collected(tag):
        collect = F.collect_set if tag.parsed.name in _DISTINCT else F.collect_list
        rows, last = collect(F.when(qualifies, _row(tag))), F.max(F.when(qualifies, F.col("date")))
        return F.struct(rows.alias("rows"), last.alias("last")) if _is_kept(tag) else rows
    value = F.when(qualifies, _value(tag))
    match tag.parsed.name:
        case "avg":
            return _quotient(F.sum(value), F.sum(F.when(qualifies, _weight(tag))))
        case "min":
            return F.min(value)
        case "max":
            return F.max(value)
        case "count_distinct":
            return F.size(F.collect_set(value))
        case "first":
            return F.min(F.when(qualifies, _earliest_first(F.col("date"), F.col("event_hour"), _value(tag))))["value"]
        case "last":
            return F.min(F.when(qualifies, _latest_first(F.col("date"), F.col("event_hour"), _value(tag))))["value"]
        case "days_since":
            return F.max(F.when(qualifies, F.col("date")))
    return F.sum(value)  # count and sum


def _trend_sums(tag: Tag, base: Tag, as_of: date) -> list[Column]:
    """What `base` adds up to in the recent window of a trend and in the window before it."""
    recent, earlier = tag.parsed.windows
    edge = as_of - timedelta(recent)
    windows = {"recent": _between(edge, as_of), "earlier": _between(edge - timedelta(earlier), edge)}
    return [
        F.sum(F.when(_qualifies(base) & is_inside, _value(base))).alias(f"_{part}_{tag.name}")
        for part, is_inside in windows.items()
    ]


def _is_collected(tag: Tag) -> bool:
    """Whether a tag needs its rows side by side."""
    return _is_kept(tag) or tag.parsed.name in _COLLECTED


def _is_kept(tag: Tag) -> bool:
    """Whether the rows to measure are known only after the last qualifying date is; days_since needs that alone."""
    return tag.null_policy == "keep_last" and tag.window != "lifetime" and tag.parsed.name != "days_since"


def _qualifies(tag: Tag) -> Column:
    """Whether a row counts for `tag` at any date: its `where` holds and the measured column is known."""
    holds = F.expr(tag.where) if tag.where else F.lit(True)
    columns = tag.parsed.of_kind("column")
    return holds & F.expr(columns[0]).isNotNull() if columns else holds


def _between(after: date, until: date) -> Column:
    """Dates in (after, until]: a window of w days up to D is `_between(D − w, D)`."""
    return (F.col("date") > F.lit(after)) & (F.col("date") <= F.lit(until))


def _value(tag: Tag) -> Column:
    """What a row gives to `tag`: its events where they are counted, else the measured column."""
    columns = tag.parsed.of_kind("column")
    if not columns:
        return F.col("event_count")
    value = F.expr(columns[0]).cast(expression_type(columns[0]))
    is_of_each_event = tag.parsed.name == "avg" and not columns_in(columns[0]) & _ADDITIVE
    return value * F.col("event_count") if is_of_each_event else value


def _weight(tag: Tag) -> Column:
    """How much a row counts: the second column of `top`; in a mean its events, because rows are partial sums."""
    if tag.parsed.name == "top":
        by = tag.parsed.arguments[1]
        return F.coalesce(F.expr(by), F.lit(0)).cast(_total_type(expression_type(by)))
    return F.col("event_count")


def _row(tag: Tag) -> Column:
    """A qualifying row as a struct of what the measure looks at, in the order in which `top` sorts it."""
    fields = {
        "value": [] if tag.parsed.name.startswith("interval") else [_value(tag).alias("value")],
        "hour": [F.col("event_hour").alias("hour")] if tag.parsed.name in ("first", "last") else [],
        "weight": [_weight(tag).alias("weight")] if tag.parsed.name in ("top", "avg") else [],
    }
    return F.struct(*fields["value"], F.col("date"), *fields["hour"], *fields["weight"])


def _first_columns(as_of: date, rules: TagRules) -> list[Column]:
    """Everything that reads no tag: measured tags, attributes, and what trends and cases look at.

    A tag hides the customer attribute of its name, so that a `case` over `gender` reads the tag.
    """
    tags = list(rules.tags.values())
    read = {name for tag in tags for name in tag.columns_of_cases()}
    hidden = {*rules.tags, "customer_id"}
    trends = [tag.name for tag in tags if tag.parsed.name == "trend"]
    return [
        *([F.lit(as_of).alias("as_of")] if "as_of" in read else []),
        *[F.col(name) for name in ATTRIBUTE_TYPES if name in read and name not in hidden],
        *[F.col(f"_{part}_{name}") for name in trends for part in ("recent", "earlier")],
        *[F.col(tag.parsed.arguments[0]).alias(tag.name) for tag in tags if tag.parsed.name == "attribute"],
        *[_finished(tag, as_of, rules.types[tag.name]).alias(tag.name) for tag in tags if tag.reads_activity],
    ]


def _finished(tag: Tag, as_of: date, kind: str) -> Column:
    """The value of a measured tag; of no rows, sums and counts are 0 and all else is null."""
    measured = F.col(f"_tag_{tag.name}")
    if _is_collected(tag):
        measured = _of_rows(tag, _in_window(tag, measured, as_of))
    if tag.parsed.name == "days_since":
        measured = F.datediff(F.lit(as_of), measured)
        if isinstance(tag.window, int):  # keep_last: as of the last day on which the window still held that date
            measured = F.when(measured >= tag.window, F.lit(tag.window - 1)).otherwise(measured)
    value = measured.cast(kind)
    return F.coalesce(value, F.lit(0).cast(kind)) if tag.parsed.name in NEVER_NULL else value


def _in_window(tag: Tag, collected: Column, as_of: date) -> Column:
    """The collected rows of the window at D, or with keep_last at the latest date whose window was not empty.

    With L the last qualifying date, that date is D where L > D − w, else L + w − 1, whose window holds L alone.
    Either way the window begins after the lesser of D − w and L − 1.
    """
    if not _is_kept(tag) or not isinstance(tag.window, int):
        return collected
    begins_after = F.least(F.lit(as_of - timedelta(tag.window)), F.date_sub(collected["last"], 1))
    return F.filter(collected["rows"], lambda row: row["date"] > begins_after)


def _of_rows(tag: Tag, rows: Column) -> Column:
    """The measure over an array of a customer's rows: what `_aggregate` does over the rows themselves."""
    values = F.transform(rows, lambda row: row["value"])
    dates = F.sort_array(F.transform(rows, lambda row: row["date"]))
    match tag.parsed.name:
        case "avg":
            weights = _total(F.transform(rows, lambda row: row["weight"]), "bigint")
            return _quotient(_total(values, _value_total_type(tag)), weights)
        case "min":
            return F.array_min(values)
        case "max":
            return F.array_max(values)
        case "count_distinct":
            return F.array_size(F.array_distinct(values))
        case "top":
            return _top(rows, _value_type(tag), _total_type(expression_type(tag.parsed.arguments[1])))
        case "first":
            return F.array_min(F.transform(rows, lambda r: _earliest_first(r["date"], r["hour"], r["value"])))["value"]
        case "last":
            return F.array_min(F.transform(rows, lambda r: _latest_first(r["date"], r["hour"], r["value"])))["value"]
        case "interval_mean":
            return _quotient(F.datediff(F.array_max(dates), F.array_min(dates)), F.array_size(dates) - 1)
        case "interval_max":
            next_dates = F.slice(dates, 2, F.array_size(dates))  # one shorter: the last date has no next one
            return F.array_max(F.zip_with(dates, next_dates, lambda day, later: F.datediff(later, day)))
    return _total(values, _value_total_type(tag))  # count and sum


def _top(rows: Column, value_type: str, total_type: str) -> Column:
    """The value with the greatest total weight; of equal ones the one seen later, then the smaller.

    One fold over the rows sorted by value and date: `best` is the least (−total, −date, value) of the values that
    are done, the rest is the running total of the value at hand, whose last date is that of its last row.
    """
    rank = f"struct<total:{total_type},day:int,value:{value_type}>"
    state = f"struct<best:{rank},value:{value_type},total:{total_type},day:int>"

    def best_of(so_far: Column) -> Column:
        at_hand = F.struct((-so_far["total"]).alias("total"), (-so_far["day"]).alias("day"), so_far["value"])
        return F.least(so_far["best"], F.when(so_far["value"].isNotNull(), at_hand))

    def add(so_far: Column, row: Column) -> Column:
        is_same = F.coalesce(so_far["value"] == row["value"], F.lit(False))
        return F.struct(
            F.when(is_same, so_far["best"]).otherwise(best_of(so_far)).alias("best"),
            row["value"].alias("value"),
            (F.when(is_same, so_far["total"]).otherwise(F.lit(0)) + row["weight"]).cast(total_type).alias("total"),
            F.unix_date(row["date"]).alias("day"),
        )

    nothing = F.struct(*[F.lit(None).alias(name) for name in ("best", "value", "total", "day")]).cast(state)
    return F.aggregate(F.sort_array(rows), nothing, add, lambda so_far: best_of(so_far)["value"])


def _earliest_first(day: Column, hour: Column, value: Column) -> Column:
    """A struct whose least is the first row: date, hour (an unknown one loses), smaller value."""
    return F.struct(F.unix_date(day).alias("day"), F.coalesce(hour, F.lit(24)).alias("hour"), value.alias("value"))


def _latest_first(day: Column, hour: Column, value: Column) -> Column:
    """A struct whose least is the last row: date, hour (an unknown one loses), smaller value."""
    return F.struct((-F.unix_date(day)).alias("day"), F.coalesce(-hour, F.lit(1)).alias("hour"), value.alias("value"))


def _total(values: Column, kind: str) -> Column:
    return F.aggregate(values, F.lit(0).cast(kind), lambda total, value: (total + value).cast(kind))


def _derived(tag: Tag) -> Column:
    """A tag over other tags: ratio, trend or case."""
    if tag.parsed.name == "case":
        tiers = [(F.expr(case.when), F.lit(case.then)) for case in tag.cases]
        chosen = reduce(lambda so_far, tier: so_far.when(*tier), tiers[1:], F.when(*tiers[0]))
        return chosen.otherwise(F.lit(tag.otherwise).cast("string"))
    if tag.parsed.name == "ratio":
        numerator, denominator = (F.col(name) for name in tag.parsed.arguments[:2])
        return _quotient(numerator, denominator).cast(RATIO)
    recent, earlier = tag.parsed.windows  # (r / recent) ÷ (e / earlier) − 1, without rounding in between
    recent_sum = F.coalesce(F.col(f"_recent_{tag.name}"), F.lit(0)) * F.lit(earlier)
    earlier_sum = F.col(f"_earlier_{tag.name}") * F.lit(recent)
    return (_quotient(recent_sum, earlier_sum) - 1).cast(RATIO)


def _reads_tags(tag: Tag) -> bool:
    return tag.parsed.name in ("ratio", "trend", "case")


def _quotient(numerator: Column, denominator: Column) -> Column:
    """Null where the denominator is 0 or unknown."""
    return numerator.cast(_OPERAND) / F.nullif(denominator.cast(_OPERAND), F.lit(0))


def _columns_read(tag: Tag) -> set[str]:
    """Columns of activity, in lower case, that the expressions of a tag read."""
    expressions = [*tag.parsed.of_kind("column"), *([tag.where] if tag.where else [])]
    return {name.lower() for expression in expressions for name in columns_in(expression)}


def _value_type(tag: Tag) -> str:
    columns = tag.parsed.of_kind("column")
    return expression_type(columns[0]) if columns else "bigint"


def _value_total_type(tag: Tag) -> str:
    return _total_type(_value_type(tag))


def _total_type(kind: str) -> str:
    """A type wide enough for sums of `kind`."""
    return _TOTALS.get(kind, "bigint")
