"""Ops: what ran, what it read, what it published. Outside laws 3 and 4 (clock and run columns)."""

from __future__ import annotations

from transforms.contracts import MONEY, Column, Table

_RUN = (
    Column("run_id", "string", "运行编号", "One id per application"),
    Column("run_date", "date", "运行日期", "The --date of the run"),
)

JOB_RUNS = Table(
    layer="ops",
    name="job_runs",
    label="作业运行",
    grain="one job of a run",
    key=("run_id", "job", "started_at"),
    columns=(
        *_RUN,
        Column("job", "string", "作业", "Job name"),
        Column("status", "string", "状态", "done, failed or refused"),
        Column("started_at", "timestamp", "开始时间", "UTC"),
        Column("seconds", "double", "秒数", "Wall clock"),
        Column("rows_in", "bigint", "读入行数", "Rows the job says it took"),
        Column("rows_out", "bigint", "写出行数", "Rows of all its tables"),
        Column("rows_rejected", "bigint", "拒收行数", "Rows it refused"),
        Column("written", "map<string,string>", "写出版本", "Table to the Delta version written"),
        Column("message", "string", "说明", "What was skipped and why, or the error"),
        Column("settings_digest", "string", "配置摘要", "SHA-256 of the settings used"),
    ),
)

LANDING_FILES = Table(
    layer="ops",
    name="landing_files",
    label="到达文件账",
    grain="one arrival date of one landing file",
    key=("source", "source_file", "arrival_date"),
    columns=(
        Column("source", "string", "来源", "Source name"),
        Column("source_file", "string", "来源文件", "File below the landing folder"),
        Column("arrival_date", "date", "到达日期", "Arrival date; null for unreadable rows without one"),
        Column("status", "string", "状态", "ingested, not_due, loaded or rejected"),
        Column("rows_read", "bigint", "读入行数", "Physical lines less the header (text) or rows (Parquet)"),
        Column("rows_accepted", "bigint", "接受行数", "Rows that made at least one event"),
        Column("rows_duplicate", "bigint", "重复行数", "Rows all of whose events were known already"),
        Column("rows_rejected", "bigint", "拒收行数", "Rows in silver.rejected_records"),
        Column("rows_ignored", "bigint", "忽略行数", "Rows that no record took and the source ignores"),
        Column("rows_suppressed", "bigint", "抑制行数", "Rows of erased persons"),
        Column("rows_not_due", "bigint", "未到期行数", "Rows whose arrival date is after the run date"),
        Column("rows_unreadable", "bigint", "不可读行数", "Part of rows_rejected: refused while reading"),
        Column("reason", "string", "原因", "Why the file was rejected; null otherwise"),
        Column("run_id", "string", "运行编号", "Run that changed the row last"),
    ),
)

DATA_QUALITY = Table(
    layer="ops",
    name="data_quality",
    label="数据质量",
    grain="one check of one table and run",
    key=("run_id", "run_date", "check", "table"),
    columns=(
        *_RUN,
        Column("check", "string", "检查", "Name of the check"),
        Column("table", "string", "表", "Table or source that was looked at"),
        Column("severity", "string", "级别", "reject stops the publication, warn is told"),
        Column("is_passed", "boolean", "通过", "Whether it held"),
        Column("observed", "string", "实测", "What was seen"),
        Column("expected", "string", "期望", "What was allowed"),
        Column("delta_version", "bigint", "Delta 版本", "Version that was looked at"),
        Column("checked_at", "timestamp", "检查时间", "UTC"),
    ),
)

PUBLICATIONS = Table(
    layer="ops",
    name="publications",
    label="发布",
    grain="one table of one publication",
    key=("run_date", "run_id", "table"),
    columns=(
        *_RUN,
        Column("table", "string", "表", "layer.table"),
        Column("delta_version", "bigint", "Delta 版本", "Version that readers of this publication use"),
        Column("row_count", "bigint", "行数", "Rows of that version"),
        Column("published_at", "timestamp", "发布时间", "UTC; the same for all tables of a publication"),
        Column("is_current", "boolean", "当前", "Whether this is the publication that readers follow"),
        Column("settings_digest", "string", "配置摘要", "SHA-256 of the settings used"),
    ),
)

