"""What experiments showed."""

from __future__ import annotations

from transforms.contracts import RATIO, Column, Table
from transforms.contracts.gold.placing import RUN_DATE

EXPERIMENT_RESULTS = Table(
    layer="gold",
    name="experiment_results",
    label="实验结果",
    grain="one metric and variant of an experiment, in a segment, of a run date",
    key=("run_date", "experiment_id", "metric", "segment", "variant"),
    partition_by=("run_date",),
    columns=(
        RUN_DATE,
        Column("experiment_id", "string", "实验", "Experiment, or universal_holdout"),
        Column("metric", "string", "指标", "Metric code of conf/experiments.yaml"),
        Column("segment", "string", "客群", "Primary segment on the day before the first that counts; all: everybody"),
        Column("variant", "string", "实验分组", "Variant"),
        Column("control_variant", "string", "对照组", "The variant that it is compared with"),
        Column("customers", "bigint", "人数", "Customers in the variant; of calendar experiments its days"),
        Column("complete_count", "bigint", "窗口完成人数", "Those of them whose whole window has passed"),
        Column("conflict_count", "bigint", "冲突人数", "Customers of the experiment left out, being in two variants"),
        Column("numerator", RATIO, "分子", "Customers who did what is counted, or the sum of what is measured"),
        Column("value", RATIO, "值", "numerator over customers, as it is"),
        Column("control_value", RATIO, "对照值", "The same of the control"),
        Column("lift", RATIO, "提升", "value less control_value, CUPED taken into account; null if not compared"),
        Column("relative_lift", RATIO, "相对提升", "lift over control_value"),
        Column("standard_error", RATIO, "标准误", "Standard error of the lift"),
        Column("ci_low", RATIO, "区间下限", "Lower end of the confidence interval of the lift"),
        Column("ci_high", RATIO, "区间上限", "Upper end of it"),
        Column("test", "string", "检验", "z: two proportions, pooled; t: Welch"),
        Column("statistic", RATIO, "统计量", "z or t"),
        Column("p_value", RATIO, "P 值", "Two-sided, of this comparison by itself"),
        Column("p_adjusted", RATIO, "校正 P 值", "By Holm over all comparisons of the experiment"),
        Column("srm_p_value", RATIO, "样本比例 P 值", "Of the variants' sizes in the segment, under the meant shares"),
        Column("cuped_used", "boolean", "是否 CUPED", "Whether what customers did before was taken off"),
        Column("variance_reduction", RATIO, "方差缩减", "Share of the variance that CUPED took off"),
        Column("verdict", "string", "结论", "What it says, in words"),
    ),
)
