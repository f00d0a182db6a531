"""Where chains begin, and how many temperatures they get: what `estimate` arranges before the first draw."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.draws.draw import _STARTS, advance, start_chains
from llc.draws.programs import remeasure
from llc.draws.starts import dispersed_starts, starts_evaluations
from llc.estimators import calibration
from llc.estimators.warm_up import Effort, steps_left, warm_up
from llc.posterior.curvature import largest_curvature
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


def test_chains_of_hmc_begin_apart(monkeypatch):
    posterior = make_posterior(3, 10.0)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(7), _STARTS), (1, 4))
    chains = start_chains(HMC(), posterior, 7, num_chains=4, num_warmup=1, dispersed=True)
    np.testing.assert_allclose(chains.states.position, dispersed_starts(posterior, keys), rtol=1e-5)
    assert np.abs(chains.states.position).min() > 1e-3
    # a trajectory is a quarter of a period at most, and leaves something of a start this far
    monkeypatch.setattr("llc.draws.draw.dispersed_starts", lambda posterior, keys: jnp.full((*keys.shape, 3), 1000.0))
    assert np.abs(warmed(HMC(), posterior, num_warmup=1).states.position).min() > 30
    # not without a warm-up, far from where they belong; nor by other kernels
    for chains in (warmed(HMC(1e-6), posterior, num_warmup=0), warmed(MALA(1e-12), posterior, num_warmup=1)):
        np.testing.assert_allclose(chains.states.position[0], np.zeros((4, 3)), atol=1e-4)


def test_warm_up_looks_at_the_metric_again_and_again_within_a_third_of_the_budget(monkeypatch):
    looks = []

    def seen(given, states, past):
        looks.append((int(given[2]), np.asarray(states.position[0]), np.asarray(past[0])))
        return remeasure(given, states, past)

    monkeypatch.setattr("llc.estimators.warm_up.remeasure", seen)
    posterior = make_posterior(3, 10.0)
    chains = warmed(HMC(max_leapfrogs=16), posterior, num_warmup=300)
    assert [count for count, *_ in looks[:8]] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert 10 < len(looks) < 30
    assert max(count for count, *_ in looks) == min(16, -(-len(looks) // 2))
    assert chains.warmup.loss_difference.shape[2] == 300
    # what is remembered is where the chains were, the last one first
    for i in range(2, 6):
        past = looks[i][2]
        np.testing.assert_array_equal(past[:, :2], np.stack([looks[i - 1][1], looks[i - 2][1]], axis=1))
    # looks are paid for, and a warm-up that is not given ends with a third of the budget
    looks.clear()
    effort = Effort(4, None, 100, False)
    chains = warm_up(posterior, HMC(max_leapfrogs=16), 7, effort, 1)
    taken = chains.warmup.gradient_evaluations.sum(axis=2)[0]
    kernel = HMC(max_leapfrogs=16)
    third, look = 100 * kernel.evaluations_per_step(posterior) / 3, kernel.evaluations_per_look(posterior)
    assert len(looks) * look < taken.min()
    assert third - look < taken.mean() < third + look


@pytest.mark.parametrize(
    ("max_steps", "dispersed", "looks"), [(3, False, False), (100, False, True), (600, True, True)]
)
def test_starts_and_looks_of_hmc_are_paid_for(max_steps, dispersed, looks):
    """Of a budget too small for them there are none."""
    posterior, kernel = make_posterior(3, 10.0), HMC(max_leapfrogs=16)
    chains = warm_up(posterior, kernel, 7, Effort(4, None, max_steps, False), 1)
    longest = kernel.evaluations_per_step(posterior)
    starts, look = starts_evaluations(posterior), kernel.evaluations_per_look(posterior)
    taken = chains.warmup.gradient_evaluations[0]
    assert (taken.mean(axis=0).sum() <= max_steps * longest / 3 + longest).all()
    least = starts * dispersed + look * looks
    assert ((least < taken[:, 0]) & (taken[:, 0] <= least + longest)).all()
    assert look > longest


@pytest.mark.parametrize("noise", [1.0, 0.0])
def test_a_batch_that_keeps_trajectories_short_gives_way_to_all_the_data(noise):
    """The noise of targets comes with a network's Jacobian, which moves along flat directions: no control at w*."""
    params = {"a": jnp.zeros((5, 4)).at[0, 0].set(1.0), "b": jnp.zeros((4, 5)).at[0, 0].set(1.0)}
    network = lambda w, x: x @ w["a"] @ w["b"]
    inputs, errors = jax.random.normal(jax.random.key(0), (2, 6000, 5))
    targets = network(params, inputs) + noise * errors
    problem = llc.Problem.supervised(network, llc.Gaussian(scale=1.0), inputs, targets)
    posterior, kernel = llc.LocalPosterior(problem, params, localization=1.0, batch_size=500), HMC(max_leapfrogs=16)
    effort = Effort(4, 48, 10_000, False)
    chains = warm_up(posterior, kernel, 0, effort, 1, any_batch=True)
    assert chains.posterior.batch_size == (6000 if noise else 500)
    assert np.median(np.exp(chains.states.log_length)) > 0.75
    # what is left is reckoned in steps like those at the end of the warm-up
    taken = chains.warmup.gradient_evaluations.mean(axis=(0, 1))
    left, usual = steps_left(kernel, posterior, chains, effort, 1).max_steps, np.median(taken[24:])
    paid = 10_000 * kernel.evaluations_per_step(posterior)
    np.testing.assert_allclose(left * usual + taken.sum(), paid, atol=usual)


