"""Segments: who is in them, and what they are worth."""

from __future__ import annotations

from transforms.contracts import MONEY, RATIO, Column, Table
from transforms.contracts.gold.placing import CUSTOMER_ID, CUSTOMER_SLICE_DAYS, RUN_DATE

SEGMENT_MEMBERS = Table(
    layer="gold",
    name="segment_members",
    label="客群成员",
    grain="one customer in one segment of a run date",
    key=("run_date", "segment", "customer_id"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    sorted_by=("segment", "customer_id"),
    columns=(
        RUN_DATE,
        Column("segment", "string", "客群", "Segment code of conf/segments.yaml"),
        CUSTOMER_ID,
        Column("kind", "string", "种类", "primary (exactly one) or secondary"),
        Column("reasons", "array<string>", "原因", "Rule that matched and the values it looked at"),
    ),
)

SEGMENT_SUMMARY = Table(
    layer="gold",
    name="segment_summary",
    label="客群概览",
    grain="one segment of a run date",
    key=("run_date", "segment"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("segment", "string", "客群", "Segment code"),
        Column("label", "string", "中文名", "中文 label"),
        Column("kind", "string", "种类", "primary or secondary"),
        Column("customers", "bigint", "人数", "Customers in it"),
        Column("share", RATIO, "人数占比", "Of all customers of the run date"),
        Column("net_amount", MONEY, "净额", "Lifetime net amount of its customers"),
        Column("amount_share", RATIO, "金额占比", "Of the net amount of all customers"),
        Column("average_order_value", MONEY, "客单价", "Net amount per purchase, lifetime"),
    ),
)

SEGMENT_HISTORY = Table(
    layer="gold",
    name="segment_history",
    label="客群进出历史",
    grain="one stay of a customer in a segment",
    key=("segment", "customer_id", "entered_date"),
    partition_by=("exit_month_date",),
    sorted_by=("segment", "customer_id"),
    columns=(
        Column("segment", "string", "客群", "Segment code"),
        CUSTOMER_ID,
        Column("kind", "string", "种类", "primary or secondary"),
        Column("entered_date", "date", "进入日期", "First published date of the stay"),
        Column("exited_date", "date", "离开日期", "First published date without the customer; null while in it"),
        Column("entry_reason", "string", "进入原因", "Rule that matched on entry and the values it looked at"),
        Column("days_in_segment", "int", "停留天数", "Days as a member; of open stays up to the newest date, included"),
        Column("exit_month_date", "date", "离开月份", "First day of the month of the exit; null while in it"),
    ),
)

SEGMENT_FLOWS = Table(
    layer="gold",
    name="segment_flows",
    label="客群流转",
    grain="one move between primary segments over a period, of a run date",
    key=("run_date", "period", "from_segment", "to_segment"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("period", "string", "周期", "day, week or month: held against 1 day, 7 days or a month before"),
        Column("from_segment", "string", "原客群", "Primary segment then; none for who was no customer"),
        Column("to_segment", "string", "现客群", "Primary segment on the run date; none for who is no customer now"),
        Column("customers", "bigint", "人数", "Customers who went this way, or stayed"),
    ),
)

SEGMENT_OVERLAPS = Table(
    layer="gold",
    name="segment_overlaps",
    label="客群重叠",
    grain="one pair of segments of a run date that share a customer",
    key=("run_date", "segment_a", "segment_b"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("segment_a", "string", "客群甲", "The first by name"),
        Column("segment_b", "string", "客群乙", "The second by name"),
        Column("customers", "bigint", "人数", "Customers in both"),
        Column("jaccard", RATIO, "重合度", "Customers in both over customers in either"),
    ),
)

PARETO = Table(
    layer="gold",
    name="pareto",
    label="帕累托",
    grain="one whole percent of a run date",
    key=("run_date", "top_percent"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("top_percent", "int", "前百分之几", "The best x % of buyers: floor(x n / 100) of n"),
        Column("amount_share", RATIO, "金额占比", "Share of the lifetime net amount, by falling amount"),
        Column("profit_share", RATIO, "利润占比", "Share of the profit, by falling profit; null without profit"),
        Column("gini", RATIO, "基尼系数", "Of the net amount of buyers; the same in all rows of a date"),
        Column("profit_gini", RATIO, "利润基尼系数", "Of their profit; null without profit"),
    ),
)

VALUE_ACTIVITY_MATRIX = Table(
    layer="gold",
    name="value_activity_matrix",
    label="价值活跃矩阵",
    grain="one value tier and activity tier of a run date",
    key=("run_date", "value_tier", "activity_tier"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("value_tier", "string", "价值层级", "Tier of conf/value.yaml; none without a value"),
        Column("activity_tier", "string", "活跃层级", "Tier of conf/segments.yaml; none for who never did anything"),
        Column("customers", "bigint", "人数", "Customers, staff included: all cells sum to silver.customers"),
    ),
)
