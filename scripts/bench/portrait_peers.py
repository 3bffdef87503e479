"""The tags of `portrait.py` by other means: the same declarations as queries of DuckDB, Polars and plain Spark.

Written as somebody would who knows that the benchmark's events have no returns: `day_order_count > 0` is true of every
order, and an event is its own partial.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
from pyspark.sql import SparkSession

from transforms.tags import Tag, TagRules

_ROWS = """
    select lead_identifier, event_date as date, event_date as counts_on_date, event_type, channel, store_id, category,
      brand, product_id, coupon_id, campaign_id, cast(null as string) as topic, {hour} as event_hour, 1 as event_count,
      case when event_type = 'order' then 1 else 0 end as order_count, coalesce(quantity, 0) as quantity,
      {money} as gross_amount, {money} as net_amount, 0 as returned_amount, 0 as cost_amount, 0 as other_amount,
      coalesce(discount_amount, 0) as discount_amount, coalesce(dwell_seconds, 0) as dwell_seconds,
      coalesce(rating, 0) as rating_sum, case when rating is not null then 1 else 0 end as rating_count,
      case when event_type = 'review' and rating >= 4 then 1 else 0 end as positive_count,
      case when event_type = 'review' and rating <= 2 then 1 else 0 end as negative_count
    from {source} where event_date <= date '{today}'
"""
_MONEY = "case when event_type = 'order' then amount else 0 end"


def duckdb_tags(files: list[str], out: Path, as_of: date, rules: TagRules) -> int:
    """All tags by one aggregate, and one more for each `top` and interval."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    source = f"read_parquet({files}, hive_partitioning = true)"
    hour = "hour(event_at + interval 8 hour)"
    connection.execute(f"create view e as {_ROWS.format(source=source, hour=hour, money=_MONEY, today=as_of)}")
    connection.execute(f"copy ({_duckdb_query(as_of, rules)}) to '{out}' (format parquet)")
    return int(connection.execute(f"select count(*) from '{out}'").fetchall()[0][0])


def _duckdb_query(as_of: date, rules: TagRules) -> str:
    plain, joins = [], []
    for tag in rules.tags.values():
        if tag.parsed.name in ("top", "interval_max"):
            query = _duckdb_top(tag, as_of) if tag.parsed.name == "top" else _duckdb_gap(tag, as_of)
            joins.append(f"left join ({query}) as t_{tag.name} using (lead_identifier)")
        elif tag.parsed.name == "trend":
            base, (recent, earlier) = rules.tags[tag.parsed.arguments[0]], tag.parsed.windows
            edge = as_of - timedelta(recent)
            value = _value(base)
            rows, start = f"sum({value}) filter ({_condition(base)} and date > '", edge - timedelta(earlier)
            now, then = f"{rows}{edge}')", f"{rows}{start}' and date <= '{edge}')"
            plain.append(f"(coalesce({now}, 0) * {earlier}) / nullif({then} * {recent}, 0) - 1 as {tag.name}")
        elif tag.parsed.name != "ratio":
            plain.append(f"{_duckdb_measure(tag, as_of)} as {tag.name}")
    grouped = f"select lead_identifier, {', '.join(plain)} from e group by lead_identifier"
    named = "'C' || substr(sha256('member:' || lead_identifier), 1, 32) as customer_id"
    columns = [
        f"{tag.parsed.arguments[0]} / nullif({tag.parsed.arguments[1]}, 0) as {name}"
        if tag.parsed.name == "ratio"
        else f"t_{name}.value as {name}"
        if tag.parsed.name in ("top", "interval_max")
        else name
        for name, tag in rules.tags.items()
    ]
    return f"select {named}, {', '.join(columns)} from ({grouped}) g {' '.join(joins)}"


