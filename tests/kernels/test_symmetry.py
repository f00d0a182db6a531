"""Errors of orbits against regressions solved with the points left out, toys and real digits."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from llc.kernels.convolutional import convolutional
from llc.kernels.fully_connected import fully_connected
from llc.kernels.orbits import cyclic_shifts, normalized
from llc.kernels.symmetry import (
    circulant_row,
    class_errors,
    missing_errors,
    one_versus_one,
    orbit_error,
    orbit_rows,
    pairwise_errors,
    spectral_error,
)

NETS = {"fc1": 256, "fc5": 256, "cnn1_flat": 48, "cnn1_gap": 48}


def left_out_errors(gram, labels, missing, ridge):
    """1 − yŷ at the missing points, by regression on the others."""
    rest = np.setdiff1d(np.arange(len(gram)), missing)
    weights = np.linalg.solve(gram[np.ix_(rest, rest)] + ridge * np.eye(len(rest)), labels[rest])
    return 1 - labels[missing] * (gram[np.ix_(missing, rest)] @ weights)


def toy(num_steps, half_step=True):
    """Two unit circles at z = ±1/2, the second turned by half a step, in turn or one after the other; L = 1.4."""
    j = np.arange(2 * num_steps)
    angles = np.pi * j / num_steps if half_step else 2 * np.pi * (j // 2) / num_steps + 0.05 * (j % 2)
    points = np.stack([np.cos(angles), np.sin(angles), 0.5 * (-1.0) ** j], axis=1)
    return np.exp(-(1.4**2) * np.square(points[:, None] - points).sum(axis=-1))


def one_after_the_other(gram):
    order = np.concatenate([np.arange(0, len(gram), 2), np.arange(1, len(gram), 2)])
    return gram[np.ix_(order, order)]


def orbits_of_noise(num_orbits, order, seed=0):
    """The kernel e^{x·x'/4} on orbits of random vectors under cyclic shifts."""
    examples = np.random.default_rng(seed).standard_normal((num_orbits, 2 * order))
    points = np.concatenate([cyclic_shifts(example, order) for example in examples])
    return np.exp(points @ points.T / (2 * order))


def test_toy(reference):
    for num_steps, with_ridge, exact, without in reference["perin/toyN_L1.4_D1"]:
        gram = toy(int(num_steps))
        np.testing.assert_allclose(spectral_error(gram[0], ridge=1e-5 * 2 * num_steps), with_ridge, rtol=0, atol=1e-12)
        # theirs scales the ridge of the regression by the 2N − 1 points that are left
        ridge = 1e-5 * (2 * num_steps - 1)
        np.testing.assert_allclose(spectral_error(gram[0], ridge=ridge), exact, rtol=0, atol=1e-12)
        if np.isfinite(without):
            np.testing.assert_allclose(spectral_error(gram[0]), without, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("count", "largest"), [(1, 0.0127), (2, 0.116), (3, 0.449), (4, 0.684), (6, 1.016), (8, 1.113)]
)
def test_several_missing(count, largest):
    gram, missing = toy(16), 2 * np.arange(count)
    errors = missing_errors(gram[0], missing, ridge=1e-6)
    labels = (-1.0) ** np.arange(32)
    np.testing.assert_allclose(errors, left_out_errors(gram, labels, missing, 1e-6), rtol=0, atol=1e-9)
    assert errors.max() == pytest.approx(largest, abs=5.1e-4)


def test_missing_of_both_classes():
    gram, missing = toy(6), np.array([0, 3, 4, 11])
    truth = left_out_errors(gram, (-1.0) ** np.arange(12), missing, 0.01)
    np.testing.assert_allclose(missing_errors(gram[0], missing, ridge=0.01), truth, rtol=0, atol=1e-12)


def test_separation_of_the_classes_is_the_last_frequency():
    gram, num_steps = toy(8), 8
    signs = (-1.0) ** np.arange(16)
    between_means = signs @ gram @ signs / num_steps**2
    of_nyquist = signs @ gram[0]
    assert of_nyquist == pytest.approx(num_steps / 2 * between_means, rel=1e-12)
    eigenvalues = np.fft.fft(gram[0]).real
    assert spectral_error(gram[0]) == pytest.approx(1 / of_nyquist / np.mean(1 / eigenvalues), rel=1e-10)


def test_block(reference):
    gram = reference["perin/block/K"]
    rows = orbit_rows(gram)
    errors = orbit_error(rows.aa, rows.bb, rows.ab)
    np.testing.assert_allclose(errors, reference["perin/block/exact_AB"], rtol=0, atol=1e-12)
    assert rows.deviation < 1e-14
    averaged = circulant_row(gram, tolerance=np.inf)
    np.testing.assert_allclose(spectral_error(averaged.row), reference["perin/block/symmetrised"], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"deviates from circulant by 0.13 of its norm.*leave_one_out"):
        circulant_row(gram)


@pytest.mark.parametrize("order", [1, 2, 5, 8])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_two_orbits(order, ridge):
    gram, labels = orbits_of_noise(2, order), np.repeat([1.0, -1.0], order)
    rows = orbit_rows(gram)
    errors = orbit_error(rows.aa, rows.bb, rows.ab, ridge=ridge)
    truth = [left_out_errors(gram, labels, [point], ridge)[0] for point in (0, order)]
    np.testing.assert_allclose(errors, truth, rtol=1e-9)
    for point in range(order):  # any point of an orbit is like any other
        np.testing.assert_allclose(left_out_errors(gram, labels, [point], ridge), truth[:1], rtol=1e-9)


def test_half_a_step_apart_the_formulas_agree():
    gram = one_after_the_other(toy(7))
    rows, circulant = orbit_rows(gram), circulant_row(gram)
    np.testing.assert_allclose(circulant.row, toy(7)[0], rtol=0, atol=1e-14)
    errors = orbit_error(rows.aa, rows.bb, rows.ab, ridge=0.01)
    np.testing.assert_allclose(errors, [spectral_error(circulant.row, ridge=0.01)] * 2, rtol=1e-11)


def test_another_phase_needs_the_orbit_formula():
    gram = one_after_the_other(toy(7, half_step=False))
    rows, averaged = orbit_rows(gram), circulant_row(gram, tolerance=0.5)
    truth = left_out_errors(gram, np.repeat([1.0, -1.0], 7), [0], 0.01)[0]
    assert orbit_error(rows.aa, rows.bb, rows.ab, ridge=0.01).a == pytest.approx(truth, rel=1e-10)
    assert averaged.deviation > 0.01
    assert abs(spectral_error(averaged.row, ridge=0.01) / truth - 1) > 0.01


def test_deviation_is_the_distance_from_the_group_mean():
    gram = orbits_of_noise(2, 4)
    noise = np.random.default_rng(1).standard_normal(gram.shape)
    noise[:4, :4] -= noise[:4, :4]  # of one block alone, the one between the orbits
    noise[4:, 4:] = 0
    noise[4:, :4] = noise[:4, 4:].T
    shifted = np.stack([np.roll(noise[:4, 4:], (i, i), (0, 1)) for i in range(4)])
    deviation = np.sqrt(2) * np.linalg.norm(noise[:4, 4:] - shifted.mean(axis=0))
    rows = orbit_rows(gram + 0.01 * noise, tolerance=0.1)
    assert rows.deviation == pytest.approx(0.01 * deviation / np.linalg.norm(gram + 0.01 * noise), rel=1e-12)
    with pytest.raises(ValueError, match="no orbits of a cyclic group"):
        orbit_rows(gram + 0.01 * noise)
    np.testing.assert_allclose(orbit_rows((gram + 1e-7 * noise).astype(np.float32)).aa, gram[0, :4], rtol=1e-5)


def test_seeds_and_classes():
    gram, classes = orbits_of_noise(5, 4), np.array([1, 0, 1, 0, 2])
    errors = pairwise_errors(gram, 4, ridge=0.1)
    members, labels = np.arange(20).reshape(5, 4), np.repeat([1.0, -1.0], 4)
    for s in range(5):
        for t in range(5):
            both = np.concatenate([members[s], members[t]])
            truth = np.nan if s == t else left_out_errors(gram[np.ix_(both, both)], labels, [0], 0.1)[0]
            np.testing.assert_allclose(errors[s, t], truth, rtol=1e-10)
    means = class_errors(errors, classes)
    assert means[0, 1] == pytest.approx(errors[[1, 1, 3, 3], [0, 2, 0, 2]].mean())
    assert means[1, 0] == pytest.approx(errors[[0, 0, 2, 2], [1, 3, 1, 3]].mean())
    assert means[2, 1] == pytest.approx(errors[4, [0, 2]].mean())
    assert np.isnan(np.diag(means)).all()


def test_one_versus_one_asks_every_class():
    errors = np.where(np.eye(4) == 1, np.nan, 0.5)
    errors[0, 1], errors[0, 2] = 1.4, 0.7  # above 1, with the other seed 1.05 on average
    errors[1, 2] = 1.8  # of its own class, which is not asked
    errors[2, 3] = 1.01
    np.testing.assert_array_equal(one_versus_one(errors, ["a", "b", "b", "c"]), [False, True, False, True])


def relu_tangent(product, square1, square2, depth):
    """Fully connected, W_std = b_std = 1 in all layers; of the inner products of what enters."""
    nngp, square1, square2 = product + 1, square1 + 1, square2 + 1
    tangent = nngp
    for _ in range(depth):
        nngp, derivative = relu_moments(nngp, square1, square2)
        nngp, square1, square2 = nngp + 1, square1 / 2 + 1, square2 / 2 + 1
        tangent = nngp + derivative * tangent
    return tangent


def relu_moments(product, square1, square2):
    """E[φφ'] and E[φ'φ''] of the arc-cosine kernel."""
    sine = np.sqrt(np.maximum(square1 * square2 - product**2, 0))
    rest = np.pi - np.where((sine == 0) & (product == 0), np.pi / 2, np.arctan2(sine, product))
    return (sine + rest * product) / (2 * np.pi), rest / (2 * np.pi)


def gram_of(net, images):
    if net.startswith("fc"):
        products = np.einsum("ihw,jhw->ij", images, images) / 64
        squares = np.diag(products)
        return relu_tangent(products, squares[:, None], squares[None], int(net[2:]))
    # one 3 × 3 circular convolution without biases, W_std = 1, then flattened or pooled
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="wrap")
    taps = [padded[:, a : a + 8, b : b + 8].reshape(len(images), 64) for a in range(3) for b in range(3)]
    patches = np.stack(taps, axis=-1) / 3
    squares = np.square(patches).sum(axis=-1)
    if net.endswith("flat"):
        products, (left, right) = np.einsum("ipk,jpk->ijp", patches, patches), (squares[:, None], squares[None])
    else:
        products = np.einsum("ipk,jqk->ijpq", patches, patches).reshape(len(images), len(images), -1)
        shape = (len(images), len(images), 64, 64)
        left = np.broadcast_to(squares[:, None, :, None], shape).reshape(products.shape)
        right = np.broadcast_to(squares[None, :, None, :], shape).reshape(products.shape)
    nngp, derivative = relu_moments(products, left, right)
    return (nngp + derivative * products).mean(axis=-1)


