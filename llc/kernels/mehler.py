"""Gaussian expectations of any activation, by its Hermite series and by quadrature where that converges slowly.

With h_k = He_k / √k! and a_k(q) = E[φ(√q z) h_k(z)], Mehler's formula gives, ρ = c / √(q₁q₂),

    A = Σ_k a_k(q₁) a_k(q₂) ρᵏ,   and D likewise from the coefficients a′_k of φ′.

After K terms the remainder is at most |ρ|ᴷ √(R(q₁) R(q₂)), R(q) = E[φ(√q z)²] − Σ_{k<K} a_k(q)²   (Cauchy–Schwarz).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from llc.kernels.closed_forms import correlation

_CHUNK = 16  # pairs integrated at once: their nodes fit in cache
_STEPS = {4: 0.16, 8: 0.08}  # of the quadrature of pairs, by bytes of a number

Function = Callable[[Array], Array]


class Series(NamedTuple):
    """Hermite coefficients of a function at some variances, and its mean square."""

    coefficients: Float[Array, "*batch terms"]
    moment: Float[Array, "*batch"]


class HermiteFeatures(NamedTuple):
    """What pairs need of each input: its variance, and the series of φ and of φ′."""

    variance: Float[Array, "*batch"]
    value: Series
    slope: Series


class Mehler(eqx.Module):
    """An activation without a closed form.

    Pairs for which the bound of the series exceeds the tolerance (nearly parallel inputs of large variance, or a kinked
    φ) are integrated in polar coordinates instead, to about 1e-12 (1e-6 in float32), some two thousand a second (ten
    times as many). A kink at 0 costs no accuracy; kinks elsewhere do: for a hard tanh A is right to 1e-4, D to 1 %.

    Args:
        function: φ, elementwise, differentiable almost everywhere, traceable by JAX.
        num_terms: K at most; fewer are summed where the rest is within rounding.
        tolerance: the largest remainder that is accepted of the series, in units of √(E[φ(x)²] E[φ(y)²]), likewise for
            φ′; `math.inf` sums the series alone. None is 1e-12, in float32 2e-6.
    """

    function: Function = eqx.field(static=True)
    num_terms: int = eqx.field(static=True, default=512)
    tolerance: float | int | None = eqx.field(static=True, default=None)

    def features(self, variance: Float[Array, "*batch"]) -> HermiteFeatures:
        """The coefficients of φ and φ′, by quadrature in one dimension."""
        z, weights, polynomials = (jnp.asarray(a, variance.dtype) for a in _hermite_rule(self.num_terms))
        values, slopes = _with_slope(self.function, jnp.sqrt(variance)[..., None] * z)
        product = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        series = lambda f: Series(product(f, polynomials), product(jnp.square(f), weights))
        return HermiteFeatures(variance, series(values), series(slopes))

    def pairs(
        self, first: HermiteFeatures, second: HermiteFeatures, covariance: Float[Array, "*batch"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """A and D of each pair."""
        rho, squared_sine = correlation(first.variance, second.variance, covariance)
        series = _sum(first.value, second.value, rho), _sum(first.slope, second.slope, rho)
        hard = self._is_hard(first, second, rho)
        arguments = (*jnp.broadcast_arrays(first.variance, second.variance, rho), jnp.sqrt(squared_sine))
        return _integrate_where(hard, self.function, arguments, series)

    def diagonal(self, features: HermiteFeatures) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """A and D of each input with itself: E[φ²] and E[φ′²]."""
        return features.value.moment, features.slope.moment

    def remainders(
        self, first: HermiteFeatures, second: HermiteFeatures, covariance: Float[Array, "*batch"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """The bound on what the series leaves out of A and of D; zero for pairs that are integrated."""
        rho, _ = correlation(first.variance, second.variance, covariance)
        hard = self._is_hard(first, second, rho)
        bounds = _bound(first.value, second.value, rho), _bound(first.slope, second.slope, rho)
        return jnp.where(hard, 0, bounds[0]), jnp.where(hard, 0, bounds[1])

    def _is_hard(
        self, first: HermiteFeatures, second: HermiteFeatures, rho: Float[Array, "*batch"]
    ) -> Bool[Array, "*batch"]:
        tolerance = _rounding(rho) if self.tolerance is None else self.tolerance

        def exceeds(one: Series, other: Series) -> Bool[Array, "*batch"]:
            return _bound(one, other, rho) > tolerance * jnp.sqrt(one.moment) * jnp.sqrt(other.moment)

        return exceeds(first.value, second.value) | exceeds(first.slope, second.slope)


def _with_slope(function: Function, z: Float[Array, "*batch"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    return jax.jvp(function, (z,), (jnp.ones_like(z),))


def _rounding(like: Float[Array, "..."]) -> float:
    """The error relative to √(E[φ²] E[φ²]) below which the coefficients' own rounding rules."""
    return max(1e-12, 16 * float(jnp.finfo(like.dtype).eps))


def _rests(series: Series) -> Float[Array, "*batch terms"]:
    """R after 1, 2, … terms; never below rounding, where it cannot be known."""
    rests = series.moment[..., None] - jnp.cumsum(jnp.square(series.coefficients), axis=-1)
    return jnp.maximum(rests, jnp.finfo(rests.dtype).eps * series.moment[..., None])


