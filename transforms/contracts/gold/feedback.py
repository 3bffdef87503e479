"""What customers say of products, by topic."""

from __future__ import annotations

from transforms.contracts import RATIO, Column, Table
from transforms.contracts.gold.placing import CUSTOMER_SLICE_DAYS, RUN_DATE

FEEDBACK_TOPICS = Table(
    layer="gold",
    name="feedback_topics",
    label="口碑话题",
    grain="one product, or the chain, and topic that feedback mentioned in the window of a run date",
    key=("run_date", "product_id", "topic"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        Column("product_id", "string", "商品编号", "Product; all for the chain, feedback without a product included"),
        Column("topic", "string", "话题", "Topic of conf/feedback.yaml; all for whatever was said"),
        Column("label", "string", "话题名称", "中文 label of the topic"),
        Column("category", "string", "品类", "The product's category, by most of its feedback; null for the chain"),
        Column("mentions", "bigint", "提及数", "Reviews, consults and posts of the window that mention it"),
        Column("positive_mentions", "bigint", "好评提及数", "Of them, those that speak well of it"),
        Column("negative_mentions", "bigint", "差评提及数", "Of them, those that speak badly of it"),
        Column("positive_share", RATIO, "好评占比", "Positive, of positive and negative; null without either"),
        Column("previous_mentions", "bigint", "前期提及数", "Mentions of the baseline, the days before the window"),
        Column("previous_positive_share", RATIO, "前期好评占比", "Positive share of the baseline"),
        Column(
            "expected_mentions", RATIO, "预期提及数",
            "Mentions of the baseline, times the growth of all other products' mentions of the topic; for the chain "
            "by the day; null where others had none",
        ),
        Column("z", RATIO, "Z 值", "How far mentions are beyond what was expected, in standard deviations"),
        Column("negative_z", RATIO, "差评 Z 值", "The same of negative mentions"),
        Column("is_breakout", "boolean", "是否爆款", "A product much more spoken of than before, and well"),
        Column("is_complained_of", "boolean", "是否差评上升", "Many more negative mentions than expected"),
    ),
)  # fmt: skip
