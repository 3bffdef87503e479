"""Silver: one row per real-world thing (event, identifier, customer, order), deduplicated."""

from __future__ import annotations

from collections.abc import Mapping

from transforms.contracts import MONEY, QUANTITY, Column, Table

_LEAD = (
    Column("lead_identifier_type", "string", "主标识类型", "Type of the strongest usable identifier; null for guests"),
    Column("lead_identifier", "string", "主标识", "Value or token of the strongest usable identifier", "token"),
)

EVENTS = Table(
    layer="silver",
    name="events",
    label="全渠道事件",
    grain="one real-world event of any channel",
    key=("event_id",),
    partition_by=("event_date",),
    columns=(
        Column("event_id", "string", "事件编号", "Hash of source, record and event key; same id, same event"),
        Column("source", "string", "来源", "Source file name in conf/sources"),
        Column("channel", "string", "渠道", "Sales or contact channel"),
        Column("event_type", "string", "事件类型", "What happened: order, return, view, loan_apply …"),
        Column("event_at", "timestamp", "事件时间", "When it happened, UTC"),
        Column("event_date", "date", "事件日期", "Business date of event_at in the settings' timezone"),
        Column("arrival_date", "date", "到达日期", "When it became known"),
        Column("identifiers", "map<string,string>", "标识", "Identifier type to normalised value or token", "token"),
        Column("blocked_identifiers", "map<string,string>", "屏蔽标识", "Identifier type to the static rule it broke"),
        *_LEAD,
        Column("order_id", "string", "订单编号", "Chain-wide order id, <order_source>:<id>"),
        Column("line_id", "string", "订单行", "Line of the order, as the source numbers it"),
        Column("product_id", "string", "商品编号", "Product or SKU"),
        Column("category", "string", "品类", "Product category"),
        Column("brand", "string", "品牌", "Product brand"),
        Column("store_id", "string", "门店", "Store"),
        Column("city", "string", "城市", "City where it happened"),
        Column("province", "string", "省份", "Province where it happened"),
        Column("quantity", QUANTITY, "数量", "Pieces, positive also on returns"),
        Column("amount", MONEY, "金额", "Money paid for the line after discounts; on returns the money given back"),
        Column("discount_amount", MONEY, "折扣", "Discount already taken off amount"),
        Column("cost_amount", MONEY, "成本", "Cost of the goods of this line"),
        Column("coupon_id", "string", "优惠券", "Coupon claimed or used"),
        Column("campaign_id", "string", "活动", "Campaign that the event belongs to"),
        Column("experiment_id", "string", "实验", "Experiment that the event belongs to"),
        Column("variant", "string", "实验分组", "Variant shown"),
        Column("content_type", "string", "内容类型", "Type of content touched"),
        Column("page", "string", "页面", "Page visited"),
        Column("zone", "string", "区域", "Zone of the page or shelf"),
        Column("dwell_seconds", "bigint", "停留秒数", "Seconds spent"),
        Column("referrer", "string", "来源页", "Where the visit came from"),
        Column("rating", "int", "评分", "Rating, 1 to 5"),
        Column("text", "string", "文本", "Words of a review, question or post", "text"),
        Column("is_gift", "boolean", "赠品", "Whether the line was given away"),
        Column("attributes", "map<string,string>", "客户属性", "Customer attributes the event carries", "attribute"),
        Column("props", "map<string,string>", "其他属性", "Whatever else the source maps"),
        Column("_source_file", "string", "来源文件", "File that the event was read from"),
        Column("_row_number", "bigint", "行号", "Line of that file"),
    ),
)

REJECTED_RECORDS = Table(
    layer="silver",
    name="rejected_records",
    label="拒收记录",
    grain="one received record that was refused by one step",
    key=("source_file", "row_number", "step"),
    retention_days=180,
    columns=(
        Column("source", "string", "来源", "Source name"),
        Column("source_file", "string", "来源文件", "File below the landing folder"),
        Column("row_number", "bigint", "行号", "Line or row of the file; null when the whole file is unreadable"),
        Column("arrival_date", "date", "到达日期", "Arrival date of the record; null when unknown"),
        Column("reasons", "array<string>", "原因", "All reasons, in the order of the checks"),
        Column("record", "string", "原文", "The original text; encrypted outside --env local", "text"),
        Column("step", "string", "步骤", "ingest-events (unreadable) or clean-events (refused by a check)"),
    ),
)

