"""CUPED: what customers did before the experiment explains part of what they do in it, and is taken off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transforms.experiments.moments import Moments, Sample


@dataclass(frozen=True)
class Adjusted:
    """Variants' samples less what their past explains, and the share of the variance that went with it."""

    samples: Mapping[str, Sample]
    theta: float
    reduction: float


def adjusted_by_past(variants: Mapping[str, Moments]) -> Adjusted | None:
    """The samples of y − θ(x − x̄), x̄ over all variants; None where no past tells customers apart.

    θ = Σ Sxy / Σ Sxx within variants, one θ for all of them: the slope of the regression of y on x and the variant, so
    that differences of adjusted means are the variants' coefficients in it. An adjusted variance is
    (Syy − 2θ Sxy + θ² Sxx) / (n − 1). Source: Deng, Xu, Kohavi, Walker, Improving the Sensitivity of Online Controlled
    Experiments by Utilizing Pre-Experiment Data, WSDM 2013; pooled slope: Fisher's analysis of covariance.
    """
    xx = sum(m.within(m.xx, m.x, m.x) for m in variants.values())
    yy = sum(m.within(m.yy, m.y, m.y) for m in variants.values())
    if not xx or not yy:
        return None
    theta = sum(m.within(m.xy, m.x, m.y) for m in variants.values()) / xx
    customers = sum(m.customers for m in variants.values())
    x_mean = sum(m.x_mean * m.customers for m in variants.values()) / customers
    samples = {name: _adjusted(m, theta, x_mean) for name, m in variants.items()}
    left = sum(sample.variance * max(sample.customers - 1, 1) for sample in samples.values())
    return Adjusted(samples, theta, 1 - left / yy)


def _adjusted(moments: Moments, theta: float, x_mean: float) -> Sample:
    plain = moments.sample
    sxy = moments.within(moments.xy, moments.x, moments.y)
    sxx = moments.within(moments.xx, moments.x, moments.x)
    explained = (2 * theta * sxy - theta**2 * sxx) / max(moments.customers - 1, 1)
    mean = plain.mean - theta * (moments.x_mean - x_mean)
    return Sample(moments.customers, mean, max(plain.variance - explained, 0.0))