RESTATEMENTS = Table(
    layer="ops",
    name="restatements",
    label="重述",
    grain="one changed business date of a table and run",
    key=("run_id", "run_date", "table", "partition"),
    columns=(
        *_RUN,
        Column("table", "string", "表", "Table that changed"),
        Column("partition", "date", "业务日期", "Business date that changed"),
        Column("rows_before", "bigint", "原行数", "Rows before"),
        Column("rows_after", "bigint", "新行数", "Rows after"),
        Column("amount_before", MONEY, "原金额", "Money before"),
        Column("amount_after", MONEY, "新金额", "Money after"),
        Column("cause", "string", "缘由", "late_events, returns, identity, settings or erasure"),
    ),
)

CONTACT_EXPORTS = Table(
    layer="ops",
    name="contact_exports",
    label="触达导出",
    grain="one channel of one export of a contact plan",
    key=("run_id", "channel"),
    columns=(
        *_RUN,
        Column("channel", "string", "触达渠道", "Contact channel"),
        Column("exported_at", "timestamp", "导出时间", "UTC; just before the files appear"),
        Column("exported_count", "bigint", "导出条数", "Contacts in the file, with their addresses"),
        Column("left_out", "map<string,string>", "未导出", "Reason to contacts of the plan left out for it"),
        Column("target", "string", "目标文件", "The file"),
    ),
)

# What follows holds no identifier, token or customer id: only salted hashes of those that may never come back.
ERASURE_REQUESTS = Table(
    layer="ops",
    name="erasure_requests",
    label="删除请求",
    grain="one identifier whose person asked to be erased",
    key=("request_id",),
    columns=(
        Column(
            "request_id", "string", "请求编号", "Start of the identifier's tombstone: the same request, the same id"
        ),
        Column("identifier_type", "string", "标识类型", "Type of the identifier that was given"),
        Column("requested_date", "date", "请求日期", "Run date on which it was taken up first"),
        Column("status", "string", "状态", "taken (being erased) or done"),
        Column("is_known", "boolean", "已知", "Whether the lake knew the person then"),
        Column("erased_date", "date", "删除日期", "Run date from which on nothing of the person is in the lake"),
    ),
)

TOMBSTONES = Table(
    layer="ops",
    name="tombstones",
    label="墓碑",
    grain="one identifier, or customer id, that may not come back",
    key=("identifier_type", "tombstone"),
    columns=(
        Column("identifier_type", "string", "标识类型", "Type, or customer_id"),
        Column("tombstone", "string", "墓碑", "SHA-256 of the salt and the value or token"),
        Column("salt", "string", "盐", "Drawn once for the lake"),
        Column("run_date", "date", "运行日期", "Run date of the erasure"),
    ),
)

ERASURES = Table(
    layer="ops",
    name="erasures",
    label="删除证明",
    grain="one table of one erasure",
    key=("run_id", "table"),
    columns=(
        *_RUN,
        Column("table", "string", "表", "layer.table; models and logs stand for themselves"),
        Column(
            "action", "string", "处理", "erased (rows taken out), rebuilt (by the night) or kept (published before)"
        ),
        Column("rows_erased", "bigint", "删除行数", "Rows of the persons that were taken out of the table itself"),
        Column("rows_blanked", "bigint", "抹除行数", "Rows of other people that lost a value of the persons"),
        Column("files_removed", "bigint", "清除文件数", "Files of older versions that were removed"),
        Column("files_checked", "bigint", "检查文件数", "Files that are left, each read again for the persons' values"),
        Column("values_found", "bigint", "残留数", "Values of the persons found in them: 0"),
        Column("erased_at", "timestamp", "删除时间", "UTC"),
    ),
)

TABLES = (
    JOB_RUNS,
    LANDING_FILES,
    DATA_QUALITY,
    PUBLICATIONS,
    RESTATEMENTS,
    CONTACT_EXPORTS,
    ERASURE_REQUESTS,
    TOMBSTONES,
    ERASURES,
)