IDENTITY_LINKS = Table(
    layer="silver",
    name="identity_links",
    label="标识关联",
    grain="one pair of identifiers seen together on an event, or of profile records that are probably one person",
    key=("type_a", "value_a", "type_b", "value_b"),
    columns=(
        Column("type_a", "string", "类型甲", "Type of the stronger identifier, the event's lead"),
        Column("value_a", "string", "值甲", "Value or token of the stronger identifier", "token"),
        Column("type_b", "string", "类型乙", "Type of the other identifier"),
        Column("value_b", "string", "值乙", "Value or token of the other identifier", "token"),
        Column("first_arrival_date", "date", "首次到达", "First arrival date of the evidence"),
        Column("last_seen_at", "timestamp", "最近出现", "Latest event time of the evidence"),
        Column("event_count", "bigint", "事件数", "Events that carry both"),
        Column("sources", "array<string>", "来源", "Sources of the evidence, by name; must_link and splink among them"),
        Column("probability", "double", "匹配概率", "That two records alike are one person; null for what was seen"),
    ),
)

IDENTITIES = Table(
    layer="silver",
    name="identities",
    label="标识归属",
    grain="one identifier value",
    key=("identifier_type", "identifier"),
    columns=(
        Column("identifier_type", "string", "标识类型", "Type, as conf/identity.yaml names it"),
        Column("identifier", "string", "标识", "Normalised value or token", "token"),
        Column("customer_id", "string", "客户编号", "Owner; null for blocked and shared identifiers"),
        Column("status", "string", "状态", "linked, alone, ambiguous or blocked"),
        Column("first_arrival_date", "date", "首次到达", "First arrival date"),
        Column("last_seen_date", "date", "最近出现", "Latest business date seen"),
    ),
)

IDENTITY_BAD_VALUES = Table(
    layer="silver",
    name="identity_bad_values",
    label="坏标识值",
    grain="one identifier value that may not link",
    key=("identifier_type", "identifier", "rule"),
    columns=(
        Column("identifier_type", "string", "标识类型", "Type"),
        Column("identifier", "string", "标识", "Normalised value or token", "token"),
        Column("rule", "string", "规则", "Rule that blocks it"),
        Column("holder_count", "bigint", "持有者数", "Distinct other identifiers seen with it"),
        Column("event_count", "bigint", "事件数", "Events that carry it"),
    ),
)

IDENTITY_REFUSALS = Table(
    layer="silver",
    name="identity_refusals",
    label="未采纳的关联",
    grain="one pair of identifiers seen together of which nothing follows",
    key=("type_a", "value_a", "type_b", "value_b"),
    columns=(
        Column("type_a", "string", "类型甲", "Type of the event's lead"),
        Column("value_a", "string", "值甲", "Value or token of the event's lead", "token"),
        Column("type_b", "string", "类型乙", "Type of the other identifier"),
        Column("value_b", "string", "值乙", "Value or token of the other identifier", "token"),
        Column(
            "reason",
            "string",
            "原因",
            "blocked_value, over_limit, unique_conflict, ambiguous, cannot_link or super_cluster",
        ),
        Column("rule", "string", "规则", "The static or automatic rule that blocks the value, where it is blocked"),
        Column("last_seen_at", "timestamp", "最近出现", "Latest event time of the evidence"),
        Column("event_count", "bigint", "事件数", "Events that carry both"),
    ),
)

IDENTITY_CHANGES = Table(
    layer="silver",
    name="identity_changes",
    label="归属变更",
    grain="one identifier whose owner changed in a run",
    key=("run_date", "identifier_type", "identifier"),
    partition_by=("run_date",),
    columns=(
        Column("run_date", "date", "运行日期", "Run date"),
        Column("identifier_type", "string", "标识类型", "Type"),
        Column("identifier", "string", "标识", "Normalised value or token", "token"),
        Column("change", "string", "变更", "created, joined, merged, split, moved or retired"),
        Column("customer_id", "string", "客户编号", "Owner from this run on; null once retired"),
        Column("previous_customer_id", "string", "原客户编号", "Owner before; null for a new identifier"),
        Column("cause_type", "string", "起因", "link, must_link, or why evidence stopped to count"),
        Column("cause_identifier", "string", "起因标识", "type:value at the other end of that evidence", "token"),
    ),
)

IDENTITY_HISTORY = Table(
    layer="silver",
    name="identity_history",
    label="归属历史",
    grain="one identifier and the days on which it had one owner",
    key=("identifier_type", "identifier", "valid_from"),
    columns=(
        Column("identifier_type", "string", "标识类型", "Type"),
        Column("identifier", "string", "标识", "Normalised value or token", "token"),
        Column("customer_id", "string", "客户编号", "Owner"),
        Column("valid_from", "date", "起", "First run date on which it had this owner"),
        Column("valid_to", "date", "止", "First run date on which it had it no more; null while it has"),
    ),
)

