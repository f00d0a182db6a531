"""Sums over the eigenvalues of a symmetric matrix, tr f(A): from all of them, or by stochastic Lanczos quadrature.

    tr f(A) = E[xᵀ f(A) x] over x uniform on the sphere of radius √d,     xᵀ f(A) x ≈ d Σ_k τ_k² f(θ_k),

θ_k the eigenvalues of Lanczos' tridiagonal matrix from x, τ_k its eigenvectors' first components (Golub & Meurant
1994; Ubaru, Chen & Saad 2017). One run of Lanczos serves every f.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matfree import decomp

Product = Callable[[Float[Array, "d"]], Float[Array, "d"]]
Function = Callable[[np.ndarray], np.ndarray]

_DEPTH = 32  # products a probe at first, doubled where they do not suffice
_MAX_BASIS = 2**27  # numbers that Lanczos' basis may hold: 512 MiB of float32
_NUM_PILOTS = 2


class Sum(NamedTuple):
    """A sum over eigenvalues with its standard error, 0 where all of them are known."""

    value: float
    std_error: float


@dataclass(frozen=True)
class SpectralMeasure:
    """Where the eigenvalues of A lie: tr f(A), or xᵀ f(A) x of a vector, as the mean over probes of Σ weights f(nodes).

    >>> eigenvalue_measure(np.array([3.0, 1.0]), zeros=2).trace(lambda h: h / (h + 1))
    Sum(value=1.25, std_error=0.0)
    """

    nodes: Float[np.ndarray, "probes k"]
    weights: Float[np.ndarray, "probes k"]
    lower: "SpectralMeasure | None" = None
    """The rule with a node at the spectrum's lower end; None where nothing was cut short."""
    sampled: bool = False
    """Whether the probes are random."""

    def integral(self, f: Function) -> float:
        """The mean over probes of Σ weights f(nodes), midway between the two rules."""
        value = float((self.weights * f(self.nodes)).sum(axis=1).mean())
        return 0.5 * (value + self.lower.integral(f)) if self.lower else value

    def half_width(self, f: Function) -> float:
        """What cutting Lanczos short can have done to it: half the distance of the two rules."""
        return abs(self.integral(f) - self.lower.integral(f)) if self.lower else 0.0

    def trace(self, f: Function) -> Sum:
        """tr f(A), with an error that holds the choice of the probes and the depth of Lanczos.

        On the sphere Var[xᵀ f(A) x] = 2d/(d+2) · (tr f(A)² − (tr f(A))²/d) exactly; the spread of a handful of probes
        would be a poor guess. It is known as well as tr f(A)² is: of few probes, poorly where a few eigenvalues are
        nearly all of the sum. Of functions whose derivatives alternate in sign, h/(h+1) and log(1+h), the two rules
        are bounds (Golub & Meurant 1994).
        """
        sampling = math.sqrt(self.probe_variance(f) / len(self.nodes)) if self.sampled else 0.0
        return Sum(self.integral(f), math.hypot(sampling, self.half_width(f)))

    def probe_variance(self, f: Function) -> float:
        """Var[xᵀ f(A) x] of one probe."""
        d = self.weights.sum(axis=1).mean()
        return float(2 * d / (d + 2) * max(self.integral(lambda h: f(h) ** 2) - self.integral(f) ** 2 / d, 0.0))

    def scaled(self, factor: float, *, mass: float = 1.0) -> "SpectralMeasure":
        """That of factor · A, with weights `mass` times these."""
        lower = self.lower and self.lower.scaled(factor, mass=mass)
        return replace(self, nodes=factor * self.nodes, weights=mass * self.weights, lower=lower)

    def semidefinite(self) -> "SpectralMeasure":
        """The same without the negative eigenvalues that rounding makes of zeros."""
        return replace(self, nodes=np.maximum(self.nodes, 0.0), lower=self.lower and self.lower.semidefinite())

    @property
    def smallest(self) -> float:
        """The smallest node of either rule."""
        nodes = float(self.nodes.min())
        return min(nodes, self.lower.smallest) if self.lower else nodes


def eigenvalue_measure(eigenvalues: Float[np.ndarray, "k"], *, zeros: int = 0) -> SpectralMeasure:
    """That of eigenvalues all of which are known, and of so many zeros beside them."""
    nodes, weights = np.asarray(eigenvalues, np.float64), np.ones(len(eigenvalues))
    if zeros:
        nodes, weights = np.append(nodes, 0.0), np.append(weights, float(zeros))
    return SpectralMeasure(nodes[None], weights[None])


