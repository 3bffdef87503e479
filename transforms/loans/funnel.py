"""The loan funnel: how many customers come from being reached to a loan, and where the others stop.

Two ways to count: by period, who was at each stage in the last days, whatever the order; by cohort, who came from stage
to stage. Both read the same rows, a customer's dates at each stage.
"""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO, gold
from transforms.loans.rules import LoanRules
from transforms.stages import StageRules

PERIOD, COHORT = "period", "cohort"
UNKNOWN = "unknown"  # store, channel or segment of who has none, so that a grain leaves nobody out

_PLACES = {"chain": "", "store": "store_id", "channel": "channel", "segment": "segment"}
_STEP = ("customer_id", "stage_number", "event_date", "store_id", "channel")


def stage_dates(activity: DataFrame, orders: DataFrame, as_of: date, stages: StageRules, rules: LoanRules) -> DataFrame:
    """When and where customers were at each stage, as far back as `rules` look.

    Args:
        activity: silver.activity as of `as_of`, with `customer_id`; guests are left out.
        orders: silver.orders as of that date, with `customer_id`: which orders still are purchases.

    Returns:
        (customer_id, stage_number, event_date, store_id, channel, event_hour, cents), key the first five; stages are
        numbered from 1 as declared, `event_hour` is the first, `cents` the money of events that are no orders. A row
        of activity may be of several stages. An order that was given back up to `as_of` brought nobody anywhere.
    """
    since = as_of - timedelta(days=max(rules.period_days, rules.cohort.look_back_days))
    seen = activity.where(
        F.col("customer_id").isNotNull() & (F.col("event_date") > F.lit(since)) & (F.col("event_date") <= F.lit(as_of))
    )
    matched = [F.when(F.expr(stage.when), F.lit(n)) for n, stage in enumerate(stages.stages.values(), start=1)]
    # Most rows are of no stage; `array_compact`, which is never compiled, would look at each of them.
    staged = seen.withColumn("_stages", F.array(*matched)).where(F.coalesce(*matched).isNotNull())
    kept = _without_returned(staged, orders)
    steps = kept.withColumn("stage_number", F.explode("_stages")).where("stage_number is not null")
    return steps.groupBy(*_STEP).agg(
        F.min("event_hour").alias("event_hour"),
        F.sum((F.col("other_amount") * 100).cast("bigint")).alias("cents"),
    )


def loan_funnel(steps: DataFrame, segments: DataFrame, as_of: date, stages: StageRules, rules: LoanRules) -> DataFrame:
    """Customers by stage in both modes, for chain, stores, channels and segments, in the columns of gold.loan_funnel.

    Args:
        steps: `stage_dates`.
        segments: (customer_id, segment), key customer_id: primary segments.

    Mode `period`: customers with the stage on one of the `period_days` dates up to `as_of`, whatever else they did.
    They count at every store and channel where they were at the stage, so stores may add up to more than the chain.

    Mode `cohort`: customers at stage 1 within the `look_back_days`; their first date there begins their way. They are
    at stage k if they are at stage k - 1 and have a date of stage k on or after that of stage k - 1 and at most
    `window_days` after the first; the earliest is taken, by which nobody stops earlier than they must. One date is in
    order. Stages beside the way are looked for from the date of the last stage on the way. Store and channel are
    those of the first date at stage 1 (the first hour; then by channel and store, none first), so they add up.

    Stores, channels and segments where nobody was at any stage have no row.
    """
    counted = _counted(_period(steps, as_of, rules).unionByName(_cohort(steps, as_of, stages, rules)), segments, stages)
    told = counted.select("mode", "grain", *_places_only(), F.inline(_stages(stages)))
    rated = told.withColumns(
        {
            "run_date": F.lit(as_of),
            "amount": (F.coalesce("cents", F.lit(0)).cast("decimal(18,0)") / 100).cast(MONEY),
            "rate": F.try_divide("customers", "previous").cast(RATIO),
            "rate_from_first": F.try_divide("customers", "first").cast(RATIO),
        }
    )
    return rated.select(*gold.LOAN_FUNNEL.column_names)


def _without_returned(staged: DataFrame, orders: DataFrame) -> DataFrame:
    """Rows of orders only where one that still is a purchase began: same customer, date, channel and store."""
    is_order = F.col("event_type") == "order"
    bought = orders.where(F.col("is_purchase") & F.col("customer_id").isNotNull())
    places = bought.select("customer_id", "order_date", "channel", "store_id").distinct().alias("bought")
    rows = staged.where(is_order).alias("row")
    is_same = (
        (F.col("row.customer_id") == F.col("bought.customer_id"))
        & (F.col("row.event_date") == F.col("bought.order_date"))
        & F.col("row.channel").eqNullSafe(F.col("bought.channel"))
        & F.col("row.store_id").eqNullSafe(F.col("bought.store_id"))
    )
    return rows.join(places, is_same, "left_semi").unionByName(staged.where(~is_order))


