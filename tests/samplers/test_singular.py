"""Exact kernels on K = ½ (w₁ w₂)², whose posterior is a cross with narrow arms, against quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base import array_stats

from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import MALA, NUTS

NBETA = 144.76
POPULATION = Problem(lambda w, x: jnp.full(len(x), 0.5 * (w[0] * w[1]) ** 2), jnp.zeros(2))
POSTERIOR = LocalPosterior(POPULATION, jnp.zeros(2), nbeta=NBETA, localization=1.0)


def quadrature():
    """nβ E[K] under exp(−nβ K − ½‖w‖²), on a grid."""
    axis = np.linspace(-8, 8, 3201)
    energy = NBETA * 0.5 * np.square(axis[:, None] * axis)
    density = np.exp(-energy - 0.5 * (axis[:, None] ** 2 + axis**2))
    return float((energy * density).sum() / density.sum())


@eqx.filter_jit
def sample(kernel, num_chains, num_warmup, num_draws, thinning):
    """Full losses and virials of every `thinning`-th state, (chain, draw)."""

    def draw(state, _):
        state = jax.lax.fori_loop(0, thinning, lambda _, s: kernel.sample(s, (POSTERIOR,), {}), state)
        return state, (state.loss_difference, state.virial[0])

    def chain(key):
        first = kernel.init(key, num_warmup * thinning, None, (POSTERIOR,), {})
        return jax.lax.scan(draw, first, length=num_warmup + num_draws)[1]

    record = jax.vmap(chain)(jax.random.split(jax.random.key(0), num_chains))
    return jax.tree.map(lambda leaf: leaf[:, num_warmup:], record)


@pytest.mark.parametrize(
    ("kernel", "lengths"),
    [(NUTS(), (32, 500, 1500, 1)), (MALA(step_size=0.01), (128, 100, 400, 50))],
    ids=["NUTS", "MALA"],
)
def test_lambda_and_virial(kernel, lengths):
    losses, virials = (np.asarray(leaf, np.float64) for leaf in sample(kernel, *lengths))
    # the virial holds ‖v‖², which is slow to come back from the arms' ends
    for draws, reference, precision in [(NBETA * losses, quadrature(), 0.03), (virials, 2.0, 0.1)]:
        error = float(array_stats.mcse(draws, chain_axis=0, draw_axis=1, method="mean"))
        assert abs(draws.mean() - reference) < 4 * error
        assert error < precision * reference
