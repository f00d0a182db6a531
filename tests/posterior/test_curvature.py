"""The largest curvature against dense spectra, and how far λ̂ is drawn down where w* is not a minimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior.curvature import diagonal_curvature, gradient_term, largest_curvature
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Gaussian, Problem

KEY = jax.random.key(0)
GENERATOR = np.random.default_rng(0)


def inputs_of_spectrum(spectrum, n=600):
    """Inputs with X'X/n of these eigenvalues, in a random basis."""
    columns = np.linalg.qr(GENERATOR.standard_normal((n, len(spectrum))))[0] * np.sqrt(n)
    basis = np.linalg.qr(GENERATOR.standard_normal((len(spectrum),) * 2))[0]
    return jnp.asarray(columns * np.sqrt(spectrum) @ basis.T, jnp.float32)


def linear(params, x):
    return x @ jnp.concatenate([params["a"], params["b"]])


@pytest.mark.parametrize(
    ("spectrum", "rtol"),
    [([3.0, 3.0, 1.0, 0.1, 0.0], 1e-4), (10 * 0.95 ** np.arange(100), 5e-3)],
    ids=["fewer than the products", "many"],
)
def test_regression(spectrum, rtol):
    inputs, d = inputs_of_spectrum(np.asarray(spectrum)), len(spectrum)
    center = {"a": jnp.full(2, 0.5), "b": jnp.full(d - 2, 2.0)}
    posterior = LocalPosterior(Problem.supervised(linear, Gaussian(), inputs, linear(center, inputs)), center)
    # Γ^{−1/2} H Γ^{−1/2} with γ = 1 / w*²
    scale = np.repeat([0.5, 2.0], [2, d - 2])
    hessian = scale[:, None] * (np.asarray(inputs, float).T @ np.asarray(inputs, float) / len(inputs)) * scale
    curvatures = largest_curvature(posterior, jax.random.normal(KEY, (3, d)), KEY)
    reference = 1 + float(posterior.nbeta) * np.linalg.eigvalsh(hessian).max()
    np.testing.assert_allclose(curvatures, [reference] * 3, rtol=rtol)


def test_it_is_that_of_each_point_and_never_negative():
    quartic = Problem(lambda w, x: jnp.full(len(x), jnp.sum(w**4) / 12 - jnp.sum(w**2)), jnp.zeros(10))
    posterior = LocalPosterior(quartic, jnp.zeros(2), nbeta=5.0, localization=1.0)
    points = jnp.array([[0.0, 0.0], [2.0, 1.0], [1.0, 3.0]])
    # h = max w² − 2
    np.testing.assert_allclose(largest_curvature(posterior, points, KEY), [1, 11, 36], rtol=1e-5)


@pytest.mark.parametrize("power", [1, 4])
def test_a_hessian_of_zeros_gives_one(power):
    problem = Problem(lambda w, x: jnp.full(len(x), jnp.sum(w**power)), jnp.zeros(10))
    posterior = LocalPosterior(problem, jnp.zeros(3), nbeta=50.0)
    np.testing.assert_array_equal(largest_curvature(posterior, jnp.zeros((2, 3)), KEY), [1, 1])


@pytest.mark.parametrize("gamma", [1.0, 25.0])
def test_gradient_term_of_a_quadratic(gamma):
    h, g, nbeta = np.repeat([4.0, 0.5, 0.0], 4), np.linspace(-0.2, 0.3, 12), 30.0
    quadratic = lambda w, x: jnp.full(len(x), 0.5 * jnp.sum(jnp.array(h) * w**2) + jnp.sum(jnp.array(g) * w))
    posterior = LocalPosterior(Problem(quadratic, jnp.zeros(10)), jnp.zeros(12), nbeta=nbeta, localization=gamma)
    reference = 0.5 * np.sum((nbeta * g) ** 2 * (nbeta * h + 2 * gamma) / (nbeta * h + gamma) ** 2)
    np.testing.assert_allclose(gradient_term(posterior), reference, rtol=1e-4)


def test_gradient_term_of_a_minimum_is_zero():
    problem = Problem(lambda w, x: jnp.full(len(x), jnp.sum(w**2)), jnp.zeros(10))
    assert float(gradient_term(LocalPosterior(problem, jnp.zeros(3), nbeta=50.0))) == 0.0


@pytest.mark.parametrize("d", [10, 120])
def test_diagonal_of_a_regression(d):
    spectrum = 10 * 0.9 ** np.arange(d)
    inputs = inputs_of_spectrum(spectrum)
    center = {"a": jnp.full(2, 0.5), "b": jnp.full(d - 2, 2.0)}
    posterior = LocalPosterior(Problem.supervised(linear, Gaussian(), inputs, linear(center, inputs)), center)
    # Γ^{−1/2} H Γ^{−1/2} with γ = 1 / w*²
    scale = np.repeat([0.5, 2.0], [2, d - 2])
    hessian = scale[:, None] * (np.asarray(inputs, float).T @ np.asarray(inputs, float) / len(inputs)) * scale
    estimates = np.array([diagonal_curvature(posterior, key) for key in jax.random.split(KEY, 32)], float)
    if d == 10:  # fewer than the vectors: the unit vectors
        np.testing.assert_allclose(estimates, np.tile(np.diag(hessian), (32, 1)), rtol=1e-4)
        return
    # variance Σ_{j≠i} H_ij² / 64 of each, and of their sum, the trace, 2 Σ_{j≠i} H_ij² / 64
    variances = np.square(hessian - np.diag(np.diag(hessian))).sum(axis=1) / 64
    scores = (estimates - np.diag(hessian)) / np.sqrt(variances)
    assert (np.abs(scores.mean(axis=0)) * np.sqrt(32) < 4).all()
    assert 0.95 < scores.std() < 1.05
    error = np.sqrt(2 * variances.sum() / 32)
    assert abs(estimates.sum(axis=1).mean() - np.trace(hessian)) < 4 * error
    assert error < 0.01 * np.trace(hessian)


def test_diagonal_is_never_negative_and_that_of_the_checkpoint():
    saddle = Problem(lambda w, x: jnp.full(len(x), w[0] ** 4 - w[1] ** 2 + 3 * w[0] ** 2 + w[0] * w[2]), jnp.zeros(10))
    posterior = LocalPosterior(saddle, jnp.array([1.0, 0.0, 0.0]), localization=2.0)
    # (12 w₀² + 6) / γ
    np.testing.assert_allclose(diagonal_curvature(posterior, KEY), [9.0, 0.0, 0.0], rtol=1e-5)


def test_diagonal_looks_at_some_of_many_examples():
    x = jax.random.normal(KEY, (20_000, 2))
    posterior = LocalPosterior(Problem(lambda w, x: 0.5 * (x @ w) ** 2, x), jnp.zeros(2), localization=1.0)
    diagonal = np.asarray(diagonal_curvature(posterior, KEY))
    # the mean of x² over 4096 of standard normal law
    assert (np.abs(diagonal - 1) < 4 * np.sqrt(2 / 4096)).all()
    assert not np.allclose(diagonal, jnp.square(x).mean(axis=0), rtol=1e-3)
