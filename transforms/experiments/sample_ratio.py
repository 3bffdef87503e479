"""The sample-ratio test: are the variants as large, side by side, as they were meant to be?"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from scipy import stats


def sample_ratio_p(customers: Mapping[str, int], shares: Mapping[str, Decimal]) -> float | None:
    """p-value of the sizes under the shares, by Pearson's chi-square with one degree of freedom less than variants.

    None where there is nothing to compare; 0 where customers are in a variant that has no share. A small value says
    that variants lost or gained customers otherwise than by the draw, so that they are not alike any more. Source:
    Fabijan and others, Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, KDD 2019.
    """
    total = sum(customers.values())
    if len(shares) < 2 or not total:
        return None
    if any(count and not shares.get(variant) for variant, count in customers.items()):
        return 0.0
    whole = float(sum(shares.values()))
    expected = {variant: total * float(share) / whole for variant, share in shares.items()}
    distance = sum((customers.get(variant, 0) - size) ** 2 / size for variant, size in expected.items())
    return float(stats.chi2.sf(distance, len(expected) - 1))
