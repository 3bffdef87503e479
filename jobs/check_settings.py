"""check-settings: validates all YAML without starting Spark."""

from __future__ import annotations

import argparse

from jobs.runtime.job import DONE
from jobs.runtime.settings import digest, load_settings


def run_check(arguments: argparse.Namespace) -> int:
    """Say what the settings hold, or every fault in them."""
    settings = load_settings(arguments.settings, arguments.env)
    counts = {
        "sources": len(settings.sources),
        "identifier types": len(settings.identity.types),
        "tags": len(settings.tags.tags),
        "value tiers": len(settings.value.tiers),
        "primary segments": len(settings.segments.primary),
        "secondary segments": len(settings.segments.secondary),
        "strategies": len(settings.strategies),
        "KPIs": len(settings.kpis.kpis),
    }
    told = " · ".join(f"{count} {name}" for name, count in counts.items())
    print(f"Settings are valid: {told}\nsources: {', '.join(settings.sources)}\ndigest {digest(settings)}")  # noqa: T201
    return DONE
