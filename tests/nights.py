"""Nights run in this process on lakes in temporary folders, as `portraits nightly` would."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from jobs import nightly
from jobs.compare import compare_lakes
from jobs.runtime.job import JobContext, context
from jobs.runtime.settings import load_settings
from jobs.runtime.tables import Tables


def night(lake: Path, landing: Path, day: date, settings: Sequence[str] = (), full: bool = False) -> JobContext:
    """A context for one date; nothing has run yet."""
    return context(
        argparse.Namespace(
            date=day,
            lake=str(lake),
            landing=str(landing),
            settings=tuple(settings),
            env="local",
            full=full,
            accept=None,
            json_logs=False,
        )
    )


def run_steps(ctx: JobContext, *names: str) -> None:
    """Some steps of a night, in their order, without the run log."""
    for name, job in nightly.STEPS.items():
        if name in names:
            job(ctx)


def run_night(lake: Path, landing: Path, day: date, settings: Sequence[str] = ()) -> JobContext:
    """All steps of one night."""
    ctx = night(lake, landing, day, settings)
    nightly.run_night(ctx)
    return ctx


def differences(
    ctx: JobContext,
    left: Path,
    right: Path,
    day: date | None,
    settings: Sequence[str] = (),
    without: Sequence[str] = (),
) -> list[str]:
    """What `portraits compare` finds between two lakes, some tables left out."""
    lakes = [Tables(ctx.spark, str(lake), "compare", None) for lake in (left, right)]
    wanted = {name for lake in lakes for name in lake.names()} - set(without)
    return compare_lakes(lakes[0], lakes[1], load_settings(settings), day, wanted)