def vector_measure(
    product: Product, x: Float[Array, "d"], f: Function, *, relative_error: float | int, max_products: int
) -> SpectralMeasure:
    """xᵀ f(A) x from as many products as bring the two rules together.

    Args:
        product: v ↦ A v, a pytree if it carries arrays (`eqx.Partial`), so that it compiles once.
        x: the vector.
        f: the function whose rules decide; the measure serves any other.
        relative_error: how near, relative to xᵀ f(A) x.
        max_products: where to stop short of it; 32 are the least.
    """
    square = float(np.square(np.asarray(x, np.float64)).sum())
    if square == 0.0:
        return SpectralMeasure(np.zeros((1, 1)), np.zeros((1, 1)))
    depth, spent = min(_DEPTH, x.size), 0
    while True:
        matrix = np.asarray(_tridiagonal(product, x, depth), np.float64)
        measure, spent = _quadrature(matrix[None], square, sampled=False, whole=depth == x.size), spent + depth
        deeper = min(2 * depth, x.size)
        affordable = spent + deeper <= max_products and deeper * x.size <= _MAX_BASIS
        if measure.half_width(f) <= relative_error * abs(measure.integral(f)) or deeper == depth or not affordable:
            return measure
        depth = deeper


def probe_measure(
    product: Product,
    like: Float[Array, "d"],
    f: Function,
    rng_key: Array,
    *,
    relative_error: float | int,
    max_products: int,
) -> SpectralMeasure:
    """tr f(A) from random probes, as deep and as many as the standard error of tr f(A) needs to meet its goal.

    Args:
        product: v ↦ A v, a pytree if it carries arrays (`eqx.Partial`), so that it compiles once.
        like: any vector of A's dimension and precision.
        f: the function whose error decides; the measure serves any other.
        rng_key: of the probes.
        relative_error: the goal, relative to tr f(A).
        max_products: where to stop short of it; two probes of 32 products are the least.
    """

    def probes(first: int, last: int, depth: int) -> list[np.ndarray]:
        keys = [jax.random.fold_in(rng_key, i) for i in range(first, last)]
        starts = (jax.random.normal(key, like.shape, like.dtype) for key in keys)
        return [np.asarray(_tridiagonal(product, x, depth), np.float64) for x in starts]

    def measure(matrices: list[np.ndarray]) -> SpectralMeasure:
        whole = len(matrices[0]) == like.size
        return _quadrature(np.stack(matrices), float(like.size), sampled=True, whole=whole)

    depth, spent = min(_DEPTH, like.size), 0
    while True:
        matrices = probes(0, _NUM_PILOTS, depth)
        pilot, spent = measure(matrices), spent + _NUM_PILOTS * depth
        goal = relative_error * abs(pilot.integral(f))
        deeper = min(2 * depth, like.size)
        affordable = 2 * (spent + _NUM_PILOTS * deeper) <= max_products and deeper * like.size <= _MAX_BASIS
        if pilot.half_width(f) <= 0.5 * goal or deeper == depth or not affordable:
            break
        depth = deeper
    needed = math.ceil(min(pilot.probe_variance(f) / (0.8 * goal) ** 2, max_products)) if goal > 0 else 0
    more = min(needed - _NUM_PILOTS, (max_products - spent) // depth)
    return measure(matrices + probes(_NUM_PILOTS, _NUM_PILOTS + more, depth))


@eqx.filter_jit
def assemble(product: Product, like: Float[Array, "d"], side_by_side: int) -> Float[Array, "d d"]:
    """A itself, from its products with the unit vectors, so many at a time."""
    return jax.lax.map(product, jnp.eye(like.size, dtype=like.dtype), batch_size=side_by_side)


@eqx.filter_jit
def _tridiagonal(product: Product, start: Float[Array, "d"], depth: int) -> Float[Array, "depth depth"]:
    with jax.default_matmul_precision("highest"):
        matrix = decomp.tridiag_sym(depth, reortho="full")(product, start).J_small
    # where the vectors reachable from the start run out, Lanczos ends in 0/0; what comes after has no weight
    return jnp.nan_to_num(jnp.asarray(matrix))


def _quadrature(
    matrices: Float[np.ndarray, "probes k k"], mass: float, *, sampled: bool, whole: bool
) -> SpectralMeasure:
    """The rules of Gauss and, unless Lanczos saw the whole space, of Gauss and Radau, from tridiagonal matrices."""

    def rule(matrices: np.ndarray, lower: SpectralMeasure | None) -> SpectralMeasure:
        nodes, vectors = np.linalg.eigh(matrices)
        return SpectralMeasure(nodes, mass * vectors[:, 0] ** 2, lower, sampled)

    upper = rule(matrices, None)
    if whole or matrices.shape[-1] == 1:
        return upper
    return rule(
        matrices, rule(np.stack([_with_lowest_node(*pair) for pair in zip(matrices, upper.nodes, strict=True)]), None)
    )


def _with_lowest_node(matrix: Float[np.ndarray, "k k"], nodes: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k k"]:
    """The tridiagonal matrix of the rule with a node at 0, or a little below the smallest where that is negative."""
    lowest = min(0.0, 1.05 * nodes[0]) - 1e-14 * np.abs(nodes).max() - np.finfo(float).tiny
    last = np.zeros(len(matrix) - 1)
    last[-1] = matrix[-1, -2] ** 2
    changed = matrix.copy()
    changed[-1, -1] = lowest + np.linalg.solve(matrix[:-1, :-1] - lowest * np.eye(len(last)), last)[-1]
    return changed
