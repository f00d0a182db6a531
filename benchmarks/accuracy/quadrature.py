"""Exact λ_n of problems with one or two weights, on the very data that the estimates see, in float64."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

STEP = 0.05  # in log |w|: halving it changes no digit that is compared
_SMALLEST, _REACH = 1e-9, 9.0  # of |w|, and of the prior's standard deviations

Axis = Float[np.ndarray, "_"]
LossDifference = Callable[..., Float[np.ndarray, "..."]]


def axis(center: float, gamma: float, step: float = STEP) -> tuple[Axis, Axis]:
    """Points of both signs, equally spaced in log |w|, and the log of weight times prior at each."""
    size = np.exp(np.arange(np.log(_SMALLEST), np.log(abs(center) + _REACH / np.sqrt(gamma)), step))
    points = np.concatenate([-size[::-1], size])
    return points, np.log(np.abs(points)) - gamma / 2 * (points - center) ** 2


def coefficient(
    loss_difference: LossDifference, center: list[float], nbeta: float, gamma: float, step: float = STEP
) -> float:
    """λ_n = nβ E[ΔL] under exp(−nβ ΔL − γ/2 ‖w − w*‖²) on R^d: the trapezoidal rule in log |w_i|, over all signs.

    It converges geometrically for a ΔL that is analytic away from the axes.

    Args:
        loss_difference: ΔL at arrays of w_1, ..., w_d that broadcast.
        center: w*.
        nbeta: nβ.
        gamma: γ.
        step: between points, in log |w|.
    """
    axes = [axis(place, gamma, step) for place in center]
    grids = np.meshgrid(*[points for points, _ in axes], indexing="ij", sparse=True)
    log_prior = sum(np.meshgrid(*[weight for _, weight in axes], indexing="ij", sparse=True))
    energy = nbeta * loss_difference(*grids)
    log_density = log_prior - energy
    density = np.exp(log_density - log_density.max())
    return float((density * energy).sum() / density.sum())


def scaled_input(residual: LossDifference, inputs: Axis, targets: Axis, scale: float = 1.0) -> LossDifference:
    """ΔL of y = f(w) x under the loss scale/2 · (y − f x)², f(w*) = 0, from its sufficient statistics.

    Args:
        residual: f.
        inputs: x.
        targets: y.
        scale: of the loss; 2 makes it the mean square error.
    """
    x, y = inputs.astype(float), targets.astype(float)
    square, product = (x * x).mean(), (x * y).mean()

    def loss_difference(*weights: Axis) -> Float[np.ndarray, "..."]:
        f = residual(*weights)
        return scale * (f * f * square / 2 - f * product)

    return loss_difference
