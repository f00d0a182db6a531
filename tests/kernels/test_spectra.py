"""Spectra in closed form against dense eigenvalues, Bessel functions and exact fractions."""

from fractions import Fraction
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln, ive

from llc.kernels.eigenlearning import eigenlearning
from llc.kernels.spectra import circle_spectrum, hypercube_spectrum, spectrum_from_data, sphere_spectrum


def relu_tangent(cosines):
    """One hidden layer of ReLU without biases, W_std √2 then 1."""
    angles = np.arccos(np.clip(cosines, -1, 1))
    return (np.sin(angles) + 2 * (np.pi - angles) * cosines) / np.pi


def exponential_levels(dimension, s, max_degree):
    """Of e^{s t}: Γ(d/2) (2/s)^{d/2−1} I_{k+d/2−1}(s)."""
    order = dimension / 2 - 1
    scale = np.exp(gammaln(dimension / 2) + order * np.log(2 / s) + s)
    return scale * ive(np.arange(max_degree + 1) + order, s)


def levels(spectrum):
    return np.sort(np.repeat(spectrum.eigenvalues, spectrum.multiplicities.astype(int)))


def test_circle_as_measured(reference):
    spectrum = circle_spectrum(reference["eig/circle256/ntk_row0"])
    by_frequency = reference["eig/circle256/lambda_by_k"]
    np.testing.assert_allclose(spectrum.eigenvalues, by_frequency[:129], rtol=0, atol=1e-12)
    np.testing.assert_allclose(spectrum.eigenvalues[1:128], by_frequency[:128:-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_points", [1, 2, 9, 32])
def test_circle_against_eigh(num_points):
    angles = 2 * np.pi * np.arange(num_points) / num_points
    gram = np.exp(-3 * (1 - np.cos(angles[:, None] - angles)))
    spectrum = circle_spectrum(gram[0])
    np.testing.assert_allclose(levels(spectrum), np.linalg.eigvalsh(gram) / num_points, rtol=0, atol=1e-12)
    assert spectrum.eigenvalues @ spectrum.multiplicities + spectrum.tail == pytest.approx(gram[0, 0], abs=1e-14)


def test_cube_as_measured(reference):
    corners, row = reference["eig/cube8/X"].astype(int), reference["eig/cube8/ntk_row0"]
    distances = (8 - corners @ corners[0]) // 2
    spectrum = hypercube_spectrum([row[distances == h][0] for h in range(9)])
    np.testing.assert_allclose(spectrum.eigenvalues, reference["eig/cube8/lambda_by_degree"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(spectrum.multiplicities, reference["eig/cube8/mult_by_degree"])
    assert spectrum.tail == 0


@pytest.mark.parametrize("d", [1, 5, 7])
def test_cube_against_eigh(d):
    corners = 1 - 2 * ((np.arange(2**d)[:, None] >> np.arange(d)) & 1)
    values = relu_tangent((d - 2 * np.arange(d + 1)) / d)
    gram = values[(d - corners @ corners.T) // 2]
    np.testing.assert_allclose(levels(hypercube_spectrum(values)), np.linalg.eigvalsh(gram) / 2**d, rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [8, 100])
def test_large_cube_in_fractions(d):
    rho = Fraction(1, 3)  # Π (1 + ρ x_i x'_i), whose levels are ρ^k
    spectrum = hypercube_spectrum([(1 + rho) ** (d - h) * (1 - rho) ** h for h in range(d + 1)])
    np.testing.assert_allclose(spectrum.eigenvalues, 3.0 ** -np.arange(d + 1), rtol=1e-13)
    assert spectrum.multiplicities[40 % d] == comb(d, 40 % d)
    assert spectrum.tail == 0


def test_large_cube_in_floats():
    d = 100
    values = np.exp((d - 2.0 * np.arange(d + 1)) / d)
    spectrum = hypercube_spectrum(values)
    truth = np.cosh(1 / d) ** (d - np.arange(d + 1)) * np.sinh(1 / d) ** np.arange(d + 1)
    kept = spectrum.eigenvalues > 0
    np.testing.assert_array_equal(kept, np.arange(d + 1) < kept.sum())
    np.testing.assert_allclose(spectrum.eigenvalues[kept], truth[kept], rtol=0.01)
    assert kept.sum() > 8
    np.testing.assert_allclose(
        spectrum.tail, np.sum(spectrum.multiplicities[~kept] * truth[~kept]), rtol=0.1, atol=1e-8
    )
    assert spectrum.eigenvalues @ spectrum.multiplicities + spectrum.tail == pytest.approx(values[0], rel=1e-14)
    in_float32 = hypercube_spectrum(jnp.asarray(values, jnp.float32))
    assert 2 < np.sum(in_float32.eigenvalues > 0) < kept.sum()


@pytest.mark.parametrize("s", [0.5, 5.0])
@pytest.mark.parametrize("dimension", [2, 3, 8, 50])
def test_sphere_against_bessel(dimension, s):
    spectrum = sphere_spectrum(lambda cosines: np.exp(s * cosines), dimension, max_degree=12)
    truth = exponential_levels(dimension, s, 12)
    np.testing.assert_allclose(spectrum.eigenvalues, truth, rtol=0, atol=1e-14 * np.exp(s))
    assert spectrum.eigenvalues @ spectrum.multiplicities + spectrum.tail == pytest.approx(np.exp(s), rel=1e-13)


def test_tail_of_the_sphere():
    spectrum = sphere_spectrum(lambda cosines: np.exp(5 * cosines), 8, max_degree=4)
    beyond = exponential_levels(8, 5.0, 40)[5:]
    counts = [(2 * k + 6) * comb(k + 5, k - 1) // k for k in range(5, 41)]
    np.testing.assert_allclose(spectrum.tail, beyond @ counts, rtol=1e-10)


def test_relu_on_the_sphere():
    eigenvalues = sphere_spectrum(relu_tangent, 8, max_degree=5).eigenvalues
    np.testing.assert_allclose(eigenvalues, [0.381133073, 0.125, 0.0130704072, 0, 2.11718992e-4, 0], rtol=3e-9)


@pytest.mark.parametrize(
    ("dimension", "counts"), [(2, [1, 2, 2, 2]), (3, [1, 3, 5, 7]), (4, [1, 4, 9, 16]), (8, [1, 8, 35, 112])]
)
def test_multiplicities_of_the_sphere(dimension, counts):
    np.testing.assert_array_equal(sphere_spectrum(np.exp, dimension, max_degree=3).multiplicities, counts)


def test_sphere_of_the_plane_is_the_circle():
    angles = 2 * np.pi * np.arange(256) / 256
    circle = circle_spectrum(np.exp(2 * np.cos(angles))).eigenvalues[:10]
    sphere = sphere_spectrum(lambda cosines: np.exp(2 * cosines), 2, max_degree=9).eigenvalues
    np.testing.assert_allclose(sphere, circle, rtol=0, atol=1e-14)


def test_sphere_of_a_kernel_in_jax():
    with jax.enable_x64():
        double = sphere_spectrum(lambda cosines: jnp.exp(jnp.asarray(cosines)), 8, max_degree=8)
    single = sphere_spectrum(lambda cosines: jnp.exp(jnp.asarray(cosines, jnp.float32)), 8, max_degree=8)
    np.testing.assert_allclose(double.eigenvalues, exponential_levels(8, 1.0, 8), rtol=0, atol=1e-14)
    np.testing.assert_allclose(single.eigenvalues, double.eigenvalues, rtol=0, atol=1e-6)


def test_tail_acts_as_a_ridge():
    n, whole = 40, sphere_spectrum(relu_tangent, 8, max_degree=120)
    cut = sphere_spectrum(relu_tangent, 8, max_degree=3)
    target = np.eye(4)[1]
    truth = eigenlearning(whole.eigenvalues, np.eye(121)[1], n, multiplicities=whole.multiplicities, ridge=whole.tail)
    with_tail = eigenlearning(cut.eigenvalues, target, n, multiplicities=cut.multiplicities, ridge=cut.tail)
    without = eigenlearning(cut.eigenvalues, target, n, multiplicities=cut.multiplicities)
    assert with_tail.kappa == pytest.approx(truth.kappa, rel=0.01)
    assert abs(without.kappa / truth.kappa - 1) > 0.1


def circle_data(num_points):
    angles = 2 * np.pi * np.arange(num_points) / num_points
    gram = np.exp(-4 * (1 - np.cos(angles[:, None] - angles)))
    return angles, gram


def test_data_on_a_circle_give_its_modes():
    angles, gram = circle_data(100)
    targets = np.stack([3.0 + np.cos(angles), 2 * np.sin(2 * angles) + 0.5 * np.cos(40 * angles)], axis=1)
    spectrum = spectrum_from_data(gram, targets)
    truth = circle_spectrum(gram[0])
    np.testing.assert_allclose(spectrum.eigenvalues, np.sort(levels(truth))[::-1][:10], rtol=1e-10)
    np.testing.assert_allclose(spectrum.tail, np.sort(levels(truth))[::-1][10:].sum(), rtol=1e-8)
    # by level: the constant, then pairs
    energies = np.square(spectrum.coefficients)
    np.testing.assert_allclose(energies[0], [9, 0], atol=1e-12)
    np.testing.assert_allclose(energies[1:3].sum(axis=0), [0.5, 0], atol=1e-12)
    np.testing.assert_allclose(energies[3:5].sum(axis=0), [0, 2], atol=1e-12)
    np.testing.assert_allclose(spectrum.noise_variance, [0, 0.125], atol=1e-12)  # what is not resolved


def test_noise_of_the_targets_is_not_theirs():
    _, gram = circle_data(60)
    noise, draws = 0.3, 4000
    targets = 0.5 + np.sqrt(noise) * np.random.default_rng(0).standard_normal((60, draws))
    spectrum = spectrum_from_data(gram, targets, noise_variance=noise)
    assert spectrum.eigenvalues.shape == (6,)
    constant = np.square(spectrum.coefficients[0])
    raw = np.square(spectrum_from_data(gram, targets).coefficients[0])
    np.testing.assert_allclose((raw - constant)[raw > 0.01], noise / 60, rtol=1e-9)
    error = constant.std() / np.sqrt(draws)
    assert abs(constant.mean() - 0.25) < 4 * error < raw.mean() - 0.25
    energies = np.square(spectrum.coefficients).sum(axis=0) + spectrum.noise_variance
    np.testing.assert_allclose(energies, np.mean(targets**2, axis=0), rtol=1e-12)


def test_what_data_give_goes_into_eigenlearning():
    angles, gram = circle_data(80)
    spectrum = spectrum_from_data(gram, np.cos(angles), num_resolved=80)
    truth = circle_spectrum(gram[0])
    of_data = eigenlearning(
        spectrum.eigenvalues,
        spectrum.coefficients,
        9,
        ridge=0.01 + spectrum.tail,
        noise_variance=spectrum.noise_variance,
    )
    exact = eigenlearning(
        truth.eigenvalues, np.eye(41)[1] / np.sqrt(2), 9, multiplicities=truth.multiplicities, ridge=0.01 + truth.tail
    )
    assert of_data.kappa == pytest.approx(exact.kappa, rel=1e-9)
    assert of_data.test_mse == pytest.approx(exact.test_mse, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: circle_spectrum([1.0, 0.5, 0.2]), "mirror image"),
        (lambda: circle_spectrum([0.1, 1.0, 1.0]), "an eigenvalue is -0.3"),
        (lambda: circle_spectrum([]), "mirror image"),
        (lambda: hypercube_spectrum([1.0]), "there are 1 values"),
        (lambda: hypercube_spectrum([0.0, 1.0]), "an eigenvalue is -0.5"),
        (lambda: sphere_spectrum(np.exp, 1), "dimension=1"),
        (lambda: sphere_spectrum(np.exp, 3, max_degree=-1), "max_degree=-1"),
        (lambda: sphere_spectrum(lambda t: -np.exp(t), 3), "an eigenvalue is -"),
        (lambda: sphere_spectrum(lambda t: (t > 0.3) + 0.0, 3), "nodes do not integrate"),
        (lambda: spectrum_from_data(np.eye(4), np.ones(3)), "3 targets for a Gram matrix of 4 points"),
        (lambda: spectrum_from_data(np.eye(4), np.ones(4), num_resolved=5), "num_resolved=5"),
        (lambda: spectrum_from_data(np.eye(4), np.ones(4), noise_variance=-1.0), "noise_variance=-1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
