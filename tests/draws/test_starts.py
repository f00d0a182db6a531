"""Chains begin apart: at the width of the prior where the loss is flat, and nowhere above d/2 nats but near w*."""

import jax
import jax.numpy as jnp
import numpy as np

from llc.draws.starts import dispersed_starts
from llc.posterior.ladder import ladder_of, rungs_of
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from tests.samplers.moments import assert_means

HESSIAN = np.array([4.0, 1.0, 0.0], np.float32)
NBETA_H = 10 * HESSIAN.astype(float) / 2  # in whitened coordinates
KEYS = jax.random.split(jax.random.key(0), (2, 8000))


def pulled_squares():
    """E[v²] where draws of N(0, 1/(1 + nβ h)) of energy above d/2 are pulled in by fifths, by midpoints."""
    stiff = NBETA_H[:2] / (1 + NBETA_H[:2])
    edges = np.linspace(-8, 8, 1601)
    squares = np.stack(np.meshgrid(*[np.square(0.5 * (edges[1:] + edges[:-1]))] * 2)).reshape(2, -1)
    pulls = np.ceil(np.log(0.5 * stiff @ squares / 1.5) / np.log(1 / 0.8**2))
    factor = 0.8 ** (2 * np.maximum(pulls, 0))
    density = np.exp(-0.5 * squares.sum(axis=0))
    # the flat coordinate knows of the others by their pulls alone
    expected = [np.average(factor * square, weights=density) for square in (*squares, 1.0)]
    return np.array(expected) / (1 + NBETA_H)


def test_a_quadratic_is_drawn_as_it_is():
    problem = Problem(lambda w, x: 0.5 * jnp.sum(HESSIAN * w**2) + 0 * x, jnp.zeros(10))
    posterior = LocalPosterior(problem, jnp.zeros(3), nbeta=10.0, localization=2.0)
    starts = np.asarray(dispersed_starts(posterior, KEYS)).reshape(-1, 3)
    energy = 0.5 * starts**2 @ NBETA_H
    assert energy.max() <= 1.5 * (1 + 1e-5)
    assert len(np.unique(starts, axis=0)) == len(starts)
    assert_means(starts * np.sqrt(1 + NBETA_H), np.zeros(3), 0.012, axes=1)
    assert_means(starts**2 / pulled_squares(), np.ones(3), 0.015, axes=1)
    # what was never pulled in says nothing of the flat coordinate, which is that of the prior
    assert_means(starts[energy < 1.5 * 0.8**2][:, 2] ** 2, 1, 0.02, axes=1)


def test_what_is_flat_one_by_one_is_pulled_towards_the_center():
    problem = Problem(lambda w, x: 0.5 * jnp.square(w[0] * w[1]) + 0 * x, jnp.zeros(10))
    posterior = LocalPosterior(problem, jnp.zeros(2), nbeta=1e6, localization=1.0)
    starts = dispersed_starts(posterior, KEYS)
    losses = jax.vmap(jax.vmap(posterior.loss_difference))(starts)
    assert float(1e6 * losses.max()) <= 1.0 * (1 + 1e-5)
    assert float(1e6 * losses.mean()) > 0.1
    assert float(jnp.abs(starts).max()) > 0.5


def test_what_must_be_pulled_does_not_pull_what_is_flat():
    """Of ‖w‖⁴ in 8 dimensions, beside 8 without any loss: the metric at w* alone knows of no difference."""
    problem = Problem(lambda w, x: 0.5 * jnp.square(w[:8] @ w[:8]) + 0 * x, jnp.zeros(10))
    posterior = LocalPosterior(problem, jnp.zeros(16), nbeta=1e8, localization=1.0)
    radii = np.linspace(0, 0.1, 10_001)[1:]
    exact = np.average(radii**2, weights=radii**7 * np.exp(-0.5e8 * radii**4 - 0.5 * radii**2))
    squares = np.square(np.asarray(dispersed_starts(posterior, KEYS[0, :400])))
    assert 0.5 < squares[:, :8].sum(axis=1).mean() / exact < 2
    assert squares[:, 8:].mean() > 0.5


def test_those_of_a_ladder_are_those_of_each_posterior():
    problem = Problem(lambda w, x: 0.5 * jnp.sum(HESSIAN * w**2) + 0 * x, jnp.zeros(10))
    ladder = ladder_of(LocalPosterior(problem, jnp.zeros(3)), [(10.0, 2.0), (1e4, 2.0)])
    starts = dispersed_starts(ladder, KEYS[:, :5])
    for i, posterior in enumerate(rungs_of(ladder)):
        np.testing.assert_allclose(starts[i], dispersed_starts(posterior, KEYS[i, :5]), rtol=1e-4, atol=1e-6)
