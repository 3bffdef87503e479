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