def _duckdb_measure(tag: Tag, as_of: date) -> str:
    inside = f"filter ({_qualifies(tag, as_of)})"
    value = _value(tag)
    match tag.parsed.name:
        case "count" | "sum":
            return f"coalesce(sum({value}) {inside}, 0)"
        case "count_distinct":
            return f"count(distinct {value}) {inside}"
        case "days_since":
            return f"date '{as_of}' - max(date) {inside}"
        case "first":
            return f"arg_min({value}, row(date, coalesce(event_hour, 24), {value})) {inside}"
        case "last":
            return f"arg_min({value}, row({_before('date')}, -event_hour, {value})) {inside}"
        case "interval_mean":
            return f"(max(date) {inside} - min(date) {inside}) / nullif(count(distinct date) {inside} - 1, 0)"
    return f"{tag.parsed.name}({value}) {inside}"  # avg, min, max


def _duckdb_top(tag: Tag, as_of: date) -> str:
    value, by = tag.parsed.arguments
    totals = (
        f"select lead_identifier, {value} as value, sum({by}) as total, max(date) as day from e "
        f"where {_qualifies(tag, as_of)} and {value} is not null group by all"
    )
    best = f"arg_min(value, row(-total, {_before('day')}, value))"
    return f"select lead_identifier, {best} as value from ({totals}) group by lead_identifier"


def _duckdb_gap(tag: Tag, as_of: date) -> str:
    days = f"select distinct lead_identifier, date from e where {_qualifies(tag, as_of)}"
    before = "lag(date) over (partition by lead_identifier order by date)"
    gaps = f"select lead_identifier, date - {before} as gap from ({days})"
    return f"select lead_identifier, max(gap) as value from ({gaps}) group by lead_identifier"


def _before(column: str) -> str:
    return f"(date '2100-01-01' - {column})"


def polars_tags(files: list[str], out: Path, as_of: date, rules: TagRules) -> int:
    """One group_by of all events, and one more of each `top`, joined by customer; streaming."""
    scanned = pl.concat([_polars_scan(files)])
    rows = pl.SQLContext(events=scanned).execute(
        _ROWS.format(source="events", hour="event_hour", money=_MONEY, today=as_of), eager=False
    )
    inside = {name: pl.sql_expr(_qualifies(tag, as_of)) for name, tag in rules.tags.items() if tag.reads_activity}
    plain: list[pl.Expr] = []
    for name, tag in rules.tags.items():
        if tag.parsed.name == "trend":
            plain += _polars_trend(tag, rules.tags[tag.parsed.arguments[0]], as_of)
        elif tag.reads_activity and tag.parsed.name != "top":
            plain.append(_polars_measure(tag, inside[name], as_of).alias(name))
    tags = rows.group_by("lead_identifier").agg(plain)
    for name, tag in rules.tags.items():
        if tag.parsed.name == "top":
            tags = tags.join(_polars_top(rows, tag, inside[name]), on="lead_identifier", how="left")
    ratios = [
        (
            pl.col(tag.parsed.arguments[0])
            / pl.when(pl.col(tag.parsed.arguments[1]) != 0).then(pl.col(tag.parsed.arguments[1]))
        ).alias(name)
        for name, tag in rules.tags.items()
        if tag.parsed.name == "ratio"
    ]
    tags.with_columns(ratios).select("lead_identifier", *rules.tags).sink_parquet(out)
    return int(pl.scan_parquet(out).select(pl.len()).collect().item())


def _polars_scan(files: list[str]) -> pl.LazyFrame:
    scanned = pl.scan_parquet(files, hive_partitioning=True, try_parse_hive_dates=True)
    hour = (pl.col("event_at").dt.offset_by("8h")).dt.hour().cast(pl.Int32)
    money = pl.col("amount").cast(pl.Float64)
    return scanned.with_columns(
        event_hour=hour, amount=money, discount_amount=pl.col("discount_amount").cast(pl.Float64)
    )


