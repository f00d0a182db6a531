"""Calibration on a quadratic: the choice is the best of those that sample rightly, and is shown with its reasons."""

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

import llc
from llc.samplers import MALA, SGLD, ReplicaExchange

matplotlib.use("Agg")

HESSIAN = np.array([1.0, 0.1, 0.01], np.float32)
PROBLEM = llc.Problem(lambda w, x: 0.5 * jnp.sum(HESSIAN * w**2) + x @ w, jnp.zeros((64, 3)))
SETTINGS = {"nbeta": 100.0, "localization": 1.0, "progress": False}
EXACT = 0.5 * float(np.sum(100 * HESSIAN / (100 * HESSIAN + 1)))


@pytest.fixture(scope="module")
def calibration():
    # a step that leaves for infinity must never be chosen, however cheap
    kernels = [SGLD(0.5), ReplicaExchange()]
    return llc.calibrate(PROBLEM, jnp.zeros(3), kernels=kernels, max_gradient_evaluations=4e8, **SETTINGS)


def test_a_diverging_kernel_is_never_chosen(calibration):
    assert type(calibration.kernel) is ReplicaExchange
    chosen, other = calibration.pilots
    assert not chosen.faults
    assert "chains diverged" in other.faults
    assert any("SGLD is chains diverged" in reason for reason in calibration.reasons)
    assert abs(calibration.estimate.value - EXACT) < 4 * calibration.estimate.std_error
    assert sum(pilot.evaluations for pilot in calibration.pilots) <= 4e8


def test_its_settings_give_an_estimate(calibration):
    estimate = llc.estimate(PROBLEM, jnp.zeros(3), progress=False, num_draws=200, **calibration.settings)
    assert estimate.settings["kernel"] == "ReplicaExchange"
    assert abs(estimate.value - EXACT) < 4 * estimate.std_error


def assert_closed_forms(sweeps):
    for name, at in {
        "nbeta": lambda f: 0.5 * np.sum(100 * f * HESSIAN / (100 * f * HESSIAN + 1)),
        "localization": lambda f: 0.5 * np.sum(100 * HESSIAN / (100 * HESSIAN + f)),
    }.items():
        for factor, mean in sweeps[name].items():
            assert abs(mean.value - at(factor)) < 4 * mean.std_error, (name, factor)
            assert mean.std_error < 0.1 * at(factor)


def test_the_sweeps_of_a_kernel_of_one_temperature_follow_the_closed_form():
    found = llc.calibrate(PROBLEM, jnp.zeros(3), kernels=[SGLD()], max_gradient_evaluations=2e8, **SETTINGS)
    assert_closed_forms(found.sweeps)
    assert [len(sweep) for sweep in found.sweeps.values()] == [5, 5, 5]


def test_the_sweeps_follow_the_closed_form(calibration):
    assert_closed_forms(calibration.sweeps)
    for name in ("nbeta", "localization"):
        low, high = calibration.plateaus[name]
        assert 0.1 < low <= 1.0 <= high < 10.0  # λ̂ moves by far more than its error at both ends
    assert len(calibration.sweeps["step_size"]) == 5


def test_it_shows_itself(calibration):
    figure = calibration.plot()
    assert len(figure.axes) == 4
    assert "ReplicaExchange" in repr(calibration)
    assert "plateau of nbeta" in calibration._repr_html_()
    assert calibration.to_dict()["kernel"] == "ReplicaExchange"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_gradient_evaluations": 10}, "does not pay for one step"),
        ({"max_gradient_evaluations": 1e6, "max_seconds": 1}, "are both given"),
        ({"max_seconds": 0}, "max_seconds=0; it must be positive"),
    ],
)
def test_budgets_that_are_none(budget, message):
    with pytest.raises(ValueError, match=message):
        llc.calibrate(PROBLEM, jnp.zeros(3), kernels=[MALA(0.01)], **budget, **SETTINGS)