def _num_terms(one: Series, other: Series) -> Int[Array, ""]:
    """The fewest terms that leave nothing but rounding, whatever ρ; else all."""

    def enough(series: Series) -> Bool[Array, "terms"]:
        small = _rests(series) <= _rounding(series.moment) * series.moment[..., None]
        return small.reshape(-1, small.shape[-1]).all(axis=0)

    both = enough(one) & enough(other)
    return jnp.where(both.any(), both.argmax() + 1, both.size)


def _bound(one: Series, other: Series, rho: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    count = _num_terms(one, other)
    rest = lambda series: jnp.sqrt(_rests(series)[..., count - 1])
    return jnp.abs(rho) ** count * rest(one) * rest(other)


def _sum(one: Series, other: Series, rho: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Σ_k a_k a_k ρᵏ by Horner's rule: one pass over the pairs for each term."""
    count = _num_terms(one, other)

    def step(i: Int[Array, ""], total: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        k = count - 1 - i
        return total * rho + one.coefficients[..., k] * other.coefficients[..., k]

    return jax.lax.fori_loop(0, count, step, jnp.zeros_like(rho))


def _integrate_where(
    hard: Bool[Array, "*batch"],
    function: Function,
    arguments: tuple[Float[Array, "*batch"], ...],
    series: tuple[Float[Array, "*batch"], Float[Array, "*batch"]],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """The series, with integrals in its place for the pairs that are hard; their number need not be known."""
    size, count = hard.size, hard.sum()
    hard_first = jnp.nonzero(hard.ravel(), size=-(-size // _CHUNK) * _CHUNK, fill_value=size)[0]
    columns = [argument.ravel() for argument in arguments]

    def step(state: tuple) -> tuple:
        begin, value, slope = state
        chunk = jax.lax.dynamic_slice_in_dim(hard_first, begin, _CHUNK)
        integrals = jax.vmap(lambda *pair: _polar_integral(function, *pair))(*(column[chunk] for column in columns))
        write = lambda into, what: into.at[chunk].set(what, mode="drop")
        return begin + _CHUNK, write(value, integrals[0]), write(slope, integrals[1])

    start = (jnp.zeros_like(count), series[0].ravel(), series[1].ravel())
    _, value, slope = jax.lax.while_loop(lambda state: state[0] < count, step, start)
    return value.reshape(hard.shape), slope.reshape(hard.shape)


def _polar_integral(
    function: Function, q1: Float[Array, ""], q2: Float[Array, ""], rho: Float[Array, ""], sine: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """E[φ(x) φ(y)] and E[φ′(x) φ′(y)] over x = √q₁ r sin ψ, y = √q₂ r sin(ψ+θ), cos θ = ρ.

    The lines x = 0 and y = 0 part the half circle into arcs of π−θ, where x and y are of one sign, and θ, where they
    are not. Each arc is taken by a tanh-sinh rule, the radius by an exp-sinh rule, so that neither a kink at 0 nor the
    steep middle of a saturated φ slows convergence down.
    """
    step = _STEPS[rho.dtype.itemsize]
    radius, radial = (jnp.asarray(a, rho.dtype) for a in _half_line(step))
    left, right, angular = (jnp.asarray(a, rho.dtype) for a in _arc(step))
    theta = jnp.arctan2(sine, rho)
    radial = radial * radius * jnp.exp(-jnp.square(radius) / 2) / (2 * np.pi)

    def over(arc: Float[Array, ""], sign: int) -> list[Float[Array, ""]]:
        x = jnp.sqrt(q1) * radius[:, None] * jnp.sin(arc * left)
        y = jnp.sqrt(q2) * radius[:, None] * jnp.sin(arc * right) * sign
        at = [_with_slope(function, v) for v in (x, y, -x, -y)]
        both = [a * b + c * d for a, b, c, d in zip(*at, strict=True)]
        highest = jax.lax.Precision.HIGHEST
        return [jnp.einsum("r,ra,a", radial, f, arc * angular, precision=highest) for f in both]

    same, opposite = over(np.pi - theta, 1), over(theta, -1)
    return same[0] + opposite[0], same[1] + opposite[1]


def _half_line(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of ∫₀^12.5 f(z) dz by z = exp(t − e⁻ᵗ), for f that may be singular at 0."""
    t = np.arange(-3.6, 2.61, step)
    z = np.exp(t - np.exp(-t))
    return z, step * z * (1 + np.exp(-t))


def _arc(step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances from both ends and weights of a tanh-sinh rule on [0, 1] (Takahasi & Mori 1974)."""
    count = round(3.2 / step)
    t = np.arange(-count, count + 1) * step
    ends = lambda t: 1 / (1 + np.exp(np.pi * np.sinh(t)))
    return ends(-t), ends(t), step * np.pi * np.cosh(t) * ends(t) * ends(-t)


@lru_cache
def _hermite_rule(num_terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes z, weights of E[f(z)], and weights of E[f(z) h_k(z)]; fine enough for 512 terms and any variance."""
    z, weights = _half_line(0.02)
    z, weights = np.concatenate([-z[::-1], z]), np.concatenate([weights[::-1], weights])
    weights = weights * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    polynomials = np.ones((len(z), num_terms))
    previous = np.zeros_like(z)
    for k in range(num_terms - 1):
        h = polynomials[:, k]
        polynomials[:, k + 1] = (z * h - np.sqrt(k) * previous) / np.sqrt(k + 1)
        previous = h
    return z, weights, polynomials * weights[:, None]
