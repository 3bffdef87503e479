"""audit: reads what was written, and refuses a night that must not be seen. Results in ops.data_quality."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import functions as F

from jobs.runtime.audiences import audience_sizes
from jobs.runtime.break_alarms import break_points_found
from jobs.runtime.job import AuditRefused, JobContext, main
from jobs.runtime.publications import (
    KEY_CHECK,
    VERDICT,
    Counted,
    Published,
    current,
    last_findings,
    unique_versions,
)
from jobs.runtime.table_measures import Measures, measure
from transforms.contracts import Table, discrepancies, gold, ops, silver
from transforms.identity.lawful import MUST_LINK
from transforms.tags import tables_of

# Logs of what is new have most on the first night; the plan for a festival is many times that of another day;
# campaigns come and go with their period, products with the season.
_UNBOUNDED = {
    "silver.identity_changes",
    "gold.contact_plan",
    "gold.contact_summary",
    "gold.experiment_assignments",
    "gold.experiment_results",
    "gold.campaign_results",
    "gold.campaign_reviews",
    "gold.funnels",
    "gold.path_flows",
    "gold.page_heat",
    "gold.feedback_topics",
    "gold.price_fairness",
    "gold.loan_funnel",
    "gold.finance_audience",
    "gold.finance_audience_reasons",
    "gold.break_points",
}
Finding = tuple[str, str, str, str, bool]  # check, table, observed, expected, is_passed

# Numbers that two tables must agree on.
_AGREE = [
    ("one_row_per_owner", ("silver.customers", "rows"), ("silver.identities", "owners")),
    ("every_customer_is_tagged", ("gold.customer_tags", "rows"), ("silver.customers", "rows")),
    ("every_customer_is_scored", ("gold.rfm_scores", "scored"), ("silver.customers", "rows")),
    ("every_customer_is_valued", ("gold.customer_values", "rows"), ("silver.customers", "rows")),
    ("one_primary_segment_each", ("gold.segment_members", "primary"), ("silver.customers", "rows")),
    *[
        (f"flows_of_a_{period}_are_everybody", ("gold.segment_flows", period), ("silver.customers", "rows"))
        for period in ("day", "week", "month")
    ],
    ("matrix_cells_are_everybody", ("gold.value_activity_matrix", "customers"), ("silver.customers", "rows")),
    ("lines_sum_to_orders", ("silver.orders", "net_amount"), ("silver.order_lines", "net_amount")),
    ("partials_sum_to_orders", ("silver.activity", "gross_amount"), ("silver.orders", "gross_amount")),
]


def run(ctx: JobContext) -> None:
    """Check keys, contracts, sums that must agree, and bounds against the last published run."""
    tables = [table for table in _audited(ctx) if ctx.tables.exists(table)]
    published = current(ctx.tables)
    before = last_findings(ctx.tables, published)
    is_rebuilt = ctx.full or ctx.tables.is_past
    measured = measure(ctx, tables, {} if is_rebuilt else unique_versions(published, before))
    findings = [
        *_keys(measured),
        *_agreements(measured),
        *_landing(ctx),
        *_identity(ctx),
        *[_contract(ctx, table) for table in tables],
        *_bounds(ctx, before, measured),
        *_missing_feeds(ctx),
        *_published_rows(ctx, published),
    ]
    failed = [finding for finding in findings if not finding[4]]
    _write(ctx, findings, failed, [*audience_sizes(ctx), *break_points_found(ctx)])
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
    return [*silver.TABLES, *gold.TABLES, *tables_of(ctx.settings.tags)]


def _keys(measured: Measures) -> list[Finding]:
    """Key columns together are unique."""
    return [
        (
            KEY_CHECK,
            table,
            f"{int(found['rows'])} rows, {int(found['repeated'])} keys repeated",
            "0 keys repeated",
            not found["repeated"],
        )
        for table, found in measured.items()
    ]


def _agreements(measured: Measures) -> list[Finding]:
    findings = []
    for check, (table, name), (other, other_name) in _AGREE:
        here, there = measured.get(table, {}).get(name), measured.get(other, {}).get(other_name)
        findings.append((check, table, str(here), f"{there} ({other_name} of {other})", here == there))
    return findings


def _landing(ctx: JobContext) -> list[Finding]:
    """Law 5: every row of every landing file is accounted for; and not too many are refused."""
    ledger = ctx.tables.read(ops.LANDING_FILES)
    outcomes = ["accepted", "duplicate", "rejected", "ignored", "suppressed", "not_due"]
    total = reduce(lambda left, right: left + right, [F.col(f"rows_{name}") for name in outcomes])
    is_due = F.col("arrival_date").isNull() | (F.col("arrival_date") <= F.lit(ctx.run_date))
    is_open = (F.col("rows_read") != total) | (F.col("status") == "ingested")
    tonight = F.col("run_id") == ctx.run_id
    found = ledger.agg(
        F.count_if(is_due & is_open).alias("open"),
        F.coalesce(F.sum(F.when(tonight, F.col("rows_rejected"))), F.lit(0)).alias("rejected"),
        F.coalesce(F.sum(F.when(tonight, F.col("rows_read"))), F.lit(0)).alias("read"),
    ).head()
    assert found is not None
    most = ctx.settings.audit.most_rejected_share
    share = f"{found.rejected} of {found.read} rows"
    return [
        ("files_balance", "ops.landing_files", str(found.open), "0", found.open == 0),
        ("rejected_share", "ops.landing_files", share, f"at most {most:.0%}", found.rejected <= found.read * most),
    ]


def _identity(ctx: JobContext) -> list[Finding]:
    """Every followed link lies inside one customer, and no customer has two values of a unique type."""
    owners = ctx.tables.read(silver.IDENTITIES).select("identifier_type", "identifier", "customer_id")
    links, refused = ctx.tables.read(silver.IDENTITY_LINKS), ctx.tables.read(silver.IDENTITY_REFUSALS)
    pair = list(silver.IDENTITY_REFUSALS.key)
    ends = [owners.toDF(f"type_{end}", f"value_{end}", f"owner_{end}") for end in "ab"]
    followed = links.join(refused.select(*pair), pair, "left_anti")
    torn = followed.join(ends[0], pair[:2], "left").join(ends[1], pair[2:], "left").where("not (owner_a <=> owner_b)")
    unique = [kind.type for kind in ctx.settings.identity.types if kind.unique]
    decided = links.where(F.array_contains("sources", MUST_LINK)).select(F.col("value_a").alias("identifier"))
    twice = (
        owners.where(F.col("identifier_type").isin(unique) & F.col("customer_id").isNotNull())
        .join(decided, "identifier", "left_anti")
        .groupBy("customer_id", "identifier_type")
        .count()
        .where("count > 1")
    )
    counts = {"links_inside_customers": torn.count(), "unique_types_once": twice.count()}
    return [(check, "silver.identities", str(count), "0", count == 0) for check, count in counts.items()]


def _contract(ctx: JobContext, table: Table) -> Finding:
    problems = [
        p for p in discrepancies(ctx.tables.schema(table), table) if not (table.evolves and p.startswith("unexpected"))
    ]
    return ("contract_is_kept", table.full_name, "; ".join(problems) or "kept", "kept", not problems)


def _bounds(ctx: JobContext, findings_before: Mapping[str, Counted], measured: Measures) -> list[Finding]:
    """Rows against the last published run: a table that halves or trebles overnight is a fault until accepted."""
    rules = ctx.settings.audit
    findings = []
    for name, before in sorted(findings_before.items()):
        if name in measured and name not in _UNBOUNDED and before.rows >= 100:
            rows = int(measured[name]["rows"])
            low, high = int(before.rows * rules.least_row_share), int(before.rows * rules.most_row_share)
            findings.append(("rows_within_bounds", name, f"{rows} rows", f"{low} to {high} rows", low <= rows <= high))
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


def _published_rows(ctx: JobContext, published: list[Published]) -> list[Finding]:
    """The current publication still reads as it was published: a damaged commit reads as a smaller table, silently."""
    counts = ctx.tables.of_lake().row_counts({entry.table: entry.version for entry in published})
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


def _write(ctx: JobContext, findings: list[Finding], failed: list[Finding], warnings: list[Finding]) -> None:
    """All findings and the verdict, on which `publish` stands; warnings do not count in it."""
    verdict = "passed" if not failed else f"accepted: {ctx.accept}" if ctx.accept else "refused"
    findings = [*findings, (VERDICT, "", verdict, "passed", verdict != "refused")]
    rows = []
    at = ctx.now()
    told = [*[("reject", *finding) for finding in findings], *[("warn", *finding) for finding in warnings]]
    named = {finding[2] for finding in told if "." in finding[2]}
    versions = {table: version for table in named if (version := ctx.tables.version(table)) >= 0}
    for severity, check, table, observed, expected, passed in told:
        read = versions.get(table)
        rows.append((ctx.run_id, ctx.run_date, check, table, severity, passed, observed, expected, read, at))
    frame = ctx.small_frame(rows, ops.DATA_QUALITY)
    ctx.tables.append(ops.DATA_QUALITY, frame)


if __name__ == "__main__":
    main(run)
