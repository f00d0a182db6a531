import numpy as np
import pytest

import llc
from llc.estimators.multiplicity import fit_growth, multiplicity_from

HIGHEST = 1e4


def cross(rng, nbeta, size):
    """Exact draws of ½(w1 w2)² at γ = 1: w2 given w1 is Gaussian, log w1 by its distribution function."""
    grid = np.linspace(-25, 2.5, 20_001)
    mass = np.cumsum(np.exp(grid - np.exp(2 * grid) / 2) / np.sqrt(1 + nbeta * np.exp(2 * grid)))
    first = np.exp(np.interp(rng.uniform(size=size), mass / mass[-1], grid))
    return 0.5 * (first * rng.normal(size=size)) ** 2 / (1 + nbeta * first**2)


def ball(rng, nbeta, size):
    """Exact draws of ½‖w‖² in four dimensions at γ = 1, λ = 2."""
    return rng.gamma(2.0, 1 / (1 + nbeta), size)


LADDERS = [[0, *np.geomspace(first, HIGHEST, 14)] for first in (0.5, 0.7, 1.0, 1.4)]


@pytest.mark.parametrize(
    ("sample", "entry", "precision"),
    [(cross, llc.zoo.monomial((1, 1)), 0.7), (ball, llc.zoo.regular(4), 2.5)],
    ids=["m = 2", "m = 1"],
)
def test_both_are_found_from_exact_draws(sample, entry, precision, tempered):
    draws = tempered(sample, LADDERS, np.random.default_rng(0), num_draws=1000, n=10_000)
    result = multiplicity_from(draws)
    multiplicity, naive = result.details["multiplicity"], result.details["llc"]
    assert abs(result.value - entry.learning_coefficient) < 4 * result.std_error
    assert result.std_error < 0.1 * entry.learning_coefficient
    assert abs(multiplicity.value - entry.multiplicity) < 4 * multiplicity.std_error
    assert multiplicity.std_error < precision
    assert abs(naive.value - entry.finite_n(HIGHEST, 1.0)) < 4 * naive.std_error
    assert result.verdicts == ("converged",)


def test_the_correction_is_more_than_noise(tempered):
    result = multiplicity_from(tempered(cross, LADDERS, np.random.default_rng(1), num_draws=1000, n=10_000))
    naive = result.details["llc"]
    assert 0.5 - naive.value > 20 * naive.std_error
    assert abs(result.value - 0.5) < 0.5 * (0.5 - naive.value)


@pytest.mark.parametrize(
    "entry",
    [
        llc.zoo.monomial((1, 1)),
        llc.zoo.monomial((2, 2)),
        llc.zoo.monomial((1, 1, 1)),
        llc.zoo.monomial((1, 2)),
        llc.zoo.regular(4),
        llc.zoo.regular(20),
        llc.zoo.reduced_rank(2, 2, 1),
        llc.zoo.reduced_rank(2, 2, 2),
        llc.zoo.reduced_rank(3, 3, 2),
        llc.zoo.monomial((3,)),
        llc.zoo.tanh(1),
        llc.zoo.tanh(2),
        llc.zoo.monomial_sum(((1, 1, 0), (0, 0, 1))),
    ],
    ids=repr,
)
def test_the_errors_hold_what_is_not_sampling(entry):
    # on exact f(s), with the errors that some 4000 draws give it
    log_s = np.linspace(-4, np.log(HIGHEST), 100)
    llc_n = np.array([entry.finite_n(float(s), 1.0) for s in np.exp(log_s)])
    steps = np.diff(log_s) * (llc_n[1:] + llc_n[:-1]) / 2
    onset = np.interp(llc_n[-1] / 2, llc_n, log_s)
    growth = np.linspace((log_s[-1] - onset) / 2, log_s[-1] - onset, 8)
    free_energy = np.interp(onset + growth, log_s, np.append(0, np.cumsum(steps)))
    increments = np.append(1.0, 2 * max(llc_n[-1], 0.5) * np.diff(growth)) / 3e5
    covariance = np.minimum.outer(np.cumsum(increments), np.cumsum(increments))
    fit = fit_growth(growth, free_energy, covariance, llc_n[-1])
    sampling = np.diag(fit.by_free_energy @ covariance @ fit.by_free_energy.T)
    coefficient, order, _ = fit.by_free_energy @ free_energy
    errors = np.sqrt(sampling + fit.systematic**2)
    assert abs(coefficient - entry.learning_coefficient) < 2.5 * errors[0]
    assert abs(order + 1 - entry.multiplicity) < 2.5 * errors[1]
    assert errors[0] < 0.15 * entry.learning_coefficient


def apart(rng, nbeta, size):
    return rng.uniform(100 / (1 + nbeta), 101 / (1 + nbeta), size)


def frozen(rng, nbeta, size):
    return np.zeros(size)


@pytest.mark.parametrize(("sample", "num_draws"), [(apart, 100), (frozen, 100), (cross, 3), (cross, 12)])
def test_what_cannot_be_fitted_gives_no_number(sample, num_draws, tempered):
    draws = tempered(sample, [[0.0, 1e3, 1e6]] * 4, np.random.default_rng(0), num_draws=num_draws, n=100)
    result = multiplicity_from(draws)
    assert np.isnan(result.value)
    assert result.verdicts == ("too few draws",)
    draws["sample_stats"]["diverging"].values[:] = True
    assert multiplicity_from(draws).verdicts == ("chains diverged",)
