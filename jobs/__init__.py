"""What runs. One file per job, all of one shape: `run(ctx)` reads, calls transforms, writes.

In order: ingest-events, clean-events, resolve-identities, build-orders, build-customers, build-activity,
read-feedback, compute-tags, score-rfm, value-customers, build-segments, recommend-products, plan-contacts,
report-loan-funnel, evaluate-experiments, evaluate-campaigns, report-kpis, report-trade, find-break-points, audit,
publish; `nightly` runs them all in one application.
Files here must not be named like stdlib modules: spark-submit puts this folder first on the import path.
"""

__version__ = "0.1.1"