@pytest.fixture(scope="module")
def digit_errors():
    """Spectral, exact and two-orbit errors of pairs of digits, and how many of the two are told right, by case."""
    digits = load_digits()
    images, generator = normalized(digits.images / 16), np.random.default_rng(3)

    def pair():
        while True:
            a, b = generator.integers(0, len(images), 2)
            if digits.target[a] != digits.target[b]:
                return a, b

    def errors(net, order):
        a, b = pair()
        orbits = np.concatenate([cyclic_shifts(images[a], order), cyclic_shifts(images[b], order)])
        gram = gram_of(net, orbits)
        ridge = 1e-10 * 2 * order * gram[0, 0]
        rows = orbit_rows(gram)
        two = orbit_error(rows.aa, rows.bb, rows.ab, ridge=ridge)
        labels = np.repeat([1.0, -1.0], order)
        exact = [left_out_errors(gram, labels, [point], ridge)[0] for point in (0, order)]
        spectral = spectral_error(circulant_row(gram, tolerance=np.inf).row, ridge=ridge)
        return spectral, np.mean(exact), np.mean(two), sum(error < 1 for error in two)

    # pairs come one after the other through all cases
    return {
        f"{net}_N{order}": np.array([errors(net, order) for _ in range(24 if count == 48 and order == 8 else count)])
        for net, count in NETS.items()
        for order in (2, 4, 8)
    }


