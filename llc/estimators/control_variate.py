"""The virial as a control variate: E[v·∇U] = d is exact, and where ΔL goes along with it, so is part of its noise.

    λ̂ = mean of x − c (v·∇U − d),   x = nβ ΔL,   c = Cov(x̄, z̄) / Var(z̄) over means x̄, z̄ of batches of draws

In a quadratic well v·∇U − d is twice x less its mean, up to the prior's part, and the error vanishes (zero-variance
Monte Carlo: Mira, Solgi & Imparato 2013). By Stein's identity Cov(x, v·∇U) = nβ E[v·∇ΔL], about 2λ, beside a Var(v·∇U)
of about 2d: a network that uses a small part of its parameters gains little.
"""

import numpy as np
from jaxtyping import Float

from llc.estimators.uncertainty import Mean, mean_with_error

_GAIN = 0.8  # of the plain standard error, which the control must go below to be used
_SIGMAS = 3.0  # that the control's own mean may lie from 0
_FEWEST_BATCHES = 40
_FEWEST_ESS = 400.0  # of what is left, which is slower than the values: with fewer its error is not known well
_ROUNDING = 2e-6  # of the value: what float32 leaves of it where the control knows everything


def controlled_mean(
    values: Float[np.ndarray, "chain draw"], control: Float[np.ndarray, "chain draw"], late: int = 0
) -> Mean:
    """The mean of values less c times a control whose exact mean is 0; the plain mean where that gains little.

    Batches of √draws, whose means tell of noise that lasts, choose c. The error is the larger of that by the effective
    sample size and that of the batches. A control that is off, as of chains that are not where they belong, is not
    used, nor one that leaves what is too slow to know its error. ESS and R̂ stay those of the values.

    >>> rng = np.random.default_rng(0)
    >>> control = rng.normal(size=(4, 1000))
    >>> plain, controlled = mean_with_error(3 + control), controlled_mean(3 + control, control)
    >>> abs(controlled.value - 3) < 1e-9 < abs(plain.value - 3), controlled.ess == plain.ess
    (True, True)

    Args:
        values: what the mean is wanted of.
        control: measured where the values were.
        late: so many draws later.
    """
    plain, of_control = mean_with_error(values), mean_with_error(control)
    values, control = values[:, : values.shape[1] - late], control[:, late:]
    length = int(np.sqrt(values.shape[1]))
    if len(values) * length < _FEWEST_BATCHES or not abs(of_control.value) < _SIGMAS * of_control.std_error:
        return plain
    x, z = (_batch_means(series, length) for series in (values, control))
    coefficient = np.mean(x * z) / np.mean(z * z)
    better = mean_with_error(values - coefficient * control)
    # that of the batches holds what fitting c to them cost
    of_batches = np.sqrt(np.sum((x - coefficient * z) ** 2) / (x.size - 2) / x.size)
    error = max(better.std_error, float(of_batches), _ROUNDING * abs(better.value))
    if not (error < _GAIN * plain.std_error and better.ess > _FEWEST_ESS):
        return plain
    return plain._replace(value=better.value, std_error=error)


def _batch_means(series: Float[np.ndarray, "chain draw"], length: int) -> Float[np.ndarray, "batches"]:
    """Of so many draws each, what is left over at the start aside, around their mean."""
    whole = series.shape[1] // length * length
    means = series[:, -whole:].reshape(len(series), -1, length).mean(axis=2).ravel()
    return means - means.mean()
