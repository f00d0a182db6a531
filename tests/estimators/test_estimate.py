import gc
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.draws import draw as draw_module
from llc.estimators.side_by_side import Goal

CURVATURES = np.array([2.0, 0.5, 0.0], np.float32)


def loss(params, examples):
    """½ Σ h_i (w_i − x_i)², whose minibatch noise has the variance of x."""
    return 0.5 * jnp.sum(CURVATURES * jnp.square(params["w"] - examples), axis=1)


@pytest.fixture(scope="module")
def problem():
    examples = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    return llc.Problem(loss, examples - examples.mean(0))


CENTER = {"w": jnp.zeros(3)}


def exact(nbeta, gamma):
    return 0.5 * np.sum(nbeta * CURVATURES / (nbeta * CURVATURES + gamma))


@pytest.mark.parametrize("kernel", [None, llc.samplers.SGLD(), llc.samplers.SGLD(gradient="anchored")])
def test_nothing_needs_to_be_chosen(problem, kernel):
    result = llc.estimate(problem, CENTER, kernel=kernel, localization=1.0, progress=False)
    assert abs(result.value - exact(result.nbeta, 1.0)) < 4 * result.std_error
    assert result.std_error <= 0.05 * result.value
    assert result.nbeta == pytest.approx(2000 / np.log(2000))
    assert "converged" in result.verdicts
    assert result.settings["kernel"] == ("HMC" if kernel is None else "SGLD")


def test_precision_is_what_was_asked_for(problem):
    result = llc.estimate(problem, CENTER, localization=1.0, relative_error=0.02, progress=False)
    assert result.std_error <= 0.02 * result.value
    assert abs(result.value - exact(result.nbeta, 1.0)) < 4 * result.std_error


def test_a_budget_ends_the_search_for_precision(problem):
    kernel = llc.samplers.SGLD()
    result = llc.estimate(
        problem, CENTER, kernel=kernel, relative_error=1e-4, max_gradient_evaluations=2e7, progress=False
    )
    draws = result.draws["sample_stats"]["gradient_evaluations"]
    spent = float(draws.sum()) * result.settings["thinning"] + 12 * 256 * result.settings["warmup_steps"]
    assert 0.3 * 2e7 < spent <= 1.05 * 2e7


def test_draws_too_few_for_an_error_bar_are_doubled(regression, drawn):
    goal = Goal(None, None, 0.05, keep_weights=False)
    few, more = (
        llc.learning_coefficient(drawn(regression, 50.0, np.random.default_rng(0), num_draws=count))
        for count in (2, 500)
    )
    assert np.isnan(few.std_error)
    assert goal.further_draws(few, 2) == 2
    assert goal.further_draws(more, 500) == 0
    assert goal._replace(relative_error=more.std_error / more.value / 10).further_draws(more, 500) == 1000  # at most


def test_chains_that_have_not_met_along_flat_directions_go_on(regression, drawn):
    """Whose loss looks as it does where they have: R̂ and error of the loss alone would have ended the search."""
    goal, apart = Goal(None, None, 0.05, keep_weights=False), drawn(regression, 50.0, np.random.default_rng(0))
    apart.sample_stats["whitened_squared_distance"][0] *= 4
    result = llc.learning_coefficient(apart)
    assert result.rhat < 1.01
    assert result.squared_distance_ratio.rhat > 1.1
    assert "too few draws" in result.verdicts
    assert goal.further_draws(result, 500) == 500
    assert goal._replace(num_draws=500).further_draws(result, 500) == 0


def test_chains_that_drift_go_on(regression, drawn):
    goal, short = Goal(None, None, 0.05, keep_weights=False), drawn(regression, 50.0, np.random.default_rng(0))
    short.sample_stats["virial"] *= 0.7
    result = llc.learning_coefficient(short)
    assert "drifting" in result.verdicts
    assert goal.further_draws(result, 500) == 500
    assert goal.further_draws(result, 2000) == 0  # precise enough, and told that they drift


def test_the_step_size_follows_the_curvature(problem):
    result = llc.estimate(problem, CENTER, kernel=llc.samplers.SGLD(), localization=1.0, num_draws=50, progress=False)
    stiffest = 1 + result.nbeta * 2.0
    assert result.settings["curvature_along_warmup"] == pytest.approx(stiffest, rel=1e-3)
    assert result.settings["kernel_step_size"] == pytest.approx([1.2 / stiffest * part for part in (1, 0.5, 0.25)])


def test_a_curvature_that_hides_at_the_center_is_found_on_the_way():
    cross = llc.zoo.monomial((1, 1), n=1000)
    result = llc.estimate(cross.problem, cross.params, kernel=llc.samplers.SGLD(), localization=1.0, progress=False)
    assert result.settings["curvature_at_center"] == pytest.approx(1.0)
    assert result.settings["curvature_along_warmup"] > 100
    assert result.num_diverged == 0
    assert abs(result.value - cross.finite_n(result.nbeta, 1.0)) < 4 * result.std_error


