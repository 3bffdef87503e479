"""What a person sees while a run goes on: step n of m, rows, seconds, what was skipped and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any


class Progress:
    """Prints to standard error, as lines for people or as one JSON object per line (`--json-logs`)."""

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self._as_json = as_json
        self._quiet = quiet

    def done(self, name: str, number: int, total: int, seconds: float, facts: Mapping[str, Any]) -> None:
        """Say that a step ended, the how manyth of how many, how long it took, and what is known of it."""
        shown = " · ".join(f"{_number(value)} {key}" for key, value in facts.items() if value not in (None, 0))
        line = f"[{number:>2}/{total}] {name:<20} {seconds:6.1f} s  {shown}"
        self._say("info", line, step=name, seconds=seconds, **facts)

    def note(self, message: str) -> None:
        """Something worth knowing: what was skipped and why, what to look at."""
        self._say("info", f"        {message}", note=message)

    def warn(self, message: str) -> None:
        """Something a person should act on."""
        self._say("warning", f"     ⚠  {message}", note=message)

    def _say(self, level: str, line: str, **facts: Any) -> None:
        if self._quiet and level == "info":
            return
        if self._as_json:
            at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            line = json.dumps({"at": at, "level": level, **facts}, ensure_ascii=False, default=str)
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
