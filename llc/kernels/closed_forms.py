"""Gaussian expectations of activations that have a closed form.

For (x, y) ~ N(0, [[q₁, c], [c, q₂]]) a formula gives   A = E[φ(x) φ(y)]   and   D = E[φ′(x) φ′(y)] = ∂A/∂c.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_SNAP = 4  # units of rounding: 99.9 % of equal float32 inputs come out within them, and other pairs lose nothing


class ClosedForm(eqx.Module):
    """An activation whose expectations are elementary functions of q₁, q₂ and c."""

    formula: Callable[..., tuple[Array, Array]] = eqx.field(static=True)

    def features(self, variance: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """What pairs need of each input: its variance."""
        return variance

    def pairs(
        self, first: Float[Array, "..."], second: Float[Array, "..."], covariance: Float[Array, "*batch"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """A and D of each pair."""
        return self.formula(first, second, covariance)

    def diagonal(self, features: Float[Array, "*batch"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """A and D of each input with itself."""
        return self.formula(features, features, features)

    def remainders(
        self, first: Float[Array, "..."], second: Float[Array, "..."], covariance: Float[Array, "*batch"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """How far A and D may be off: nothing beyond rounding."""
        del first, second
        return jnp.zeros_like(covariance), jnp.zeros_like(covariance)


def correlation(
    q1: Float[Array, "..."], q2: Float[Array, "..."], c: Float[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """ρ = c / √(q₁q₂) and 1 − ρ², which is zero where |ρ| is within rounding of 1; an input of zeros has ρ = 0.

    Without that zero the angle of equal inputs would be the root of a rounding error: √10⁻⁷ in float32.
    """
    inverse = lambda q: jnp.where(q > 0, 1 / jnp.sqrt(jnp.where(q > 0, q, 1)), 0)
    rho = jnp.clip(c * inverse(q1) * inverse(q2), -1, 1)
    size = jnp.abs(rho)
    gap = jnp.where(1 - size > _SNAP * jnp.finfo(c.dtype).eps, 1 - size, 0)
    return rho, gap * (1 + size)


def _arccos_over_sine(degree: int) -> tuple[float, ...]:
    """arccos r / √(1−r²) on 0 ≤ r ≤ 1 as a polynomial in 2r − 1; the singularity r = −1 is far: error 5.8^−degree."""
    u = np.cos(np.pi * (np.arange(200) + 0.5) / 200)
    r = (u + 1) / 2
    fit = np.polynomial.chebyshev.chebfit(u, np.arccos(r) / np.sqrt((1 - r) * (1 + r)), degree)
    return tuple(np.polynomial.chebyshev.cheb2poly(fit).tolist())


_COEFFICIENTS = {4: _arccos_over_sine(9), 8: _arccos_over_sine(20)}  # 2e-8 in float32, 7e-16 in float64


def angle(sine: Float[Array, "*batch"], cosine: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The angle in [0, π] of a sine ≥ 0 and a cosine, to rounding: multiplications only, so that a kernel is one loop.

    `arctan2` would do, at three times the cost of all else that a ReLU layer does.
    """
    coefficients = _COEFFICIENTS[8 if cosine.dtype == jnp.float64 else 4]
    u = 2 * jnp.abs(cosine) - 1
    polynomial = jnp.full_like(u, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        polynomial = polynomial * u + coefficient
    acute = sine * polynomial
    return jnp.where(cosine < 0, np.pi - acute, acute)


def relu(
    q1: Float[Array, "..."], q2: Float[Array, "..."], c: Float[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """φ(z) = max(z, 0) (Cho & Saul 2009, orders 1 and 0), θ the angle between the inputs.

    A = √(q₁q₂) (sin θ + (π−θ) cos θ) / 2π,   D = (π−θ) / 2π.
    """
    rho, squared_sine = correlation(q1, q2, c)
    sine = jnp.sqrt(squared_sine)
    rest = np.pi - angle(sine, rho)
    return (sine * (jnp.sqrt(q1) * jnp.sqrt(q2)) + rest * c) / (2 * np.pi), rest / (2 * np.pi)


def erf(
    q1: Float[Array, "..."], q2: Float[Array, "..."], c: Float[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """φ = erf (Williams 1997):   A = (2/π) arcsin(2c / √((1+2q₁)(1+2q₂))),   D = (4/π) / √((1+2q₁)(1+2q₂) − 4c²)."""
    _, squared_sine = correlation(q1, q2, c)
    norm = jnp.sqrt(1 + 2 * q1) * jnp.sqrt(1 + 2 * q2)
    root = jnp.sqrt(1 + 2 * q1 + 2 * q2 + 4 * q1 * q2 * squared_sine)
    return 1 - (2 / np.pi) * angle(root / norm, 2 * c / norm), (4 / np.pi) / root


def gelu(
    q1: Float[Array, "..."], q2: Float[Array, "..."], c: Float[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """φ(z) = z Φ(z), Φ the normal distribution function (not its tanh approximation); by Stein's lemma, twice.

    With Δ = (1+q₁)(1+q₂) − c², s = 1/(1+q₁) + 1/(1+q₂) and P = E[Φ(x) Φ(y)] = ¼ + arcsin(c / √((1+q₁)(1+q₂))) / 2π:
    A = c P + (q₁q₂ − c² + c² s) / (2π √Δ),   D = P + c (s + 1/Δ) / (2π √Δ).
    """
    _, squared_sine = correlation(q1, q2, c)
    norm = jnp.sqrt(1 + q1) * jnp.sqrt(1 + q2)
    gap = q1 * q2 * squared_sine
    delta = 1 + q1 + q2 + gap
    root = jnp.sqrt(delta)
    shares = 1 / (1 + q1) + 1 / (1 + q2)
    both = 0.5 - angle(root / norm, c / norm) / (2 * np.pi)
    value = c * both + (gap + c * c * shares) / (2 * np.pi * root)
    return value, both + c * (shares + 1 / delta) / (2 * np.pi * root)


def identity(
    q1: Float[Array, "..."], q2: Float[Array, "..."], c: Float[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """φ(z) = z:   A = c,   D = 1."""
    del q1, q2
    return c, jnp.ones_like(c)
