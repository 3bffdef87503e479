"""Segments: exactly one primary segment per customer, and any number of secondary ones, each with its reasons.

A rule is a SQL predicate over the customer's portrait: tags, chain-wide RFM, values, golden record and `as_of`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.contracts import MONEY, RATIO, gold
from transforms.expressions import SqlExpression, columns_in_order, unknown_columns
from transforms.names import repeated

CATCH_ALL = "other"
READ_TAGS = {  # what the tables beside the members read of portraits
    "gold.segment_summary": ("net_amount_lifetime", "order_count_lifetime"),
    "gold.pareto": ("net_amount_lifetime",),
    "gold.value_activity_matrix": ("last_active_date",),
}
_MOST_SEGMENTS = 63  # the bits of a number, as which overlaps count them

_MEMBERSHIP = "struct<segment:string,kind:string,reasons:array<string>>"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Segment(_Model):
    """One segment: customers for whom `when` holds; a predicate that is null does not hold."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    description: str
    when: SqlExpression

    @property
    def columns(self) -> list[str]:
        """Columns that the rule reads, in the order in which it names them."""
        return columns_in_order(self.when)


class SegmentRules(_Model):
    """All segments (section `segments` of the settings).

    Attributes:
        primary: in order, the first that fits is the customer's; the last is `other` and takes everybody.
        secondary: any number may fit.
    """

    primary: tuple[Segment, ...] = Field(min_length=1)
    secondary: tuple[Segment, ...] = ()

    @model_validator(mode="after")
    def _one_for_everybody(self) -> SegmentRules:
        last = self.primary[-1]
        problems = []
        if last.code != CATCH_ALL or last.when.strip().lower() != "true":
            problems.append(f"the last primary segment must be {CATCH_ALL!r} with when: 'true'; found {last.code!r}")
        codes = [segment.code for segment in self.all]
        problems += [f"segment {code} is declared twice" for code in repeated(codes)]
        if len(codes) > _MOST_SEGMENTS:
            problems.append(f"{len(codes)} segments are declared; at most {_MOST_SEGMENTS} can be told apart")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def all(self) -> tuple[Segment, ...]:
        """Primary segments, then secondary ones."""
        return (*self.primary, *self.secondary)

    def kind(self, segment: Segment) -> str:
        """`primary` or `secondary`."""
        return "primary" if segment in self.primary else "secondary"


def check_columns(rules: SegmentRules, known: Iterable[str]) -> list[str]:
    """A sentence for each column that a rule reads and portraits do not have, naming the nearest ones."""
    names = list(known)
    found = [(segment.code, problem) for segment in rules.all for problem in unknown_columns(segment.when, names)]
    return [f"segment {code}: {problem}" for code, problem in found]


def build_segments(portraits: DataFrame, as_of: date, rules: SegmentRules) -> DataFrame:
    """Every customer's memberships, in the columns of gold.segment_members; key (run_date, segment, customer_id).

    Args:
        portraits: one row per customer with customer_id and every column that the rules read, as of `as_of`.

    `reasons` is the rule's text, then `column=value` for each column it reads (`null` for a missing value). One pass,
    without shuffle: primary segments are one chain of `when`, secondary ones an array, exploded together.
    """
    dated = portraits.withColumn("as_of", F.lit(as_of))
    secondary = [F.when(F.expr(segment.when), _membership(segment, "secondary")) for segment in rules.secondary]
    memberships = F.array(_primary(rules), *secondary)
    members = dated.select("customer_id", F.explode(memberships).alias("member")).where("member is not null")
    placed = members.select(F.lit(as_of).alias("run_date"), "customer_id", "member.*")
    return placed.select(*gold.SEGMENT_MEMBERS.column_names)


def summarise_segments(members: DataFrame, portraits: DataFrame, as_of: date, rules: SegmentRules) -> DataFrame:
    """One row per declared segment, also the empty ones, in the columns of gold.segment_summary.

    Args:
        members: gold.segment_members of `as_of`.
        portraits: customer_id, net_amount_lifetime, order_count_lifetime for every customer.

    A share is null when there is nothing to share; the average order value when there was no purchase.
    """
    worth = portraits.select(
        "customer_id",
        F.coalesce("net_amount_lifetime", F.lit(0)).cast(MONEY).alias("net_amount"),
        F.coalesce("order_count_lifetime", F.lit(0)).cast("bigint").alias("orders"),
    )
    sums = [F.count("*").alias("customers"), *[F.sum(name).alias(name) for name in ("net_amount", "orders")]]
    of_segment = members.select("customer_id", "segment").join(worth, "customer_id").groupBy("segment").agg(*sums)
    everybody = worth.agg(F.count("*").alias("all_customers"), F.sum("net_amount").alias("all_net_amount"))
    declared = everybody.withColumn("declared", F.explode(F.array(*_declared(rules)))).select("*", "declared.*")
    joined = declared.join(of_segment, "segment", "left")
    customers = F.coalesce("customers", F.lit(0).cast("bigint"))
    net_amount = F.coalesce("net_amount", F.lit(0).cast(MONEY))
    return joined.select(
        F.lit(as_of).alias("run_date"),
        "segment",
        "label",
        "kind",
        customers.alias("customers"),
        _share(customers, F.col("all_customers")).cast(RATIO).alias("share"),
        net_amount.cast(MONEY).alias("net_amount"),
        _share(net_amount, F.col("all_net_amount")).cast(RATIO).alias("amount_share"),
        _share(net_amount, F.when(F.col("orders") > 0, F.col("orders"))).cast(MONEY).alias("average_order_value"),
    )


def with_values(columns: Iterable[str]) -> list[Column]:
    """`column=value` for each column, `null` for a missing value."""
    return [F.concat(F.lit(f"{name}="), F.coalesce(F.col(name).cast("string"), F.lit("null"))) for name in columns]


def _primary(rules: SegmentRules) -> Column:
    """The first primary segment that fits; the last one fits everybody, so the result is never null."""
    *ordered, last = rules.primary
    chain = _membership(last, "primary")
    for segment in reversed(ordered):
        chain = F.when(F.expr(segment.when), _membership(segment, "primary")).otherwise(chain)
    return chain


def _membership(segment: Segment, kind: str) -> Column:
    reasons = F.array(F.lit(segment.when), *with_values(segment.columns))
    member = F.struct(F.lit(segment.code).alias("segment"), F.lit(kind).alias("kind"), reasons.alias("reasons"))
    return member.cast(_MEMBERSHIP)


def _declared(rules: SegmentRules) -> list[Column]:
    return [
        F.struct(
            F.lit(segment.code).alias("segment"),
            F.lit(segment.label).alias("label"),
            F.lit(rules.kind(segment)).alias("kind"),
        )
        for segment in rules.all
    ]


def _share(part: Column, whole: Column) -> Column:
    """`part` of `whole`; null where the whole is zero."""
    return part.cast("decimal(24,2)") / F.nullif(whole, F.lit(0)).cast("decimal(24,2)")
