"""The likelihoods against scipy's, and the refusals of a problem that cannot be estimated from."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit, log_softmax
from scipy.stats import norm

from llc.problem import Bernoulli, Categorical, Gaussian, Problem, SupervisedLoss

OUTPUTS = 3 * np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
DATA = jnp.linspace(-1, 1, 6)
SQUARES = lambda params, x: 0.5 * jnp.square(x - params["w"])


def network(params, inputs):
    return inputs * params


def test_gaussian():
    targets = np.random.default_rng(1).standard_normal(OUTPUTS.shape).astype(np.float32)
    reference = -norm.logpdf(targets, OUTPUTS, 0.3).sum(axis=(1, 2))
    np.testing.assert_allclose(Gaussian(scale=0.3)(jnp.array(OUTPUTS), jnp.array(targets)), reference, rtol=1e-5)


def test_categorical_of_one_and_of_many_positions():
    targets = np.random.default_rng(2).integers(0, 3, OUTPUTS.shape[:2])
    reference = -np.take_along_axis(log_softmax(OUTPUTS, axis=-1), targets[..., None], axis=-1)[..., 0]
    losses = Categorical()(jnp.array(OUTPUTS), jnp.array(targets))
    np.testing.assert_allclose(losses, reference.sum(axis=1), rtol=1e-5)
    losses = Categorical()(jnp.array(OUTPUTS[:, 0]), jnp.array(targets[:, 0]))
    np.testing.assert_allclose(losses, reference[:, 0], rtol=1e-5)


def test_bernoulli_also_where_it_is_certain():
    targets = np.random.default_rng(3).integers(0, 2, OUTPUTS.shape)
    outputs = OUTPUTS.copy()
    outputs[0, 0] = 200.0, -200.0, 0.0
    reference = -np.where(targets, log_expit(outputs), log_expit(-outputs)).sum(axis=(1, 2))
    np.testing.assert_allclose(Bernoulli()(jnp.array(outputs), jnp.array(targets)), reference, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none(scale):
    with pytest.raises(ValueError, match="the scale must be"):
        Gaussian(scale=scale)


def test_supervised_problems_equal_by_value():
    one, same = (Problem.supervised(network, Gaussian(0.1), DATA, DATA) for _ in range(2))
    assert (one.loss_fn, hash(one.loss_fn)) == (same.loss_fn, hash(same.loss_fn))
    assert one.loss_fn != SupervisedLoss(network, Gaussian(0.2))
    assert (one.apply_fn, one.likelihood, one.n) == (network, Gaussian(0.1), 6)
    np.testing.assert_allclose(one.losses(jnp.array(2.0), (DATA, DATA)), -norm.logpdf(DATA, 0, 0.1), rtol=1e-5)
    bare = Problem(SQUARES, DATA)
    assert (bare.apply_fn, bare.likelihood) == (None, None)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({}, "data holds no arrays; give a pytree"),
        ((DATA, DATA[:4]), r"data's leaves differ in length \(0: 6, 1: 4\)"),
        ((DATA, jnp.array(1.0)), r"data's leaves differ in length \(0: 6, 1: a scalar\)"),
        (DATA[:0], r"data holds no examples \(n = 0\)"),
    ],
)
def test_data_that_is_none(data, match):
    with pytest.raises(ValueError, match=match):
        Problem(SQUARES, data)
    with pytest.raises(ValueError, match=f"test_{match}"):
        Problem(SQUARES, DATA, test_data=data)


@pytest.mark.parametrize(
    ("loss_fn", "match"),
    [
        (
            lambda p, x: SQUARES(p, x).mean(),
            r"an array of shape \(\) for 6 examples; .* shape \(6,\).*before they are averaged",
        ),
        (lambda p, x: SQUARES(p, x)[:, None], r"an array of shape \(6, 1\) for 6 examples"),
        (lambda p, x: (SQUARES(p, x), 0.0), "gave a tuple for 6 examples"),
        (lambda p, x: (x > p["w"]).astype(int), "gave int32 losses; they must be floating-point"),
        (
            lambda p, x: SQUARES({"w": p["v"]}, x),
            r"failed with KeyError: 'v'.*The params given hold w\(\); give params",
        ),
    ],
)
@pytest.mark.parametrize("leaf", [np.float32(0.5), 0.5], ids=["array", "float"])
def test_losses_that_are_none(loss_fn, match, leaf):
    with pytest.raises(ValueError, match=match):
        Problem(loss_fn, DATA).check({"w": leaf})


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"w": jnp.array(1)}, "leaf 'w' is int32; every leaf must be floating-point. Convert it"),
        ({"w": jnp.array(jnp.nan)}, "leaf 'w' holds NaN or infinity"),
        ({"w": jnp.array(1.0), "l": [{"b": jnp.array([0.0, jnp.inf])}]}, "leaf 'l/0/b' holds NaN or infinity"),
        ({}, "params hold no numbers"),
        ({"w": jnp.zeros(0)}, "params hold no numbers"),
    ],
)
def test_params_that_are_none(params, match):
    with pytest.raises(ValueError, match=match):
        Problem(SQUARES, DATA).check(params)
