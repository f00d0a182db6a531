import numpy as np
import pytest
from scipy.integrate import quad

from llc.estimators.free_energy import free_energy_from, integrate, slope_from
from llc.estimators.tempering import read_ladders

LADDERS = np.array([[0, *np.geomspace(first, 300, 9)] for first in (0.3, 0.4, 0.5, 0.6)])


@pytest.fixture(scope="module")
def sample(regression):
    def sample(rng, nbeta, size):
        return regression.loss_difference(regression.weights(nbeta, rng.normal(size=(size, regression.dimension))))

    return sample


@pytest.fixture(scope="module")
def draws(regression, sample, tempered):
    rng = np.random.default_rng(1)
    return tempered(
        sample, LADDERS, rng, num_draws=4000, n=regression.n, center_loss=regression.center_loss, dimension=4
    )


def within(mean, truth):
    return abs(mean.value - truth) < 4 * mean.std_error


def test_free_energy_is_the_closed_form(regression, draws):
    result = free_energy_from(draws)
    rise = regression.free_energy(300.0)
    assert within(result, 300 * regression.center_loss + rise)
    assert within(result.details["above_center"], rise)
    assert result.std_error < 0.005 * rise
    assert result.verdicts == ("converged",)
    assert repr(result).startswith(f"free energy = {result.value:.3f} ± {result.std_error:.3f} nats")


def test_quadrature_along_the_ladder_agrees_and_errs_more(regression, draws):
    result = free_energy_from(draws)
    quadrature = result.details["thermodynamic_integration"]
    assert within(quadrature, 300 * regression.center_loss + regression.free_energy(300.0))
    assert result.std_error < quadrature.std_error
    assert within(result.details["discretization"], 0.0)
    assert result.details["discretization"].std_error < quadrature.std_error


def test_the_interval_covers_what_it_says(regression, sample, tempered):
    truth, covered, reported, values = regression.free_energy(300.0), [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        result = free_energy_from(tempered(sample, LADDERS, rng, num_draws=100, n=regression.n, center_loss=0.0))
        low, high = result.interval(0.95)
        covered.append(low < truth < high)
        reported.append(result.std_error)
        values.append(result.value)
    assert 0.90 < np.mean(covered) < 0.99
    # the spread of 200 normals has a relative standard error of 1/√400
    assert abs(np.mean(reported) / np.std(values) - 1) < 4 / np.sqrt(400)


@pytest.mark.parametrize(
    ("loss", "highest"), [(lambda w: 1e3 * w**6, 1e4), (lambda w: np.expm1(w**2), 1e3)], ids=["w⁶", "exp(w²)"]
)
def test_a_mean_at_the_prior_that_is_huge_or_infinite_does_not_matter(loss, highest, tempered):
    grid = np.linspace(0, 9, 200_001)
    mass = lambda nbeta: np.exp(-nbeta * loss(grid) - grid**2 / 2)

    def sample(rng, nbeta, size):
        distribution = np.cumsum(mass(nbeta))
        return loss(np.interp(rng.uniform(size=size), distribution / distribution[-1], grid))

    normalised = lambda w: np.exp(-highest * loss(w) - w**2 / 2) * np.sqrt(2 / np.pi)
    truth = -np.log(quad(normalised, 0, 9, points=[0.05, 0.5], epsabs=0, epsrel=1e-10)[0])
    first = 1e-4 if highest == 1e4 else 0.05
    ladders = [[0, *np.geomspace(first * factor, highest, 14)] for factor in (1, 1.5, 2, 2.5)]
    result = free_energy_from(tempered(sample, ladders, np.random.default_rng(2), num_draws=4000, n=100))
    assert within(result.details["above_center"], truth)
    assert result.std_error < 0.01 * truth
    assert result.details["thermodynamic_integration"].std_error < 0.02 * truth


def test_the_rule_is_corrected_by_the_slope_at_its_ends():
    # E_s = (d/2)/(1 + s) and its variance (d/2)/(1 + s)², which two draws reproduce; up to s_1 they are no expectation
    ladder, dimension = np.array([0, *np.geomspace(0.1, 1000, 13)]), 6
    energy = dimension / 2 / (1 + ladder)
    losses = energy + np.sqrt(dimension / 2) / (1 + ladder) * np.array([[-1.0], [1.0]])
    exact = dimension / 2 * np.log((1 + ladder[-1]) / (1 + ladder[1]))
    first = -np.log(np.mean(np.exp(-ladder[1] * losses[:, 0])))
    plain = np.trapezoid(ladder[1:] * energy[1:], np.log(ladder[1:]))
    corrected = integrate(ladder, losses).mean() - first
    assert abs(corrected - exact) < 0.003
    assert abs(plain - exact) > 5 * abs(corrected - exact)


def test_the_slope_between_two_temperatures_is_the_closed_form(regression, draws):
    result = slope_from(draws, 30.0, 300.0)
    exact = (regression.loss(30.0) - regression.loss(300.0)) / (1 / 30 - 1 / 300)
    assert within(result, exact)
    assert result.std_error < 0.01 * exact
    assert within(result.details["llc at nbeta 300"], 300 * regression.loss(300.0))


def test_two_temperatures_out_of_order_are_refused(draws):
    with pytest.raises(ValueError, match=r"nbeta_low=200 is not below nbeta_high=100; exchange them"):
        slope_from(draws, 200, 100)
    with pytest.raises(ValueError, match=r"nbeta_high=400; these draws' ladder ends at nbeta=300"):
        slope_from(draws, 200, 400)


def test_one_chain_and_few_draws_are_said(draws):
    assert free_energy_from(draws.isel(chain=[0])).verdicts == ("one chain",)
    assert free_energy_from(draws.isel(draw=slice(0, 20))).verdicts == ("too few draws",)


@pytest.mark.parametrize("num_draws", [1, 3])
def test_an_early_interruption_gives_no_error_bar(draws, num_draws):
    result = free_energy_from(draws.isel(draw=slice(0, num_draws)))
    assert np.isnan(result.std_error)
    assert result.verdicts == ("too few draws",)


def test_chains_that_never_moved_know_nothing_but_their_value(tempered):
    still = lambda rng, nbeta, size: np.zeros(size)
    result = free_energy_from(tempered(still, LADDERS, np.random.default_rng(0), num_draws=50, n=300))
    assert result.value == 150.0
    assert result.details["above_center"].value == pytest.approx(0.0, abs=1e-12)
    assert result.std_error < 1e-12
    assert result.verdicts == ("too few draws",)


def test_ladders_are_read_chain_by_chain(draws):
    ladders, losses = read_ladders(draws)
    assert np.array_equal(ladders, LADDERS)
    assert losses.shape == (4, 4000, 10)
