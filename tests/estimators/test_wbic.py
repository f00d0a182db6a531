import numpy as np
import pytest

from llc.estimators.wbic import wbic_from

LADDERS = np.array([[0, *np.geomspace(first, 300, 9)] for first in (0.3, 0.4, 0.5, 0.6)])


@pytest.fixture(scope="module")
def exact(regression):
    nbeta = regression.n / np.log(regression.n)
    return regression.n * (regression.center_loss + regression.loss(nbeta))


def check(result, exact, regression):
    assert abs(result.value - exact) < 4 * result.std_error
    # of what sampling decides; the rest is the loss at w*
    assert result.std_error < 0.02 * (exact - regression.n * regression.center_loss)
    assert result.verdicts == ("converged",)
    assert repr(result).startswith("WBIC = ")
    coefficient, log_n = result.details["learning_coefficient"], np.log(regression.n)
    assert result.value == pytest.approx(regression.n * regression.center_loss + log_n * coefficient.value)
    assert result.std_error == pytest.approx(log_n * coefficient.std_error)


def test_draws_at_its_temperature_give_the_closed_form(regression, drawn, exact):
    draws = drawn(regression, regression.n / np.log(regression.n), np.random.default_rng(0), num_draws=4000)
    check(wbic_from(draws), exact, regression)


def test_a_ladder_above_it_gives_the_closed_form(regression, tempered, exact):
    def sample(rng, nbeta, size):
        return regression.loss_difference(regression.weights(nbeta, rng.normal(size=(size, regression.dimension))))

    settings = {"n": regression.n, "center_loss": regression.center_loss}
    draws = tempered(sample, LADDERS, np.random.default_rng(1), num_draws=4000, **settings)
    check(wbic_from(draws), exact, regression)
    ends_there = LADDERS * regression.n / np.log(regression.n) / 300
    draws = tempered(sample, ends_there, np.random.default_rng(2), num_draws=4000, **settings)
    check(wbic_from(draws), exact, regression)
    below = tempered(sample, LADDERS / 10, np.random.default_rng(3), num_draws=10, **settings)
    with pytest.raises(ValueError, match="these draws are at nbeta=30, and WBIC is the mean at n / log n = 52"):
        wbic_from(below)


def test_draws_at_another_temperature_are_refused(regression, drawn):
    draws = drawn(regression, 300.0, np.random.default_rng(0), num_draws=10)
    with pytest.raises(ValueError, match=r"nbeta=300, .* draw there \(nbeta=None\), or with llc.samplers.Replica"):
        wbic_from(draws)


def test_faults_of_sampling_are_said_and_those_of_coefficients_are_not(regression, drawn):
    nbeta = regression.n / np.log(regression.n)
    draws = drawn(regression, nbeta, np.random.default_rng(0), num_draws=500)
    draws["sample_stats"]["diverging"].values[2] = True
    assert wbic_from(draws).verdicts == ("chains diverged",)
    draws.attrs["gradient_term"] = 100.0  # not a minimum, which WBIC does not ask for
    assert wbic_from(draws).verdicts == ("chains diverged",)
