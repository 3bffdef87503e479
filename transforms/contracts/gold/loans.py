"""存贷转化: the way to a loan, and whom finance may be offered."""

from __future__ import annotations

from transforms.contracts import MONEY, RATIO, Column, Table
from transforms.contracts.gold.placing import RUN_DATE

LOAN_FUNNEL = Table(
    layer="gold",
    name="loan_funnel",
    label="存贷转化漏斗",
    grain="one stage of a store, channel, segment or the chain in a mode, of a run date",
    key=("run_date", "mode", "grain", "store_id", "channel", "segment", "stage"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column(
            "mode", "string", "口径", "period: at the stage in the last days; cohort: came to it from the one before"
        ),
        Column("grain", "string", "粒度", "chain, store, channel or segment"),
        Column("store_id", "string", "门店", "Store, or unknown; null unless the grain is store"),
        Column("channel", "string", "渠道", "Channel, or unknown; null unless the grain is channel"),
        Column("segment", "string", "客群", "Primary segment, or unknown; null unless the grain is segment"),
        Column("stage_number", "int", "阶段序号", "1 is the first"),
        Column("stage", "string", "阶段", "Stage code of conf/stages.yaml"),
        Column("label", "string", "阶段名称", "中文 label"),
        Column(
            "is_beside", "boolean", "旁列", "Whether it is counted beside the way, of those at the last stage on it"
        ),
        Column("customers", "bigint", "人数", "Customers at the stage"),
        Column("rate", RATIO, "阶段转化率", "Of the customers of the stage before; beside: of the last on the way"),
        Column("rate_from_first", RATIO, "总转化率", "Of the customers of stage 1"),
        Column(
            "amount", MONEY, "金额", "Money of these events, orders apart: deposited, applied for, approved, paid out"
        ),
    ),
)

_PLACED = (
    RUN_DATE,
    Column(
        "finance_risk_tier", "string", "金融风险层级", "Tier of the score card; none without one; all for the total"
    ),
    Column("segment", "string", "客群", "Primary segment, or unknown; all for the total"),
)

FINANCE_AUDIENCE = Table(
    layer="gold",
    name="finance_audience",
    label="金融可触达人群",
    grain="one finance risk tier and segment of a run date",
    key=("run_date", "finance_risk_tier", "segment"),
    partition_by=("run_date",),
    columns=(
        *_PLACED,
        Column("customers", "bigint", "人数", "Customers"),
        Column("consenting", "bigint", "金融同意人数", "Of them, with consent to finance"),
        Column("minors", "bigint", "未成年人数", "Of them, minors"),
        Column("awaiting_review", "bigint", "待复核人数", "Of them, barred until a person has looked at their tier"),
        Column("review_approved", "bigint", "复核通过人数", "Of them, approved by a person"),
        Column("review_refused", "bigint", "复核拒绝人数", "Of them, refused by a person"),
        Column("eligible", "bigint", "可营销人数", "Of them, those to whom finance may be offered"),
        Column("depositors", "bigint", "有存款人数", "Of them, with a positive balance"),
        Column("asset_amount", MONEY, "资产余额", "Their balance"),
        Column("mean_loan_demand_score", RATIO, "平均贷款需求分", "Mean of those who have a score; null without any"),
        Column("applicants", "bigint", "申请人数", "Of them, customers who applied for a loan in the period"),
        Column("borrowers", "bigint", "放款人数", "Of them, customers to whom a loan was paid out in the period"),
    ),
)

FINANCE_AUDIENCE_REASONS = Table(
    layer="gold",
    name="finance_audience_reasons",
    label="金融可触达原因",
    grain="one reason or offer of a finance risk tier and segment, of a run date",
    key=("run_date", "finance_risk_tier", "segment", "kind", "code"),
    partition_by=("run_date",),
    columns=(
        *_PLACED,
        Column("kind", "string", "种类", "barred, risk (reason of the score card) or offer (finance product)"),
        Column("code", "string", "代码", "Why barred: the first that holds; reason code; product"),
        Column("customers", "bigint", "人数", "Customers of whom it is true"),
    ),
)
