"""RFM: how recently, how often and for how much each customer bought, scored against everybody else's.

One code path serves all methods and scopes: a histogram of each dimension's values gives the cuts, the cuts give
every customer's scores. Equal values so get equal scores, and an empty bin stays empty instead of being renumbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO, gold
from transforms.expressions import SqlExpression, unknown_columns
from transforms.names import repeated
from transforms.quantiles import quantile_cuts

DIMENSIONS = {"recency": "recency_days", "frequency": "frequency", "monetary": "monetary"}
TIER_COLUMNS = ("r_score", "f_score", "m_score", "rfm_score", "recency_days", "frequency", "monetary")

_SCOPE_COLUMNS = {"region": "province", "store": "store_id", "category": "category", "channel": "channel"}
_GROUP = ("scope", "scope_value")
# A score above 9 would run into the next digit of rfm_score = 100 R + 10 F + M.
_MOST_BINS = 9


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cuts(_Model):
    """Cuts of method `fixed`: k - 1 ascending numbers each; a value equal to a cut stays below it."""

    recency: tuple[Decimal, ...]
    frequency: tuple[Decimal, ...]
    monetary: tuple[Decimal, ...]


class Tier(_Model):
    """One tier: customers for whom `when` holds and no earlier tier's did."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str
    when: SqlExpression

    @field_validator("when")
    @classmethod
    def _reads_scores_only(cls, value: str) -> str:
        problems = unknown_columns(value, TIER_COLUMNS)
        if problems:
            raise ValueError("; ".join(problems))
        return value


