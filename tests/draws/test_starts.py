"""Chains begin apart: at the width of the prior where the loss is flat, and nowhere above d/2 nats."""

import jax
import jax.numpy as jnp
import numpy as np

from llc.draws.starts import dispersed_starts
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem

HESSIAN = np.array([4.0, 1.0, 0.0], np.float32)
KEYS = jax.random.split(jax.random.key(0), (2, 2000))


def test_a_quadratic_is_drawn_as_it_is():
    problem = Problem(lambda w, x: 0.5 * jnp.sum(HESSIAN * w**2) + 0 * x, jnp.zeros(10))
    posterior = LocalPosterior(problem, jnp.zeros(3), nbeta=10.0, localization=2.0)
    starts = np.asarray(dispersed_starts(posterior, KEYS)).reshape(-1, 3)
    energy = 10 * 0.5 * (HESSIAN / 2 * starts**2).sum(axis=1)
    # those above d/2 were pulled in; the flat coordinate, not in the energy, is N(0, 1) among the rest
    assert energy.max() <= 1.5 * (1 + 1e-5)
    assert len(np.unique(starts[:, 0])) == len(starts)
    exact = 1 / (1 + 10 * HESSIAN / 2)
    assert ((starts**2).mean(axis=0)[:2] < exact[:2]).all()
    kept = starts[energy < 0.2]  # never pulled in: the stiff coordinates say nothing of the flat one
    error = np.sqrt(2 / len(kept))
    assert abs((kept[:, 2] ** 2).mean() - 1) < 4 * error + 0.2


def test_what_is_flat_one_by_one_is_pulled_towards_the_center():
    problem = Problem(lambda w, x: 0.5 * jnp.square(w[0] * w[1]) + 0 * x, jnp.zeros(10))
    posterior = LocalPosterior(problem, jnp.zeros(2), nbeta=1e6, localization=1.0)
    starts = dispersed_starts(posterior, KEYS)
    losses = jax.vmap(jax.vmap(posterior.loss_difference))(starts)
    assert float(1e6 * losses.max()) <= 1.0 * (1 + 1e-5)
    assert float(jnp.abs(starts).max()) > 0.5
