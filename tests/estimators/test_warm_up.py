"""Where chains begin, and how many temperatures they get: what `estimate` arranges before the first draw."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.draws.draw import advance, start_chains
from llc.draws.starts import dispersed_starts
from llc.estimators import calibration
from llc.estimators.warm_up import Effort, highest_start, warm_up
from llc.samplers import HMC, MALA, ReplicaExchange
from tests.samplers.moments import assert_means

WIDE = 400  # coordinates, for which the default number of temperatures is its largest, 64


def loss(w, x):
    """Neighbours of a ladder are the further apart, the more coordinates and the colder."""
    return 0.5 * jnp.sum(w**2) + 0 * x


def make_posterior(dimension, nbeta):
    return llc.LocalPosterior(llc.Problem(loss, jnp.zeros(10)), jnp.zeros(dimension), nbeta=nbeta, localization=1.0)


def warmed(kernel, posterior, num_warmup=None):
    """Two chains, or four of few coordinates, that 600 steps are left for."""
    return warm_up(posterior, kernel, 7, Effort(2 if posterior.dimension == WIDE else 4, num_warmup, 600, False), 1)


def least_swap_prob(chains):
    """Of the neighbours, in the later half of the warm-up."""
    swap_prob = chains.warmup.tempered.swap_prob
    return swap_prob[:, :, swap_prob.shape[2] // 2 :].mean(axis=(0, 1, 2)).min()


def test_temperatures_that_hardly_swap_are_doubled_once_and_out_of_the_same_budget():
    posterior = make_posterior(WIDE, 1e4)
    first = advance(start_chains(ReplicaExchange(), posterior, 7, num_chains=2, num_warmup=200), 200, warmup=True)
    doubled = warmed(ReplicaExchange(), posterior)
    assert doubled.kernel.num_replicas == 128
    # a third of 600 steps went into the first warm-up, and a third of what was left into the second
    assert doubled.warmup.tempered.nbeta.shape == (1, 2, 133, 128)
    assert least_swap_prob(first) < 0.2 < least_swap_prob(doubled)
    # and they sample the posterior all the same
    chains = advance(doubled, 300)
    expected = 0.5 * WIDE / (chains.draws.tempered.nbeta[0, :, :1, 1:] + 1)
    assert_means(chains.draws.tempered.loss_difference[0, :, :, 1:] / expected, np.ones(127), 0.02)


def test_temperatures_that_swap_and_numbers_of_them_that_were_given_stay():
    chains = warmed(ReplicaExchange(), make_posterior(WIDE, 1.0))
    assert chains.kernel.num_replicas is None
    assert chains.warmup.tempered.nbeta.shape == (1, 2, 200, 64)
    assert least_swap_prob(chains) > 0.2
    chains = warmed(ReplicaExchange(num_replicas=128), make_posterior(WIDE, 1e12))
    assert chains.kernel.num_replicas == 128
    assert least_swap_prob(chains) < 0.2


def test_chains_of_hmc_begin_apart():
    """Seen after steps that lead nowhere: by default a chain would have left its start before the first draw."""
    posterior = make_posterior(3, 10.0)
    highest = highest_start(posterior, 1)
    assert 1.5 < highest < 2
    assert highest_start(posterior, 48) == highest_start(posterior, 300) == 1500
    starts = np.asarray(dispersed_starts(posterior, jax.random.split(jax.random.key(7), 4), jnp.asarray(highest)))
    assert np.abs(starts).min() > 1e-3
    settings = {"num_chains": 4, "num_warmup": 1, "num_draws": 1, "rng_key": 7}
    settings |= {"nbeta": 10.0, "localization": 1.0, "progress": False}
    kernel = HMC(1e-6, max_leapfrogs=1)
    result = llc.estimate(posterior.problem, posterior.center, kernel=kernel, **settings)
    distances = result.draws["warmup_sample_stats"]["squared_distance"].values[:, 0]
    np.testing.assert_allclose(distances, np.square(starts).sum(axis=1), rtol=1e-3)
    # not without a warm-up, far from where they belong; nor by other kernels
    for chains in (warmed(kernel, posterior, num_warmup=0), warmed(MALA(1e-12), posterior, num_warmup=1)):
        np.testing.assert_allclose(chains.states.position[0], np.zeros((4, 3)), atol=1e-4)


def test_the_first_step_of_hmc_fits_where_chains_begin():
    """A deep linear network at w* = 0 has no curvature there, and much where its chains begin and go."""
    inputs = jax.random.uniform(jax.random.key(0), (5000, 4), minval=-10, maxval=10)
    product = lambda layers, x: functools.reduce(lambda x, layer: x @ layer.T, layers, x)
    problem = llc.Problem.supervised(product, llc.Gaussian(), inputs, jnp.zeros((5000, 4)))
    posterior = llc.LocalPosterior(problem, [jnp.zeros((4, 4))] * 4, localization=1.0)
    assert calibration.curvature_at(posterior, jnp.zeros(posterior.dimension)) == pytest.approx(1.0)
    highest = highest_start(posterior, 1)
    starts = dispersed_starts(posterior, jax.random.split(jax.random.key(7), 4), jnp.asarray(highest))
    first = [calibration.first_step(calibration.curvature_at(posterior, v)) for v in starts]
    assert max(first) < 0.1
    steps = np.exp(warmed(HMC(0.5), posterior, num_warmup=1).states.log_step_size[0])
    assert (steps <= np.exp(0.1) * np.asarray(first) * (1 + 1e-5)).all()  # after one adaptation, by a tenth at most
    settings = {"localization": 1.0, "num_warmup": 30, "num_draws": 100, "rng_key": 1, "progress": False}
    result = llc.estimate(problem, [jnp.zeros((4, 4))] * 4, kernel=HMC(0.5), **settings)
    assert (result.draws.sample_stats.accept_prob.mean("draw") > 0.3).all()
    assert result.rhat < 1.1
