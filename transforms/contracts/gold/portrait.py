"""The portrait: how identities did, tags, RFM, values and the models behind them."""

from __future__ import annotations

from collections.abc import Mapping

from transforms.contracts import MONEY, RATIO, Column, Table
from transforms.contracts.gold.placing import CUSTOMER_ID, CUSTOMER_SLICE_DAYS, RUN_DATE

IDENTITY_QUALITY = Table(
    layer="gold",
    name="identity_quality",
    label="识别质量",
    grain="one metric of a run date",
    key=("run_date", "metric"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("metric", "string", "指标", "pairwise_precision, component_size_p50 …"),
        Column("value", "double", "值", "Its value, rounded to 6 decimals"),
    ),
)


def customer_tags_table(tags: Mapping[str, Column]) -> Table:
    """The contract of `gold.customer_tags`: one column per tag of the settings, in their order."""
    return Table(
        layer="gold",
        name="customer_tags",
        label="客户标签",
        grain="one customer of a run date",
        key=("run_date", "customer_id"),
        partition_by=("run_date",),
        retention_days=CUSTOMER_SLICE_DAYS,
        evolves=True,
        columns=(RUN_DATE, CUSTOMER_ID, *tags.values()),
    )


TAG_CATALOGUE = Table(
    layer="gold",
    name="tag_catalogue",
    label="标签目录",
    grain="one tag",
    key=("tag",),
    columns=(
        Column("tag", "string", "标签", "Column name in gold.customer_tags"),
        Column("label", "string", "中文名", "中文 label"),
        Column("description", "string", "说明", "Meaning in English"),
        Column("type", "string", "类别", "basic, behaviour, value, interest, social, preference, channel …"),
        Column("window", "string", "窗口", "Days, or lifetime"),
        Column("definition", "string", "定义", "Measure and filter, as declared"),
        Column("null_policy", "string", "空值策略", "clear or keep_last"),
        Column("tie_rule", "string", "并列规则", "How equal candidates are decided"),
        Column("refresh", "string", "刷新等级", "high, medium or low: when its input counts as stale"),
        Column("owner", "string", "负责人", "Who answers for it"),
        Column("used_by", "array<string>", "使用者", "Segments, tags and KPIs that read it"),
    ),
)

TAG_HEALTH = Table(
    layer="gold",
    name="tag_health",
    label="标签健康度",
    grain="one tag of a run date",
    key=("run_date", "tag"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("tag", "string", "标签", "Column name in gold.customer_tags"),
        Column("coverage", RATIO, "覆盖率", "Share of customers with a value; null without customers"),
        Column(
            "distinct_values", "bigint", "取值数", "Distinct values; numbers are one when their first two digits are"
        ),
        Column(
            "freshness_days", "int", "数据时效", "Days from the newest event that could feed it; null: there is none"
        ),
        Column("psi", RATIO, "稳定性指数", "PSI against the last published run before; null: it had no such tag"),
        Column(
            "is_stale", "boolean", "已过期", "Whether nothing could feed it for longer than its refresh class allows"
        ),
        Column(
            "unused_since_date", "date", "未用起始", "First published run date since which nothing reads it; null: read"
        ),
        Column("is_unused", "boolean", "未被使用", "Whether nothing has read it for as long as the settings say"),
    ),
)

_SCOPE = (
    Column("scope", "string", "范围", "chain, region, store, category or channel"),
    Column("scope_value", "string", "范围值", "The region, store, category or channel; all for chain"),
)

RFM_SCORES = Table(
    layer="gold",
    name="rfm_scores",
    label="RFM 评分",
    grain="one customer of a scope and run date",
    key=("run_date", "scope", "scope_value", "customer_id"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        *_SCOPE,
        CUSTOMER_ID,
        Column("recency_days", "int", "最近购买天数", "Days from the last purchase to the run date"),
        Column("frequency", "bigint", "购买次数", "Purchases in the window"),
        Column("monetary", MONEY, "购买金额", "Net (or gross) amount in the window"),
        Column("r_score", "int", "R 分", "1 to k, k is the most recent; 0 without a purchase"),
        Column("f_score", "int", "F 分", "1 to k; 0 without a purchase"),
        Column("m_score", "int", "M 分", "1 to k; 0 without a purchase"),
        Column("rfm_score", "int", "RFM 分", "100 R + 10 F + M"),
        Column("rfm_class", "string", "RFM 八类", "One of the eight classes; null without a purchase"),
        Column("rfm_tier", "string", "RFM 层级", "First rule of conf/rfm.yaml that fits; null without a purchase"),
    ),
)

RFM_THRESHOLDS = Table(
    layer="gold",
    name="rfm_thresholds",
    label="RFM 切点",
    grain="one cut of a dimension, scope and run date",
    key=("run_date", "scope", "scope_value", "dimension", "cut"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        *_SCOPE,
        Column("dimension", "string", "维度", "recency, frequency or monetary"),
        Column("cut", "int", "切点序号", "1 to k - 1"),
        Column("method", "string", "方法", "quantile, fixed, mean or frozen"),
        Column("value", RATIO, "切点值", "A value equal to the cut stays below it"),
        Column("customers_below", "bigint", "切点下人数", "Scored customers with a value up to the cut"),
        Column("is_degenerate", "boolean", "空档", "Whether the bin that ends at this cut is empty"),
    ),
)

