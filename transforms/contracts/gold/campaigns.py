"""From behaviour to judgement: what campaigns brought, and where customers stop on their way."""

from __future__ import annotations

from transforms.contracts import MONEY, RATIO, Column, Table
from transforms.contracts.gold.placing import CUSTOMER_SLICE_DAYS, RUN_DATE

CAMPAIGN_RESULTS = Table(
    layer="gold",
    name="campaign_results",
    label="营销活动结果",
    grain="one campaign, segment, contact channel, content type and attribution of a run date",
    key=("run_date", "campaign_id", "segment", "channel", "content_type", "attribution"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        Column("campaign_id", "string", "活动", "Campaign; unattributed for orders that followed no touch"),
        Column("segment", "string", "客群", "Primary segment of the run date; none for guests; all for the total"),
        Column("channel", "string", "触达渠道", "Contact channel of the touch; all, with content_type, for the total"),
        Column("content_type", "string", "内容类型", "Content of the touch; all, with channel, for the total"),
        Column("attribution", "string", "归因方式", "last, first, linear or position: whose an order is"),
        Column("started_date", "date", "开始日期", "Date of the first touch; null where unattributed"),
        Column("targeted", "bigint", "目标人数", "Customers touched"),
        Column("reached", "bigint", "送达人数", "Of them, customers to whom a touch was delivered"),
        Column("opened", "bigint", "打开人数", "Of them, customers who opened one"),
        Column("clicked", "bigint", "点击人数", "Of them, customers who clicked in one"),
        Column("unsubscribed", "bigint", "退订人数", "Of them, customers who unsubscribed"),
        Column("coupons_claimed", "bigint", "领券人数", "Of them, customers who claimed a coupon"),
        Column("coupons_redeemed", "bigint", "核销人数", "Of them, customers who redeemed a coupon"),
        Column("woken_up", "bigint", "唤醒人数", "Asleep when touched, and opened, visited or bought soon after"),
        Column("activated", "bigint", "激活人数", "Had never bought when touched, and bought within the window"),
        Column("converted", "bigint", "转化人数", "Customers with a purchase attributed here, in whole or in part"),
        Column("repurchased", "bigint", "复购人数", "Customers with two or more such purchases"),
        Column("cost", MONEY, "成本", "What the touches cost"),
        Column("revenue", MONEY, "收入", "Net amount attributed"),
        Column("roi", RATIO, "投资回报率", "Revenue less cost, over cost; null where nothing was spent"),
    ),
)

_RATES = {
    "reach_rate": ("送达率", "Reached, of targeted"),
    "open_rate": ("打开率", "Opened, of targeted"),
    "click_rate": ("点击率", "Clicked, of opened"),
    "redemption_rate": ("核销率", "Redeemed a coupon, of targeted"),
    "unsubscribe_rate": ("退订率", "Unsubscribed, of targeted"),
    "conversion_rate": ("转化率", "Converted, of targeted, by last touch"),
    "bought_rate": ("购买率", "Bought within the window after a touch, of targeted, whatever else touched them"),
    "revenue_per_target": ("人均收入", "Revenue by last touch, of targeted"),
}

CAMPAIGN_REVIEWS = Table(
    layer="gold",
    name="campaign_reviews",
    label="营销活动复盘",
    grain="one campaign of a run date",
    key=("run_date", "campaign_id"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("campaign_id", "string", "活动", "Campaign"),
        Column("strategy", "string", "策略", "What stands before the last hyphen of campaign_id"),
        Column("started_date", "date", "开始日期", "Date of the first touch"),
        Column("targeted", "bigint", "目标人数", "Customers touched"),
        *[Column(name, RATIO, label, comment) for name, (label, comment) in _RATES.items()],
        Column("roi", RATIO, "投资回报率", "Revenue by last touch less cost, over cost"),
        Column("predecessors", "array<string>", "前期活动", "Earlier campaigns of the strategy, the newest last"),
        Column("previous_targeted", "bigint", "前期目标人数", "Customers touched by them; 0 without any"),
        *[
            Column(f"previous_{name}", RATIO, f"前期{label}", f"The same of the predecessors together: {comment}")
            for name, (label, comment) in _RATES.items()
        ],
        Column("control_customers", "bigint", "对照人数", "Customers whom the same strategy left alone as a control"),
        Column("control_bought_rate", RATIO, "对照购买率", "Bought within the window, of the control"),
        Column("rules", "array<string>", "触发规则", "Rules of conf/campaigns.yaml that hold, in their order"),
        Column("proposals", "array<string>", "复盘建议", "What each of them proposes to look at, with the numbers"),
    ),
)

FUNNELS = Table(
    layer="gold",
    name="funnels",
    label="漏斗",
    grain="one step of a funnel for a value of a scope, of a run date",
    key=("run_date", "funnel", "scope", "scope_value", "step_number"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("funnel", "string", "漏斗", "Funnel code of conf/funnels.yaml"),
        Column("scope", "string", "范围", "chain, segment, or a column of the anchor event"),
        Column("scope_value", "string", "范围取值", "Its value; all for the chain, none where there is none"),
        Column("step_number", "int", "步骤序号", "1 is the anchor"),
        Column("step", "string", "步骤", "Step code"),
        Column("label", "string", "步骤名称", "中文 label"),
        Column("customers", "bigint", "人数", "Customers who took this step and all before it"),
        Column("rate_from_first", RATIO, "总转化率", "Of the customers of step 1"),
        Column("rate_from_previous", RATIO, "步骤转化率", "Of the customers of the step before; null on step 1"),
        Column("drop_off", RATIO, "流失率", "1 less rate_from_previous; null on step 1"),
    ),
)

PATH_FLOWS = Table(
    layer="gold",
    name="path_flows",
    label="访问路径",
    grain="one transition between steps of visits, or one of the most frequent paths, of a run date",
    key=("run_date", "kind", "path"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("kind", "string", "种类", "transition (two steps) or path (a whole visit)"),
        Column("path", "string", "路径", "The steps with > between them; repeats of a step are one"),
        Column("from_step", "string", "起步", "Of a transition: page or event type; (start) of the visit"),
        Column("to_step", "string", "下一步", "Of a transition: page or event type; (end) of the visit"),
        Column("sessions", "bigint", "访问数", "Visits that went this way at least once"),
        Column("share", RATIO, "占比", "Of the visits with from_step; of paths: of all visits"),
        Column("converted", "bigint", "成交访问数", "Of these visits, those that convert"),
    ),
)

PAGE_HEAT = Table(
    layer="gold",
    name="page_heat",
    label="页面热度",
    grain="one page or zone of a run date",
    key=("run_date", "kind", "place"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("kind", "string", "种类", "page or zone (of a page or shelf)"),
        Column("place", "string", "页面或区域", "The page or zone"),
        Column("visits", "bigint", "访问数", "Visits in which it was seen"),
        Column("event_count", "bigint", "事件数", "Events on it"),
        Column("dwell_seconds", "bigint", "停留秒数", "Seconds spent on it"),
        Column("converted", "bigint", "成交访问数", "Of these visits, those that convert"),
        Column("conversion", RATIO, "转化率", "Converted, of visits"),
    ),
)
