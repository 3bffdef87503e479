"""Names that people give in YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def repeated(names: Iterable[str]) -> list[str]:
    """The names that are given more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)
