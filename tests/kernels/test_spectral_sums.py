"""Sums over eigenvalues against all of them: exact where Lanczos sees the whole, else within the error it states."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.kernels.spectral_sums import SpectralMeasure, assemble, eigenvalue_measure, probe_measure, vector_measure

KEY = jax.random.key(0)
SAMPLING = {"relative_error": 0.01, "max_products": 512}

share = lambda h: h / (h + 1)
log1p = lambda h: np.log1p(np.maximum(h, 0))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def matrix_of(eigenvalues, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    return jnp.asarray(basis * eigenvalues @ basis.T)


def times(matrix, x):
    return matrix @ x


def product_of(matrix):
    return eqx.Partial(times, matrix)


def test_known_eigenvalues():
    measure = eigenvalue_measure(np.array([3.0, 1.0]), zeros=2)
    assert measure.trace(lambda h: h + 1) == (8.0, 0.0)
    assert measure.scaled(2.0, mass=3.0).trace(lambda h: h + 1) == (36.0, 0.0)


def test_rounding_below_zero():
    assert eigenvalue_measure(np.array([-1e-7, 2.0])).semidefinite().nodes.tolist() == [[0.0, 2.0]]


def test_assembled_matrix():
    matrix = np.random.default_rng(0).standard_normal((7, 7))
    for side_by_side in (1, 3, 7):
        assembled = assemble(product_of(jnp.asarray(matrix)), jnp.zeros(7), side_by_side)
        np.testing.assert_allclose(assembled, matrix.T, atol=1e-15)  # its rows are A e_i


def test_a_vector_in_a_small_space_is_exact():
    matrix, x = matrix_of([4.0, 2.0, 1.0, 0.0, 0.0]), jnp.arange(1.0, 6.0)
    measure = vector_measure(product_of(matrix), x, share, **SAMPLING)
    reference = x @ np.linalg.solve(matrix + np.eye(5), matrix @ x)
    np.testing.assert_allclose(measure.integral(share), reference, rtol=1e-12)
    assert measure.half_width(share) == 0.0


@pytest.mark.parametrize("f", [share, log1p], ids=["h/(h+1)", "log(1+h)"])
@pytest.mark.parametrize("largest", [1e2, 1e4, 1e6])
def test_the_two_rules_are_bounds(f, largest):
    eigenvalues = np.concatenate([largest * np.arange(1, 201.0) ** -2, np.zeros(50)])
    matrix, x = matrix_of(eigenvalues), jax.random.normal(KEY, (250,))
    along = np.square(np.linalg.eigh(matrix)[1].T @ x)
    reference = float(along @ f(np.maximum(np.linalg.eigvalsh(matrix), 0)))
    # 32 products alone: the goal cannot be met
    measure = vector_measure(product_of(matrix), x, f, relative_error=0, max_products=32).semidefinite()
    assert measure.nodes.shape == (1, 32)
    assert measure.lower.integral(f) < reference * (1 + 1e-9)
    upper = SpectralMeasure(measure.nodes, measure.weights).integral(f)
    assert upper > reference * (1 - 1e-9)
    assert abs(measure.integral(f) - reference) <= measure.half_width(f) + 1e-9 * reference
    np.testing.assert_allclose(measure.half_width(f), 0.5 * abs(upper - measure.lower.integral(f)), atol=1e-12 * upper)
    if largest == 1e6:  # and wide apart where it is hard
        assert measure.half_width(f) > 0.005 * reference
    assert measure.trace(f).std_error == measure.half_width(f)
    assert measure.nodes.min() >= 0
    assert measure.smallest == measure.lower.nodes.min() == 0


def test_depth_grows_until_the_rules_meet():
    matrix, x = matrix_of(1e6 * np.arange(1, 301.0) ** -2), jax.random.normal(KEY, (300,))
    shallow = vector_measure(product_of(matrix), x, share, relative_error=0, max_products=32)
    deep = vector_measure(product_of(matrix), x, share, relative_error=1e-4, max_products=1000)
    assert shallow.half_width(share) > 1e-3 * shallow.integral(share)
    assert deep.half_width(share) <= 1e-4 * deep.integral(share)
    np.testing.assert_allclose(deep.integral(share), x @ np.linalg.solve(matrix + np.eye(300), matrix @ x), rtol=1e-4)


def test_error_of_random_probes():
    eigenvalues, count = 100 * np.arange(1, 121.0) ** -1.5, 40
    product, sampling = product_of(matrix_of(eigenvalues)), {"relative_error": 0.05, "max_products": 1000}
    keys = jax.random.split(KEY, count)
    measures = [probe_measure(product, jnp.zeros(120), share, key, **sampling) for key in keys]
    for f in (share, log1p, lambda h: h):
        sums = np.array([measure.trace(f) for measure in measures])
        scores = (sums[:, 0] - f(eigenvalues).sum()) / sums[:, 1]
        assert abs(scores.mean()) < 4 / np.sqrt(count)
        # the root mean square of standard normal scores has the standard error 1 / √(2 count)
        assert abs(np.sqrt(np.square(scores).mean()) - 1) < 4 / np.sqrt(2 * count)


def test_variance_of_one_probe():
    eigenvalues = np.array([5.0, 2.0, 0.5, 0.0, 0.0, 0.0])
    measure, matrix = eigenvalue_measure(eigenvalues), matrix_of(eigenvalues)
    x = jax.random.normal(KEY, (100_000, 6))
    x *= np.sqrt(6) / jnp.linalg.norm(x, axis=1, keepdims=True)
    forms = np.einsum("ni,ij,nj->n", x, matrix, x)
    squares = (forms - eigenvalues.sum()) ** 2
    error = squares.std() / np.sqrt(len(squares))
    assert abs(squares.mean() - measure.probe_variance(lambda h: h)) < 4 * error


def test_as_many_probes_as_the_goal_needs():
    product = product_of(matrix_of(100 * np.arange(1, 301.0) ** -1.0))

    def sampled(relative_error, max_products):
        goals = {"relative_error": relative_error, "max_products": max_products}
        measure = probe_measure(product, jnp.zeros(300), share, KEY, **goals)
        return measure, measure.trace(share)

    measure, total = sampled(0.02, 10_000)
    assert 0.6 * 0.02 < total.std_error / total.value < 0.02  # met, and not overshot
    assert len(measure.nodes) > 2
    assert len(sampled(0.5, 10_000)[0].nodes) == 2
    for max_products in (64, 200, 512):
        measure, total = sampled(1e-4, max_products)
        assert measure.nodes.size <= max_products
        assert total.std_error > 1e-4 * total.value  # said, not hidden


def test_a_matrix_of_zeros_and_a_vector_of_zeros():
    product = product_of(jnp.zeros((50, 50)))
    assert probe_measure(product, jnp.zeros(50), share, KEY, **SAMPLING).trace(share) == (0.0, 0.0)
    assert vector_measure(product, jnp.zeros(50), share, **SAMPLING).integral(lambda h: h + 1) == 0.0


def test_a_matrix_of_low_rank():
    eigenvalues = np.concatenate([[50.0, 20.0, 1.0], np.zeros(97)])
    measure = probe_measure(product_of(matrix_of(eigenvalues)), jnp.zeros(100), share, KEY, **SAMPLING)
    total, truth = measure.semidefinite().trace(share), share(eigenvalues).sum()
    assert abs(total.value - truth) < 4 * total.std_error
    np.testing.assert_allclose(measure.weights.sum(axis=1), 100)
