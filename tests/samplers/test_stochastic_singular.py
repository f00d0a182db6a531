"""Stochastic-gradient kernels on ½ (w₁ w₂)² and w⁴, extrapolated to no step, against quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base import array_stats

from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import SGHMC, SGNHT, PreconditionedSGLD, UnderdampedLangevin

NBETA = 144.76
LOSSES = {"cross": (lambda w: 0.5 * jnp.prod(w) ** 2, 2), "quartic": (lambda w: jnp.sum(w**4), 1)}
# the larger of two step sizes, the order in it of the bias, and chains
KERNELS = {
    "PreconditionedSGLD": (PreconditionedSGLD, 8e-3, 1, 512, "rmsprop"),
    "SGHMC": (SGHMC, 0.03, 2, 256, "identity"),
    "UnderdampedLangevin": (UnderdampedLangevin, 0.03, 2, 256, "identity"),
    "SGNHT": (SGNHT, 0.06, 2, 256, "rmsprop"),
}


def make_posterior(loss_fn, dimension):
    population = Problem(lambda w, x: jnp.full(len(x), loss_fn(w)), jnp.zeros(2))
    return LocalPosterior(population, jnp.zeros(dimension), nbeta=NBETA, localization=1.0)


def quadrature(loss_fn, dimension):
    """nβ E[L] under exp(−nβ L − ½‖w‖²), on a grid."""
    axis = np.linspace(-8, 8, 3201)
    w = np.stack(np.meshgrid(*[axis] * dimension))
    energy = NBETA * np.asarray(jax.vmap(loss_fn, in_axes=1)(w.reshape(dimension, -1)), float)
    density = np.exp(-energy - 0.5 * np.square(w).sum(axis=0).ravel())
    return float((energy * density).sum() / density.sum())


@eqx.filter_jit
def sample(kernel, posterior, rng_key, num_chains, num_warmup=200, num_draws=500, thinning=20):
    """Losses and virials, means over `thinning` steps, of (chain, draw)."""

    def step(_, carry):
        state, loss, virial = carry
        state = kernel.sample(state, (posterior,), {})
        return state, loss + state.loss_difference / thinning, virial + state.virial[0] / thinning

    def draw(state, _):
        state, *means = jax.lax.fori_loop(0, thinning, step, (state, 0.0, 0.0))
        return state, means

    def chain(key):
        first = kernel.init(key, num_warmup * thinning, None, (posterior,), {})
        return jax.lax.scan(draw, first, length=num_warmup + num_draws)[1]

    record = jax.vmap(chain)(jax.random.split(rng_key, num_chains))
    return [leaf[:, num_warmup:] for leaf in record]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", KERNELS)
def test_lambda_and_virial(name, loss):
    kernel, step_size, order, num_chains, preconditioner = KERNELS[name]
    posterior = make_posterior(*LOSSES[loss])
    # a bias of that order vanishes from the weighted sum of the answers at the step size and at half of it
    weights = np.array([-1, 2**order]) / (2**order - 1)
    estimates, variances = np.zeros(2), np.zeros(2)
    for halvings, weight in enumerate(weights):
        one = kernel(step_size=step_size / 2**halvings, gradient="full", preconditioner=preconditioner)
        for i, draws in enumerate(sample(one, posterior, jax.random.key(halvings), num_chains)):
            draws = np.asarray(draws, np.float64)
            error = float(array_stats.mcse(draws, chain_axis=0, draw_axis=1, method="mean"))
            estimates[i] += weight * draws.mean()
            variances[i] += (weight * error) ** 2
    references, errors = np.array([quadrature(*LOSSES[loss]) / NBETA, LOSSES[loss][1]]), np.sqrt(variances)
    assert (np.abs(estimates - references) < 4 * errors).all()
    assert (errors < 0.03 * references).all()
