"""The curvature at a checkpoint of the network linearised there, f(w) ≈ f(w*) + J (w − w*), and of the loss itself.

    H_GN = (1/n) Σ_i J_iᵀ Λ_i J_i,     Λ_i = ∇² ℓ_i in the outputs

For `Gaussian`, `Categorical` and `Bernoulli` this Gauss–Newton matrix is the Fisher information, and its posterior the
neural tangent kernel's: nβ H_GN has the eigenvalues of β Λ^{1/2} Θ Λ^{1/2}, Θ = J Jᵀ (Jacot et al. 2018; Martens 2020).
J is never held: products with it run through the examples in blocks.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from llc.draws.keys import as_key
from llc.kernels.curvature import Curvature
from llc.kernels.gauss_newton import GaussNewton
from llc.kernels.spectral_sums import (
    Product,
    SpectralMeasure,
    assemble,
    eigenvalue_measure,
    probe_measure,
    vector_measure,
)
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.localization import Localization, Relative
from llc.problem import Gaussian, Problem

_SIDE_BY_SIDE = 8  # products at a time, where the data are one block


def ntk_coefficient(
    problem: Problem,
    params: PyTree,
    *,
    nbeta: float | int | None = None,
    localization: Localization = Relative(),  # noqa: B008, frozen
    mask: PyTree | str | Sequence[str] | None = None,
    rng_key: int | Array = 0,
) -> Curvature:
    """What the neural tangent kernel at a checkpoint predicts for λ̂: ½ tr[Θ (Θ + δ)⁻¹], half its effective dimension.

    >>> from llc.problem import Gaussian, Problem
    >>> x = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    >>> problem = Problem.supervised(lambda w, x: x @ w, Gaussian(), x, jnp.zeros(3))
    >>> ntk_coefficient(problem, jnp.zeros(3), nbeta=3, localization=1.0)  # ½ (1/2 + 4/5)
    Gauss–Newton: ½ d_eff = 0.65 · gradient term 0 · learning coefficient within 1 to 1.25 · d/2 = 1.5

    Args:
        problem: of `Problem.supervised`, so that the network's outputs are known.
        params: the checkpoint w*.
        nbeta: nβ, n / log n unless given.
        localization: γ, a number (nats per squared weight), or `Relative(radius)`.
        mask: what may move, as in `llc.estimate`.
        rng_key: a seed or a JAX key; only where neither outputs nor parameters are few does anything random happen.

    Raises:
        ValueError: the problem is a bare loss, or no posterior can be made of these.
    """
    posterior = LocalPosterior(problem, params, nbeta=nbeta, localization=localization, mask=mask)
    return tangent(posterior, rng_key=rng_key)


def tangent(
    posterior: LocalPosterior,
    *,
    rng_key: int | Array = 0,
    max_dense: int = 3000,
    relative_error: float | int = 0.01,
    max_products: int = 512,
) -> Curvature:
    """The Gauss–Newton curvature A = nβ Γ^{−1/2} H_GN Γ^{−1/2}.

    All eigenvalues, from the smaller of the nC × nC and the d × d matrix, where its side is at most `max_dense`; else
    by stochastic Lanczos quadrature.

    Args:
        posterior: of a `Problem.supervised`.
        rng_key: a seed or a JAX key, of the probes.
        max_dense: the largest matrix to diagonalise.
        relative_error: the goal for the standard error of ½ d_eff, where it is sampled.
        max_products: products with A, of about two full-data gradients each, that the sampling may take.

    Raises:
        ValueError: the problem is a bare loss, or its likelihood is not convex in the outputs.
    """
    network, force, key = GaussNewton(posterior), _force(posterior), as_key(rng_key)
    sampling = {"relative_error": relative_error, "max_products": max_products}
    num_outputs, likelihood = network.num_outputs, network.likelihood
    if num_outputs < posterior.dimension and num_outputs <= max_dense:
        root = network.root_of_output_curvature()
        matrix = _dense(eqx.Partial(network.gram_product, root), jnp.zeros(num_outputs, root.dtype), posterior)
        spectrum = eigenvalue_measure(np.linalg.eigvalsh(matrix), zeros=posterior.dimension - num_outputs)
        gradient = vector_measure(network.product, force, _lost, **sampling)
    else:
        spectrum, gradient = _spectra(network.product, force, posterior, key, max_dense, sampling)
    network.check_convex(spectrum.nodes)
    return Curvature(
        name="Gauss–Newton",
        spectrum=spectrum.semidefinite(),
        gradient=gradient.semidefinite(),
        dimension=posterior.dimension,
        nbeta=float(posterior.nbeta),
        center_loss=posterior.center_loss,
        rank_tolerance=max(num_outputs, posterior.dimension) * float(jnp.finfo(force.dtype).eps),
        num_outputs=num_outputs,
        ridge=likelihood.scale**2 * posterior.n / float(posterior.nbeta) if isinstance(likelihood, Gaussian) else None,
        saturated=network.saturated(),
    )


def hessian(
    posterior: LocalPosterior,
    *,
    rng_key: int | Array = 0,
    max_dense: int = 3000,
    relative_error: float | int = 0.01,
    max_products: int = 512,
) -> Curvature:
    """The whole curvature A = nβ Γ^{−1/2} ∇²L_n(w*) Γ^{−1/2}, of any loss; it may have negative eigenvalues.

    Args:
        posterior: of any problem.
        rng_key: a seed or a JAX key, of the probes.
        max_dense: the largest d whose matrix to diagonalise; beyond, stochastic Lanczos quadrature.
        relative_error: the goal for the standard error of ½ d_eff, where it is sampled.
        max_products: products with A, of about two full-data gradients each, that the sampling may take.
    """
    product, force = eqx.Partial(_hessian_product, posterior), _force(posterior)
    sampling = {"relative_error": relative_error, "max_products": max_products}
    spectrum, gradient = _spectra(product, force, posterior, as_key(rng_key), max_dense, sampling)
    return Curvature(
        name="Hessian",
        spectrum=spectrum,
        gradient=gradient,
        dimension=posterior.dimension,
        nbeta=float(posterior.nbeta),
        center_loss=posterior.center_loss,
        rank_tolerance=posterior.dimension * float(jnp.finfo(force.dtype).eps),
    )


def _hessian_product(posterior: LocalPosterior, x: Float[Array, "d"]) -> Float[Array, "d"]:
    """nβ ∇²L x."""
    with jax.default_matmul_precision("highest"):
        product = jax.jvp(jax.grad(posterior.loss_difference), (jnp.zeros_like(x),), (x,))[1]
    return posterior.nbeta.astype(x.dtype) * product


def _spectra(
    product: Product,
    force: Float[Array, "d"],
    posterior: LocalPosterior,
    rng_key: Array,
    max_dense: int,
    sampling: dict[str, Any],
) -> tuple[SpectralMeasure, SpectralMeasure]:
    """The eigenvalues of A, and the weights of b on them."""
    if posterior.dimension > max_dense:
        spectrum = probe_measure(product, force, _used, rng_key, **sampling)
        return spectrum, vector_measure(product, force, _lost, **sampling)
    eigenvalues, vectors = np.linalg.eigh(_dense(product, force, posterior))
    along = np.square(np.asarray(force, np.float64) @ vectors)
    return eigenvalue_measure(eigenvalues), SpectralMeasure(eigenvalues[None], along[None])


def _used(h: np.ndarray) -> np.ndarray:
    """The share of a direction in d_eff; what lies below 0 must not hide the rest."""
    h = np.maximum(h, 0.0)
    return h / (h + 1.0)


def _lost(h: np.ndarray) -> np.ndarray:
    """The share of a direction in the gradient term."""
    h = np.maximum(h, 0.0)
    return (h + 2.0) / (h + 1.0) ** 2


def _dense(product: Product, like: Float[Array, "k"], posterior: LocalPosterior) -> Float[np.ndarray, "k k"]:
    side_by_side = _SIDE_BY_SIDE if posterior.block_size == posterior.n else 1
    matrix = np.asarray(assemble(product, like, side_by_side), np.float64)
    return 0.5 * (matrix + matrix.T)


def _force(posterior: LocalPosterior) -> Float[Array, "d"]:
    return posterior.nbeta.astype(posterior.center_gradient.dtype) * posterior.center_gradient
