"""What a comparison says, in words."""

from __future__ import annotations

CONTROL = "control"
BROKEN = "sample ratio broken: do not read"
TOO_FEW = "too few customers"
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"
VERDICTS = (CONTROL, BROKEN, TOO_FEW, BETTER, WORSE, NO_DIFFERENCE)


def verdict(
    lift: float | None, p_adjusted: float | None, is_broken: bool, direction: str, alpha: float, is_control: bool
) -> str:
    """One of `VERDICTS`. No difference shown is not the same as no difference: the interval tells how large it may be.

    Args:
        lift, p_adjusted: null where the variants are too small to be compared.
        is_broken: the sample-ratio test failed.
        direction: `up` where more is better.
    """
    if is_control:
        return CONTROL
    if is_broken:
        return BROKEN
    if lift is None or p_adjusted is None:
        return TOO_FEW
    if p_adjusted >= alpha:
        return NO_DIFFERENCE
    return BETTER if (lift > 0) == (direction == "up") else WORSE