@pytest.mark.parametrize(
    ("any_batch", "max_steps", "size"), [(True, 1000, 10), (False, 1000, 5), (True, 100, 5)], ids=str
)
def test_a_batch_that_was_given_stays_and_so_does_one_that_budgets_ask_for(monkeypatch, any_batch, max_steps, size):
    monkeypatch.setattr("llc.estimators.warm_up._kept_short", lambda kernel, states: True)
    posterior = make_posterior(3, 10.0).with_batch_size(5)
    chains = warm_up(posterior, HMC(max_leapfrogs=16), 7, Effort(2, 48, max_steps, False), 1, any_batch=any_batch)
    assert chains.posterior.batch_size == size


def test_a_warm_up_of_hmc_of_no_draws_fits_its_metric_and_step_to_the_center():
    spectrum = np.geomspace(1, 1e4, 8)
    problem = llc.Problem(lambda w, x: 0.5 * jnp.sum(jnp.asarray(spectrum, jnp.float32) * w**2) + 0 * x, jnp.zeros(10))
    posterior = llc.LocalPosterior(problem, jnp.zeros(8), nbeta=1.0, localization=1.0)
    chains = warmed(HMC(max_leapfrogs=16), posterior, num_warmup=0)
    assert chains.warmup is None
    assert np.abs(chains.states.position).max() < 0.01
    # of the curvature under its metric, 1 here or a bound twice that
    assert (np.exp(chains.states.log_step_size) > 0.3).all()
    draws = advance(chains, 500).draws
    assert (draws.accept_prob.mean(axis=2) > 0.6).all()
    exact = 0.5 * (spectrum / (1 + spectrum)).sum()
    assert_means(draws.loss_difference[0] / exact, np.ones(1), 0.05)


def test_the_first_step_of_hmc_fits_where_chains_begin():
    """A deep linear network at w* = 0 has no curvature there, and much where its chains begin and go."""
    inputs = jax.random.uniform(jax.random.key(0), (5000, 4), minval=-10, maxval=10)
    product = lambda layers, x: functools.reduce(lambda x, layer: x @ layer.T, layers, x)
    problem = llc.Problem.supervised(product, llc.Gaussian(), inputs, jnp.zeros((5000, 4)))
    posterior = llc.LocalPosterior(problem, [jnp.zeros((4, 4))] * 4, localization=1.0)
    assert calibration.curvature_at_center(posterior) == pytest.approx(1.0)
    starts = dispersed_starts(posterior, jax.random.split(jax.random.fold_in(jax.random.key(7), _STARTS), (1, 4)))[0]
    states = warmed(HMC(0.5), posterior, num_warmup=1).states
    for i, start in enumerate(starts):
        metric = jax.tree.map(lambda leaf, i=i: leaf[0, i], states.metric)
        curvature = largest_curvature(posterior, start[None], jax.random.key(0), metric)[0]
        # without a metric the step would be much smaller
        assert 1 < 100 * curvature < largest_curvature(posterior, start[None], jax.random.key(0))[0]
        largest = 0.5 / np.sqrt(curvature) * 1.05  # seen through other examples
        assert np.exp(states.log_step_size[0, i]) <= np.exp(0.1) * largest  # after one adaptation, by a tenth at most
    settings = {"localization": 1.0, "num_warmup": 100, "num_draws": 100, "rng_key": 1, "progress": False}
    result = llc.estimate(problem, [jnp.zeros((4, 4))] * 4, kernel=HMC(0.5), **settings)
    assert (result.draws.sample_stats.accept_prob.mean("draw") > 0.3).all()
    assert result.rhat < 1.1