def _period(steps: DataFrame, as_of: date, rules: LoanRules) -> DataFrame:
    """(mode, customer_id, stage_number, store_id, channel, cents): who was where within the period."""
    within = steps.where(F.col("event_date") > F.lit(as_of - timedelta(days=rules.period_days)))
    return within.select(F.lit(PERIOD).alias("mode"), "customer_id", "stage_number", "store_id", "channel", "cents")


def _cohort(steps: DataFrame, as_of: date, stages: StageRules, rules: LoanRules) -> DataFrame:
    """The same columns, a row for each stage that a customer of the cohort came to, at the place of their first."""
    within = steps.where(F.col("event_date") > F.lit(as_of - timedelta(days=rules.cohort.look_back_days)))
    day = F.struct("event_date", "cents").cast("struct<date:date,cents:bigint>")
    place = F.struct("event_date", "event_hour", "channel", "store_id")
    customers = within.groupBy("customer_id").agg(
        F.min(F.when(F.col("stage_number") == 1, place)).alias("first"),
        *[
            F.collect_list(F.when(F.col("stage_number") == n, day)).alias(f"days_{n}")
            for n, _ in enumerate(stages.stages, start=1)
        ],
    )
    came = customers.where("first is not null").select("*", F.posexplode(_way(stages, rules)).alias("place", "cents"))
    return came.where("cents is not null").select(
        F.lit(COHORT).alias("mode"),
        "customer_id",
        (F.col("place") + 1).alias("stage_number"),
        "first.store_id",
        "first.channel",
        "cents",
    )


def _way(stages: StageRules, rules: LoanRules) -> Column:
    """array<bigint>: for each stage the money of the customer's dates that count there; null where they never came."""
    days = [F.col(f"days_{n}") for n, _ in enumerate(stages.stages, start=1)]
    on_way, beside = days[: len(stages.way)], days[len(stages.way) :]
    last = F.date_add("first.event_date", rules.cohort.window_days)

    def fitting(found: Column, since: Column) -> Column:
        return F.filter(found, lambda day: (day["date"] >= since) & (day["date"] <= last))

    def took(way: Column, found: Column) -> Column:
        fit = fitting(found, way["since"])
        since = F.array_min(F.transform(fit, lambda day: day["date"]))
        return F.struct(since.alias("since"), F.array_append(way["met"], _money(fit)).alias("met"))

    start = F.struct(F.col("first.event_date").alias("since"), F.array().cast("array<bigint>").alias("met"))
    way = F.aggregate(F.array(*on_way), start, took)
    if not beside:
        return way["met"]

    def finished(way: Column) -> Column:
        return F.concat(way["met"], F.array(*[_money(fitting(found, way["since"])) for found in beside]))

    return F.aggregate(F.array(*on_way), start, took, finished)


def _money(days: Column) -> Column:
    """Cents of all days together; null without a day."""
    total = F.aggregate(days, F.lit(0).cast("bigint"), lambda total, day: total + day["cents"])
    return F.when(F.size(days) > 0, total)


def _counted(came: DataFrame, segments: DataFrame, stages: StageRules) -> DataFrame:
    """A row for each mode and place, with the customers and cents of every stage."""
    placed = came.join(segments.select("customer_id", "segment"), "customer_id", "left")
    places = F.array(
        *[
            F.struct(
                F.lit(grain).alias("grain"),
                *[
                    (F.coalesce(name, F.lit(UNKNOWN)) if name == mine else F.lit(None).cast("string")).alias(name)
                    for name in _places_only()
                ],
            )
            for grain, mine in _PLACES.items()
        ]
    )
    key = ("mode", "grain", *_places_only())
    rows = placed.select("mode", "customer_id", "stage_number", "cents", F.inline(places))
    once = rows.groupBy(*key, "customer_id", "stage_number").agg(F.sum("cents").alias("cents"))
    at = [(n, F.col("stage_number") == n) for n, _ in enumerate(stages.stages, start=1)]
    return once.groupBy(*key).agg(
        *[F.count_if(is_at).alias(f"customers_{n}") for n, is_at in at],
        *[F.sum(F.when(is_at, F.col("cents"))).alias(f"cents_{n}") for n, is_at in at],
    )


def _stages(stages: StageRules) -> Column:
    """The stages of a counted row: what is beside the way is held against the last stage on it."""
    on_way = len(stages.way)
    return F.array(
        *[
            F.struct(
                F.lit(n).alias("stage_number"),
                F.lit(name).alias("stage"),
                F.lit(stage.label).alias("label"),
                F.lit(stage.beside).alias("is_beside"),
                F.col(f"customers_{n}").alias("customers"),
                F.col(f"cents_{n}").alias("cents"),
                F.col("customers_1").alias("first"),
                (F.col(f"customers_{min(n - 1, on_way)}") if n > 1 else F.lit(None).cast("bigint")).alias("previous"),
            )
            for n, (name, stage) in enumerate(stages.stages.items(), start=1)
        ]
    )


def _places_only() -> list[str]:
    return [name for name in _PLACES.values() if name]
