"""Gradients of homogeneous polynomials: whose symmetry they keep, against fields and closed forms."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.kernels.polynomials import gradient_field, operator_eigenvalues, polynomial_kernel, symmetric_energy

AMPLITUDES = {1: 35, 3: 21, 5: 7, 7: 1}  # of cos⁷, over 64


def on_circle(angles, radius=1.0):
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def polygon(order, start=0.0):
    return on_circle(start + 2 * np.pi * np.arange(order) / order)


@pytest.mark.parametrize("basis", ["plain", "bombieri"])
@pytest.mark.parametrize("order", [3, 5, 7])
def test_fields(reference, order, basis):
    grid = np.stack(np.meshgrid(reference["poly/grid"], reference["poly/grid"]), axis=-1)
    field = gradient_field(polygon(order), np.ones(order), grid, basis=basis)
    np.testing.assert_allclose(field, reference[f"poly/m{order}_{basis}_gradient"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [3, 5, 7])
def test_the_invariant_basis_recovers_the_symmetry(reference, order):
    grid = np.stack(np.meshgrid(reference["poly/grid"], reference["poly/grid"]), axis=-1)
    field = gradient_field(polygon(order), np.ones(order), grid, basis="bombieri")
    target = reference[f"poly/m{order}_target"]
    np.testing.assert_allclose(field, 2 * AMPLITUDES[order] / 64 * target, rtol=0, atol=1e-12)


def test_several_orbits_of_other_radii_and_phases():
    angles, radii = np.array([0.3, 1.1]), np.array([0.8, 1.5])
    points = np.concatenate([radius * polygon(3, start) for start, radius in zip(angles, radii, strict=True)])
    at, turned = on_circle(np.linspace(0, 6, 11)), on_circle(np.linspace(0, 6, 11) + 2 * np.pi / 3)
    values = np.repeat([1.0, -0.4], 3)
    field = lambda where: gradient_field(points, values, where, basis="bombieri")
    np.testing.assert_allclose(field(turned), field(at), rtol=1e-10)
    truth = sum(
        2 * value / 2 * radius**7 * 21 / 64 * np.cos(3 * (np.linspace(0, 6, 11) - start))
        for value, radius, start in zip([1.0, -0.4], radii, angles, strict=True)
    )
    np.testing.assert_allclose(field(at), truth, rtol=1e-10)


def test_it_is_the_gradient_of_the_loss():
    generator = np.random.default_rng(0)
    points, values, at = (
        generator.standard_normal((6, 2)),
        generator.standard_normal(6),
        generator.standard_normal((4, 2)),
    )
    with jax.enable_x64():
        powers = jnp.arange(6)
        scales = jnp.sqrt(jnp.array([comb(5, k) for k in range(6)], float))
        h = lambda w, x: (scales * x[..., :1] ** powers * x[..., 1:] ** (5 - powers)) @ w
        loss = lambda w: jnp.mean((h(w, jnp.asarray(points)) - jnp.asarray(values)) ** 2)
        velocity = -jax.grad(loss)(jnp.zeros(6))
        moved = np.asarray(h(velocity, jnp.asarray(at)))
    field = gradient_field(points, values, at, degree=5, basis="bombieri")
    np.testing.assert_allclose(field, moved, rtol=1e-10)


@pytest.mark.parametrize(("order", "fraction"), [(3, 0.376), (5, 0.086), (7, 0.010)])
def test_energy_of_orbits(order, fraction):
    for start in (0.0, 0.4):
        orbit = polygon(order, start)
        assert symmetric_energy(orbit, np.ones(order), order, basis="bombieri") == pytest.approx(1, abs=1e-12)
    assert symmetric_energy(polygon(order), np.ones(order), order) == pytest.approx(fraction, abs=5e-4)


@pytest.mark.parametrize("basis", ["plain", "bombieri"])
@pytest.mark.parametrize("order", [3, 5, 7])
def test_energy_of_random_angles(reference, order, basis):
    generator, draws = np.random.default_rng(order), 2000
    angles = generator.uniform(0, 2 * np.pi, (draws, order))
    fractions = np.array([symmetric_energy(on_circle(row), np.cos(order * row), order, basis=basis) for row in angles])
    mean, low, high = reference[f"poly/m{order}_{basis}_random_symmetric_energy"]
    # theirs is a mean of as many draws, with the quantiles of 5 and 95 %
    error = fractions.std() * np.sqrt(2 / draws)
    assert abs(fractions.mean() - mean) < 4 * error
    below = [np.mean(fractions < low), np.mean(fractions > high)]
    assert np.all(np.abs(np.array(below) - 0.05) < 4 * np.sqrt(2 * 0.05 * 0.95 / draws))


@pytest.mark.parametrize("basis", ["plain", "bombieri"])
def test_operator(reference, basis):
    eigenvalues = operator_eigenvalues(basis=basis)
    np.testing.assert_allclose(eigenvalues, reference[f"poly/{basis}_operator_eigs"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 4, 7])
def test_operator_in_closed_form(degree):
    levels = sorted([comb(degree, j) for j in range(degree + 1)], reverse=True)  # k = |d − 2j|
    np.testing.assert_allclose(operator_eigenvalues(degree, basis="bombieri") * 2**degree, levels, rtol=1e-12)


def test_kernels():
    p, q = np.random.default_rng(0).standard_normal((2, 5, 2))
    np.testing.assert_allclose(polynomial_kernel(p, q, basis="bombieri"), (p @ q.T) ** 7, rtol=1e-9, atol=1e-12)
    u, v = np.outer(p[:, 0], q[:, 0]), np.outer(p[:, 1], q[:, 1])
    np.testing.assert_allclose(polynomial_kernel(p, q), (u**8 - v**8) / (u - v), rtol=1e-9)
    turn = on_circle(np.array([2.0, 2.0 + np.pi / 2]))
    invariant = lambda basis: polynomial_kernel(p @ turn, q @ turn, basis=basis) - polynomial_kernel(p, q, basis=basis)
    assert np.abs(invariant("bombieri")).max() < 1e-10
    assert np.abs(invariant("plain")).max() > 0.1
    swapped = polynomial_kernel(p[:, ::-1] * [1, -1], q[:, ::-1] * [1, -1])
    np.testing.assert_allclose(swapped, polynomial_kernel(p, q), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_field(polygon(3), np.ones(2), np.ones(2)), "3 points and 2 values"),
        (lambda: gradient_field(np.empty((0, 2)), np.ones(0), np.ones(2)), "at least one"),
        (
            lambda: gradient_field(polygon(3), np.ones(3), np.ones(2), basis="fourier"),
            r"basis='fourier'.*'plain', 'bomb",
        ),
        (lambda: operator_eigenvalues(-1), "degree=-1"),
        (lambda: symmetric_energy(polygon(3), np.ones(3), 0), "order=0"),
        (lambda: symmetric_energy(polygon(3), np.zeros(3), 3), "zero everywhere"),
        # of an even group, an odd polynomial has nothing
        (lambda: symmetric_energy(polygon(6, 0.2), np.ones(6), 6, basis="bombieri"), "zero everywhere"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
