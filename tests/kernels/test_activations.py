"""Expectations of activations against quadrature on a plain grid, and the Mehler series against its own bound."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, expit, ndtr

from llc.kernels.activations import resolve_activation
from llc.kernels.mehler import Mehler

RHO = np.array([0.0, 0.3, -0.7, 0.95, 0.9999, 1.0, -1.0])
SILU = lambda z: z * expit(z)
SMOOTH = {  # name or function, φ and φ′ in NumPy
    "erf": ("erf", erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))),
    "gelu": ("gelu", lambda z: z * ndtr(z), lambda z: ndtr(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)),
    "tanh": ("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": ("sigmoid", expit, lambda z: expit(z) * expit(-z)),
    "identity": ("identity", lambda z: z, np.ones_like),
    "silu": (lambda z: jax.nn.silu(z), SILU, lambda z: expit(z) + SILU(z) * expit(-z)),
    "gelu as a function": (
        lambda z: jax.nn.gelu(z, approximate=False),
        lambda z: z * ndtr(z),
        lambda z: ndtr(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    ),
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64():
        yield


def pairs(activation, q1, q2, rho):
    """A and D at variances and correlations that broadcast, in one compiled program."""
    of = lambda q1, q2, c: activation.pairs(activation.features(q1), activation.features(q2), c)
    return jax.jit(of)(*(jnp.asarray(a, float) for a in (q1, q2, rho * np.sqrt(q1 * np.asarray(q2)))))


def bounds_of(activation, q1, q2, rho):
    of = lambda q1, q2, c: activation.remainders(activation.features(q1), activation.features(q2), c)
    return jax.jit(of)(*(jnp.asarray(a, float) for a in (q1, q2, rho * np.sqrt(q1 * np.asarray(q2)))))


def on_a_grid(function, q1, q2, rho):
    """E[f(x) f(y)] by the trapezoidal rule, which converges geometrically for entire or meromorphic f."""
    u = np.arange(-9, 9, 0.03)
    weights = 0.03 * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    y = np.sqrt(q2) * (rho * u[:, None] + np.sqrt(1 - rho**2) * u)
    return weights @ (function(np.sqrt(q1) * u)[:, None] * function(y)) @ weights


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations(name):
    activation, value, slope = SMOOTH[name]
    q1, q2 = np.array([[1.0], [0.3], [8.6], [20.0]]), np.array([[1.0], [2.5], [3.0], [20.0]])
    computed = pairs(resolve_activation(activation), q1, q2, RHO)
    for ours, function in zip(computed, (value, slope), strict=True):
        reference = [[on_a_grid(function, *q, rho) for rho in RHO] for q in zip(q1[:, 0], q2[:, 0], strict=True)]
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-10)


def test_a_kink_at_zero_costs_the_series_no_accuracy():
    # φ = r(z) − leak r(−z), r the ReLU
    relu, leak = resolve_activation("relu"), 0.2
    q1, q2 = np.array([[1.0], [50.0]]), np.array([[1.0], [0.1]])
    ahead, behind = (pairs(relu, q1, q2, sign * RHO) for sign in (1, -1))
    computed = pairs(Mehler(lambda z: jnp.where(z > 0, z, leak * z)), q1, q2, RHO)
    value = (1 + leak**2) * ahead[0] - 2 * leak * behind[0]
    slope = (1 + leak**2) * ahead[1] + 2 * leak * behind[1]
    np.testing.assert_allclose(computed[0], value, rtol=0, atol=1e-11)
    np.testing.assert_allclose(computed[1], slope, rtol=0, atol=1e-11)


def test_relu_has_the_angles_of_cho_and_saul():
    q1, q2 = 2.0, 0.5  # √(q₁q₂) = 1
    theta = np.array([0, np.pi / 6, np.pi / 2, 2.0, np.pi])
    value, slope = pairs(resolve_activation("relu"), np.full(5, q1), np.full(5, q2), np.cos(theta))
    np.testing.assert_allclose(value, (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi), atol=1e-15)
    np.testing.assert_allclose(slope, (np.pi - theta) / (2 * np.pi), atol=1e-15)


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "identity", "tanh"])
def test_the_diagonal_is_the_pair_of_equals(name):
    activation, q = resolve_activation(name), np.array([0.0, 1e-3, 1.0, 30.0])
    exact = activation.diagonal(activation.features(jnp.asarray(q)))
    for ours, diagonal in zip(pairs(activation, q[1:], q[1:], 1.0), exact, strict=True):
        np.testing.assert_allclose(ours, diagonal[1:], rtol=1e-11)
        assert np.isfinite(diagonal).all()


@pytest.mark.parametrize("num_terms", [10, 40])
def test_the_bound_of_the_series_holds_and_is_reached(num_terms):
    series = Mehler(jnp.tanh, num_terms=num_terms, tolerance=math.inf)
    q1, q2 = np.array([8.6, 3.0])[:, None, None], np.array([8.6, 1.0])[:, None]
    bounds = bounds_of(series, q1, q2, RHO)
    exact = pairs(resolve_activation("tanh"), q1, q2, RHO)
    for ours, reference, bound in zip(pairs(series, q1, q2, RHO), exact, bounds, strict=True):
        error = np.abs(ours - reference)
        assert (error <= bound + 1e-11).all()
        assert error.max() > 1e-5
        # equal variances and parallel inputs: Cauchy and Schwarz have equality
        np.testing.assert_allclose(error[0, 0, 5], bound[0, 0, 5], rtol=1e-6)


def test_pairs_beyond_the_tolerance_are_integrated():
    few = Mehler(jnp.tanh, num_terms=10, tolerance=1e-8)
    bounds = bounds_of(few, 8.6, 8.6, RHO)
    exact = pairs(resolve_activation("tanh"), 8.6, 8.6, RHO)
    for ours, reference, bound in zip(pairs(few, 8.6, 8.6, RHO), exact, bounds, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=0, atol=2e-8)
        assert (bound[np.abs(RHO) > 0.5] == 0).all()
        assert bound[1] == 0 or bound[1] < 2e-8


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "tanh"])
def test_float32_stays_float32_and_close(name):
    activation, rho = resolve_activation(name), np.linspace(-0.99, 0.99, 41)
    exact = pairs(activation, 3.0, 2.0, rho)
    features = [activation.features(jnp.full(41, q, jnp.float32)) for q in (3, 2)]
    computed = jax.jit(activation.pairs)(*features, jnp.asarray(rho * 6**0.5, jnp.float32))
    for ours, reference in zip(computed, exact, strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, reference, rtol=0, atol=2e-6)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"'swish'.*relu, erf, gelu.*tanh"):
        resolve_activation("swish")
