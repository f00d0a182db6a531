"""What Bayes would say of the model at this checkpoint, as verbs: free energy, WBIC and WAIC."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from llc.draws.keys import as_key
from llc.estimators import calibration
from llc.estimators.estimate import estimate
from llc.estimators.free_energy import free_energy_from, integrate_coefficients
from llc.estimators.measure import Measure
from llc.estimators.side_by_side import estimates_at
from llc.estimators.waic import waic_from
from llc.estimators.wbic import wbic_from
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.localization import Localization, Relative
from llc.problem import Problem
from llc.samplers import ReplicaExchange
from llc.samplers.kernel import Kernel

_RATIO = 2.5  # between neighbouring temperatures of parallel chains
_PRIOR_DRAWS = 400


def free_energy(
    problem: Problem,
    params: PyTree,
    *,
    kernel: Kernel | None = None,
    nbeta: float | int | None = None,
    rng_key: int | Array = 0,
    localization: Localization = Relative(),  # noqa: B008, frozen
    mask: Any = None,
    num_chains: int = 4,
    **settings: Any,
) -> Measure:
    """F = −log ∫ e^{−nβ L_n(w)} φ(w) dw in nats, φ = N(w*, Γ⁻¹): thermodynamic integration from φ to the posterior.

    At nβ = n, the default, it is the negative log marginal likelihood of the data under the localising prior. One run
    of replica exchange gives it where that is affordable; else chains at all temperatures side by side, whose λ̂ are
    integrated over (Friel, Hurn & Wyse 2014).

    Args:
        problem: the loss and its data.
        params: the checkpoint w*.
        kernel: `ReplicaExchange()`, or the kernel for each of the separate temperatures; chosen unless given.
        nbeta: nβ, n unless given.
        rng_key: a seed or a JAX key.
        localization: γ, or `llc.Relative(radius)`.
        mask: what may move.
        num_chains: chains at each temperature.
        settings: as of `llc.estimate`; a budget is that of each temperature.

    Returns:
        F with its standard error; see `free_energy_from` for what stands beside it.

    Raises:
        ValueError: as `llc.estimate`.
    """
    nbeta = problem.n if nbeta is None else nbeta
    posterior = LocalPosterior(problem, params, nbeta=nbeta, localization=localization, mask=mask)
    if kernel is None:
        kernel, _ = calibration.choose_kernel(posterior, num_chains)
        kernel = kernel if isinstance(kernel, ReplicaExchange) else None
    settings |= {"kernel": kernel, "mask": mask, "num_chains": num_chains}
    if isinstance(kernel, ReplicaExchange):
        [result] = estimates_at(problem, params, [(float(posterior.nbeta), localization)], rng_key=rng_key, **settings)
        return free_energy_from(result.draws)
    keys = jax.random.split(as_key(rng_key))
    prior = np.asarray(_prior_losses(posterior, keys[0]), np.float64)
    # so hot that the prior is still the posterior
    spread = float(np.diff(np.nanquantile(prior, [0.25, 0.75]))[0])
    hottest = min(1.0 / max(spread, 1e-30), float(posterior.nbeta))
    count = 1 + int(np.ceil(np.log(float(posterior.nbeta) / hottest) / np.log(_RATIO)))
    ladder = np.geomspace(hottest, float(posterior.nbeta), max(2, count)).tolist()
    estimates = estimates_at(problem, params, [(at, localization) for at in ladder], rng_key=keys[1], **settings)
    return integrate_coefficients(estimates, prior, posterior.center_loss)


def wbic(problem: Problem, params: PyTree, **settings: Any) -> Measure:
    """WBIC = E[n L_n(w)] at nβ = n / log n, in nats (Watanabe 2013): an estimate of the free energy at nβ = n.

    Args:
        problem: the loss and its data.
        params: the checkpoint w*.
        settings: as of `llc.estimate`, except `nbeta`.

    Returns:
        WBIC with its standard error.

    Raises:
        ValueError: as `llc.estimate`.
    """
    return wbic_from(estimate(problem, params, nbeta=None, **settings).draws)


def waic(problem: Problem, params: PyTree, *, nbeta: float | int | None = None, **settings: Any) -> Measure:
    """WAIC in nats per example (Watanabe 2010), from the posterior at nβ = n unless another is given.

    Args:
        problem: the loss and its data, whose examples have losses of their own.
        params: the checkpoint w*.
        nbeta: nβ.
        settings: as of `llc.estimate`.

    Returns:
        WAIC with its standard error; the functional variance and singular fluctuation stand in its details.

    Raises:
        ValueError: all examples have one loss, or as `llc.estimate`.
    """
    nbeta = problem.n if nbeta is None else nbeta
    result = estimate(problem, params, nbeta=nbeta, keep_weights=True, **settings)
    return waic_from(problem, params, result.finest_draws)


@eqx.filter_jit
def _prior_losses(posterior: LocalPosterior, rng_key: Array) -> Float[Array, "draws"]:
    """ΔL at draws of the localising prior; infinite, and so of no likelihood, where it overflows."""
    losses = jax.lax.map(posterior.loss_difference, jax.random.normal(rng_key, (_PRIOR_DRAWS, posterior.dimension)))
    return jnp.where(jnp.isnan(losses), jnp.inf, losses)
