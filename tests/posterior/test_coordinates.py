"""Whitened coordinates of any pytree, and what a mask frees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior.local_posterior import LocalPosterior, Relative
from llc.problem import Problem

PARAMS = {
    "layers": [{"w": jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])}, (jnp.array([1.0, -1.0]), jnp.array(3.0))],
    "scale": 0.25,
}
SIZES = (6, 2, 1, 1)


def squares(params, x):
    return 0.5 * jnp.square(x - sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)))


def posterior_around(params, **settings):
    return LocalPosterior(Problem(squares, jnp.linspace(-1, 1, 50)), params, **settings)


@pytest.mark.parametrize("localization", [7.0, Relative(radius=0.5)], ids=["number", "relative"])
def test_a_round_trip_through_any_tree(localization):
    posterior = posterior_around(PARAMS, localization=localization)
    v = jax.random.normal(jax.random.key(0), (10,))
    params = posterior.params(v)
    assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
    assert (posterior.sizes, posterior.dimension) == (SIZES, 10)
    np.testing.assert_allclose(posterior.whiten(params), v, atol=1e-5)
    # v = Γ^{1/2} (w − w*) and ‖w − w*‖², with γ leaf by leaf, in double precision
    shifts = [
        np.ravel(w).astype(float) - np.ravel(c) for w, c in zip(*map(jax.tree.leaves, (params, PARAMS)), strict=True)
    ]
    gammas = np.repeat(np.asarray(posterior.localization, float), SIZES)
    np.testing.assert_allclose(np.sqrt(gammas) * np.concatenate(shifts), v, atol=1e-5)
    np.testing.assert_allclose(posterior.squared_distance(v), np.square(np.concatenate(shifts)).sum(), rtol=1e-4)


def test_the_center_is_the_origin():
    posterior = posterior_around(PARAMS)
    for leaf, center in zip(jax.tree.leaves(posterior.params(jnp.zeros(10))), jax.tree.leaves(PARAMS), strict=True):
        np.testing.assert_array_equal(leaf, center)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_half_precision_weights_move_in_float32(dtype):
    posterior = posterior_around({"w": jnp.array([1.0, -2.0], dtype)}, localization=1.0)
    moved = posterior.params(jnp.array([1e-4, 0.0]))["w"]
    assert moved.dtype == jnp.float32
    np.testing.assert_allclose(moved - posterior.center["w"], [1e-4, 0.0], rtol=1e-3)


def test_a_mask_frees_what_it_says():
    entries = np.zeros((2, 3), bool)
    entries[[0, 1], [1, 2]] = True
    mask = {"layers": [{"w": entries}, (False, True)], "scale": False}
    posterior = posterior_around(PARAMS, localization=4.0, mask=mask)
    moved = posterior.params(jnp.array([2.0, 4.0, 6.0]))
    assert (posterior.sizes, posterior.dimension) == ((2, 0, 1, 0), 3)
    expected = np.asarray(PARAMS["layers"][0]["w"]).copy()
    expected[[0, 1], [1, 2]] += [1.0, 2.0]  # v / √γ
    np.testing.assert_allclose(moved["layers"][0]["w"], expected, rtol=1e-6)
    np.testing.assert_array_equal(moved["layers"][1][0], PARAMS["layers"][1][0])
    np.testing.assert_allclose([moved["layers"][1][1], moved["scale"]], [6.0, 0.25])
    np.testing.assert_allclose(posterior.whiten(moved), [2.0, 4.0, 6.0], rtol=1e-6)
    np.testing.assert_allclose(posterior.squared_distance(jnp.array([2.0, 4.0, 6.0])), 14.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        ({"a": True}, r"mask is the tree PyTreeDef\(\{'a': \*\}\), params are .*'b'"),
        ({"a": False, "b": np.zeros(3, bool)}, "mask frees nothing; set at least one entry to True"),
        ({"a": True, "b": np.ones(2, bool)}, r"mask leaf 'b' is bool\[2\]; .* the leaf's shape \[3\]"),
        ({"a": 1.0, "b": True}, r"mask leaf 'a' is float64\[\]; it must be one boolean"),
    ],
)
def test_masks_that_are_none(mask, match):
    with pytest.raises(ValueError, match=match):
        posterior_around({"a": jnp.array(1.0), "b": jnp.ones(3)}, mask=mask)
