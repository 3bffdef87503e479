"""KPIs: what they are, and their values."""

from __future__ import annotations

from transforms.contracts import RATIO, Column, Table

KPI_CATALOGUE = Table(
    layer="gold",
    name="kpi_catalogue",
    label="指标目录",
    grain="one KPI",
    key=("kpi",),
    columns=(
        Column("kpi", "string", "指标", "KPI code of conf/kpis.yaml"),
        Column("label", "string", "中文名", "中文 label"),
        Column("description", "string", "说明", "Meaning in English"),
        Column("numerator", "string", "分子", "How the numerator is measured"),
        Column("denominator", "string", "分母", "How the denominator is measured; null for plain sums"),
        Column(
            "period_days", "int", "周期天数", "Days of its period; in rows of a month those of the month unless its own"
        ),
        Column("grains", "array<string>", "粒度", "Grains that are reported"),
        Column("direction", "string", "方向", "up: more is better; down: less is better"),
        Column("unit", "string", "单位", "ratio, amount, count, days or score"),
        Column("benchmark", "string", "基准区间", "Bands, by default and by category or store type; null without one"),
        Column("is_additive", "boolean", "可加", "Whether stores add up to their region and to the chain"),
    ),
)

KPI_VALUES = Table(
    layer="gold",
    name="kpi_values",
    label="指标值",
    grain="one KPI of a date, period and grain value",
    key=("kpi_date", "period", "kpi", "grain", "store_id", "channel", "segment", "region", "category"),
    partition_by=("kpi_date",),
    columns=(
        Column("kpi_date", "date", "指标日期", "Last day of the KPI's period"),
        Column(
            "period", "string", "周期", "day: the KPI's own period up to kpi_date; month: the calendar month to date"
        ),
        Column("kpi", "string", "指标", "KPI code"),
        Column("grain", "string", "粒度", "chain, region, store, channel, segment, category, store_channel …"),
        Column("region", "string", "大区", "Region of the settings' stores; null unless the grain has it"),
        Column("store_id", "string", "门店", "Store; null unless the grain has it"),
        Column("channel", "string", "渠道", "Channel; null unless the grain has it"),
        Column("segment", "string", "客群", "Primary segment; null unless the grain has it"),
        Column("category", "string", "品类", "Category; null unless the grain has it"),
        Column("numerator", RATIO, "分子", "Numerator"),
        Column("denominator", RATIO, "分母", "Denominator; null for plain sums"),
        Column("value", RATIO, "值", "Numerator over denominator; null when that is zero"),
        Column("benchmark_low", RATIO, "基准下限", "Lower end of the band; null without one"),
        Column("benchmark_high", RATIO, "基准上限", "Upper end of the band; null without one"),
        Column("status", "string", "状态", "below, within or above the band; null without one"),
        Column("known_at_date", "date", "获知日期", "Run date whose knowledge the value stands on"),
    ),
)
