"""The virial takes noise from λ̂ where it knows of it, leaves λ̂ alone elsewhere, and never moves what is exact."""

import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.estimators.control_variate import controlled_mean
from llc.estimators.learning_coefficient import learning_coefficient
from llc.estimators.uncertainty import mean_with_error

RNG = np.random.default_rng(0)


def autocorrelated(shape, rho=0.9):
    noise, series = RNG.normal(size=shape), np.empty(shape)
    series[..., 0] = noise[..., 0]
    for i in range(1, shape[-1]):
        series[..., i] = rho * series[..., i - 1] + np.sqrt(1 - rho**2) * noise[..., i]
    return series


@pytest.mark.parametrize("late", [0, 1])
def test_intervals_of_controlled_means_cover_as_they_say(late):
    """Also where the control is written down a draw late, as of trajectories, and has noise of its own."""
    distances, gains = [], []
    for common, own, of_control in zip(*autocorrelated((3, 200, 4, 4000)), strict=True):
        values, control = 2.0 + common + 0.3 * own, np.roll(3 * common + of_control, late, axis=1)
        plain, better = mean_with_error(values), controlled_mean(values, control, late)
        distances.append((better.value - 2.0) / better.std_error)
        gains.append(better.std_error / plain.std_error)
        assert (better.ess, better.rhat) == (plain.ess, plain.rhat)
    # Var(x) falls from 1.09 to 0.09 + 1/10
    assert 0.35 < np.mean(gains) < 0.5
    assert abs(np.mean(distances)) < 4 / np.sqrt(200)
    covered = np.mean(np.abs(distances) < 1.96)
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)


def test_a_control_that_knows_nothing_is_not_used():
    values, control = autocorrelated((2, 4, 1000))
    assert controlled_mean(values, control) == mean_with_error(values)


def test_a_control_that_is_off_is_not_used():
    """Of chains that have not spread, or are hot, it would move the mean by what it is off."""
    (control,) = autocorrelated((1, 4, 1000))
    assert controlled_mean(control, control + 1.0) == mean_with_error(control)


def test_what_is_left_must_not_be_slow():
    """Fast noise that the control knows, and a slow mode whose error so few draws cannot tell."""
    (slow,) = autocorrelated((1, 4, 1000), rho=0.99)
    fast = RNG.normal(size=(4, 1000))
    values = 0.3 * slow + 10 * fast
    assert mean_with_error(values - 10 * fast).std_error < 0.6 * mean_with_error(values).std_error
    assert controlled_mean(values, fast) == mean_with_error(values)


def test_few_draws_are_left_alone():
    control = RNG.normal(size=(4, 80))
    assert controlled_mean(control, control) == mean_with_error(control)


@pytest.mark.parametrize("curvatures", [(3.0, 1.0, 0.3), (1.0, 1.0, 1.0)], ids=str)
def test_a_regular_posterior_is_known_almost_without_error(curvatures):
    """At γ ≪ nβh, λ̂ = ½ Σ nβh / (nβh + γ), and ΔL goes along with the virial all the way: rounding is left."""
    curvatures = jnp.array(curvatures)
    problem = llc.Problem(lambda w, x: 0.5 * jnp.sum(curvatures * w**2) + 0 * x, jnp.zeros(1000))
    posterior = llc.LocalPosterior(problem, jnp.zeros(3), nbeta=1000.0, localization=1.0)
    exact = 0.5 * float((1000 * curvatures / (1000 * curvatures + 1)).sum())
    for kernel in (llc.samplers.ReplicaExchange(), llc.samplers.NUTS()):
        draws = llc.draw(kernel, posterior, 0, num_warmup=500, num_draws=1000, progress=False)
        result, plain = learning_coefficient(draws), mean_with_error(1000 * draws.sample_stats.loss_difference.values)
        assert result.std_error < 0.1 * plain.std_error
        assert abs(result.value - exact) < 4 * result.std_error
        np.testing.assert_allclose((result.ess, result.rhat), (plain.ess, plain.rhat), rtol=1e-3)


def test_kernels_that_are_not_exact_have_their_plain_means():
    """Whose virial is off by as much as λ̂ is, which the ladder takes away."""
    problem = llc.Problem(lambda w, x: 0.5 * jnp.sum(w**2) + 0 * x, jnp.zeros(1000))
    posterior = llc.LocalPosterior(problem, jnp.zeros(3), nbeta=1000.0, localization=1.0)
    draws = llc.draw(llc.samplers.SGLD(1e-4), posterior, 0, num_warmup=500, num_draws=1000, thinning=10, progress=False)
    result, plain = learning_coefficient(draws), mean_with_error(1000 * draws.sample_stats.loss_difference.values)
    np.testing.assert_allclose((result.value, result.std_error), (plain.value, plain.std_error), rtol=1e-6)
