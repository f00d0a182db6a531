"""What the cost of a problem decides: kernel, thinning, steps, and how often losses on all data are measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.estimators import calibration
from llc.posterior import local_posterior
from llc.samplers import HMC, SGLD


def make_posterior():
    problem = llc.Problem(lambda w, x: 0.5 * jnp.sum(w**2) + 0 * x, jnp.zeros(10))
    return llc.LocalPosterior(problem, jnp.zeros(2), nbeta=1e3, localization=1.0)


def test_the_default_budget_pays_for_200_steps_whatever_they_cost(monkeypatch):
    posterior, kernel = make_posterior(), SGLD(step_size=1e-3)
    usual = calibration.affordable_steps(posterior, kernel, 4, None)
    monkeypatch.setattr(calibration, "full_gradient_cost", lambda posterior: 1e15)
    assert calibration.affordable_steps(posterior, kernel, 4, None) == 200 < usual
    # a budget that is given is kept: a gradient of ten examples twice, for the network and its control variate
    evaluations = 4 * kernel.evaluations_per_step(posterior)
    assert calibration.affordable_steps(posterior, kernel, 4, 7 * evaluations) == 7


@pytest.mark.parametrize("block", [700, 5000])
def test_a_full_gradient_costs_its_products_however_many_blocks_it_takes(monkeypatch, block):
    n, width = 5000, 128
    problem = llc.Problem(lambda w, x: jnp.square(x @ w).sum(axis=1), jnp.ones((n, width)))
    monkeypatch.setattr(local_posterior, "_block_size", lambda problem, center: block)
    posterior = llc.LocalPosterior(problem, jnp.ones((width, width)), nbeta=1e3, localization=1.0)
    assert posterior.block_size == block
    # forwards and backwards, a multiplication and an addition each; what is done to every output is little beside it
    assert 1.0 <= calibration.full_gradient_cost(posterior) / (4 * n * width**2) < 1.1


def test_larger_networks_get_hmc_by_default_up_to_a_bound_or_for_a_given_budget(monkeypatch):
    posterior = make_posterior()
    # fifty trajectories of four chains take 3.5e13 flops, or 3.5e12, which are more than an estimate's by default
    for gradient, of_default, kind in (
        (1e10, None, SGLD),
        (1e10, 0.1, SGLD),
        (1e10, 1000, HMC),
        (1e9, None, HMC),
        (1e9, 1, SGLD),
    ):
        monkeypatch.setattr(calibration, "full_gradient_cost", lambda posterior, gradient=gradient: gradient)
        default = calibration.DEFAULT_BUDGET / gradient * posterior.n  # in gradients of one example
        budget = None if of_default is None else of_default * default
        kernel, why = calibration.choose_kernel(posterior, 4, budget)
        assert isinstance(kernel, kind)
        assert why.startswith(kind.__name__)


@pytest.mark.parametrize(
    ("verb", "share"),
    [
        (llc.estimate, 1.0),
        (lambda problem, w, **settings: llc.trajectory(problem, [(0, w)], **settings), 1.0),
        (llc.calibrate, 0.5),  # the other half goes into its sweeps
    ],
)
def test_every_verb_chooses_its_kernel_by_the_budget_it_is_given(monkeypatch, verb, share):
    def choose_kernel(posterior, num_chains, max_gradient_evaluations=None):
        raise LookupError(max_gradient_evaluations)

    monkeypatch.setattr(calibration, "choose_kernel", choose_kernel)
    posterior = make_posterior()
    with pytest.raises(LookupError, match=f"^{share * 12345.0}$"):
        verb(posterior.problem, posterior.center, localization=1.0, max_gradient_evaluations=12345.0, progress=False)


def test_the_steps_that_are_left_make_twenty_draws_or_more():
    posterior, kernel = make_posterior(), SGLD(step_size=np.array([2.0**-16, 2.0**-17]))
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


def test_with_weights_everything_is_kept_of_a_draw(monkeypatch):
    monkeypatch.setattr(calibration, "DEFAULT_BUDGET", 1.0)
    posterior, settings = make_dear(), {"num_draws": 20, "thinning": 20, "num_warmup": 20, "batch_size": 10}
    settings |= {"kernel": SGLD(step_size=1e-3), "localization": 1.0, "keep_weights": True, "progress": False}
    estimate = llc.estimate(posterior.problem, posterior.center, **settings)
    assert estimate.settings["full_loss_every"] == 1
    assert np.isfinite(estimate.draws.sample_stats["full_loss_difference"]).all()
    assert estimate.draws["posterior"].sizes["draw"] == 20
