"""On quadratic losses every refined coefficient and every response to the data has a closed form."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.estimators.refined import component_losses, loss_differences, refine, restricted_to_data, susceptibility

N, NBETA, GAMMA = 40, 10.0, 2.0
HALF = np.arange(N) < N // 2
RNG = np.random.default_rng(0)
FIRST = np.array([[1.0, 0.5, 0.6], [0.5, 0.8, 0.0], [0.6, 0.0, 0.6]])
SECOND = np.array([[0.3, -0.1, 0.2], [-0.1, 0.2, 0.1], [0.2, 0.1, 0.9]])
HESSIANS = np.where(HALF[:, None, None], FIRST, SECOND).astype(np.float32)
SLOPES = RNG.normal(size=(N, 3)).astype(np.float32) * 0.3
SLOPES -= SLOPES.mean(axis=0)  # the center is the minimum of the whole, not of a part


def quadratic(params, batch):
    """½ wᵀ H_i w + g_i·w with w = (a, b)."""
    hessians, slopes = batch
    w = jnp.append(params["a"], params["b"])
    return 0.5 * jnp.einsum("nij,i,j->n", hessians, w, w) + slopes @ w + 1.0


def problem_of(hessians, slopes):
    return llc.Problem(quadratic, (np.float32(hessians), np.float32(slopes)))


PROBLEM, CENTER = problem_of(HESSIANS, SLOPES), {"a": jnp.zeros(2), "b": jnp.zeros(())}
WHOLE = HESSIANS.mean(axis=0).astype(float)
KERNEL = llc.samplers.MALA(0.3)


def coefficient(hessian):
    """½ tr[nβH (nβH + γ)⁻¹]."""
    return 0.5 * np.trace(NBETA * hessian @ np.linalg.inv(NBETA * hessian + GAMMA * np.eye(len(hessian))))


def estimates(problem, masks, **settings):
    settings = {"rng_key": 3, "nbeta": NBETA, "localization": GAMMA, "num_draws": 6000, "num_warmup": 200, **settings}
    return refine(problem, CENTER, masks, kernel=KERNEL, progress=False, **settings)


def assert_mean(result, exact, share=0.05):
    """Within 4 standard errors, which are small."""
    assert abs(result.value - exact) < 4 * result.std_error
    assert 0 < result.std_error < share * abs(exact)


def draws_of(mask=None, seed=0):
    posterior = llc.LocalPosterior(PROBLEM, CENTER, nbeta=NBETA, localization=GAMMA, mask=mask)
    settings = {"num_chains": 8, "num_warmup": 200, "num_draws": 5000, "keep_weights": True, "progress": False}
    return llc.draw(KERNEL, posterior, seed, **settings)


@pytest.fixture(scope="module")
def draws():
    return draws_of()


@pytest.fixture
def frozen(draws):
    """Chains that never left the center."""
    still = draws.isel(draw=slice(0, 50)).copy(deep=True)
    for values in (*still["posterior"].data_vars.values(), still["sample_stats"]["full_loss_difference"]):
        values[:] = 0.0
    return still


def test_weights_held_at_the_center_leave_the_restricted_block():
    result = estimates(PROBLEM, {"first": ["a"]})["first"]
    assert_mean(result, coefficient(WHOLE[:2, :2]))
    # not the marginal: what is held does not move with the others
    marginal = 0.5 * NBETA * np.trace(WHOLE[:2, :2] @ np.linalg.inv(NBETA * WHOLE + GAMMA * np.eye(3))[:2, :2])
    assert abs(result.value - marginal) > 4 * result.std_error


def test_a_refined_estimate_is_the_estimate_with_that_mask():
    refined = estimates(PROBLEM, ["a"])["a"]
    alone = llc.estimate(
        PROBLEM,
        CENTER,
        rng_key=3,
        kernel=KERNEL,
        nbeta=NBETA,
        localization=GAMMA,
        mask={"a": True, "b": False},
        num_draws=6000,
        num_warmup=200,
        progress=False,
    )
    assert (refined.value, refined.std_error, refined.dimension) == (alone.value, alone.std_error, 2)


def test_coefficients_of_independent_blocks_add_up():
    blocks = WHOLE * np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    results = estimates(
        problem_of(np.tile(blocks, (N, 1, 1)), SLOPES), {"a": "a", "b": {"a": False, "b": True}, "*": "*"}
    )
    errors = [results[name].std_error for name in ("a", "b", "*")]
    together = results["a"].value + results["b"].value
    assert abs(together - results["*"].value) < 4 * np.linalg.norm(errors)
    assert np.linalg.norm(errors) < 0.05 * together
    assert_mean(results["b"], coefficient(blocks[2:, 2:]))


@pytest.mark.parametrize(
    ("masks", "match"),
    [
        ({}, "masks is empty; give a list of patterns"),
        ([], "masks is empty; give a list of patterns"),
        ("a", "masks='a'; give a list of patterns, or a mapping"),
        (["a", "c*"], re.escape("masks['c*']: the pattern 'c*' matches no parameter; the paths there are: a, b.")),
        ({"one": "a", "two": {"a": True}}, re.escape("masks['two']: mask is the tree")),
        ({"none": {"a": False, "b": False}}, re.escape("masks['none']: mask frees nothing")),
    ],
)
def test_masks_are_refused_before_any_sampling(masks, match, monkeypatch):
    monkeypatch.setattr("llc.estimators.refined.estimate", lambda *_, **__: pytest.fail("sampled already"))
    with pytest.raises(ValueError, match=match):
        estimates(PROBLEM, masks)
    with pytest.raises(ValueError, match="mask is given apart from masks"):
        estimates(PROBLEM, ["a"], mask="b")


@pytest.mark.parametrize("as_problem", [False, True])
def test_the_coefficient_of_some_data_is_its_own_curvature_in_the_posterior_of_all(draws, as_problem):
    part = np.flatnonzero(HALF)
    other = problem_of(HESSIANS[HALF], SLOPES[HALF]) if as_problem else part
    result = restricted_to_data(PROBLEM, CENTER, draws, other)
    covariance = np.linalg.inv(NBETA * WHOLE + GAMMA * np.eye(3))
    assert_mean(result, 0.5 * NBETA * np.trace(FIRST @ covariance))
    assert abs(result.value - coefficient(WHOLE)) > 4 * result.std_error
    assert result.verdicts == ("converged",)
    assert result.details["loss_difference"].value == pytest.approx(result.value / NBETA)


def test_the_parts_of_a_partition_average_to_the_whole(draws):
    parts = [range(0, N, 2), range(1, N, 2)]
    values = [restricted_to_data(PROBLEM, CENTER, draws, part).value for part in parts]
    whole = NBETA * float(draws["sample_stats"]["full_loss_difference"].astype(float).mean())
    assert np.mean(values) == pytest.approx(whole, rel=1e-4)


def test_the_problem_itself_gives_what_was_recorded(draws):
    again = loss_differences(PROBLEM, CENTER, draws)
    np.testing.assert_allclose(again, draws["sample_stats"]["full_loss_difference"], rtol=1e-4, atol=1e-7)


def response(observable, free=slice(None)):
    """d E_h[½ wᵀAw + q·w] / dh at h = 0 by central differences, the data moving from all to the first half."""
    matrix, vector = observable
    block = lambda matrix: matrix[free, free]
    mean_slope = SLOPES[HALF].astype(float).mean(axis=0)

    def expected(h):
        precision = NBETA * block((1 - h) * WHOLE + h * FIRST) + GAMMA * np.eye(len(block(WHOLE)))
        covariance = np.linalg.inv(precision)
        mean = -covariance @ (NBETA * h * mean_slope[free])
        second = covariance + np.outer(mean, mean)
        return 0.5 * np.trace(block(matrix) @ second) + vector[free] @ mean

    return (expected(1e-4) - expected(-1e-4)) / 2e-4


def test_susceptibility_is_the_response_to_other_data(draws):
    towards = np.flatnonzero(HALF)
    of_loss = susceptibility(PROBLEM, CENTER, draws, towards)
    assert_mean(of_loss, response((WHOLE, np.zeros(3))), share=0.1)
    assert of_loss.unit == "nats per example"
    assert of_loss.details["per_nbeta"].value == pytest.approx(of_loss.value / NBETA)
    other = problem_of(HESSIANS[HALF], SLOPES[HALF])
    assert susceptibility(PROBLEM, CENTER, draws, other).value == pytest.approx(of_loss.value, rel=1e-4)


def test_susceptibility_of_any_series(draws):
    weight = draws["posterior"]["a"].values[:, :, 0]
    result = susceptibility(PROBLEM, CENTER, draws, np.flatnonzero(HALF), weight)
    assert_mean(result, response((np.zeros((3, 3)), np.eye(3)[0])))
    assert abs(result.details["observable"].value) < 4 * result.details["observable"].std_error


def test_susceptibility_of_a_component(draws):
    observable = component_losses(PROBLEM, CENTER, draws, "a")
    assert observable.dims == ("chain", "draw")
    moved = draws["posterior"]["a"].values
    np.testing.assert_allclose(
        observable, 0.5 * np.einsum("cdi,ij,cdj->cd", moved, WHOLE[:2, :2], moved), rtol=1e-3, atol=1e-6
    )
    of_component = np.zeros((3, 3))
    of_component[:2, :2] = WHOLE[:2, :2]
    result = susceptibility(PROBLEM, CENTER, draws, np.flatnonzero(HALF), observable)
    assert_mean(result, response((of_component, np.zeros(3))), share=0.1)
    assert result.unit == "nats per example"


def test_susceptibility_in_a_weight_restricted_posterior():
    draws = draws_of(mask={"a": True, "b": False}, seed=1)
    result = susceptibility(PROBLEM, CENTER, draws, np.flatnonzero(HALF))
    assert_mean(result, response((WHOLE, np.zeros(3)), free=slice(0, 2)), share=0.1)


def test_frozen_chains_respond_to_nothing(frozen):
    for result in (
        restricted_to_data(PROBLEM, CENTER, frozen, [0]),
        susceptibility(PROBLEM, CENTER, frozen, [0]),
    ):
        assert (result.value, result.std_error) == (0.0, 0.0)
        assert "converged" not in result.verdicts


def test_diverged_chains_are_left_out_and_counted(draws):
    some = draws.isel(draw=slice(0, 500))
    broken = some.copy(deep=True)
    broken["sample_stats"]["diverging"][2] = True
    broken["sample_stats"]["full_loss_difference"][2] = np.nan
    result = susceptibility(PROBLEM, CENTER, broken, [0])
    assert result.verdicts[0] == "chains diverged"
    alone = susceptibility(PROBLEM, CENTER, some.isel(chain=np.delete(np.arange(8), 2)), [0])
    assert result.value == alone.value


def test_what_cannot_be_restricted_is_refused(frozen):
    other = llc.Problem(lambda params, x: x * params["c"], np.ones(4, np.float32))
    ladder = frozen.map_over_datasets(lambda group: group.expand_dims(step_size=[0.2, 0.1]) if group.sizes else group)
    for match, change in {
        "kept no weights": {"draws": frozen.filter(lambda node: node.name != "posterior")},
        "loss_fn.* failed with KeyError": {"other": other},
        "no example was chosen": {"other": []},
        "there is no example number 40": {"other": [39, 40]},
        "a ladder of step sizes; choose one": {"draws": ladder},
        "record n=40 .* this problem has n=20": {"problem": problem_of(HESSIANS[HALF], SLOPES[HALF])},
        "the draws hold the weights": {"params": {"a": jnp.zeros(1), "b": jnp.zeros(2)}},
    }.items():
        given = {"problem": PROBLEM, "params": CENTER, "draws": frozen, "other": [0], **change}
        for estimator in (restricted_to_data, susceptibility):
            with pytest.raises(ValueError, match=match):
                estimator(*given.values())
    assert restricted_to_data(PROBLEM, CENTER, ladder.isel(step_size=-1), [0]).value == 0.0


@pytest.mark.parametrize("observable", [np.ones((8, 49)), np.ones(50), np.full((8, 50), np.nan)])
def test_an_observable_is_one_number_a_draw(frozen, observable):
    with pytest.raises(ValueError, match=re.escape("one a draw of the finite chains, (chain, draw) = [8, 50]")):
        susceptibility(PROBLEM, CENTER, frozen, [0], observable)
