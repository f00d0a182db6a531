"""A metric turns what is stiff and what is flat into something of one scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior.curvature import measured_metric
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.metric import unit_metric
from llc.problem import Problem

KEY = jax.random.key(0)


def orthogonal(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def dense_root(metric, d):
    return np.asarray(jax.vmap(metric.inverse_root)(jnp.eye(d)), np.float64)


def quadratic(hessian, center, nbeta):
    """A loss of this Hessian in whitened coordinates, those of γ = 1."""
    root = jnp.asarray(np.linalg.cholesky(hessian + 1e-30 * np.eye(len(hessian))).T, jnp.float32)

    def loss(w, x):
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(w)])
        return 0.5 * jnp.sum(jnp.square(root @ flat)) + 0 * x

    return LocalPosterior(Problem(loss, jnp.zeros(10)), center, nbeta=nbeta, localization=1.0)


def test_of_a_single_vector_it_is_exact():
    basis, spectrum = orthogonal(0, 8), np.geomspace(0.01, 10, 8)
    hessian = basis * spectrum @ basis.T
    posterior = quadratic(hessian, jnp.zeros(8), 100.0)
    metric = measured_metric(posterior, jnp.zeros((1, 8)), 1, KEY)
    root = dense_root(metric, 8)
    np.testing.assert_allclose(root, root.T, atol=1e-6)
    np.testing.assert_allclose(root @ (np.eye(8) + 100 * hessian) @ root, np.eye(8), atol=0.02)


def test_what_is_not_convex_counts_as_stiff():
    saddle = Problem(lambda w, x: 0.5 * (w[0] ** 2 - w[1] ** 2) + 0 * x, jnp.zeros(10))
    posterior = LocalPosterior(saddle, jnp.zeros(3), nbeta=99.0, localization=1.0)
    metric = measured_metric(posterior, jnp.zeros((1, 3)), 1, KEY)
    np.testing.assert_allclose(dense_root(metric, 3), np.diag([0.1, 0.1, 1.0]), atol=1e-5)


@pytest.mark.parametrize("stiffest", [1e4, 1e11])
def test_of_matrices_whose_hessian_is_a_kronecker_product(stiffest):
    """nβ H = A ⊗ B with A and B dense; of eigenvalues over more decades than float32 has, too."""
    bases = [orthogonal(1, 12), orthogonal(2, 10)]
    a, b = [basis * np.geomspace(stiffest**-0.3, stiffest**0.5, len(basis)) @ basis.T for basis in bases]
    halves = [jnp.asarray(np.linalg.cholesky(m).T, jnp.float32) for m in (a, b)]
    loss = lambda w, x: 0.5 * jnp.sum(jnp.square(halves[0] @ w @ halves[1].T)) + 0 * x
    posterior = LocalPosterior(Problem(loss, jnp.zeros(10)), jnp.zeros((12, 10)), nbeta=1.0, localization=1.0)
    metric = measured_metric(posterior, jnp.zeros((1, 120)), 1, KEY)
    root = dense_root(metric, 120)
    np.testing.assert_allclose(root, root.T, atol=1e-5)
    spectrum = np.linalg.eigvalsh(root @ (np.eye(120) + np.kron(a, b)) @ root)
    assert spectrum.max() < 10
    # what is a millionth of the stiffest its bases cannot tell apart, and it may hold that for stiffer than it is
    assert stiffest > 1e6 or spectrum.min() > 0.05


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
@pytest.mark.parametrize("count", [2, 4])
def test_it_is_of_the_positions_that_count(order, count):
    """H = 2 diag(v²) of Σ w⁴ / 6: K² is the mean of its squares over positions, whatever their order."""
    problem = Problem(lambda w, x: jnp.sum(w**4) / 6 + 0 * x, jnp.zeros(10))
    posterior = LocalPosterior(problem, jnp.zeros(4), nbeta=1.0, localization=1.0)
    points = jnp.diag(jnp.asarray([0.5, 1.0, 2.0, 3.0]))[jnp.asarray(order)]
    keys = jax.random.split(KEY, 500)
    metrics = jax.vmap(lambda key: measured_metric(posterior, points, jnp.asarray(count), key))(keys)
    inverse = jax.vmap(lambda metric: jax.vmap(metric.inverse_root)(jnp.eye(4)))(metrics)
    squares = np.square(1 / np.square(np.diagonal(inverse, axis1=1, axis2=2)) - 1)
    exact = np.square(2 * np.square(points[:count])).mean(axis=0)
    ratios = squares[:, exact > 0] / exact[exact > 0]
    errors = ratios.std(axis=0) / np.sqrt(len(ratios))
    assert errors.max() < 0.04
    # of a position seen through vectors of equal entries nothing is left but rounding
    assert (np.abs(ratios.mean(axis=0) - 1) < 4 * errors + 1e-5).all()
    np.testing.assert_allclose(squares[:, exact == 0], 0, atol=1e-8)


def test_leaves_of_all_shapes_and_masks():
    center = {
        "scalar": jnp.ones(()),
        "vector": jnp.ones(5),
        "conv": jnp.ones((2, 2, 3, 4)),
        "long": jnp.ones((1030, 2)),
    }
    loss = lambda w, x: sum(jnp.sum(jnp.square(leaf - 1)) for leaf in jax.tree.leaves(w)) + 0 * x
    problem = Problem(loss, jnp.zeros(10))
    for mask in (None, "vector"):
        posterior = LocalPosterior(problem, center, nbeta=8.0, localization=1.0, mask=mask)
        d = posterior.dimension
        metric = measured_metric(posterior, jnp.zeros((1, d)), 1, KEY)
        v = jax.random.normal(KEY, (d,))
        np.testing.assert_allclose(metric.from_basis(metric.to_basis(v)), v, atol=1e-4)
        # whatever the bases: the Hessian is 2
        np.testing.assert_allclose(metric.inverse_root(v), v / np.sqrt(1 + 8 * 2), rtol=1e-2, atol=1e-4)
    assert metric.shapes == ((1, 5),)
    bases = measured_metric(LocalPosterior(problem, center, nbeta=8.0), jnp.zeros((1, 2114)), 1, KEY).bases
    names = [[basis is not None for basis in pair] for pair in bases]
    assert names == [[True, True], [False, True], [False, False], [False, True]]  # conv, long, scalar, vector


def test_what_a_mask_leaves_whole_keeps_its_bases():
    center = {"a": jnp.ones((12, 10)), "b": jnp.ones((3, 4)), "c": jnp.ones((5, 5))}
    free = {"a": np.full((12, 10), True), "b": np.arange(12).reshape(3, 4) < 5, "c": np.full((5, 5), False)}
    halves = [
        jnp.asarray(orthogonal(i, size) * np.geomspace(1e-3, 1, size), jnp.float32) for i, size in ((1, 12), (2, 10))
    ]
    loss = lambda w, x: 5e4 * jnp.sum(jnp.square(halves[0].T @ (w["a"] - 1) @ halves[1])) + 0 * x
    whole = LocalPosterior(
        Problem(lambda w, x: loss({"a": w}, x), jnp.zeros(10)), center["a"], nbeta=1.0, localization=1.0
    )
    masked = LocalPosterior(Problem(loss, jnp.zeros(10)), center, nbeta=1.0, localization=1.0, mask=free)
    expected, metric = (measured_metric(p, jnp.zeros((1, p.dimension)), 1, KEY) for p in (whole, masked))
    assert metric.shapes == ((12, 10), (1, 5), (1, 0))
    hessian = jax.hessian(whole.loss_difference)(jnp.zeros(120))

    def condition(metric, d):
        root = dense_root(metric, d)[:120, :120]
        spectrum = np.linalg.eigvalsh(root @ (np.eye(120) + np.asarray(hessian, np.float64)) @ root)
        return spectrum.max() / spectrum.min()

    assert condition(expected, 120) < 100
    assert condition(metric, 125) < 2 * condition(expected, 120)
    assert condition(unit_metric(whole), 120) > 1e4


def test_a_hessian_that_is_not_finite_counts_as_none():
    problem = Problem(lambda w, x: jnp.sum(jnp.where(w > 1, jnp.nan, w**2)) + 0 * x, jnp.zeros(10))
    posterior = LocalPosterior(problem, jnp.zeros(2), nbeta=1.0, localization=1.0)
    metric = measured_metric(posterior, jnp.full((1, 2), 2.0), 1, KEY)
    np.testing.assert_array_equal(dense_root(metric, 2), dense_root(unit_metric(posterior), 2))
