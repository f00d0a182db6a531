"""Covariances of losses that are quadratic, under posteriors that are Gaussian, have closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.estimators import example_losses
from llc.estimators.example_losses import per_example_losses
from llc.estimators.influence import bayesian_influence

N, NBETA, GAMMA = 30, 12.0, 2.0
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(N, 3)) * [1.0, 0.5, 0.2]
INPUTS[7] = 0.0  # an example that no weight touches
TARGETS = INPUTS @ [0.5, -0.5, 0.3] + RNG.normal(size=N)
CENTER = np.linalg.lstsq(INPUTS, TARGETS, rcond=None)[0]
HELD_OUT = INPUTS[:4] + 0.3, TARGETS[:4] - 0.2


def squares(params, batch):
    inputs, targets = batch
    return 0.5 * jnp.square(inputs @ params["w"] - targets)


def one_coordinate(params, batch):
    coordinates, slopes = batch
    w = params["w"][coordinates]
    return 0.5 * w**2 + slopes * w


def problem_of(inputs, targets):
    return llc.Problem(squares, (np.float32(inputs), np.float32(targets)))


PROBLEM = problem_of(INPUTS, TARGETS)
PARAMS = {"w": jnp.asarray(CENTER, jnp.float32)}
POSTERIOR = llc.LocalPosterior(PROBLEM, PARAMS, nbeta=NBETA, localization=GAMMA)


def draws_at(posterior, shifts):
    """The record of chains that went through w* + shifts, (chain, draw, d): frozen ones, moved there."""
    chains, count, _ = shifts.shape
    frozen = llc.samplers.SGLD(0.0, gradient="full")
    draws = llc.draw(
        frozen, posterior, num_chains=chains, num_warmup=0, num_draws=count, keep_weights=True, progress=False
    )
    v = jnp.asarray(shifts * np.sqrt(np.asarray(posterior.localization)), jnp.float32)
    weights, losses = draws["posterior"]["w"], draws["sample_stats"]["full_loss_difference"]
    weights.values = weights.values + np.float32(shifts)
    losses.values = np.asarray(jnp.vectorize(posterior.loss_difference, signature="(d)->()")(v))
    return draws


def gaussian(weights):
    """Mean and covariance of exp(−Σ b_i ℓ_i − γ/2 ‖w − w*‖²) in w − w*."""
    residuals = TARGETS - INPUTS @ CENTER
    covariance = np.linalg.inv(INPUTS.T @ (weights[:, None] * INPUTS) + GAMMA * np.eye(3))
    return covariance @ INPUTS.T @ (weights * residuals), covariance


def expected_losses(weights, inputs, targets):
    mean, covariance = gaussian(weights)
    return 0.5 * (np.square(targets - inputs @ (CENTER + mean)) + np.einsum("ij,jk,ik->i", inputs, covariance, inputs))


def exact_influence(inputs, targets):
    """d E[ℓ_j] / db_i by central differences, (query, example)."""
    step, even = 1e-5, np.full(N, NBETA / N)
    moved = [[expected_losses(even + sign * step * one, inputs, targets) for sign in (1, -1)] for one in np.eye(N)]
    return np.stack([(up - down) / (2 * step) for up, down in moved], axis=1)


@pytest.fixture(scope="module")
def draws():
    root = np.linalg.cholesky(gaussian(np.full(N, NBETA / N))[1])
    return draws_at(POSTERIOR, np.random.default_rng(1).normal(size=(4, 2500, 3)) @ root.T)


def assert_close(result, name, exact, share):
    """Within 4 standard errors, which are small against the spread of the exact values."""
    error = result[f"{name}_error"].values
    assert np.nanmax(np.abs(result[name].values - exact) - 4 * error) <= 1e-12
    assert np.nanmax(error) < share * np.nanstd(exact)


@pytest.mark.parametrize("held_out", [False, True])
def test_influence_is_the_response_to_the_weight_of_an_example(draws, held_out):
    chosen = [0, 3, 11, 7]
    queries, data = (problem_of(*HELD_OUT), HELD_OUT) if held_out else (chosen, (INPUTS[chosen], TARGETS[chosen]))
    result = bayesian_influence(PROBLEM, PARAMS, draws, queries)
    assert dict(result.sizes) == {"query": 4, "example": N}
    assert_close(result, "influence", exact_influence(*data), 0.1)
    assert result.attrs["ess"] > 8000
    assert result.attrs["rhat"] < 1.01
    assert result.attrs["verdicts"] == "converged"
    assert result["influence"].attrs["units"] == "nats^2"


def test_correlation_is_influence_without_its_scale(draws):
    result = bayesian_influence(PROBLEM, PARAMS, draws, range(N))
    exact = -exact_influence(INPUTS, TARGETS)
    scale = np.sqrt(np.diag(exact))
    with np.errstate(invalid="ignore"):
        assert_close(result, "correlation", exact / np.outer(scale, scale), 0.1)
    moving = np.delete(np.arange(N), 7)
    assert np.isnan(result["correlation"].sel(query=7)).all()
    assert (result["influence"].sel(query=7) == 0).all()
    np.testing.assert_allclose(np.diag(result["correlation"])[moving], 1.0, rtol=1e-6)
    np.testing.assert_allclose(result["influence"], result["influence"].T, rtol=1e-6, atol=1e-9)


def test_influences_of_all_examples_add_up_to_that_of_the_loss(draws):
    result = bayesian_influence(PROBLEM, PARAMS, draws, [2])
    loss = draws["sample_stats"]["full_loss_difference"].values.ravel().astype(float)
    query = per_example_losses(PROBLEM, PARAMS, draws, [2]).values.ravel().astype(float)
    together = np.cov(query, loss, bias=True)[0, 1]
    np.testing.assert_allclose(result["influence"].sum(), -N * together, rtol=1e-4)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_standard_errors_are_those_of_repeated_estimates(rho):
    # coordinates are independent: each is an experiment of its own, on ℓ = ½ w² and on ℓ' = ½ w² + c w
    count, c, sigma2 = 200, 0.4, 1 / (1 + 1 / 400)
    problem = llc.Problem(one_coordinate, (np.tile(np.arange(count), 2), np.repeat(np.float32([0, c]), count)))
    posterior = llc.LocalPosterior(problem, {"w": jnp.zeros(count)}, nbeta=1.0, localization=1.0)
    path = np.random.default_rng(2).normal(size=(4, 1000, count)) * np.sqrt(sigma2)
    for t in range(1, 1000):
        path[:, t] = rho * path[:, t - 1] + np.sqrt(1 - rho**2) * path[:, t]
    result = bayesian_influence(problem, posterior.center, draws_at(posterior, path), range(count))
    covariance, variance = 0.5 * sigma2**2, 0.5 * sigma2**2 + c**2 * sigma2
    exact = {"influence": -covariance, "correlation": covariance / np.sqrt(covariance * variance)}
    for name, value in exact.items():
        estimates, errors = (np.diag(result[key].values[:, count:]) for key in (name, f"{name}_error"))
        spread = estimates.std(ddof=1)
        assert abs(estimates.mean() - value) < 4 * spread / np.sqrt(count)
        assert abs(errors.mean() / spread - 1) < 4 / np.sqrt(2 * count)
        assert spread < 0.2 * abs(value)
    assert (result.attrs["ess"] < 500) == (rho > 0)


def test_losses_are_those_of_the_weights_one_block_or_many(draws, monkeypatch):
    some = draws.isel(draw=slice(0, 11))
    whole = per_example_losses(PROBLEM, PARAMS, some)
    assert whole.dims == ("chain", "draw", "example")
    weights = some["posterior"]["w"].values
    np.testing.assert_allclose(whole, 0.5 * np.square(weights @ INPUTS.T - TARGETS), rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(example_losses, "_BLOCK_ELEMENTS", 44 * 7)  # 7 examples, 102 draws' weights: neither divides
    np.testing.assert_array_equal(per_example_losses(PROBLEM, PARAMS, some), whole)
    monkeypatch.setattr(example_losses, "_BLOCK_ELEMENTS", 30)  # 1 example, 10 draws
    picked = per_example_losses(PROBLEM, PARAMS, some, [29, 3])
    np.testing.assert_allclose(picked, whole.sel(example=[29, 3]), rtol=1e-6)
    assert picked["example"].values.tolist() == [29, 3]


def test_other_examples_compile_nothing(draws):
    run = lambda numbers: per_example_losses(PROBLEM, PARAMS, draws, numbers)
    run(range(10))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name == "/jax/core/compile/backend_compile_duration" else None
    )
    try:
        run(range(10, 20))
    finally:
        jax.monitoring.clear_event_listeners()
    assert compiled == []


def test_diverged_chains_are_left_out_and_counted(draws):
    broken = draws.copy(deep=True)
    broken["sample_stats"]["diverging"][2, 5:] = True
    broken["posterior"]["w"][2, 5:] = np.nan
    result = bayesian_influence(PROBLEM, PARAMS, broken, [0])
    alone = bayesian_influence(PROBLEM, PARAMS, draws.isel(chain=[0, 1, 3]), [0])
    assert (result.attrs["num_chains"], result.attrs["verdicts"]) == (3, "chains diverged")
    np.testing.assert_array_equal(result["influence"], alone["influence"])
    assert per_example_losses(PROBLEM, PARAMS, broken)["chain"].values.tolist() == [0, 1, 3]


def test_what_would_not_fit_says_what_does(draws, monkeypatch):
    monkeypatch.setattr(example_losses, "_MAX_ELEMENTS", 50_000)
    with pytest.raises(
        ValueError, match=r"10000 draws × 30 examples .* 5 examples fit with all these draws, 1666 draws"
    ):
        per_example_losses(PROBLEM, PARAMS, draws)
    assert per_example_losses(PROBLEM, PARAMS, draws, range(5)).size == 50_000


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ([], "no example was chosen; give whole numbers from 0 to 29"),
        ([0, 30], "there is no example number 30; give whole numbers from 0 to 29, for the problem's n=30"),
        (np.array([-1]), "there is no example number -1"),
        (np.array([[0, 1]]), r"examples were chosen by int64\[1, 2\]; .* in one row"),
        (np.ones(N, bool), r"examples were chosen by bool\[30\]; give whole numbers"),
    ],
)
def test_examples_that_are_none(draws, numbers, match):
    for refused in (
        lambda: per_example_losses(PROBLEM, PARAMS, draws, numbers),
        lambda: bayesian_influence(PROBLEM, PARAMS, draws, numbers),
        lambda: bayesian_influence(PROBLEM, PARAMS, draws, [0], numbers),
    ):
        with pytest.raises(ValueError, match=match):
            refused()


def test_draws_that_tell_nothing(draws):
    influence = lambda draws, problem=PROBLEM, params=PARAMS, queries=(0,): bayesian_influence(
        problem, params, draws, queries
    )
    lost = draws.copy(deep=True)
    lost["sample_stats"]["diverging"][:] = True
    other = llc.Problem(lambda params, x: x * params["v"], jnp.ones(5))
    for match, refused in {
        "weights": lambda: influence(draws.filter(lambda node: node.name != "posterior")),
        "none of the 4 chains stayed finite": lambda: influence(lost),
        "hold 3 a chain; .* at least 4": lambda: influence(draws.isel(draw=slice(0, 3))),
        "loss_fn.* failed with KeyError.* The params given hold w": lambda: influence(draws, queries=other),
        "record n=30 .* this problem has n=10": lambda: influence(draws, problem_of(INPUTS[:10], TARGETS[:10])),
        "a loss of .* at their center, this problem": lambda: influence(draws, params={"w": PARAMS["w"] + 1}),
    }.items():
        with pytest.raises(ValueError, match=match):
            refused()
