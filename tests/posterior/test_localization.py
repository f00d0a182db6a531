"""Relative(radius): γ_l = 1 / (radius² · mean(w*_l²)), and what it makes invariant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior.local_posterior import LocalPosterior, Relative
from llc.problem import Gaussian, Problem

INPUTS = jax.random.normal(jax.random.key(0), (60, 3))
FIRST, SECOND = jax.random.normal(jax.random.key(1), (3, 5)), jax.random.normal(jax.random.key(2), (5, 2))


def relu_net(params, x):
    return jnp.maximum(x @ params["first"], 0) @ params["second"]


def rescaled_posterior(factor, localization):
    params = {"first": FIRST * factor, "second": SECOND / factor}
    problem = Problem.supervised(
        relu_net, Gaussian(), INPUTS, relu_net({"first": FIRST, "second": SECOND}, INPUTS) + 0.1
    )
    return LocalPosterior(problem, params, localization=localization)


def test_definition():
    leaves = [jnp.array([0.3, -0.4]), jnp.zeros(5), jnp.full((2, 2), 2.0, jnp.bfloat16), jnp.array(0.5)]
    gammas = Relative(radius=2.0).resolve(leaves)
    # a leaf of zeros takes the mean square of all entries of the others
    mean_squares = np.array([0.25 / 2, (0.25 + 16 + 0.25) / 7, 4.0, 0.25])
    np.testing.assert_allclose(gammas, 1 / (4 * mean_squares), rtol=1e-6)


@pytest.mark.parametrize("radius", [1.0, 0.5])
def test_where_all_are_zero(radius):
    np.testing.assert_allclose(Relative(radius).resolve({"a": jnp.zeros(3), "b": jnp.array(0.0)}), [radius**-2] * 2)


def test_a_leaf_next_to_zero_does_not_break_the_coordinates():
    problem = Problem(lambda w, x: 0.5 * jnp.square(x - w[0]), jnp.linspace(-1, 1, 50))
    posterior = LocalPosterior(problem, jnp.array([1e-20, -1e-20]))
    assert np.isfinite(posterior.localization).all()
    np.testing.assert_array_equal(posterior.whiten(posterior.center), [0.0, 0.0])


def test_invariance_under_layer_rescaling():
    v = 0.5 * jax.random.normal(jax.random.key(3), (25,))
    potentials = [float(rescaled_posterior(factor, Relative()).potential(v)) for factor in (1.0, 8.0, 1 / 64)]
    np.testing.assert_allclose(potentials[1:], potentials[0], rtol=1e-4)
    fixed = [float(rescaled_posterior(factor, 1.0).potential(v)) for factor in (1.0, 8.0)]
    assert abs(fixed[1] / fixed[0] - 1) > 0.1  # which one γ for all does not have


@pytest.mark.parametrize("radius", [0.0, -1.0, np.inf, np.nan])
def test_a_radius_that_is_none(radius):
    with pytest.raises(ValueError, match=r"Relative\(radius=.*must be a positive number; 1.0 is the default"):
        Relative(radius=radius)
