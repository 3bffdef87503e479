"""From portrait to decision: what to recommend, whom to contact, and who is in which experiment."""

from __future__ import annotations

from transforms.contracts import MONEY, Column, Table
from transforms.contracts.gold.placing import CUSTOMER_ID, CUSTOMER_SLICE_DAYS, RUN_DATE

RECOMMENDATIONS = Table(
    layer="gold",
    name="recommendations",
    label="推荐",
    grain="one recommendation to a customer of a run date",
    key=("run_date", "customer_id", "kind", "rank"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        CUSTOMER_ID,
        Column("kind", "string", "种类", "goods or finance"),
        Column("rank", "int", "名次", "1 is the best of its kind"),
        Column("product_id", "string", "商品编号", "Product, or the code of a finance product"),
        Column("category", "string", "品类", "Category of the product; null for finance products"),
        Column(
            "reason", "string", "理由", "buy_again, bought_together:P, preferred_category:C, popular, or eligible:RULE"
        ),
    ),
)

CONTACT_PLAN = Table(
    layer="gold",
    name="contact_plan",
    label="触达计划",
    grain="one customer and strategy of a run date",
    key=("run_date", "customer_id", "strategy"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        CUSTOMER_ID,
        Column("strategy", "string", "策略", "Strategy code of conf/strategies.yaml"),
        Column("contact_date", "date", "触达日期", "The day on which the contact is made"),
        Column("segment", "string", "客群", "The strategy's first segment that the customer is in"),
        Column("goal", "string", "目标", "What the strategy wants to reach"),
        Column("kpi", "string", "考核指标", "What the strategy is measured by"),
        Column("priority", "int", "优先级", "1 goes first where caps leave room for one contact only"),
        Column("content_type", "string", "内容类型", "Type of content"),
        Column("channel", "string", "触达渠道", "Contact channel; null where the customer is left out"),
        Column("send_hour", "int", "发送小时", "Hour of the contact date; null where the customer is left out"),
        Column("recommended_products", "array<string>", "推荐商品", "Products in the order in which to show them"),
        Column("offer", "string", "权益", "What is offered; null where nothing is"),
        Column("message", "string", "文案", "Copy for this customer; null where the customer is left out", "attribute"),
        Column("experiment_id", "string", "实验", "Experiment of the strategy; null without one"),
        Column("variant", "string", "实验分组", "The customer's variant, as recorded at launch"),
        Column("cost_amount", MONEY, "成本", "Cost of the contact; 0 where the customer is left out"),
        Column("suppressed_reason", "string", "未触达原因", "Why the customer is left out; null for contacts to make"),
    ),
)

CONTACT_SUMMARY = Table(
    layer="gold",
    name="contact_summary",
    label="触达计划概览",
    grain="one strategy, channel and reason of a run date",
    key=("run_date", "strategy", "channel", "suppressed_reason"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("strategy", "string", "策略", "Strategy code"),
        Column("channel", "string", "触达渠道", "Contact channel; null for customers left out"),
        Column("suppressed_reason", "string", "未触达原因", "Why they are left out; null for contacts to make"),
        Column("customers", "bigint", "人数", "Customers"),
        Column("cost_amount", MONEY, "成本", "What their contacts cost"),
    ),
)

EXPERIMENT_ASSIGNMENTS = Table(
    layer="gold",
    name="experiment_assignments",
    label="实验分组",
    grain="one person, as an anchor names them, in an experiment",
    key=("experiment_id", "anchor", "source"),
    columns=(
        Column("experiment_id", "string", "实验", "Experiment, or universal_holdout"),
        Column("anchor", "string", "锚标识", "type:value of the identifier that stood for the customer then", "token"),
        CUSTOMER_ID,
        Column("variant", "string", "实验分组", "Variant; of the universal holdout: holdout or contact"),
        Column("assigned_date", "date", "分组日期", "Run date on which it was recorded; it never changes"),
        Column("source", "string", "来源", "hash: drawn by us; event: an event said so, which wins"),
    ),
)
