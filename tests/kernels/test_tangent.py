"""The tangent's and the Hessian's predictions against closed forms, explicit Jacobians, and NUTS."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import multivariate_normal

from llc.kernels.tangent import hessian, ntk_coefficient, tangent
from llc.posterior.local_posterior import LocalPosterior, Relative
from llc.problem import Bernoulli, Categorical, Gaussian, Problem

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def linear(w, x):
    return x @ w


def mlp(params, x):
    return jnp.tanh(x @ params["a"] + params["b"]) @ params["c"] + params["e"]


def random_mlp(fan_in, width, outputs, seed=0):
    shapes = {"a": (fan_in, width), "b": (width,), "c": (width, outputs), "e": (outputs,)}
    generator = np.random.default_rng(seed)
    return {name: jnp.asarray(0.7 * generator.standard_normal(shape)) for name, shape in shapes.items()}


def normal(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def explicit(posterior, curvature):
    """A from the whole Jacobian, for Λ of each example."""
    inputs = posterior.problem.data[0]
    outputs = lambda v: posterior.problem.apply_fn(posterior.params(v), inputs).reshape(posterior.n, -1)
    jacobian = jax.jacrev(outputs)(jnp.zeros(posterior.dimension))
    return float(posterior.nbeta) / posterior.n * np.einsum("nci,nce,nej->ij", jacobian, curvature, jacobian)


def in_blocks_of(posterior, block_size):
    other = copy.copy(posterior)
    object.__setattr__(other, "block_size", block_size)
    return other


# Closed forms and NUTS of the reference


def reference_mlp(reference, beta, gamma):
    w, x, y = (jnp.asarray(reference[f"llc/mlp/{name}"]) for name in ("w_star", "x", "y"))
    params = {"a": w[None, :4], "b": w[4:8], "e": w[8:9], "c": w[9:, None]}
    problem = Problem.supervised(mlp, Gaussian(0.1), x, y[:, None])
    return LocalPosterior(problem, params, nbeta=beta * 200, localization=gamma)


@pytest.mark.parametrize("row", range(6))
def test_small_mlp(reference, row):
    beta, gamma, ntk, by_hessian, nuts, error, _, half = reference["llc/mlp/table"][row]
    posterior = reference_mlp(reference, beta, gamma)
    predicted = tangent(posterior)
    assert predicted.exact
    assert predicted.dimension / 2 == half
    np.testing.assert_allclose(predicted.value, ntk, rtol=1e-7)
    np.testing.assert_allclose(hessian(posterior).value, by_hessian, rtol=1e-7)
    assert predicted.gradient_term() < 1e-6 * predicted.value
    # weights wander too far for a line where β = 1 and γ = 1
    in_linear_regime = (beta, gamma) != (1.0, 1.0)
    assert (abs(nuts - predicted.value) < 4 * error) == in_linear_regime


def test_spectra_of_small_mlp(reference):
    posterior = reference_mlp(reference, 1.0, 2.0)
    # A = Θ / (σ² γ), and nβ H / γ; eigenvalues of 1e-9 are rounding's in the reference
    ntk = np.sort(tangent(posterior).nodes[0])[::-1] * 0.1**2 * 2.0
    np.testing.assert_allclose(ntk, reference["llc/mlp/ntk_gram_eigs"], rtol=1e-7, atol=1e-9)
    full = np.sort(hessian(posterior).nodes[0])[::-1] * 2.0 / 200
    np.testing.assert_allclose(full, reference["llc/mlp/hessian_eigs"], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("gamma", "rounded", "nuts", "error"),
    [(100, 1.356, 1.357, 0.026), (1, 2.963, 2.854, 0.057), (0.01, 3.000, 3.010, 0.056)],
)
def test_softmax_regression(reference, gamma, rounded, nuts, error):
    inputs, labels = jnp.asarray(reference["llc/softmax/X"]), jnp.asarray(reference["llc/softmax/labels"])
    w = jnp.asarray(reference["llc/softmax/w_star"]).reshape(3, 3)
    problem = Problem.supervised(linear, Categorical(), inputs, labels)
    predicted = ntk_coefficient(problem, w, nbeta=400, localization=gamma)
    assert round(predicted.value, 3) == rounded
    assert abs(predicted.value - nuts) < 4 * error
    assert predicted.rank == 6
    assert predicted.rank_gap > 1e6
    assert predicted.bounds == (3.0, 3.75)
    eigenvalues = np.sort(predicted.nodes[0])[::-1] * gamma / 400
    np.testing.assert_allclose(eigenvalues, reference["llc/softmax/hessian_eigs"], rtol=1e-10, atol=1e-14)


def test_link_to_kernel_regression():
    n, num_features, sigma, beta, draws = 60, 240, 0.5, 0.2, 12
    eigenvalues = np.arange(1, num_features + 1.0) ** -1.2
    delta = sigma**2 / beta
    kappa = brentq(lambda k: (eigenvalues / (eigenvalues + k)).sum() + delta / k - n, 1e-6, 1e3)
    kappas, degrees = [], []
    for seed in range(draws):
        inputs = normal(n, num_features, seed=seed) * np.sqrt(eigenvalues)
        problem = Problem.supervised(linear, Gaussian(sigma), inputs, jnp.zeros(n))
        predicted = ntk_coefficient(problem, jnp.zeros(num_features), nbeta=n * beta, localization=1.0)
        gram = np.asarray(inputs @ inputs.T)
        trace = np.trace(np.linalg.solve(gram + delta * np.eye(n), gram))
        np.testing.assert_allclose(2 * predicted.value, trace, rtol=1e-12)
        np.testing.assert_allclose(predicted.kappa, delta / (n - trace), rtol=1e-12)
        assert 2 * predicted.value <= n
        degrees.append(trace)
        kappas.append(predicted.kappa)
    for measured, theory in ((degrees, n - delta / kappa), (kappas, kappa)):
        error = np.std(measured, ddof=1) / np.sqrt(draws)
        assert abs(np.mean(measured) - theory) < 4 * error
        assert error < 0.01 * theory


# The two sides, and the likelihoods


@pytest.mark.parametrize("n", [7, 60], ids=["few outputs", "few parameters"])
def test_categorical(n):
    params, x = random_mlp(3, 5, 4), normal(n, 3)
    problem = Problem.supervised(mlp, Categorical(), x, jnp.arange(n) % 4)
    posterior = LocalPosterior(problem, params, localization=0.3)
    p = np.asarray(jax.nn.softmax(mlp(params, x)))
    reference = explicit(posterior, p[:, :, None] * np.eye(4) - p[:, :, None] * p[:, None, :])
    predicted = tangent(posterior)
    assert (predicted.num_outputs, predicted.dimension) == (4 * n, 44)
    assert predicted.weights.sum() == 44
    np.testing.assert_allclose(predicted.value, 0.5 * np.trace(np.linalg.solve(np.eye(44) + reference, reference)))
    np.testing.assert_allclose(predicted.trace(lambda h: h**2).value, np.sum(reference**2), rtol=1e-10)
    np.testing.assert_allclose(predicted.log_determinant(2.0).value, np.linalg.slogdet(np.eye(44) + reference / 2)[1])
    assert predicted.rank == min(3 * n, 38)  # a shift of all classes by one of the 6 last features does nothing
    assert predicted.ridge is predicted.kappa is None


def positions(params, x):
    return mlp(params, x)


def outputs_of_poisson(outputs, targets):
    return (jnp.exp(outputs) - targets * outputs).sum(axis=1)


def cauchy(outputs, targets):
    return jnp.log1p(jnp.square(outputs - targets)).sum(axis=1)


@pytest.mark.parametrize("n", [4, 60], ids=["few outputs", "few parameters"])
@pytest.mark.parametrize(
    "likelihood", [Gaussian(0.5), Bernoulli(), outputs_of_poisson], ids=["Gaussian", "Bernoulli", "Poisson"]
)
def test_likelihoods(likelihood, n):
    params, x = random_mlp(3, 4, 2), normal(n, 3)
    posterior = LocalPosterior(Problem.supervised(mlp, likelihood, x, jnp.ones((n, 2))), params)
    f = mlp(params, x)
    p = jax.nn.sigmoid(f)
    diagonal = {Gaussian(0.5): jnp.full_like(f, 4.0), Bernoulli(): p * (1 - p)}.get(likelihood, jnp.exp(f))
    reference = np.linalg.eigvalsh(explicit(posterior, diagonal[:, :, None] * np.eye(2)))
    eigenvalues = np.sort(np.repeat(tangent(posterior).nodes[0], tangent(posterior).weights[0].astype(int)))
    np.testing.assert_allclose(eigenvalues, reference, rtol=1e-9, atol=1e-12 * reference.max())


@pytest.mark.parametrize("n", [3, 40], ids=["few outputs", "few parameters"])
def test_positions_of_a_sequence(n):
    params, x = random_mlp(3, 4, 3), normal(n, 2, 3)
    problem = Problem.supervised(positions, Categorical(), x, jnp.arange(2 * n).reshape(n, 2) % 3)
    flat = Problem.supervised(mlp, Categorical(), x.reshape(-1, 3), jnp.arange(2 * n) % 3)
    # a sum over positions: the same total loss, and twice the examples
    predicted, reference = ntk_coefficient(problem, params, nbeta=n), ntk_coefficient(flat, params, nbeta=2 * n)
    np.testing.assert_allclose(predicted.value, reference.value, rtol=1e-10)
    np.testing.assert_allclose(predicted.free_energy(), reference.free_energy(), rtol=1e-10)


@pytest.mark.parametrize("n", [23, 5], ids=["few parameters", "few outputs"])
def test_blocks_of_examples(n):
    problem = Problem.supervised(mlp, Categorical(), normal(n, 3), jnp.arange(n) % 3)
    posterior = LocalPosterior(problem, random_mlp(3, 4, 3))
    whole, blocks = tangent(posterior), tangent(in_blocks_of(posterior, 4))
    np.testing.assert_allclose(blocks.nodes, whole.nodes, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(blocks.gradient_term(), whole.gradient_term(), rtol=1e-9)


def test_float32_is_close():
    x, labels, params = normal(60, 3), np.arange(60) % 3, random_mlp(3, 12, 3)
    exact = ntk_coefficient(Problem.supervised(mlp, Categorical(), x, labels), params, localization=0.1)
    with jax.enable_x64(False):
        single = [jnp.asarray(np.asarray(leaf, np.float32)) for leaf in (x, *params.values())]
        problem = Problem.supervised(mlp, Categorical(), single[0], labels)
        predicted = ntk_coefficient(problem, dict(zip(params, single[1:], strict=True)), localization=0.1)
    np.testing.assert_allclose(predicted.value, exact.value, rtol=1e-4)


# Away from a minimum


def regression(n, d, seed=2):
    inputs, w = normal(n, d, seed=seed), normal(d, seed=seed + 1)
    return inputs, w, inputs @ w + normal(n, seed=seed + 2)  # w is not the minimum


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 20)], ids=["few parameters", "few outputs"])
@pytest.mark.parametrize("predict", [tangent, hessian])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_regression_not_at_its_minimum(n, d, predict, scale):
    inputs, w, y = regression(n, d)
    sigma, gamma, nbeta = 0.8, 3.0, 0.4 * n
    posterior = LocalPosterior(
        Problem.supervised(linear, Gaussian(sigma), inputs, y), w, nbeta=nbeta, localization=gamma
    )
    predicted = predict(posterior)
    # the posterior is Gaussian: λ̂ = nβ (L(mean) − L(w*)) + ½ tr(nβ H Cov)
    h, g = inputs.T @ inputs / (n * sigma**2), inputs.T @ (inputs @ w - y) / (n * sigma**2)
    covariance = np.linalg.inv(nbeta * h + scale * gamma * np.eye(d))
    shift = -nbeta * covariance @ g
    exact = nbeta * (g @ shift + 0.5 * shift @ h @ shift) + 0.5 * nbeta * np.trace(h @ covariance)
    np.testing.assert_allclose(predicted.coefficient(scale).value - predicted.gradient_term(scale), exact, rtol=1e-9)
    assert predicted.gradient_term(scale) > 0.1


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 20)], ids=["few parameters", "few outputs"])
def test_free_energy_is_the_evidence_of_linear_regression(n, d):
    inputs, w, y = regression(n, d)
    problem = Problem.supervised(linear, Gaussian(0.8), inputs, y)
    predicted = ntk_coefficient(problem, w, nbeta=n, localization=3.0)
    for scale in (1.0, 0.2):
        covariance = 0.8**2 * np.eye(n) + np.asarray(inputs @ inputs.T) / (3.0 * scale)
        evidence = multivariate_normal(np.asarray(inputs @ w), covariance).logpdf(np.asarray(y))
        np.testing.assert_allclose(predicted.free_energy(scale), (-evidence, 0.0), rtol=1e-10)


def test_another_temperature_costs_nothing():
    inputs, w, y = regression(30, 5)
    problem = Problem.supervised(linear, Gaussian(0.8), inputs, y)
    one, other = (ntk_coefficient(problem, w, nbeta=nbeta, localization=2.0) for nbeta in (4.0, 9.0))
    moved = one.at(9)
    for name in ("value", "kappa", "nbeta", "rank"):
        np.testing.assert_allclose(getattr(moved, name), getattr(other, name), rtol=1e-10)
    np.testing.assert_allclose(moved.gradient_term(3.0), other.gradient_term(3.0), rtol=1e-10)
    np.testing.assert_allclose(moved.free_energy(), other.free_energy(), rtol=1e-10)


def test_slope_of_the_free_energy():
    inputs, w, y = regression(30, 5)
    at = ntk_coefficient(Problem.supervised(linear, Gaussian(0.8), inputs, y), w, localization=2.0).at
    step = 1e-4
    slope = (at(7 * np.exp(step)).free_energy().value - at(7 * np.exp(-step)).free_energy().value) / (2 * step)
    here = at(7)
    expected = here.value - here.gradient_term() + 7 * here.center_loss
    np.testing.assert_allclose(slope, expected, rtol=1e-7)


# Without all eigenvalues


def test_sampled_spectrum():
    n = 150
    problem = Problem.supervised(mlp, Categorical(), normal(n, 6), jnp.arange(n) % 3)
    posterior = LocalPosterior(problem, random_mlp(6, 20, 3), nbeta=400, localization=0.5)
    exact = tangent(posterior)
    few = {"max_dense": 1, "relative_error": 0.05}
    sampled = [tangent(posterior, rng_key=key, **few) for key in range(20)]
    for quantity in (lambda c: c.coefficient(), lambda c: c.coefficient(10.0), lambda c: c.log_determinant()):
        scores = [(quantity(one).value - quantity(exact).value) / quantity(one).std_error for one in sampled]
        assert abs(np.mean(scores)) < 4 / np.sqrt(20)
        assert np.max(np.abs(scores)) < 4
    assert not sampled[0].exact
    assert sampled[0].rank is sampled[0].bounds is None
    assert 0 < sampled[0].std_error < 0.05 * sampled[0].value
    np.testing.assert_allclose(sampled[0].gradient_term(), exact.gradient_term(), rtol=0.01)
    full = hessian(posterior)
    scale = -2 * full.nodes.min()
    value, error = hessian(posterior, max_dense=1, relative_error=0.05).coefficient(scale)
    assert abs(value - full.coefficient(scale).value) < 4 * error


def test_the_key_decides():
    problem = Problem.supervised(mlp, Categorical(), normal(30, 6), jnp.arange(30) % 3)
    posterior = LocalPosterior(problem, random_mlp(6, 10, 3))
    values = [tangent(posterior, rng_key=key, max_dense=1).value for key in (0, jax.random.key(0), 1)]
    assert values[0] == values[1] != values[2]


# What moves, and in which units


def test_mask():
    problem = Problem.supervised(mlp, Gaussian(), normal(30, 3), jnp.zeros((30, 2)))
    params = random_mlp(3, 4, 2)
    predicted = ntk_coefficient(problem, params, mask="[ce]", localization=1.0, nbeta=7)
    # the last layer alone: features ⊗ I, and two outputs
    features = np.column_stack([jnp.tanh(problem.data[0] @ params["a"] + params["b"]), np.ones(30)])
    h = np.linalg.eigvalsh(7 / 30 * features.T @ features)
    assert predicted.dimension == 10
    np.testing.assert_allclose(predicted.value, (h / (h + 1)).sum(), rtol=1e-10)


@pytest.mark.parametrize("predict", [tangent, hessian])
@pytest.mark.parametrize(("localization", "invariant"), [(Relative(), True), (1.0, False)], ids=str)
def test_rescaled_layers(predict, localization, invariant):
    relu = lambda w, x: jax.nn.relu(x @ w["a"]) @ w["c"]
    problem = Problem.supervised(relu, Gaussian(), normal(30, 3), jnp.ones((30, 2)))
    params = {"a": normal(3, 4), "c": normal(4, 2)}
    rescaled = {"a": 100 * params["a"], "c": params["c"] / 100}
    values = [
        predict(LocalPosterior(problem, w, nbeta=0.5, localization=localization)).value for w in (params, rescaled)
    ]
    assert np.isclose(*values, rtol=1e-8) == invariant


def test_rank_and_bounds():
    product = lambda w, x: x * w["u"] * w["v"]
    problem = Problem.supervised(product, Gaussian(), normal(20), jnp.zeros(20))
    at = lambda u, v: ntk_coefficient(problem, {"u": jnp.array(u), "v": jnp.array(v)}, localization=1.0)
    assert (at(0.0, 0.0).rank, at(0.0, 0.0).bounds) == (0, (0.0, 0.5))
    assert (at(0.0, 2.0).rank, at(0.0, 2.0).bounds) == (1, (0.5, 0.75))


def test_saturated_outputs():
    x = jnp.array([[-1.0, 1.0], [1.0, 1.0]] * 20)
    labels = jnp.array([0, 1] * 20)
    at = lambda size: ntk_coefficient(
        Problem.supervised(linear, Categorical(), x, labels), size * jnp.array([[-1.0, 1.0], [0.0, 0.0]]), nbeta=10
    )
    assert not at(1.0).saturated
    assert at(20.0).saturated
    assert at(20.0).value < 1e-6
    assert "saturated" in repr(at(20.0))
    binary = Problem.supervised(lambda w, x: x @ w, Bernoulli(), x, labels.astype(float))
    assert ntk_coefficient(binary, jnp.array([20.0, 0.0]), nbeta=10).saturated
    wide = Problem.supervised(lambda w, x: x @ w, Gaussian(100.0), x, labels.astype(float))
    assert not ntk_coefficient(wide, jnp.array([20.0, 0.0]), nbeta=10).saturated


def test_saddle():
    loss = lambda w: w[0] ** 2 - w[1] ** 2 - w[2] ** 2 / 2 + w[3] ** 4
    saddle = Problem(lambda w, x: jnp.full(len(x), loss(w)), jnp.zeros(10))
    held = hessian(LocalPosterior(saddle, jnp.zeros(4), nbeta=3.0, localization=12.0))
    assert (held.num_negative.value, held.rank) == (2, 3)
    np.testing.assert_allclose(held.value, 0.5 * (6 / 18 - 6 / 6 - 3 / 9))
    assert np.isnan(held.coefficient(0.5).value)  # 6 = nβ |h| = ½ · 12
    assert np.isnan([held.gradient_term(0.4), held.free_energy(0.4).value]).all()
    assert "2 negative eigenvalues" in repr(held)


# Refusals, and how it shows itself


def test_bare_loss():
    posterior = LocalPosterior(Problem(lambda w, x: 0.5 * (x @ w) ** 2, normal(50, 3)), jnp.zeros(3), localization=1.0)
    with pytest.raises(ValueError, match=r"needs the network's outputs: make the problem by Problem\.supervised"):
        tangent(posterior)
    h = np.linalg.eigvalsh(posterior.nbeta / 50 * normal(50, 3).T @ normal(50, 3))
    np.testing.assert_allclose(hessian(posterior).value, 0.5 * (h / (h + 1)).sum(), rtol=1e-10)


@pytest.mark.parametrize("n", [4, 40], ids=["few outputs", "few parameters"])
def test_likelihood_that_is_not_convex(n):
    problem = Problem.supervised(mlp, cauchy, normal(n, 3), jnp.full((n, 2), 9.0))
    with pytest.raises(ValueError, match="not convex in the outputs"):
        ntk_coefficient(problem, random_mlp(3, 4, 2))


def test_scale_must_be_positive():
    predicted = ntk_coefficient(Problem.supervised(linear, Gaussian(), normal(9, 2), jnp.ones(9)), jnp.ones(2))
    for method in (predicted.coefficient, predicted.gradient_term, predicted.log_determinant, predicted.free_energy):
        with pytest.raises(ValueError, match="scale=0; it must be positive"):
            method(0)


@pytest.mark.parametrize("max_dense", [3000, 1])
def test_it_shows_itself(max_dense):
    problem = Problem.supervised(mlp, Gaussian(), normal(40, 3), jnp.zeros((40, 2)))
    predicted = tangent(LocalPosterior(problem, random_mlp(3, 4, 2)), max_dense=max_dense)
    line, table, numbers = repr(predicted), predicted._repr_html_(), json.loads(json.dumps(predicted.to_dict()))
    for text in ("½ d_eff", "gradient term", "d/2"):
        assert text in line
        assert text in table
    assert ("±" in line) == (max_dense == 1)
    assert ("learning coefficient within" in line) == predicted.exact
    assert numbers["value"] == predicted.value
    assert numbers["exact"] == (max_dense == 3000)
