"""What is kept between nights to save work: never published, made again from silver.events whenever in doubt."""

from __future__ import annotations

from transforms.contracts import Column, Table

IDENTITY_COMBINATIONS = Table(
    layer="_state",
    name="identity_combinations",
    label="标识组合",
    grain="one combination of identifiers on events of one source and channel, as one night added it; rows add up",
    key=(),
    columns=(
        Column("identifiers", "map<string,string>", "标识", "Identifiers by type, as on the events", "token"),
        Column("blocked_identifiers", "map<string,string>", "被屏蔽标识", "Rule by type of those that are blocked"),
        Column("is_unbind", "boolean", "解绑", "Of unbind events, which are no evidence"),
        Column("unbound", "array<string>", "已解绑对", "Pairs that were unbound at or after these events", "token"),
        Column("source", "string", "来源", "Source of the events"),
        Column("channel", "string", "渠道", "Channel of the events"),
        Column("lead_identifier_type", "string", "主标识类型", "Type of the lead that static rules leave"),
        Column("lead_identifier", "string", "主标识", "The lead that static rules leave", "token"),
        Column("is_plain", "boolean", "全部可用", "Static rules leave every identifier its linking power"),
        Column("first_arrival_date", "date", "首次到达", "First arrival date"),
        Column("first_seen_at", "timestamp", "最早出现", "Earliest event time"),
        Column("last_seen_at", "timestamp", "最近出现", "Latest event time"),
        Column("last_seen_date", "date", "最近出现日", "Latest business date"),
        Column("event_count", "bigint", "事件数", "Events"),
    ),
    partition_by=("is_plain",),
)

_OF_A_CUSTOMER = (
    Column("identifiers", "bigint", "标识数", "Identifiers that a customer has"),
    Column("channels", "array<string>", "渠道", "Channels of the events that it leads, sorted"),
    Column("is_anchored", "boolean", "有锚点", "Has an identifier of an anchor type"),
)

IDENTITY_CUSTOMERS = Table(
    layer="_state",
    name="identity_customers",
    label="客户标识数与渠道",
    grain="one customer as one night found it; rows add up",
    key=(),
    columns=(
        Column("customer_id", "string", "客户编号", "The customer"),
        *_OF_A_CUSTOMER,
        Column("customer_count", "bigint", "客户数", "1 as it was found, -1 as it is no more"),
    ),
)

IDENTITY_SIZES = Table(
    layer="_state",
    name="identity_sizes",
    label="客户标识数分布",
    grain="customers of one number of identifiers, on the same channels, anchored or not",
    key=(),
    columns=(
        *_OF_A_CUSTOMER,
        Column("customer_count", "bigint", "客户数", "How many they are"),
    ),
)
