"""What is checked of a model and shown in gold.model_checks."""

from __future__ import annotations

from typing import Any

import numpy as np

Check = dict[str, Any]


def check_row(
    model: str,
    check: str,
    bin: str,
    customers: int,
    expected: float | None = None,
    actual: float | None = None,
    is_passed: bool | None = None,
    note: str | None = None,
) -> Check:
    """A check of a model: a row of gold.model_checks without dates; what is not a number is not known."""
    numbers = {
        name: None if value is None or np.isnan(value) else round(float(value), 6)
        for name, value in (("expected", expected), ("actual", actual))
    }
    passed = None if is_passed is None else bool(is_passed)
    return {
        "model": model,
        "check": check,
        "bin": bin,
        "customers": customers,
        **numbers,
        "is_passed": passed,
        "note": note,
    }