CUSTOMERS = Table(
    layer="silver",
    name="customers",
    label="客户主档",
    grain="one customer",
    key=("customer_id",),
    columns=(
        Column("customer_id", "string", "客户编号", "Stable over full recomputes"),
        Column("gender", "string", "性别", "female, male or as the source says", "attribute"),
        Column("birth_date", "date", "生日", "Date of birth", "attribute"),
        Column("age_band", "string", "年龄段", "Age band on the run date", "attribute"),
        Column("city", "string", "城市", "City of residence", "attribute"),
        Column("province", "string", "省份", "Province of residence", "attribute"),
        Column("city_tier", "string", "城市等级", "Tier of the city by configuration"),
        Column("member_level", "string", "会员等级", "Latest member level"),
        Column("source_channel", "string", "来源渠道", "Channel of the first event"),
        Column("registered_at", "timestamp", "注册时间", "First registration"),
        Column("first_order_date", "date", "首单日期", "Date of the first purchase that still counts"),
        Column("referred_by", "string", "推荐人", "Identifier of the referring customer", "token"),
        Column("consent_marketing", "boolean", "营销同意", "Latest answer; null when never asked"),
        Column("consent_personalised", "boolean", "个性化同意", "Latest answer; null when never asked"),
        Column("consent_finance", "boolean", "金融同意", "Latest answer; null when never asked"),
        Column("is_staff", "boolean", "员工", "Whether the customer is staff"),
        Column("is_minor", "boolean", "未成年", "Whether under 18 on the run date; null without a birth date"),
    ),
)

_ORDER_LINE_MONEY = (
    Column("quantity", QUANTITY, "数量", "Pieces bought"),
    Column("gross_amount", MONEY, "实付金额", "Paid after discounts, before returns"),
    Column("discount_amount", MONEY, "折扣", "Discounts already taken off gross_amount"),
    Column("returned_amount", MONEY, "退货金额", "Given back up to the run date by returns that name the order"),
    Column("net_amount", MONEY, "净额", "gross_amount less returned_amount"),
    Column("cost_amount", MONEY, "成本", "Cost of the goods"),
)

ORDER_LINES = Table(
    layer="silver",
    name="order_lines",
    label="订单行",
    grain="one line of an order, returns netted up to the run date",
    key=("event_id",),
    clustered_by="order_date",
    columns=(
        Column("event_id", "string", "事件编号", "The order event of this line"),
        Column("order_id", "string", "订单编号", "Chain-wide order id"),
        Column("line_id", "string", "订单行", "Line, as the source numbers it"),
        *_LEAD,
        Column("order_date", "date", "下单日期", "Date of the order's first line"),
        Column("channel", "string", "渠道", "Channel of the line"),
        Column("store_id", "string", "门店", "Store of the line"),
        Column("city", "string", "城市", "City of the line"),
        Column("province", "string", "省份", "Province of the line"),
        Column("product_id", "string", "商品编号", "Product"),
        Column("category", "string", "品类", "Category"),
        Column("brand", "string", "品牌", "Brand"),
        *_ORDER_LINE_MONEY,
        Column("returned_quantity", QUANTITY, "退货数量", "Pieces given back up to the run date"),
        Column("coupon_id", "string", "优惠券", "Coupon used"),
        Column("campaign_id", "string", "活动", "Campaign"),
        Column("is_purchase", "boolean", "有效购买", "Whether the whole order still counts as a purchase"),
        Column("known_at_date", "date", "获知日期", "Latest arrival among the line and its returns"),
    ),
)

ORDERS = Table(
    layer="silver",
    name="orders",
    label="订单",
    grain="one order, returns netted up to the run date",
    key=("order_id",),
    clustered_by="order_date",
    columns=(
        Column("order_id", "string", "订单编号", "Chain-wide: <order_source>:<id>"),
        *_LEAD,
        Column("order_date", "date", "下单日期", "Date of the first line"),
        Column("channel", "string", "渠道", "Channel of the first line"),
        Column("store_id", "string", "门店", "Store of the first line"),
        Column("city", "string", "城市", "City of the first line"),
        Column("province", "string", "省份", "Province of the first line"),
        Column("item_count", "bigint", "行数", "Lines of the order"),
        *_ORDER_LINE_MONEY,
        Column("coupon_id", "string", "优惠券", "Coupon used, the first by name"),
        Column("campaign_id", "string", "活动", "Campaign, the first by name"),
        Column("is_fully_returned", "boolean", "全部退货", "Whether everything was given back"),
        Column("is_purchase", "boolean", "有效购买", "Whether it counts in recency, frequency and average order value"),
        Column("known_at_date", "date", "获知日期", "Latest arrival among its lines and returns"),
    ),
)