def test_a_mask_frees_only_what_it_names(problem):
    mask = {"w": np.array([True, False, False])}
    result = llc.estimate(problem, CENTER, mask=mask, localization=1.0, progress=False)
    assert result.dimension == 1
    assert abs(result.value - 0.5 * 2 * result.nbeta / (2 * result.nbeta + 1)) < 4 * result.std_error


def test_the_same_key_gives_the_same_estimate_and_another_another(problem):
    run = lambda key: llc.estimate(
        problem, CENTER, rng_key=key, kernel=llc.samplers.SGLD(), num_draws=20, num_warmup=20, progress=False
    )
    assert run(1).value == run(1).value == run(jax.random.key(1)).value
    assert run(1).value != run(2).value


def test_ctrl_c_keeps_and_reports_the_draws_so_far(problem, monkeypatch):
    advance, calls = draw_module.proceed, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return advance(*args)

    monkeypatch.setattr(draw_module, "proceed", interrupted)
    monkeypatch.setattr(draw_module, "_SECONDS_PER_CALL", 1e-6)  # a draw a call
    kernel = llc.samplers.SGLD(1e-3)
    result = llc.estimate(problem, CENTER, kernel=kernel, num_warmup=4, num_draws=1000, progress=False)
    assert result.settings["num_draws"] == 15
    assert result.settings["interrupted"] == 1
    assert np.isfinite(result.value)


def test_a_checkpoint_off_its_minimum_is_told_so(problem):
    result = llc.estimate(problem, {"w": jnp.array([0.3, 0.0, 0.0])}, localization=1.0, progress=False)
    assert result.verdicts[0] == "not a minimum"
    shares = result.nbeta * CURVATURES
    force = result.nbeta * CURVATURES * np.array([0.3, 0, 0])
    assert result.settings["gradient_term"] == pytest.approx(
        0.5 * np.sum(force**2 * (shares + 2) / (shares + 1) ** 2), rel=1e-3
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"num_chains": 0}, "num_chains=0; it must be at least 1"),
        ({"num_draws": 0}, "num_draws=0; it must be at least 1"),
        ({"relative_error": 2.0}, re.escape("relative_error=2.0; it must be between 0 and 1")),
        ({"max_gradient_evaluations": 10}, "does not pay for one step.*raise it"),
        ({"batch_size": 5000}, "batch_size=5000 exceeds n=2000; use batch_size=2000"),
        ({"localization": 0.0}, "localization=0.0; it must be a positive number"),
        ({"nbeta": -1.0}, re.escape("nbeta=-1.0; it must be a positive number")),
        ({"mask": {"w": False}}, "mask frees nothing"),
    ],
)
def test_what_cannot_be_estimated_is_refused(problem, change, match):
    with pytest.raises(ValueError, match=match):
        llc.estimate(problem, CENTER, progress=False, **change)


def test_rescaled_layers_of_a_relu_network_keep_their_estimate():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(300, 2)).astype(np.float32), rng.normal(size=(300, 1)).astype(np.float32)
    network = lambda params, x: jax.nn.relu(x @ params[0]) @ params[1]
    problem = llc.Problem.supervised(network, llc.Gaussian(), inputs, targets)
    layers = [rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=(3, 1)).astype(np.float32)]
    kernel = llc.samplers.HMC(0.05, gradient="full")
    run = lambda scale: llc.estimate(
        problem, [layers[0] * scale, layers[1] / scale], kernel=kernel, num_warmup=100, num_draws=100, progress=False
    )
    plain, rescaled = run(1.0), run(64.0)  # a power of two, that rounding is the same
    assert plain.std_error > 0  # chains that moved
    assert rescaled.value == pytest.approx(plain.value, rel=1e-3)


def test_nothing_is_left_in_memory(problem):
    run = lambda i: llc.estimate(
        problem, {"w": jnp.full(3, 0.01 * i)}, kernel=llc.samplers.SGLD(1e-2), num_draws=30, progress=False
    )
    run(0)
    gc.collect()
    before = len(jax.live_arrays())
    for i in range(1, 4):
        run(i)
    gc.collect()
    assert len(jax.live_arrays()) == before


@pytest.mark.parametrize("kernel", [llc.samplers.NUTS(), llc.samplers.SGLD(), llc.samplers.SGLD(1e-2)])
def test_the_second_checkpoint_compiles_nothing(problem, kernel):
    run = lambda shift: llc.estimate(
        problem, {"w": jnp.full(3, shift)}, rng_key=int(shift > 0), kernel=kernel, num_draws=30, progress=False
    )
    run(0.0)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name == "/jax/core/compile/backend_compile_duration" else None
    )
    try:
        run(0.01)
    finally:
        jax.monitoring.clear_event_listeners()
    assert compiled == []
