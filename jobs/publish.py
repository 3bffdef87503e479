"""publish: one commit to ops.publications makes an audited run visible to readers."""

from __future__ import annotations

from pyspark.sql import functions as F

from jobs.runtime.job import AuditRefused, JobContext, RunFailed, main, scratch_root
from jobs.runtime.publications import last_verdict
from transforms.contracts import ops


def run(ctx: JobContext) -> None:
    """Publish the run date's tables at the versions that the audit read."""
    verdict = last_verdict(ctx.tables, ctx.run_date)
    if verdict is None:
        raise RunFailed(f"there is no audit of {ctx.run_date}: run `portraits audit --date {ctx.run_date}` first")
    if not verdict.is_passed:
        raise AuditRefused(f"the audit of {ctx.run_date} was refused (run {verdict.run_id}); see ops.data_quality")
    changed = [name for name, version in verdict.versions.items() if ctx.tables.version(name) != version]
    if changed:
        raise RunFailed(f"{', '.join(changed)} changed after the audit of {ctx.run_date}: run `portraits audit` again")
    lake = ctx.tables.of_lake()  # the lake's own silver, also where a past date's was built beside it
    versions = {name: lake.version(name) for name in lake.names() if name.startswith(("silver.", "gold."))}
    counts = lake.row_counts(versions)
    at = ctx.now()
    rows = [
        (verdict.run_id, ctx.run_date, name, version, counts[name], at, True, ctx.settings_digest)
        for name, version in sorted(versions.items())
    ]
    earlier = ctx.tables.read_or_empty(ops.PUBLICATIONS).withColumn("is_current", F.lit(False))
    newest = ctx.small_frame(rows, ops.PUBLICATIONS)
    ctx.tables.replace(ops.PUBLICATIONS, earlier.unionByName(newest).coalesce(1))
    ctx.tables.files.remove(scratch_root(ctx.tables.lake, ctx.run_date))
    ctx.facts["tables"] = len(rows)


if __name__ == "__main__":
    main(run)
