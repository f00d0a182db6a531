"""A network in bfloat16: what is rounded, what is not, and what it does to λ̂."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import llc


def network(params, x):
    hidden = jnp.tanh(x @ params["w"])
    assert hidden.dtype == params["w"].dtype
    return hidden @ params["v"]


@pytest.fixture(scope="module")
def regression():
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"w": jax.random.normal(keys[0], (3, 4)), "v": jax.random.normal(keys[1], (4, 2))}
    x = jax.random.normal(keys[2], (500, 3))
    y = network(params, x) + jax.random.normal(keys[3], (500, 2))
    return llc.Problem.supervised(network, llc.Gaussian(1.0), x, y), params


def test_the_network_is_rounded_and_the_likelihood_is_not(regression):
    problem, params = regression
    rounded = llc.mixed_precision(problem)
    x, y = problem.data
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
    expected = problem.likelihood(network(*low).astype(jnp.float32), y)
    losses = rounded.losses(params, rounded.data)
    assert losses.dtype == jnp.float32
    np.testing.assert_array_equal(losses, expected)
    assert rounded.likelihood == problem.likelihood
    assert rounded.apply_fn(params, x).dtype == jnp.float32


def test_gradients_are_float32_and_near_those_of_float32(regression):
    problem, params = regression
    slope = lambda p: jax.grad(lambda w: p.losses(w, p.data).mean())(params)
    for ours, theirs in zip(*map(jax.tree.leaves, (slope(llc.mixed_precision(problem)), slope(problem))), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, atol=2**-8 * 5)  # bfloat16 has 8 bits; sums of a few products


def test_equal_problems_share_programs(regression):
    problem, _ = regression
    first, second = llc.mixed_precision(problem), llc.mixed_precision(problem)
    assert first.loss_fn == second.loss_fn
    assert hash(first.loss_fn) == hash(second.loss_fn)


def test_lambda_hat_differs_by_what_rounding_the_weights_costs(regression):
    problem, params = regression
    settings = {
        "kernel": llc.samplers.SGLD(step_size=2e-3),
        "localization": 1.0,
        "num_warmup": 200,
        "num_draws": 1500,
        "progress": False,
    }
    exact = llc.estimate(problem, params, **settings)
    rounded = llc.estimate(llc.mixed_precision(problem), params, **settings)
    # rounding errs by 2^-9 of a number at most; of weights it costs nβ/2 tr(H Σ), of activations no more each
    flat, tree = jax.flatten_util.ravel_pytree(params)
    curvature = jnp.diag(jax.hessian(lambda w: problem.losses(tree(w), problem.data).mean())(flat))
    most = 4 * exact.nbeta / 2 * float(curvature @ (flat * 2.0**-9) ** 2)
    joint = np.hypot(exact.std_error, rounded.std_error)
    assert abs(rounded.value - exact.value) < 4 * joint + most
    assert rounded.value != exact.value


def test_integers_are_left_alone():
    embed = lambda params, tokens: params[tokens]
    problem = llc.Problem.supervised(embed, llc.Categorical(), jnp.array([0, 300, 999]), jnp.array([0, 1, 1]))
    table = jnp.zeros((1000, 2)).at[999, 1].set(5.0)
    losses = llc.mixed_precision(problem).losses(table, problem.data)
    np.testing.assert_allclose(losses, [np.log(2), np.log(2), np.log1p(np.exp(-5))], rtol=1e-5)


def test_a_type_that_is_no_number_with_a_point_is_refused(regression):
    with pytest.raises(ValueError, match=r"int32.*floating"):
        llc.mixed_precision(regression[0], jnp.dtype("int32"))