class RfmRules(_Model):
    """How customers are scored (section `rfm` of the settings).

    Attributes:
        window_days: purchases of the dates in (D - window_days, D] count, or all of them with `lifetime`.
        monetary: `net` takes returns off, also those that name no order; `gross` takes none off.
        zero_value_orders: whether an order that cost nothing is a purchase; the order builder reads it too.
        cuts: for method `fixed`. frozen_date: for method `frozen`, the run whose thresholds are used.
        tiers: first match wins; `otherwise` is the tier of scored customers whom no rule fits.
    """

    method: Literal["quantile", "fixed", "mean", "frozen"] = "quantile"
    bins: int = Field(default=5, ge=2, le=_MOST_BINS)
    window_days: int | Literal["lifetime"] = 365
    monetary: Literal["net", "gross"] = "net"
    zero_value_orders: Literal["exclude", "count"] = "exclude"
    cuts: Cuts | None = None
    frozen_date: date | None = None
    scopes: tuple[Literal["chain", "region", "store", "category", "channel"], ...] = Field(("chain",), min_length=1)
    tiers: tuple[Tier, ...] = ()
    otherwise: str = Field(default="others", pattern=r"^[a-z][a-z0-9_]*$")

    @field_validator("window_days")
    @classmethod
    def _possible_window(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{value} is not a window; allowed: whole days from 1, or lifetime")
        return value

    @model_validator(mode="after")
    def _method_has_its_input(self) -> RfmRules:
        problems = self._cut_problems() if self.method == "fixed" else []
        if self.method == "frozen" and self.frozen_date is None:
            problems.append("method frozen needs frozen_date, the run date whose thresholds are used")
        problems += [f"scope {name} is given twice" for name in repeated(self.scopes)]
        problems += [f"tier {name} is declared twice" for name in repeated([tier.name for tier in self.tiers])]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _cut_problems(self) -> list[str]:
        """What is wrong with the cuts of method `fixed`."""
        if self.cuts is None:
            return [f"method fixed needs cuts: {self.bins - 1} ascending numbers for each of {', '.join(DIMENSIONS)}"]
        problems = []
        for dimension in DIMENSIONS:
            values: tuple[Decimal, ...] = getattr(self.cuts, dimension)
            if len(values) != self.bins - 1 or list(values) != sorted(set(values)):
                given = ", ".join(map(str, values)) or "none"
                problems.append(f"cuts.{dimension}: expected {self.bins - 1} ascending numbers, found {given}")
        return problems


def score_rfm(
    lines: DataFrame,
    returns: DataFrame,
    customers: DataFrame,
    as_of: date,
    rules: RfmRules,
    frozen: DataFrame | None = None,
) -> tuple[DataFrame, DataFrame]:
    """Scores of every customer and the thresholds behind them, as of a date.

    Args:
        lines: silver.order_lines (returns that name their order netted up to `as_of`) with customer_id, not null.
        returns: returns that name no order: customer_id, event_date, returned_amount, channel, store_id, province,
            category; they count on their own date, in `monetary: net` only.
        customers: customer_id; scope chain has a row for each. Other scopes have one for each customer who ever
            bought there, and rows without that dimension (a line without a store) belong to none of its values.
        frozen: rows of gold.rfm_thresholds of `rules.frozen_date`. A scope value that run did not know has no
            thresholds, so its buyers' scores are null.

    Returns:
        Scores in the columns of gold.rfm_scores, one row per scope, scope value and customer; and thresholds in
        the columns of gold.rfm_thresholds, for every scope value with a scored customer.

    Raises:
        ValueError: method frozen without `frozen`, or with thresholds that are not from before `as_of`.
    """
    return score_measures(measure_rfm(lines, returns, customers, as_of, rules), as_of, rules, frozen)


def score_measures(
    measures: DataFrame, as_of: date, rules: RfmRules, frozen: DataFrame | None = None
) -> tuple[DataFrame, DataFrame]:
    """Scores and thresholds, as `score_rfm`, of what `measure_rfm` found; both read it, so work it out once."""
    histogram = _histogram(measures)
    thresholds = _thresholds(_cuts(histogram, as_of, rules, frozen), rules)
    scores = _scores(measures, _scales(thresholds), rules)
    dated = [frame.withColumn("run_date", F.lit(as_of)) for frame in (scores, thresholds)]
    return dated[0].select(*gold.RFM_SCORES.column_names), dated[1].select(*gold.RFM_THRESHOLDS.column_names)


def measure_rfm(lines: DataFrame, returns: DataFrame, customers: DataFrame, as_of: date, rules: RfmRules) -> DataFrame:
    """Recency, frequency and monetary per (scope, scope_value, customer_id) of the scope's population.

    Args: those of `score_rfm`. Purchases, returns and the population are rows of one kind, so that one aggregate makes
    all scopes at once.
    """
    dimensions = list(_SCOPE_COLUMNS.values())
    bought = lines.where(F.col("is_purchase")).select(
        "customer_id",
        F.col("order_date").alias("date"),
        "order_id",
        F.col(f"{rules.monetary}_amount").alias("amount"),
        *dimensions,
    )
    given_back = returns.where(F.lit(rules.monetary == "net")).select(
        "customer_id",
        F.col("event_date").alias("date"),
        F.lit(None).cast("string").alias("order_id"),
        (-F.col("returned_amount")).alias("amount"),
        *dimensions,
    )
    rows = bought.unionByName(given_back).where(F.col("date") <= F.lit(as_of))
    placed = _in_scopes(rows, rules.scopes)
    if "chain" in rules.scopes:
        placed = placed.unionByName(_population(customers), allowMissingColumns=True)
    in_window = F.lit(True)
    if rules.window_days != "lifetime":
        in_window = F.col("date") > F.lit(as_of - timedelta(days=int(rules.window_days)))
    last_purchase = F.max(F.when(in_window & F.col("order_id").isNotNull(), F.col("date")))
    measured = placed.groupBy(*_GROUP, "customer_id").agg(
        F.datediff(F.lit(as_of), last_purchase).alias("recency_days"),
        F.count_distinct(F.when(in_window, F.col("order_id"))).alias("frequency"),
        F.coalesce(F.sum(F.when(in_window, F.col("amount"))), F.lit(0)).cast(MONEY).alias("monetary"),
        F.bool_or("belongs").alias("belongs"),
    )
    return measured.where("belongs").drop("belongs")


def _in_scopes(rows: DataFrame, scopes: Sequence[str]) -> DataFrame:
    """Each row once per scope in which it has a value; a purchase makes its customer belong, except to the chain."""
    values = {"chain": F.lit("all"), **{scope: F.col(name) for scope, name in _SCOPE_COLUMNS.items()}}
    places = [F.struct(F.lit(s).alias("scope"), values[s].cast("string").alias("scope_value")) for s in scopes]
    belongs = F.col("order_id").isNotNull() & (F.col("place.scope") != "chain")
    placed = rows.withColumn("place", F.explode(F.array(*places))).where("place.scope_value is not null")
    return placed.select(
        "place.scope", "place.scope_value", "customer_id", "date", "order_id", "amount", belongs.alias("belongs")
    )


def _population(customers: DataFrame) -> DataFrame:
    return customers.select(
        F.lit("chain").alias("scope"), F.lit("all").alias("scope_value"), "customer_id", F.lit(True).alias("belongs")
    )


def _histogram(measures: DataFrame) -> DataFrame:
    """Scored customers per (scope, scope_value, dimension, value): small, whatever the number of customers."""
    values = [
        F.struct(F.lit(dimension).alias("dimension"), F.col(name).cast(RATIO).alias("value"))
        for dimension, name in DIMENSIONS.items()
    ]
    long = measures.where(F.col("frequency") > 0).select(*_GROUP, F.explode(F.array(*values)).alias("point"))
    return long.groupBy(*_GROUP, "point.dimension", "point.value").agg(F.count("*").alias("customers"))


def _cuts(histogram: DataFrame, as_of: date, rules: RfmRules, frozen: DataFrame | None) -> DataFrame:
    """The cuts by the rules' method: scope, scope_value, dimension, cut, value, customers_below, scored_customers."""
    if rules.method == "quantile":
        shares = [Fraction(cut, rules.bins) for cut in range(1, rules.bins)]
        cuts = quantile_cuts(histogram, [*_GROUP, "dimension"], shares)
        return cuts.withColumnRenamed("all_customers", "scored_customers")
    if rules.method == "mean":
        return _counted(_mean_cuts(histogram), histogram)
    if rules.method == "fixed":
        return _counted(_fixed_cuts(histogram, rules), histogram)
    if frozen is None:
        raise ValueError("method frozen needs the thresholds of its frozen_date")
    if rules.frozen_date is None or rules.frozen_date >= as_of:
        raise ValueError(f"frozen_date {rules.frozen_date} is not before {as_of}; thresholds may not know the future")
    named_run = frozen.where(F.col("run_date") == F.lit(rules.frozen_date))
    return _counted(named_run.select(*_GROUP, "dimension", "cut", "value"), histogram)


def _mean_cuts(histogram: DataFrame) -> DataFrame:
    """One cut at the mean, rounded down to 6 decimals: then a value (in cents) is above both or above neither."""
    summed = histogram.groupBy(*_GROUP, "dimension").agg(
        F.sum(F.col("value") * F.col("customers")).cast("decimal(38,6)").alias("sum"),
        F.sum("customers").cast("decimal(18,0)").alias("count"),
    )
    rounded = (F.col("sum") / F.col("count")).cast(RATIO)
    is_too_much = (rounded * F.col("count")).cast("decimal(38,6)") > F.col("sum")
    mean = F.when(is_too_much, rounded - F.lit(Decimal("0.000001"))).otherwise(rounded).cast(RATIO)
    return summed.select(*_GROUP, "dimension", F.lit(1).alias("cut"), mean.alias("value"))


def _fixed_cuts(histogram: DataFrame, rules: RfmRules) -> DataFrame:
    given = [
        F.struct(
            F.lit(dimension).alias("dimension"),
            F.lit(number).alias("cut"),
            F.lit(value).cast(RATIO).alias("value"),
        )
        for dimension in DIMENSIONS
        for number, value in enumerate(getattr(rules.cuts, dimension), start=1)
    ]
    return histogram.select(*_GROUP).distinct().select(*_GROUP, F.inline(F.array(*given)))


def _counted(cuts: DataFrame, histogram: DataFrame) -> DataFrame:
    """Cuts with the scored customers up to each and in all; cuts of a scope value without any are left out."""
    key = [*_GROUP, "dimension"]
    points = histogram.withColumnRenamed("value", "observed")
    below = F.when(F.col("observed") <= F.col("value"), F.col("customers")).otherwise(0)
    per_cut = cuts.join(points, key).groupBy(*key, "cut", "value")
    return per_cut.agg(F.sum(below).alias("customers_below"), F.sum("customers").alias("scored_customers"))


def _thresholds(cuts: DataFrame, rules: RfmRules) -> DataFrame:
    """Each cut with its method; a bin is degenerate when as many customers are below its end as below its start."""
    before = F.lag("customers_below", 1, 0).over(Window.partitionBy(*_GROUP, "dimension").orderBy("cut"))
    return cuts.select(
        "*", F.lit(rules.method).alias("method"), (F.col("customers_below") == before).alias("is_degenerate")
    )


def _scales(thresholds: DataFrame) -> DataFrame:
    """Per (scope, scope_value): ascending `<dimension>_cuts`, `<dimension>_score_sum` and `scored_customers`.

    The sum of a score over the n scored customers follows from the customers below each cut: each scores 1 and 1
    more for each cut that it passes, so the sum is n + Σ (n - below); reversed for recency it is n + Σ below.
    """
    aggregates = []
    for dimension in DIMENSIONS:
        is_mine = F.col("dimension") == dimension
        below, scored = F.col("customers_below"), F.col("scored_customers")
        extra = below if dimension == "recency" else scored - below
        cuts = F.sort_array(F.collect_list(F.when(is_mine, F.col("value"))))
        aggregates += [
            cuts.alias(f"{dimension}_cuts"),
            (F.max("scored_customers") + F.sum(F.when(is_mine, extra))).alias(f"{dimension}_score_sum"),
        ]
    return thresholds.groupBy(*_GROUP).agg(*aggregates, F.max("scored_customers").alias("scored_customers"))


def _scores(measures: DataFrame, scales: DataFrame, rules: RfmRules) -> DataFrame:
    """Scores, class and tier of every row of `measures`; 0 and null for those without a purchase."""
    is_scored = F.col("frequency") > 0
    scored = measures.join(F.broadcast(scales), list(_GROUP), "left").select(
        "*",
        *[F.when(is_scored, _score(d)).otherwise(0).cast("int").alias(f"{d[0]}_score") for d in DIMENSIONS],
    )
    total = F.col("r_score") * 100 + F.col("f_score") * 10 + F.col("m_score")
    with_total = scored.withColumn("rfm_score", total.cast("int"))
    has_score = F.col("rfm_score") > 0
    return with_total.select(
        "*",
        F.when(has_score, _rfm_class()).alias("rfm_class"),
        F.when(has_score, _rfm_tier(rules)).alias("rfm_tier"),
    )


def _score(dimension: str) -> Column:
    """1 + number of cuts below the value; for recency k + 1 less that, with k = number of cuts + 1."""
    cuts = F.col(f"{dimension}_cuts")
    value = F.col(DIMENSIONS[dimension]).cast(RATIO)
    passed = F.size(F.filter(cuts, lambda cut: cut < value))
    return F.size(cuts) + 1 - passed if dimension == "recency" else passed + 1


def _rfm_class() -> Column:
    """One of the eight classes: each score above, or not above, its mean among scored customers of the scope value."""
    is_high = {
        dimension: F.col(f"{dimension[0]}_score") * F.col("scored_customers") > F.col(f"{dimension}_score_sum")
        for dimension in DIMENSIONS
    }
    worth = F.when(is_high["monetary"], "重要").otherwise("一般")
    recent = F.when(is_high["frequency"], "价值").otherwise("发展")
    gone = F.when(is_high["frequency"], "保持").otherwise("挽留")
    return F.concat(worth, F.when(is_high["recency"], recent).otherwise(gone))


def _rfm_tier(rules: RfmRules) -> Column:
    last = F.lit(rules.otherwise)
    return reduce(lambda rest, tier: F.when(F.expr(tier.when), tier.name).otherwise(rest), reversed(rules.tiers), last)