CUSTOMER_VALUES = Table(
    layer="gold",
    name="customer_values",
    label="客户价值",
    grain="one customer of a run date",
    key=("run_date", "customer_id"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        CUSTOMER_ID,
        Column("bgnbd_frequency", "bigint", "重复购买次数", "Days with a purchase, less the first; null without one"),
        Column("bgnbd_recency", RATIO, "首末购买间隔", "From the first purchase day to the last, in value.unit"),
        Column("bgnbd_age", RATIO, "客户年龄", "From the first purchase day to the run date, in value.unit"),
        Column("expected_orders_90d", RATIO, "未来 90 天预期订单", "Days with a purchase expected in the next 90 days"),
        Column("expected_orders_365d", RATIO, "未来一年预期订单", "The same in the next 365 days"),
        Column("p_alive", RATIO, "活跃概率", "Probability of not having left for good; null where no model was fitted"),
        Column("expected_order_value", MONEY, "预期客单价", "Value expected of a purchase day to come"),
        Column("clv_365d", MONEY, "一年客户价值", "Discounted value of the orders expected in the next 365 days"),
        Column(
            "value_basis", "string", "估值依据", "model, or segment_mean where a model could not be used; null: none"
        ),
        Column("value_tier", "string", "价值层级", "Tier of conf/value.yaml by clv_365d; null without a value"),
        Column("churn_tier", "string", "流失层级", "How near to leaving; null without a purchase"),
        Column("churn_reasons", "array<string>", "流失原因", "Rule that matched and the numbers it compared"),
        Column("is_vip_warning", "boolean", "VIP 预警", "Order value in the top share, and fewer orders than before"),
        Column(
            "high_potential_score", RATIO, "高潜概率", "Probability of becoming high value in 90 days; null: no model"
        ),
        Column("high_potential_reasons", "array<string>", "高潜原因", "Rules that matched; empty without one"),
        Column("behaviour_cluster", "string", "行为聚类", "Cluster of gold.cluster_centres"),
        Column("asset_amount", MONEY, "资产余额", "Deposits less withdrawals", personal="attribute"),
        Column("overdue_bucket", "string", "逾期分段", "By days of the oldest unpaid arrears", personal="attribute"),
        Column("loan_demand_score", "int", "贷款需求分", "Points of the score card", personal="attribute"),
        Column("finance_risk_tier", "string", "金融风险层级", "Tier of the score card", personal="attribute"),
        Column("finance_risk_reasons", "array<string>", "风险原因", "Reason codes", personal="attribute"),
        Column(
            "needs_human_review", "boolean", "需人工复核", "Whether a negative tier waits for a person, or one refused"
        ),
        Column("review_decision", "string", "复核结论", "approved or refused by a person; null: none holds"),
        Column("reviewed_tier", "string", "复核时层级", "Tier that they looked at", personal="attribute"),
        Column("reviewed_by", "string", "复核人", "Who decided"),
        Column("reviewed_date", "date", "复核日期", "When"),
        Column("review_until_date", "date", "复核有效期", "Last day on which it holds; null: until another one"),
    ),
)

MODEL_CHECKS = Table(
    layer="gold",
    name="model_checks",
    label="模型检验",
    grain="one number of a check of a model that is in force on a run date",
    key=("run_date", "model", "check", "bin"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("model", "string", "模型", "bgnbd, gamma_gamma …"),
        Column("effective_date", "date", "生效日期", "The model knows what was known on this date"),
        Column("check", "string", "检验", "fit, precondition, parameter, backtest, segment_mean, calibration, lift …"),
        Column("bin", "string", "分组", "Bin, decile, or name of the number"),
        Column("customers", "bigint", "人数", "Customers that the number is over"),
        Column("expected", RATIO, "预期", "What the model says, or the limit of a precondition"),
        Column("actual", RATIO, "实际", "What was observed or measured; of a parameter its value"),
        Column("is_passed", "boolean", "是否通过", "Whether it holds; null where nothing is required"),
        Column("note", "string", "说明", "What it means, or why there is no model"),
    ),
)

CLUSTER_CENTRES = Table(
    layer="gold",
    name="cluster_centres",
    label="聚类中心",
    grain="one feature of a behaviour cluster that is in force on a run date",
    key=("run_date", "behaviour_cluster", "feature"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("behaviour_cluster", "string", "行为聚类", "Code of the cluster, as in gold.customer_values"),
        Column("label", "string", "中文名", "中文 label, from its most outstanding features"),
        Column("effective_date", "date", "生效日期", "The model knows what was known on this date"),
        Column("customers", "bigint", "人数", "Customers of the sample in the cluster"),
        Column("feature", "string", "特征", "Tag that it was formed by"),
        Column("centre", RATIO, "中心", "Mean of the standardised tag in the cluster"),
        Column("mean", RATIO, "均值", "Mean of the tag itself in the cluster"),
    ),
)
