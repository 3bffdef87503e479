"""audit: reads what was written, and refuses a night that must not be seen. Results in ops.data_quality."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import AuditRefused, JobContext, main
from jobs.runtime.publications import VERDICT, count_rows, current, previous_counts
from transforms.contracts import Table, discrepancies, gold, ops, silver
from transforms.tags import tag_columns

_THREADS = 4
Finding = tuple[str, str, str, str, bool]  # check, table, observed, expected, is_passed


def run(ctx: JobContext) -> None:
    """Check keys, contracts, sums that must agree, and bounds against the last published run."""
    tables = [table for table in _audited(ctx) if ctx.tables.exists(table)]
    checks = [*_keys(ctx, tables), *_sums(ctx), *_landing(ctx)]
    with ThreadPoolExecutor(_THREADS) as pool:  # planning takes one core: small checks run side by side
        found = [row for rows in pool.map(DataFrame.collect, checks) for row in rows]
    findings = [(row.check, row.table, row.observed, row.expected, row.is_passed) for row in found]
    findings += [_contract(ctx, table) for table in tables]
    counts = {row.table: int(row.observed.split(" ")[0]) for row in found if row.check == "key_is_unique"}
    findings += _bounds(ctx, counts)
    findings += [*_missing_feeds(ctx), *_published_rows(ctx)]
    failed = [finding for finding in findings if not finding[4]]
    _write(ctx, findings, failed)
    ctx.facts["checks"] = len(findings)
    ctx.facts["failed"] = len(failed)
    if failed and not ctx.accept:
        told = "\n".join(
            f"  {check} of {table}: {observed}, expected {expected}" for check, table, observed, expected, _ in failed
        )
        raise AuditRefused(
            f"{len(failed)} of {len(findings)} checks failed for {ctx.run_date}; readers keep the last publication:\n"
            f"{told}\nLook at ops.data_quality; if this is right, run again with --accept 'REASON'."
        )
    for finding in failed:
        ctx.progress.warn(f"accepted ({ctx.accept}): {finding[0]} of {finding[1]}: {finding[2]}")


def _audited(ctx: JobContext) -> list[Table]:
    tags = gold.customer_tags_table(tag_columns(ctx.settings.tags))
    return [*silver.TABLES, *gold.TABLES, tags]


def _slice(ctx: JobContext, table: Table) -> DataFrame:
    """The rows of the run date where the table has such slices, else the whole table."""
    frame = ctx.tables.read(table)
    for name in ("run_date", "kpi_date"):
        if name in table.column_names:
            return frame.where(F.col(name) == F.lit(ctx.run_date))
    return frame


def _finding(frame: DataFrame, check: str, table: str, observed: Column, expected: Column, passed: Column) -> DataFrame:
    return frame.select(
        F.lit(check).alias("check"),
        F.lit(table).alias("table"),
        observed.cast("string").alias("observed"),
        expected.cast("string").alias("expected"),
        F.coalesce(passed, F.lit(False)).alias("is_passed"),
    )


def _keys(ctx: JobContext, tables: list[Table]) -> list[DataFrame]:
    """Key columns together are unique."""
    checks = []
    for table in tables:
        frame = _slice(ctx, table)
        counted = (
            frame.groupBy(*table.key)
            .count()
            .agg(F.coalesce(F.sum("count"), F.lit(0)).alias("rows"), F.count_if(F.col("count") > 1).alias("repeated"))
        )
        observed = F.concat("rows", F.lit(" rows, "), "repeated", F.lit(" keys repeated"))
        checks.append(
            _finding(
                counted, "key_is_unique", table.full_name, observed, F.lit("0 keys repeated"), F.col("repeated") == 0
            )
        )
    return checks


def _sums(ctx: JobContext) -> list[DataFrame]:
    """Numbers that two tables must agree on."""
    customers = ctx.tables.read(silver.CUSTOMERS).agg(F.count("*").alias("n"))
    owners = ctx.tables.read(silver.IDENTITIES).agg(F.countDistinct("customer_id").alias("n"))
    tagged = ctx.tables.read("gold.customer_tags").where(_today(ctx)).agg(F.count("*").alias("n"))
    scored = (
        ctx.tables.read(gold.RFM_SCORES).where(_today(ctx) & (F.col("scope") == "chain")).agg(F.count("*").alias("n"))
    )
    primary = (
        ctx.tables.read(gold.SEGMENT_MEMBERS)
        .where(_today(ctx) & (F.col("kind") == "primary"))
        .agg(F.count("*").alias("n"))
    )
    lines = ctx.tables.read(silver.ORDER_LINES).agg(F.coalesce(F.sum("net_amount"), F.lit(0)).alias("n"))
    orders = ctx.tables.read(silver.ORDERS).agg(F.coalesce(F.sum("net_amount"), F.lit(0)).alias("n"))
    sold = ctx.tables.read(silver.ACTIVITY).agg(F.coalesce(F.sum("gross_amount"), F.lit(0)).alias("n"))
    gross = ctx.tables.read(silver.ORDERS).agg(F.coalesce(F.sum("gross_amount"), F.lit(0)).alias("n"))
    return [
        _agree("one_row_per_owner", "silver.customers", customers, owners),
        _agree("every_customer_is_tagged", "gold.customer_tags", tagged, customers),
        _agree("every_customer_is_scored", "gold.rfm_scores", scored, customers),
        _agree("one_primary_segment_each", "gold.segment_members", primary, customers),
        _agree("lines_sum_to_orders", "silver.orders", orders, lines),
        _agree("partials_sum_to_orders", "silver.activity", sold, gross),
    ]


def _agree(check: str, table: str, left: DataFrame, right: DataFrame) -> DataFrame:
    both = left.select(F.col("n").alias("l")).crossJoin(right.select(F.col("n").alias("r")))
    return _finding(both, check, table, F.col("l"), F.col("r"), F.col("l") == F.col("r"))


def _landing(ctx: JobContext) -> list[DataFrame]:
    """Law 5: every row of every landing file is accounted for; and not too many are refused."""
    ledger = ctx.tables.read(ops.LANDING_FILES)
    outcomes = ["accepted", "duplicate", "rejected", "ignored", "suppressed", "not_due"]
    total = reduce(lambda left, right: left + right, [F.col(f"rows_{name}") for name in outcomes])
    due = ledger.where(F.col("arrival_date").isNull() | (F.col("arrival_date") <= F.lit(ctx.run_date)))
    open_files = due.agg(F.count_if((F.col("rows_read") != total) | (F.col("status") == "ingested")).alias("n"))
    tonight = ledger.where(F.col("run_id") == ctx.run_id).agg(
        F.coalesce(F.sum("rows_rejected"), F.lit(0)).alias("rejected"),
        F.coalesce(F.sum("rows_read"), F.lit(0)).alias("read"),
    )
    most = ctx.settings.audit.most_rejected_share
    share = F.col("rejected") <= F.col("read") * F.lit(most)
    observed = F.concat("rejected", F.lit(" of "), "read", F.lit(" rows"))
    return [
        _finding(open_files, "files_balance", "ops.landing_files", F.col("n"), F.lit(0), F.col("n") == 0),
        _finding(tonight, "rejected_share", "ops.landing_files", observed, F.lit(f"at most {most:.0%}"), share),
    ]


def _contract(ctx: JobContext, table: Table) -> Finding:
    problems = [
        p
        for p in discrepancies(ctx.tables.read(table).schema, table)
        if not (table.evolves and p.startswith("unexpected"))
    ]
    return ("contract_is_kept", table.full_name, "; ".join(problems) or "kept", "kept", not problems)


def _bounds(ctx: JobContext, counts: dict[str, int]) -> list[Finding]:
    """Rows against the last published run: a table that halves or trebles overnight is a fault until accepted."""
    rules = ctx.settings.audit
    findings = []
    for name, before in sorted(previous_counts(ctx.tables).items()):
        if name in counts and before >= 100 and not name.startswith("ops."):
            low, high = int(before * rules.least_row_share), int(before * rules.most_row_share)
            passed = low <= counts[name] <= high
            findings.append(("rows_within_bounds", name, f"{counts[name]} rows", f"{low} to {high} rows", passed))
    return findings


def _missing_feeds(ctx: JobContext) -> list[Finding]:
    """A source that is expected daily must have a file for the run date."""
    daily = [source.name for source in ctx.settings.sources.values() if source.expected == "daily"]
    if not daily:
        return []
    ledger = ctx.tables.read(ops.LANDING_FILES).where(
        (F.col("arrival_date") == F.lit(ctx.run_date)) & F.col("source").isin(daily)
    )
    present = {row.source for row in ledger.select("source").distinct().collect()}
    return [
        (
            "daily_feed_arrived",
            name,
            "a file" if name in present else "no file",
            f"a file for {ctx.run_date}",
            name in present,
        )
        for name in daily
    ]


def _published_rows(ctx: JobContext) -> list[Finding]:
    """The current publication still reads as it was published: a damaged commit reads as a smaller table, silently."""
    published = current(ctx.tables)
    counts = count_rows(ctx.tables, {entry.table: entry.version for entry in published})
    return [
        (
            "published_rows_unchanged",
            entry.table,
            f"{counts[entry.table]} rows",
            f"{entry.rows} rows",
            counts[entry.table] == entry.rows,
        )
        for entry in published
    ]


def _write(ctx: JobContext, findings: list[Finding], failed: list[Finding]) -> None:
    """All findings and the verdict, on which `publish` stands."""
    verdict = "passed" if not failed else f"accepted: {ctx.accept}" if ctx.accept else "refused"
    findings = [*findings, (VERDICT, "", verdict, "passed", verdict != "refused")]
    rows = []
    at = ctx.now()
    for check, table, observed, expected, passed in findings:
        commit = ctx.tables.last_commit(table) if "." in table else None
        version = commit.version if commit else None
        rows.append((ctx.run_id, ctx.run_date, check, table, "reject", passed, observed, expected, version, at))
    frame = ctx.small_frame(rows, ops.DATA_QUALITY)
    ctx.tables.append(ops.DATA_QUALITY, frame)


def _today(ctx: JobContext) -> Column:
    return F.col("run_date") == F.lit(ctx.run_date)


if __name__ == "__main__":
    main(run)
