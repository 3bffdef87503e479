"""Where it breaks: stages and feeds against their own past."""

from __future__ import annotations

from transforms.contracts import RATIO, Column, Table
from transforms.contracts.gold.placing import CUSTOMER_SLICE_DAYS, RUN_DATE

BREAK_POINTS = Table(
    layer="gold",
    name="break_points",
    label="断点",
    grain="one stage, measure and scope, or one source and date, judged on a run date",
    key=("run_date", "stage", "measure", "scope", "store_id", "channel", "source", "event_date"),
    partition_by=("run_date",),
    retention_days=CUSTOMER_SLICE_DAYS,
    columns=(
        RUN_DATE,
        Column("stage", "string", "阶段", "Stage of conf/stages.yaml; all for sources"),
        Column("measure", "string", "度量", "volume (events of the stage) or rate (of those of the stage before)"),
        Column("scope", "string", "范围", "chain, store, channel, store_channel; source for the health of a feed"),
        Column("store_id", "string", "门店", "Store; all where the scope is wider"),
        Column("channel", "string", "渠道", "Channel; all where the scope is wider"),
        Column("source", "string", "来源", "Source whose feed is judged; all for stages"),
        Column(
            "event_date",
            "date",
            "判断日期",
            "Date judged: the run date, less the days after which data usually comes; earlier where a feed was late",
        ),
        Column(
            "status",
            "string",
            "状态",
            "normal, alarm, explained (by another alarm), too_few (not judged), base_moved (rate of an unusual stage)",
        ),
        Column("cause", "string", "原因", "behaviour or missing_data; null where there is no alarm"),
        Column("feed_state", "string", "数据源状态", "alive, stopped, late, empty or partial; null for stages"),
        Column("expected", RATIO, "期望", "Events, or rate, that the same weekdays and the level of late say"),
        Column("observed", RATIO, "实测", "Events, or rate, known on the date's evening"),
        Column(
            "volume",
            "bigint",
            "事件数",
            "Events seen; of a rate those of the stage before; of a late date those of now",
        ),
        Column(
            "z", RATIO, "稳健 z 值", "Robust standard deviations from expected, negative below; null where not judged"
        ),
        Column("p_adjusted", RATIO, "校正 p 值", "Chance of so little, over all that is judged on the date (Holm)"),
        Column("explained_by", "string", "归因于", "The alarm that explains this one"),
        Column("message", "string", "说明", "What an alarm says"),
        Column("look_into", "string", "查看", "Tables to look at, and which rows of them"),
    ),
)
