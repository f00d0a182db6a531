"""The verbs free_energy, wbic and waic on conjugate linear regression, whose answers are closed forms."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc import zoo
from llc.estimators.free_energy import integrate_coefficients
from llc.estimators.uncertainty import Mean
from llc.samplers import HMC, SGLD

N, GAMMA = 200, 2.0
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(N, 2)).astype(np.float32)
TARGETS = (INPUTS @ np.array([1.0, -0.5]) + RNG.normal(size=N)).astype(np.float32)[:, None]
CENTER = np.linalg.lstsq(INPUTS, TARGETS, rcond=None)[0]
PROBLEM = llc.Problem.supervised(lambda w, x: x @ w, llc.Gaussian(), INPUTS, TARGETS)
PARAMS = jnp.asarray(CENTER, jnp.float32)
X, RESIDUAL = INPUTS.astype(float), (TARGETS - INPUTS @ CENTER).astype(float)[:, 0]
AT_CENTER = N * 0.5 * np.log(2 * np.pi) + 0.5 * RESIDUAL @ RESIDUAL


def posterior_covariance(beta):
    return np.linalg.inv(beta * X.T @ X + GAMMA * np.eye(2))


def exact_free_energy():
    return AT_CENTER + 0.5 * np.linalg.slogdet(np.eye(2) + X.T @ X / GAMMA)[1]


def sgld_covariance(step_size):
    """Of SGLD with the full gradient: every whitened mode of curvature k is inflated by 1 / (1 − εk/4)."""
    modes, axes = np.linalg.eigh(X.T @ X + GAMMA * np.eye(2))
    return axes @ np.diag(1 / modes / (1 - step_size * modes / GAMMA / 4)) @ axes.T


def exact_waic(covariance):
    spread = np.einsum("ij,jk,ik->i", X, covariance, X)
    training = 0.5 * np.log(2 * np.pi * (1 + spread)) + 0.5 * RESIDUAL**2 / (1 + spread)
    variance = 0.5 * spread**2 + RESIDUAL**2 * spread
    return training.mean() + variance.mean(), variance.sum()


def assert_within(measure, exact, precision):
    assert measure.converged
    assert abs(measure.value - exact) < 4 * measure.std_error
    assert measure.std_error < precision


def test_free_energy_by_replica_exchange():
    measure = llc.free_energy(PROBLEM, PARAMS, localization=GAMMA, progress=False)
    assert measure.settings["kernel"] == "ReplicaExchange"
    assert_within(measure, exact_free_energy(), 0.05)


def test_free_energy_by_estimates_at_separate_temperatures():
    kernel = HMC(0.1)
    measure = llc.free_energy(
        PROBLEM, PARAMS, kernel=kernel, localization=GAMMA, batch_size=N, num_draws=400, progress=False
    )
    assert measure.settings["kernel"] == "HMC"
    assert "free energy" in measure._repr_html_()
    assert len(measure.draws.children) > 3
    assert abs(measure.value - exact_free_energy()) < 4 * measure.std_error
    assert measure.std_error < 0.15


def test_free_energy_without_slopes_is_by_the_plain_rule():
    """As where losses on all data are too dear for λ̂_var."""
    ladder, prior = np.geomspace(0.05, N, 5), np.abs(RNG.normal(size=100))
    settings = {"kernel": HMC(0.1), "localization": GAMMA, "num_warmup": 20, "num_draws": 20, "progress": False}
    estimates = [llc.estimate(PROBLEM, PARAMS, nbeta=at, **settings) for at in ladder]
    unknown = {"nbeta": Mean(np.nan, np.nan, np.nan, np.nan)}
    measure = integrate_coefficients([replace(e, sensitivity=unknown) for e in estimates], prior, 0.0)
    values = np.array([estimate.value for estimate in estimates])
    plain = -np.log(np.exp(-ladder[0] * prior).mean()) + 0.5 * (values[1:] + values[:-1]) @ np.diff(np.log(ladder))
    assert measure.value == pytest.approx(plain)
    assert 0 < measure.std_error < integrate_coefficients(estimates, prior, 0.0).std_error


def test_wbic():
    beta = 1 / np.log(N)
    exact = AT_CENTER + 0.5 * np.trace(X.T @ X @ posterior_covariance(beta))
    assert_within(llc.wbic(PROBLEM, PARAMS, localization=GAMMA, progress=False), exact, 0.1)


def test_waic_and_the_functional_variance():
    measure = llc.waic(PROBLEM, PARAMS, localization=GAMMA, progress=False)
    waic, variance = exact_waic(posterior_covariance(1.0))
    assert_within(measure, waic, 1e-3)
    found = measure.details["functional_variance"]
    assert abs(found.value - variance) < 4 * found.std_error
    assert found.std_error < 0.03 * variance


def test_waic_from_a_ladder_of_step_sizes_is_that_of_the_smallest():
    kernel = SGLD([0.02, 0.005], gradient="full")
    measure = llc.waic(PROBLEM, PARAMS, kernel=kernel, localization=GAMMA, num_draws=1000, progress=False)
    found = measure.details["functional_variance"]
    of_either = [exact_waic(sgld_covariance(step_size))[1] for step_size in (0.02, 0.005)]
    assert abs(found.value - of_either[1]) < 4 * found.std_error
    assert 10 * found.std_error < of_either[0] - of_either[1]


@pytest.mark.parametrize("verb", [llc.free_energy, llc.waic])
@pytest.mark.parametrize("nbeta", [0.0, -1.0, float("inf")])
def test_temperatures_that_are_none(verb, nbeta):
    with pytest.raises(ValueError, match="it must be a positive number"):
        verb(PROBLEM, PARAMS, nbeta=nbeta, progress=False)


def test_waic_of_a_loss_without_examples():
    entry = zoo.regular(1, n=100)
    with pytest.raises(ValueError, match="WAIC needs losses of examples"):
        llc.waic(entry.problem, entry.params, kernel=SGLD(0.01), progress=False, num_draws=10, num_warmup=10)