def _polars_measure(tag: Tag, inside: pl.Expr, as_of: date) -> pl.Expr:
    value = pl.sql_expr(_value(tag)).filter(inside)
    match tag.parsed.name:
        case "count" | "sum":
            return value.sum()
        case "count_distinct":
            return value.drop_nulls().n_unique()
        case "days_since":
            return (pl.lit(as_of) - pl.col("date").filter(inside).max()).dt.total_days()
        case "first" | "last":
            is_last = tag.parsed.name == "last"
            order = [pl.col(name).filter(inside) for name in ("date", "event_hour")]
            by = [*order, value]
            return value.sort_by(by, descending=[is_last, is_last, False]).first()
        case "interval_mean":
            days = pl.col("date").filter(inside)
            gaps = days.n_unique() - 1
            return (days.max() - days.min()).dt.total_days() / pl.when(gaps > 0).then(gaps)
        case "interval_max":
            return pl.col("date").filter(inside).unique().sort().diff().dt.total_days().max()
        case "avg":
            return value.mean()
        case "min":
            return value.min()
    return value.max()


def _polars_trend(tag: Tag, base: Tag, as_of: date) -> list[pl.Expr]:
    recent, earlier = tag.parsed.windows
    edge = as_of - timedelta(recent)
    holds, value, day = pl.sql_expr(_condition(base)), pl.sql_expr(_value(base)), pl.col("date")
    now = value.filter(holds & (day > edge)).sum() * earlier
    then = value.filter(holds & (day <= edge) & (day > edge - timedelta(earlier))).sum() * recent
    return [(now / pl.when(then != 0).then(then) - 1).alias(tag.name)]


def _polars_top(rows: pl.LazyFrame, tag: Tag, inside: pl.Expr) -> pl.LazyFrame:
    value, by = tag.parsed.arguments
    found = rows.filter(inside & pl.col(value).is_not_null()).group_by("lead_identifier", value)
    totals = found.agg(pl.col(by).sum().alias("total"), pl.col("date").max().alias("day"))
    order = [pl.col("total"), pl.col("day"), pl.col(value)]
    best = pl.col(value).sort_by(order, descending=[True, True, False]).first().alias(tag.name)
    return totals.group_by("lead_identifier").agg(best)


def naive_tags(spark: SparkSession, files: list[str], out: Path, as_of: date, rules: TagRules) -> int:
    """What one writes first: a query for each tag, joined to the customers one after another."""
    folder = files[0].rsplit("/event_date=", 1)[0]
    spark.read.option("basePath", folder).parquet(*files).createOrReplaceTempView("events")
    hour = "hour(from_utc_timestamp(event_at, 'Asia/Shanghai'))"
    spark.sql(_ROWS.format(source="events", hour=hour, money=_MONEY, today=as_of)).createOrReplaceTempView("e")
    frame = spark.sql("select distinct lead_identifier from e")
    for name, tag in rules.tags.items():
        if tag.reads_activity and tag.parsed.name in ("count", "sum", "avg", "min", "max", "count_distinct"):
            measure = "sum" if tag.parsed.name == "count" else tag.parsed.name
            call = f"count(distinct {_value(tag)})" if measure == "count_distinct" else f"{measure}({_value(tag)})"
            rows = f"from e where {_qualifies(tag, as_of)} group by lead_identifier"
            one = spark.sql(f"select lead_identifier, {call} as {name} {rows}")
            frame = frame.join(one, "lead_identifier", "left")
    frame.write.format("delta").mode("overwrite").save(str(out))
    return spark.read.format("delta").load(str(out)).count()


def _condition(tag: Tag) -> str:
    return f"({tag.where})".replace("day_order_count > 0", "event_type = 'order'") if tag.where else "(1 = 1)"


def _qualifies(tag: Tag, as_of: date) -> str:
    window = f" and date > date '{as_of - timedelta(tag.window)}'" if isinstance(tag.window, int) else ""
    return f"{_condition(tag)}{window}"


def _value(tag: Tag) -> str:
    columns = tag.parsed.of_kind("column")
    return columns[0] if columns else "event_count"
