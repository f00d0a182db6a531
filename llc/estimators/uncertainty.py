"""Means of autocorrelated chains with their standard errors, and their extrapolation to step size zero."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float
from scipy.stats import chi2


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
    values = np.asarray(values, dtype=np.float64)
    mean, spread = float(values.mean()), float(values.std())
    if spread == 0.0:
        return Mean(mean, 0.0, 0.0, float("nan"))
    if values.shape[1] < 4:
        return Mean(mean, float("nan"), float("nan"), float("nan"))
    ess = float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="mean"))
    rhat = float(array_stats.rhat(values, chain_axis=0, draw_axis=1)) if len(values) > 1 else float("nan")
    return Mean(mean, spread / np.sqrt(ess), ess, rhat)


def extrapolate(means: Sequence[Mean], step_sizes: Float[np.ndarray, "ladder"]) -> Mean:
    """The value at step size 0 of the weighted least-squares line through a ladder's means.

    The bias of a Langevin chain is linear in its step size (Mattingly, Stuart & Tretyakov 2010). The line's own error is
    the standard error; where the points miss it by chance less than once in a hundred, the error grows by that misfit.
    """
    ess, rhat = min(m.ess for m in means), max((m.rhat for m in means), key=lambda r: -np.inf if np.isnan(r) else r)
    if len(means) == 1:
        return means[0]
    values, errors = np.array([m.value for m in means]), np.array([m.std_error for m in means])
    if not errors.all():  # frozen chains know their value exactly
        return Mean(float(values[np.argmin(step_sizes)]), float(errors[np.argmin(step_sizes)]), ess, rhat)
    design = np.stack([np.ones_like(step_sizes), step_sizes / step_sizes.max()], axis=1) / errors[:, None]
    coefficients, *_ = np.linalg.lstsq(design, values / errors, rcond=None)
    covariance = np.linalg.inv(design.T @ design)
    freedom = len(means) - 2
    distance = float(np.square(design @ coefficients - values / errors).sum())
    misfit = float(chi2.sf(distance, freedom)) if freedom else 1.0
    inflation = np.sqrt(distance / freedom) if misfit < 0.01 else 1.0
    return Mean(float(coefficients[0]), float(np.sqrt(covariance[0, 0]) * inflation), ess, rhat, misfit)
