"""Means of autocorrelated chains with their standard errors, and their extrapolation to step size zero."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Mean(NamedTuple):
    """A mean over chains and draws: its Monte Carlo standard error, effective sample size and R̂.

    `misfit` is the probability that a ladder of step sizes lies as far from its line, 1 where there is no ladder.
    """

    value: float
    std_error: float
    ess: float
    rhat: float
    misfit: float = 1.0


def mean_with_error(values: Float[np.ndarray, "chain draw"]) -> Mean:
    """The mean, with σ/√ESS by ArviZ's multi-chain effective sample size (Vehtari et al. 2021).

    Chains that never moved give exactly 0 as the error and, having explored nothing, 0 as the effective sample size.

    >>> mean_with_error(np.ones((4, 100)))[:3]
    (1.0, 0.0, 0.0)
    """
    from arviz_stats.base.array import array_stats  # takes a second, which sampling need not wait for

    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        return Mean(*[float("nan")] * 4)
    mean, spread = float(values.mean()), float(values.std())
    if spread == 0.0:
        return Mean(mean, 0.0, 0.0, float("nan"))
    if values.shape[1] < 4:
        return Mean(mean, float("nan"), float("nan"), float("nan"))
    ess = float(np.asarray(array_stats.ess(values, chain_axis=0, draw_axis=1, method="mean")))
    rhat = float(np.asarray(array_stats.rhat(values, chain_axis=0, draw_axis=1))) if len(values) > 1 else float("nan")
    return Mean(mean, spread / math.sqrt(ess), ess, rhat)


def extrapolate(means: Sequence[Mean], step_sizes: Float[np.ndarray, "ladder"], *, straight: bool = False) -> Mean:
    """The value at step size 0 of the curve a / (1 − bε) through a ladder's means, by weighted least squares.

    A mode of curvature h carries its share of λ̂ inflated by exactly 1 / (1 − εh/4), so that the curve is exact for
    equal modes, and linear in ε where the bias is small (Mattingly, Stuart & Tretyakov 2010). `straight` fits a line,
    for what may be 0. The error is that of the fit; where the points miss it by chance less than once in a hundred,
    it grows by the misfit.

    >>> ladder = np.array([1.0, 0.5, 0.25])
    >>> means = [Mean(3 / (1 - 0.2 * size), 0.1, 400.0, 1.0) for size in ladder]
    >>> round(extrapolate(means, ladder).value, 6)
    3.0
    """
    from scipy.stats import chi2

    if len(means) == 1:
        return means[0]
    ess, rhat = min(m.ess for m in means), max((m.rhat for m in means), key=lambda r: -np.inf if np.isnan(r) else r)
    values, errors = np.array([m.value for m in means]), np.array([m.std_error for m in means])
    if not (errors > 0).all():  # frozen chains know their value exactly; too few draws not how well, by NaN
        smallest = int(np.argmin(step_sizes))
        return Mean(float(values[smallest]), float(errors[smallest]), ess, rhat)
    sizes = step_sizes / step_sizes.max()
    a, b = float(np.average(values, weights=errors**-2)), 0.0
    slopes, residual = np.empty((len(means), 2)), values
    for _ in range(1 if straight else 10):  # Gauss-Newton, whose first step is the straight line
        slopes = np.stack([1 / (1 - b * sizes), sizes / (1 - b * sizes) ** 2], axis=1) / errors[:, None]
        residual = (values - a / (1 - b * sizes)) / errors
        change, *_ = np.linalg.lstsq(slopes, residual, rcond=None)
        residual = residual - slopes @ change
        a, b = a + float(change[0]), float(np.clip(b + change[1] / a, -0.9, 0.9))
    covariance = np.linalg.inv(slopes.T @ slopes)
    freedom, distance = len(means) - 2, float(residual @ residual)
    misfit = float(chi2.sf(distance, freedom)) if freedom else 1.0
    inflation = math.sqrt(distance / freedom) if misfit < 0.01 else 1.0
    return Mean(a, math.sqrt(covariance[0, 0]) * inflation, ess, rhat, misfit)
