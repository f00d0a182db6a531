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
from llc.samplers import HMC, MALA, SGLD, ReplicaExchange
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


def test_the_default_budget_pays_for_200_steps_whatever_they_cost(monkeypatch):
    posterior, kernel = make_posterior(2, 1e3), SGLD(step_size=1e-3)
    usual = calibration.affordable_steps(posterior, kernel, 4, None)
    monkeypatch.setattr(calibration, "full_gradient_cost", lambda posterior: 1e15)
    assert calibration.affordable_steps(posterior, kernel, 4, None) == 200 < usual
    # a budget that is given is kept: a gradient of ten examples twice, for the network and its control variate
    evaluations = 4 * kernel.evaluations_per_step(posterior)
    assert calibration.affordable_steps(posterior, kernel, 4, 7 * evaluations) == 7


def test_the_curvature_of_what_full_gradients_are_too_dear_for_is_not_looked_at(monkeypatch):
    posterior = make_posterior(2, 1e3)
    monkeypatch.setattr(calibration, "full_gradient_cost", lambda posterior: 1e15)
    monkeypatch.setattr(calibration, "curvature_at", lambda posterior, v: pytest.fail("it is not needed"))
    kernel, why = calibration.choose_kernel(posterior, 4)
    assert isinstance(kernel, SGLD)
    assert why.startswith("SGLD: ")


def test_a_budget_above_the_default_pays_for_hmc_on_larger_networks(monkeypatch):
    posterior, gradient = make_posterior(2, 1e3), 1e10
    monkeypatch.setattr(calibration, "full_gradient_cost", lambda posterior: gradient)
    default = calibration.DEFAULT_BUDGET / gradient * posterior.n  # in gradients of one example
    for budget, kind in ((None, SGLD), (0.1 * default, SGLD), (1000 * default, HMC)):
        kernel, why = calibration.choose_kernel(posterior, 4, budget)
        assert isinstance(kernel, kind)
        assert why.startswith(kind.__name__)


def test_the_steps_that_are_left_make_twenty_draws_or_more():
    posterior, kernel = make_posterior(2, 1e3), SGLD(step_size=np.array([2.0**-16, 2.0**-17]))
    assert calibration.choose_thinning(posterior, kernel, None, 10**9) == 3277  # a twentieth of the relaxation time 1/ε
    assert calibration.choose_thinning(posterior, kernel, None, 400) == 20
    assert calibration.choose_thinning(posterior, kernel, None, 7) == 1


def make_dear(n=10_000, batch_size=10):
    """A full loss of it costs as much as 160 steps."""
    problem = llc.Problem(lambda w, x: 0.5 * jnp.square(x - w).sum(1), jax.random.normal(jax.random.key(0), (n, 2)))
    return llc.LocalPosterior(problem, problem.data.mean(axis=0), localization=1.0, batch_size=batch_size)


def test_full_losses_are_measured_seldom_where_they_cost_more_than_all_else(monkeypatch):
    posterior, budget, step = make_dear(), calibration.DEFAULT_BUDGET, SGLD(step_size=1e-3)

    def every(loss, thinning=1, kernel=step):
        monkeypatch.setattr(calibration, "full_gradient_cost", lambda posterior: 3 * loss)
        return calibration.choose_full_losses(posterior, kernel, num_chains=4, num_draws=100, thinning=thinning)

    assert every(0.99 * budget / 400) == 1
    assert every(0.99 * budget / 100) == 4
    assert every(0.99 * budget / 16) == 25  # four of each chain
    assert every(1.01 * budget / 16) == 0
    assert every(budget, kernel=HMC(0.1)) == 1  # which looks at it anyway
    # a quarter of what the steps cost is paid, whatever it is
    assert every(budget, thinning=700) == 1
    assert every(budget, thinning=600) == 2


def test_a_coefficient_needs_no_full_losses(monkeypatch):
    posterior, estimates = make_dear(), []
    settings = {"num_draws": 400, "thinning": 20, "num_warmup": 500, "batch_size": 10, "localization": 1.0}
    for budget in (calibration.DEFAULT_BUDGET, 1.0):
        monkeypatch.setattr(calibration, "DEFAULT_BUDGET", budget)
        estimates.append(llc.estimate(posterior.problem, posterior.center, kernel=SGLD(), progress=False, **settings))
    always, seldom = estimates
    assert (always.settings["full_loss_every"], seldom.value, seldom.std_error) == (1, always.value, always.std_error)
    assert seldom.settings["full_loss_every"] > 1
    assert np.isnan(seldom.draws["warmup_sample_stats"]["full_loss_difference"]).all()
    first, second = (estimate.variance_estimate for estimate in estimates)
    assert first.value != second.value
    assert abs(first.value - second.value) < 4 * np.hypot(first.std_error, second.std_error)