ACTIVITY = Table(
    layer="silver",
    name="activity",
    label="行为日汇总",
    grain="one lead identifier, date, arrival and combination of dimensions; rows add up",
    key=(
        "lead_identifier_type",
        "lead_identifier",
        "event_date",
        "arrival_date",
        "counts_on_date",
        "event_type",
        "channel",
        "store_id",
        "category",
        "brand",
        "product_id",
        "event_hour",
        "campaign_id",
        "coupon_id",
        "topic",
        "is_matched",
    ),
    clustered_by="event_date",
    columns=(
        *_LEAD,
        Column("event_date", "date", "事件日期", "Date on which it happened; a run on D sees dates up to D"),
        Column("arrival_date", "date", "到达日期", "Date on which it became known"),
        Column("counts_on_date", "date", "归属日期", "Date that windows use: a return counts on its order's date"),
        Column("event_type", "string", "事件类型", "What happened"),
        Column("channel", "string", "渠道", "Channel"),
        Column("store_id", "string", "门店", "Store"),
        Column("category", "string", "品类", "Category"),
        Column("brand", "string", "品牌", "Brand"),
        Column("product_id", "string", "商品编号", "Product"),
        Column("event_hour", "int", "小时", "Hour of the day in the settings' timezone"),
        Column("campaign_id", "string", "活动", "Campaign"),
        Column("coupon_id", "string", "优惠券", "Coupon"),
        Column("topic", "string", "话题", "What a review or consult is mostly about; null where nothing was said"),
        Column("is_matched", "boolean", "已关联订单", "Whether a return names an order that is known; null on others"),
        Column("event_count", "bigint", "事件数", "Events"),
        Column(
            "order_count", "bigint", "订单数", "Purchases: +1 on an order's first line, -1 on the return that ends it"
        ),
        Column("quantity", QUANTITY, "数量", "Pieces, returns negative"),
        Column("gross_amount", MONEY, "实付金额", "Paid for order lines"),
        Column("discount_amount", MONEY, "折扣", "Discounts on order lines"),
        Column("returned_amount", MONEY, "退货金额", "Given back"),
        Column("net_amount", MONEY, "净额", "gross_amount less returned_amount"),
        Column("cost_amount", MONEY, "成本", "Cost of order lines less cost of what came back"),
        Column(
            "other_amount", MONEY, "其他金额", "Money of events that are neither orders nor returns (deposit, loan)"
        ),
        Column("dwell_seconds", "bigint", "停留秒数", "Seconds spent"),
        Column("rating_sum", "bigint", "评分和", "Sum of ratings"),
        Column("rating_count", "bigint", "评分数", "Number of ratings"),
        Column("positive_count", "bigint", "好评数", "Reviews and consults that speak well, by stars or words"),
        Column("negative_count", "bigint", "差评数", "Reviews and consults that speak badly, by stars or words"),
    ),
)


def timelines_table(values: Mapping[str, str]) -> Table:
    """The contract of `silver.timelines`: an array for each of `values`, column to comment, besides the fixed ones.

    The arrays of a row have an element for each partial of the customer, in one order; a text is its place in `words`.
    """
    return Table(
        layer="silver",
        name="timelines",
        label="客户时间线",
        grain="one customer who did anything, with the daily partials that feed tags as arrays of one length",
        key=("customer_id",),
        evolves=True,
        columns=(
            Column("customer_id", "string", "客户编号", "Customer, stable over full recomputes"),
            Column(
                "words", "array<string>", "词表", "The customer's own texts, ascending; other arrays name places in it"
            ),
            Column("day", "array<int>", "日期", "counts_on_date of each partial, in days since 1970-01-01, ascending"),
            *[Column(name, "array<bigint>", "取值", comment) for name, comment in values.items()],
        ),
    )


# Who is who: one run of resolve-identities leaves all of them.
OF_IDENTITY = (
    IDENTITY_LINKS,
    IDENTITIES,
    IDENTITY_BAD_VALUES,
    IDENTITY_REFUSALS,
    IDENTITY_CHANGES,
    IDENTITY_HISTORY,
)

TABLES = (
    EVENTS,
    REJECTED_RECORDS,
    *OF_IDENTITY,
    CUSTOMERS,
    ORDER_LINES,
    ORDERS,
    ACTIVITY,
)
