import re

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit

from llc.estimators import tempering
from llc.estimators.free_energy import free_energy_from
from llc.estimators.measure import mean_of
from llc.estimators.tempering import mix, mixtures, tempered_free_energy, tempered_loss

LADDERS = np.array([[0, *np.geomspace(first, 300, 9)] for first in (0.3, 0.4, 0.5, 0.6)])


@pytest.fixture(scope="module")
def sample(regression):
    def sample(rng, nbeta, size):
        return regression.loss_difference(regression.weights(nbeta, rng.normal(size=(size, regression.dimension))))

    return sample


@pytest.fixture(scope="module")
def draws(regression, sample, tempered):
    return tempered(sample, LADDERS, np.random.default_rng(0), num_draws=4000, n=regression.n)


@pytest.mark.parametrize("nbeta", [0.1, 1.0, 17.0, LADDERS[0, 5], 300.0])
def test_expectations_at_any_temperature_are_the_closed_forms(regression, draws, nbeta):
    for series, truth in (
        (tempered_loss(draws, nbeta), regression.loss(nbeta)),
        (tempered_free_energy(draws, nbeta), regression.free_energy(nbeta)),
    ):
        mean = mean_of(series)
        assert abs(mean.value - truth) < 4 * mean.std_error
        assert mean.std_error < 0.01 * abs(truth)


@pytest.mark.parametrize("coupled", [False, True])
def test_errors_are_those_of_repetitions_even_where_temperatures_move_together(regression, sample, tempered, coupled):
    truth, z = [regression.free_energy(20.0), regression.loss(20.0)], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        draws = tempered(sample, LADDERS, rng, num_draws=100, n=regression.n, coupled=coupled)
        at = [chain.at(20.0) for chain in mixtures(draws)]
        means = [mean_of(np.array(series)) for series in zip(*at, strict=True)]
        z.append([(mean.value - exact) / mean.std_error for mean, exact in zip(means, truth, strict=True)])
    # the second moment of 200 standard normals has standard error √(2/200)
    assert np.all(np.abs(np.mean(np.square(z), axis=0) - 1) < 4 * np.sqrt(2 / 200))
    assert np.all(np.abs(np.mean(z, axis=0)) < 4 / np.sqrt(200))


def test_a_draw_contributes_what_leaving_it_out_takes_away(sample):
    rng, ladder = np.random.default_rng(1), LADDERS[0]
    losses = np.stack([sample(rng, nbeta, 200) for nbeta in ladder], axis=1)
    everything = mix(ladder, losses).at(20.0)
    for name in ("loss", "free_energy"):
        series = getattr(everything, name)
        left_out = [getattr(mix(ladder, np.delete(losses, draw, axis=0)).at(20.0), name).mean() for draw in range(20)]
        contributions = 199 * (series.mean() - np.array(left_out))
        assert np.allclose(contributions, (series - series.mean())[:20], rtol=0.1, atol=0.02 * series.std())


def test_two_temperatures_are_bennetts_acceptance_ratio(sample):
    rng, nbetas = np.random.default_rng(2), np.array([0.0, 2.0])
    losses = np.stack([sample(rng, nbeta, 500) for nbeta in nbetas], axis=1)
    work = 2.0 * losses
    bennett = brentq(lambda f: expit(f - work[:, 0]).sum() - expit(work[:, 1] - f).sum(), -20, 20)
    assert mix(nbetas, losses).free_energies[1] == pytest.approx(bennett, abs=1e-6)


def test_free_energy_is_the_integral_of_the_loss_without_quadrature_along_the_ladder(sample):
    rng, ladder = np.random.default_rng(3), LADDERS[0]
    mixture = mix(ladder, np.stack([sample(rng, nbeta, 50) for nbeta in ladder], axis=1))
    integral, _ = quad(lambda s: mixture.at(s).loss.mean(), 0.5, 200.0, epsabs=1e-8, limit=200)
    rise = mixture.at(200.0).free_energy.mean() - mixture.at(0.5).free_energy.mean()
    assert integral == pytest.approx(rise, abs=1e-5)


def test_memory_is_held_to_blocks_that_change_nothing(draws, monkeypatch):
    few = draws.isel(draw=slice(0, 100))
    whole = tempered_loss(few, 20.0)
    monkeypatch.setattr(tempering, "_BLOCK_ELEMENTS", 700)
    assert np.allclose(tempered_loss(few, 20.0), whole, rtol=1e-9, atol=0)


@pytest.mark.parametrize("overflown", [np.inf, np.nan])
def test_a_loss_that_overflows_under_the_prior_is_a_likelihood_of_zero(draws, overflown):
    few = draws.isel(draw=slice(0, 200)).copy(deep=True)
    losses = few["sample_stats"]["tempered_loss_difference"].values
    losses[:, ::7, 0] = 1e30
    finite = tempered_free_energy(few, 300.0)
    losses[:, ::7, 0] = overflown
    assert np.allclose(tempered_free_energy(few, 300.0), finite, rtol=1e-12)


def test_a_chain_that_is_not_finite_is_excluded_and_said(draws):
    few = draws.isel(draw=slice(0, 200)).copy(deep=True)
    alone = free_energy_from(few.isel(chain=slice(0, 3)))
    few["sample_stats"]["tempered_loss_difference"].values[3, 5, 4] = np.nan
    result = free_energy_from(few)
    assert (result.value, result.std_error) == (alone.value, alone.std_error)
    assert result.verdicts[0] == "chains diverged"
    few["sample_stats"]["diverging"].values[:] = True
    assert np.isnan(free_energy_from(few).value)
    assert free_energy_from(few).verdicts == ("chains diverged",)


def test_temperatures_that_do_not_overlap_give_no_number(tempered):
    apart = lambda rng, nbeta, size: rng.uniform(100 / (1 + nbeta), 101 / (1 + nbeta), size)
    draws = tempered(apart, [[0.0, 1e3, 1e6]] * 4, np.random.default_rng(0), num_draws=100, n=100)
    assert np.isnan(mixtures(draws)[0].free_energies).all()
    result = free_energy_from(draws)
    assert np.isnan(result.value)
    assert result.verdicts == ("too few draws",)


def test_draws_of_one_temperature_are_refused(regression, drawn):
    draws = drawn(regression, 50.0, np.random.default_rng(0), num_draws=10)
    with pytest.raises(ValueError, match=r"of NUTS are all at nbeta=50; make them with llc\.samplers\.ReplicaExchange"):
        tempered_loss(draws, 20.0)


@pytest.mark.parametrize("nbeta", [0.0, -1.0, 301.0])
def test_a_temperature_off_the_ladder_is_refused(draws, nbeta):
    match = re.escape(f"nbeta={nbeta}; these draws' ladder ends at nbeta=300: choose one above 0")
    with pytest.raises(ValueError, match=match):
        tempered_free_energy(draws, nbeta)
