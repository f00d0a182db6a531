import numpy as np
import pytest

from llc.estimators.uncertainty import Mean, extrapolate, mean_with_error


def autoregressive(rng, chains, draws, rho):
    noise = rng.normal(size=(chains, draws + 200))
    x = np.zeros_like(noise)
    for t in range(1, noise.shape[1]):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    return x[:, 200:]


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_standard_error_is_that_of_repeated_means(rho):
    means = [mean_with_error(autoregressive(np.random.default_rng(i), 4, 1000, rho)) for i in range(100)]
    z = np.array([m.value / m.std_error for m in means])
    # the second moment of 100 standard normals has standard error √(2/100)
    assert abs(np.mean(z**2) - 1) < 4 * np.sqrt(2 / 100)
    expected = 4000 * (1 - rho) / (1 + rho)
    assert np.mean([m.ess for m in means]) == pytest.approx(expected, rel=0.1)


def test_a_chain_that_never_moved_is_exact_and_has_explored_nothing():
    mean = mean_with_error(np.zeros((4, 50)))
    assert (mean.value, mean.std_error, mean.ess) == (0.0, 0.0, 0.0)
    assert np.isnan(mean.rhat)


def test_one_chain_does_not_know_its_rhat():
    mean = mean_with_error(np.random.default_rng(0).normal(size=(1, 500)))
    assert np.isnan(mean.rhat)
    assert mean.ess > 300


def test_chains_that_disagree_are_seen():
    chains = np.random.default_rng(0).normal(size=(4, 500)) + np.array([0, 0, 0, 3.0])[:, None]
    assert mean_with_error(chains).rhat > 1.1


@pytest.mark.parametrize(("bias", "straight"), [(0.2, False), (0.0, False), (-0.5, False), (0.0, True), (0.3, True)])
def test_extrapolation_covers_the_value_at_step_size_zero(bias, straight):
    ladder, rng, truth = np.array([4e-3, 2e-3, 1e-3]), np.random.default_rng(1), 3.0
    relative = ladder / ladder.max()
    exact = truth * (1 + bias * relative) if straight else truth / (1 - bias * relative)
    errors = 0.05 * np.array([1, np.sqrt(2), 2])
    z = []
    for _ in range(1000):
        means = [Mean(v + e * rng.normal(), e, 400, 1.0) for v, e in zip(exact, errors, strict=True)]
        fit = extrapolate(means, ladder, straight=straight)
        z.append((fit.value - truth) / fit.std_error)
    covered = np.mean(np.abs(z) < 1.96)
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1000) + 0.01  # the misfit's inflation adds under 1 %


def test_a_ladder_that_is_no_curve_says_so_and_widens_its_error():
    ladder = np.array([4e-3, 2e-3, 1e-3])
    honest = extrapolate([Mean(v, 0.01, 400, 1.0) for v in (3.4, 3.2, 3.1)], ladder)
    broken = extrapolate([Mean(v, 0.01, 400, 1.0) for v in (3.4, 3.9, 3.1)], ladder)
    assert honest.misfit > 0.01
    assert broken.misfit < 1e-6
    assert broken.std_error > 5 * honest.std_error


def test_a_ladder_reports_its_poorest_sampling():
    means = [Mean(1.0, 0.1, 900, 1.001), Mean(1.0, 0.1, 300, 1.02), Mean(1.0, 0.1, 80, float("nan"))]
    fit = extrapolate(means, np.array([4.0, 2.0, 1.0]))
    assert (fit.ess, fit.rhat) == (80, 1.02)


@pytest.mark.parametrize("straight", [False, True])
def test_a_ladder_of_too_few_draws_has_a_value_and_no_error_bar(straight):
    means = [mean_with_error(np.array([[1.0, 2.0], [3.0, size]])) for size in (4.0, 5.0, 6.0)]
    result = extrapolate(means, np.array([1.0, 0.5, 0.25]), straight=straight)
    assert result.value == 3.0  # of the smallest step
    assert np.isnan(result.std_error)


def test_of_no_draws_nothing_is_known():
    assert np.isnan(mean_with_error(np.empty((4, 0)))).tolist() == [True, True, True, True, False]
