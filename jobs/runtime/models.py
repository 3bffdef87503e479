"""Fitted models: functions of what was known on their effective date, kept as files so that nights only score.

A stored model is only work saved. It is fitted again where it is missing, or where settings or the records it was made
of are others (late files, an erasure, customers that became one): so one load and many nights come to the same model.
`<lake>/models` holds what records taught; removing it is always allowed, and an erasure must.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.job import JobContext
from transforms.contracts import gold

Model = dict[str, Any]


def effective_date(known: DataFrame, column: str, run_date: date, least: int) -> date | None:
    """The first of the month, or the later day on which enough records were known; None where that is to come.

    Args:
        known: the records known on the run date; `column` says on which date each became known.
        least: how many are enough.
    """
    month = run_date.replace(day=1)
    if known.where(F.col(column) <= F.lit(month)).limit(least).count() >= least:  # no more rows than these are read
        return month
    count = 0
    for row in known.groupBy(column).count().orderBy(column).collect():
        count += row["count"]
        if count >= least:
            return max(month, row[column])
    return None


def stored_model(
    ctx: JobContext, name: str, effective: date, made_of: Mapping[str, str], fit: Callable[[], Model]
) -> Model:
    """The model of an effective date, from `<lake>/models/<name>/<date>.json` or fitted and put there.

    Args:
        made_of: digests of the settings and records that make the model.
        fit: what they teach, as JSON can hold it.
    """
    path, files = f"{ctx.tables.lake}/models/{name}/{effective.isoformat()}.json", ctx.tables.files
    if files.exists(path):
        model: Model = json.loads(files.read_text(path))
        if model["made_of"] == made_of:
            return model
    ctx.progress.note(f"{name}: fitting the model of {effective}")
    fitted = {"effective_date": effective.isoformat(), "made_of": dict(made_of), **fit()}
    text = json.dumps(fitted, ensure_ascii=False, indent=1)
    files.write_text(path, text)
    as_read: Model = json.loads(text)  # as a later night has it
    return as_read


def write_checks(ctx: JobContext, names: Sequence[str], models: Iterable[Model]) -> None:
    """Make the checks that came with the models the rows of gold.model_checks of these model names, on the run date.

    Rows of other models stay: each step writes those of its own.
    """
    rows = [
        {"run_date": ctx.run_date, "effective_date": date_of(model), **with_decimals(check, "expected", "actual")}
        for model in models
        for check in model["checks"]
    ]
    checks = ctx.small_frame(rows, gold.MODEL_CHECKS)
    ctx.tables.overwrite_slice(gold.MODEL_CHECKS, checks, run_date=ctx.run_date, model=names)


def date_of(model: Model) -> date | None:
    """The effective date of a model; None of one that was not fitted."""
    return date.fromisoformat(model["effective_date"]) if model["effective_date"] else None


def with_decimals(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The row with decimals in place of the named numbers of a model."""
    return {**row, **{name: None if row[name] is None else Decimal(f"{row[name]:.6f}") for name in names}}


def digest_of(content: str | bytes) -> str:
    """SHA-256 of what a model was made of."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
