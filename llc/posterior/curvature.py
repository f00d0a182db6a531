"""Curvature of the loss in whitened coordinates: the largest limits a step, step_size · (1 + nβ h̃) < 4."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Array, Bool, Float, Int
from matfree import decomp

from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.metric import Metric, unit_metric
from llc.posterior.work import gradient_work

_MAX_EXAMPLES = 4096  # a largest eigenvalue does not need more
_FEWEST_EXAMPLES = 32
_MAX_WORK = 1e10  # flops of a product, for which a large network is seen through fewer examples
_NUM_PRODUCTS = 16
_NUM_PROBES = 64
_METRIC_PROBES, _METRIC_EXAMPLES = 16, 2048
_LARGEST_BASIS = 1024


@eqx.filter_jit
def largest_curvature(
    posterior: LocalPosterior,
    positions: Float[Array, "points d"],
    rng_key: Array,
    preconditioner: Float[Array, "_"] | Metric | None = None,
) -> Float[Array, "points"]:
    """1 + nβ h̃_max at each point, h̃ the eigenvalues of ∇²L, by Lanczos (Golub & Van Loan, §10.1).

    With a preconditioner G, a diagonal or the inverse of a metric, a bound on the largest eigenvalue of
    G^{1/2} (I + nβ ∇²L) G^{1/2}. At most 4096 examples are looked at, the same ones at each point; fewer of a large
    network.
    """
    start_key, example_key = jax.random.split(rng_key)
    start = jax.random.normal(start_key, (posterior.dimension,))
    lanczos = decomp.tridiag_sym(min(_NUM_PRODUCTS, posterior.dimension), reortho="full")
    if isinstance(preconditioner, Metric):
        root, largest = preconditioner.inverse_root, jnp.ones(())
    else:
        diagonal = jnp.ones(1) if preconditioner is None else preconditioner
        root, largest = lambda x: jnp.sqrt(diagonal) * x, diagonal.max()

    def at(v: Float[Array, "d"]) -> Float[Array, ""]:
        product = _hessian_product(posterior, v, example_key)
        tridiagonal = lanczos(lambda x: root(product(root(x))), start).J_small
        # a loss that is flat to second order ends the recursion at once, in 0/0
        return jnp.linalg.eigvalsh(jnp.nan_to_num(jnp.asarray(tridiagonal))).max()

    return largest + posterior.nbeta * jnp.maximum(jax.lax.map(at, positions), 0.0)


@eqx.filter_jit
def measured_metric(
    posterior: LocalPosterior, positions: Float[Array, "points d"], num_positions: int | Int[Array, ""], rng_key: Array
) -> Metric:
    """M = B (I + nβ K) Bᵀ, for what the Hessians H at the first so many positions have in common.

    B of a weight matrix W are the eigenvectors of Σ (Hx)_W (Hx)_Wᵀ, its rows', and of Σ (Hx)_Wᵀ (Hx)_W, its columns',
    as in Shampoo (Gupta et al. 2018); K_i = √(Σ_j (BᵀHB)²_ij), by vectors x of random signs as in Hutchinson (1990), 16
    for each, that are looked at in turn at one position after the other. What float32 cannot see beside the largest is
    looked at again with all stiff directions shrunk by M^{−1/2}. Sides longer than 1024, and those that so few vectors
    do not span, keep the unit vectors. Up to 64 parameters are one vector, whole random orthogonal bases take the place
    of signs, and at one position M is I + nβ |H|. At most 2048 examples are looked at.
    """
    probe_key, example_key = jax.random.split(rng_key)
    d, whole = posterior.dimension, posterior.layout.vector_parts == 1
    few, count = d <= _NUM_PROBES, _metric_probes(d)
    shapes = ((1, d),) if few and whole else unit_metric(posterior).shapes

    def unit_vectors(size: int, other: int) -> Float[Array, "size size"] | None:
        return jnp.eye(size) if whole and 1 < size <= min(_LARGEST_BASIS, count * other) else None

    bases = tuple((unit_vectors(rows, columns), unit_vectors(columns, rows)) for rows, columns in shapes)

    def look(so_far: tuple[Metric, Array], part: Int[Array, ""]) -> tuple[tuple[Metric, Array], None]:
        """A pass over so many H B S x, the first for B, two for K: a loop, for compilers to meet the Hessian once."""
        metric, curvature = so_far
        key = jax.random.fold_in(probe_key, part)
        vectors = _random_bases(key, d, count // d) if few else None

        def outer(product: Float[Array, "d"]) -> Any:
            sides = zip(metric.matrices(product), bases, strict=True)
            return tuple((None if a is None else x @ x.T, None if b is None else x.T @ x) for x, (a, b) in sides)

        def add(i: Int[Array, ""], sums: tuple[Any, Array]) -> tuple[Any, Array]:
            if vectors is None:
                x = jax.random.rademacher(jax.random.fold_in(key, i), (d,), float)
            else:
                x = math.sqrt(d) * vectors[i]
            hessian = _hessian_product(posterior, positions[i % num_positions], example_key, _METRIC_EXAMPLES)
            product = hessian(metric.from_basis(metric.scales * x))
            product = jnp.where(jnp.isfinite(product), product, 0.0)
            outers, squares = sums
            outers = jax.lax.cond(part == 0, lambda: jax.tree.map(jnp.add, outers, outer(product)), lambda: outers)
            return outers, squares + jnp.square(metric.to_basis(product))

        zeros = jax.tree.map(jnp.zeros_like, (bases, curvature))
        outers, squares = jax.lax.fori_loop(0, count, add, zeros)
        eigenvectors = lambda: jax.tree.map(lambda square: jnp.linalg.eigh(square)[1], outers)
        found = jax.lax.cond(part == 0, eigenvectors, lambda: metric.bases)
        norms = jnp.sqrt(squares / count)
        scales = jnp.where((part == 1) & _seen(norms), jax.lax.rsqrt(1.0 + posterior.nbeta * norms), 1.0)
        return (Metric(scales, found, shapes), jnp.where((part == 2) & _seen(curvature), curvature, norms)), None

    begin = Metric(jnp.ones(d), bases, shapes), jnp.zeros(d)
    (metric, curvature), _ = jax.lax.scan(look, begin, jnp.arange(0 if jax.tree.leaves(bases) else 1, 3))
    return eqx.tree_at(lambda m: m.scales, metric, jax.lax.rsqrt(1.0 + posterior.nbeta * curvature))


def _seen(curvature: Float[Array, "d"]) -> Bool[Array, "d"]:
    """What float32 knows of beside the largest."""
    return curvature > 8 * jnp.finfo(curvature.dtype).eps * curvature.max()


def metric_evaluations(posterior: LocalPosterior) -> int:
    """Gradients of one example that a metric costs: a product with the Hessian is two of them."""
    passes = 3 if posterior.layout.vector_parts == 1 else 2
    return 2 * passes * _metric_probes(posterior.dimension) * min(examples_seen(posterior), _METRIC_EXAMPLES)


def curvature_evaluations(posterior: LocalPosterior) -> int:
    """And that the largest curvature at one point does."""
    return 2 * min(_NUM_PRODUCTS, posterior.dimension) * examples_seen(posterior)


@eqx.filter_jit
def diagonal_curvature(posterior: LocalPosterior, rng_key: Array) -> Float[Array, "d"]:
    """max(0, diag ∇²L) at w*, in whitened coordinates: the mean of x ∘ ∇²L x over vectors x of random signs.

    The estimator of Hutchinson (1990), for diagonals Bekas, Kokiopoulou & Saad (2007), from 64 vectors: its variance is
    Σ_{j≠i} H_ij² / 64. Up to 64 parameters the unit vectors take their place, and it is exact. At most 4096 examples
    are looked at.
    """
    probe_key, example_key = jax.random.split(rng_key)
    d = posterior.dimension
    product = _hessian_product(posterior, jnp.zeros(d), example_key)
    exact = d <= _NUM_PROBES

    def add(i: Int[Array, ""], total: Float[Array, "d"]) -> Float[Array, "d"]:
        x = jax.nn.one_hot(i, d) if exact else jax.random.rademacher(jax.random.fold_in(probe_key, i), (d,), float)
        return total + x * product(x)

    total = jax.lax.fori_loop(0, d if exact else _NUM_PROBES, add, jnp.zeros(d))
    return jnp.maximum(total if exact else total / _NUM_PROBES, 0.0)


@eqx.filter_jit
def gradient_term(posterior: LocalPosterior) -> Float[Array, ""]:
    """How far λ̂ is drawn down because w* is not a minimum: ½ Σ_i (nβ g_i)² (nβ h_i + 2) / (nβ h_i + 1)².

    In whitened coordinates, for the quadratic model of the loss at w*; by conjugate gradients, which approach it from
    below.
    """
    product = _hessian_product(posterior, jnp.zeros(posterior.dimension), jax.random.key(0))
    force = posterior.nbeta * posterior.center_gradient
    shift, _ = jax.scipy.sparse.linalg.cg(lambda x: posterior.nbeta * product(x) + x, force, maxiter=_NUM_PRODUCTS)
    return 0.5 * (jnp.vdot(force, shift) + jnp.vdot(shift, shift))


def products_work(posterior: LocalPosterior) -> float:
    """Flops of the Hessian products that one look at the curvature takes."""
    return _NUM_PRODUCTS * 2 * gradient_work(posterior.problem, posterior.center) * examples_seen(posterior)


def examples_seen(posterior: LocalPosterior) -> int:
    """Examples of a Hessian product: at most 4096, fewer where a product would take more than 1e10 flops."""
    affordable = int(_MAX_WORK / (2 * gradient_work(posterior.problem, posterior.center)))
    return min(posterior.n, _MAX_EXAMPLES, max(_FEWEST_EXAMPLES, affordable))


def _metric_probes(d: int) -> int:
    """Vectors for each pass: of few parameters a whole number of bases."""
    return -(-_METRIC_PROBES // d) * d if d <= _NUM_PROBES else _METRIC_PROBES


def _random_bases(key: Array, d: int, count: int) -> Float[Array, "vectors d"]:
    """Orthogonal bases, one after the other: cosines, whose columns are in random order and of random signs.

    They are not drawn by a QR decomposition, which inside a mapped program can wait on the CPU for ever.
    """
    cosines = jnp.asarray(scipy.fft.dct(np.eye(d), norm="ortho", axis=0), float)

    def basis(key: Array) -> Float[Array, "d d"]:
        order_key, sign_key = jax.random.split(key)
        return cosines[:, jax.random.permutation(order_key, d)] * jax.random.rademacher(sign_key, (d,), float)

    return jax.vmap(basis)(jax.random.split(key, count)).reshape(count * d, d)


def _hessian_product(
    posterior: LocalPosterior, v: Float[Array, "d"], rng_key: Array, most: int = _MAX_EXAMPLES
) -> Callable[[Float[Array, "d"]], Float[Array, "d"]]:
    """x ↦ ∇²L(v) x, over at most so many of the examples."""
    loss, count = posterior.loss_difference, min(most, examples_seen(posterior))
    if posterior.n > count:
        indices = jax.random.randint(rng_key, (count,), 0, posterior.n)
        loss = lambda v: posterior.batch_loss_difference(v, indices)
    return lambda x: jax.jvp(jax.grad(loss), (v,), (x,))[1]