@pytest.mark.parametrize("order", [2, 4, 8])
@pytest.mark.parametrize(("net", "tolerance"), [("fc1", 1e-9), ("fc5", 1e-9), ("cnn1_flat", 1e-7)])
def test_shifted_digits(reference, digit_errors, net, tolerance, order):
    measured, truth = digit_errors[f"{net}_N{order}"], reference[f"digits/shift_{net}_N{order}"]
    np.testing.assert_allclose(measured, truth, rtol=tolerance)
    np.testing.assert_allclose(measured[:, 2], measured[:, 1], rtol=1e-8)  # the formula and the regression


@pytest.mark.parametrize("order", [2, 4, 8])
def test_an_equivariant_net_learns_the_shifts(reference, digit_errors, order):
    # orbits collapse to points: what error is left, 1e-8, is the ridge and the rounding of the kernel
    measured, truth = digit_errors[f"cnn1_gap_N{order}"], reference[f"digits/shift_cnn1_gap_N{order}"]
    np.testing.assert_array_equal(measured[:, 3], truth[:, 3])
    assert np.abs([measured[:, :3], truth[:, :3]]).max() < 1e-6


def test_digits_by_our_own_kernels(reference):
    # the second pair of shift_fc1_N8
    images = normalized(load_digits().images / 16)
    orbits = np.concatenate([cyclic_shifts(images[70], 8), cyclic_shifts(images[1498], 8)])
    with jax.enable_x64():
        deep = fully_connected(1, "relu", weight_std=1.0, bias_std=1.0, last_weight_std=1.0, last_bias_std=1.0)
        gram = np.asarray(deep.ntk(orbits.reshape(16, 64)))
        flat = convolutional(1, "relu", weight_std=1.0, padding="CIRCULAR", pooling="flatten")
        np.testing.assert_allclose(flat.ntk(orbits[..., None]), gram_of("cnn1_flat", orbits), rtol=1e-8)
    rows = orbit_rows(gram)
    errors = orbit_error(rows.aa, rows.bb, rows.ab, ridge=1e-10 * 16 * gram[0, 0])
    assert np.mean(errors) == pytest.approx(reference["digits/shift_fc1_N8"][1, 2], rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectral_error([1.0, 0.5, 0.5]), "3 values"),
        (lambda: spectral_error([1.0, 0.5, 0.2, 0.1]), r"mirror image.*orbit_error"),
        (lambda: spectral_error([1.0, 1.0, 1.0, 1.0]), r"singular to rounding.*ridge"),
        (lambda: spectral_error([0.0, 0.0]), "singular to rounding"),
        (lambda: missing_errors([1.0, 0.5], [0, 0]), "each point once"),
        (lambda: missing_errors([1.0, 0.5], [2]), "from 0 to 1"),
        (lambda: orbit_error([1.0, 0.5], [1.0, 0.5], [0.1]), "the rows have 2, 2, 1 values"),
        (lambda: orbit_error([1.0, 1.0], [1.0, 1.0], [0.1, 0.1]), r"singular to rounding.*ridge"),
        (lambda: orbit_rows(np.eye(3)), "3 × 3"),
        (lambda: orbit_rows(np.ones((2, 4))), "2 × 4"),
        (lambda: pairwise_errors(np.eye(6), 4), "no whole orbits of order=4"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
