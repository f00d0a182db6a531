"""Orbits close, rotations are scipy's, and permutations make the whole group."""

import numpy as np
import pytest
from scipy.ndimage import rotate

from llc.kernels.orbits import cyclic_shifts, normalized, orbit, permutations, rotations
from llc.kernels.symmetry import orbit_rows

IMAGE = np.random.default_rng(0).standard_normal((8, 8))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("num", [None, 1, 2, 4, 8])
def test_shifts(num, axis):
    shifted = cyclic_shifts(IMAGE, num, axis=axis)
    count = num or 8
    assert shifted.shape == (count, 8, 8)
    for j in range(count):
        np.testing.assert_array_equal(shifted[j], np.roll(IMAGE, j * 8 // count, axis))


def test_shifts_keep_the_type_and_the_channels():
    colours = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    shifted = cyclic_shifts(colours, axis=0)
    assert (shifted.dtype, shifted.shape) == (np.float32, (4, 4, 2, 3))
    np.testing.assert_array_equal(shifted[1, 1], colours[0])


@pytest.mark.parametrize("interpolation_order", [0, 1, 3])
def test_rotations_are_scipy_s(interpolation_order):
    turned = rotations(IMAGE, 12, interpolation_order=interpolation_order)
    for j in range(12):
        if j % 3:
            truth = rotate(IMAGE, 30 * j, reshape=False, order=interpolation_order)
            np.testing.assert_allclose(turned[j], truth, rtol=0, atol=1e-12)
        else:
            np.testing.assert_array_equal(turned[j], np.rot90(IMAGE, j // 3))


def test_rotations_turn_counterclockwise_and_keep_a_disc():
    down, right = np.mgrid[:33, :33] - 16
    spot = np.exp(-((right - 8) ** 2 + down**2) / 8)
    turned = rotations(spot, 8, interpolation_order=3)
    for j in range(8):
        angle = np.pi * j / 4
        middle = np.unravel_index(np.argmax(turned[j]), spot.shape)
        assert np.hypot(middle[0] - 16 + 8 * np.sin(angle), middle[1] - 16 - 8 * np.cos(angle)) < 1
        assert turned[j].sum() == pytest.approx(spot.sum(), rel=1e-3)


def test_rotations_turn_channels_alike():
    colours = np.stack([IMAGE, 2 * IMAGE], axis=-1)
    np.testing.assert_allclose(rotations(colours, 5)[..., 1], 2 * rotations(IMAGE, 5), rtol=1e-12)


@pytest.mark.parametrize(("num", "is_group"), [(4, True), (8, False)])
def test_only_quarter_turns_are_a_group_on_the_grid(num, is_group):
    other = np.random.default_rng(1).standard_normal((8, 8))
    points = np.concatenate([rotations(IMAGE, num), rotations(other, num)]).reshape(2 * num, -1)
    gram = np.exp(points @ points.T / 64)
    if is_group:
        assert orbit_rows(gram).deviation < 1e-12
    else:
        with pytest.raises(ValueError, match="deviates from circulant"):
            orbit_rows(gram)


def test_permutations_are_all_of_the_group():
    x = np.arange(4.0)
    every = permutations(x, [[1, 0, 2, 3], [1, 2, 3, 0]])
    assert len(every) == len({tuple(row) for row in every}) == 24
    np.testing.assert_array_equal(every[0], x)
    dihedral = permutations(x, [[1, 2, 3, 0], [3, 2, 1, 0]])
    assert len(dihedral) == 8
    along_first = permutations(np.arange(6).reshape(3, 2), np.array([[1, 2, 0]]), axis=0)
    np.testing.assert_array_equal(along_first[:, :, 1], [[1, 3, 5], [3, 5, 1], [5, 1, 3]])
    assert len(permutations(x, [])) == 1


def test_orbit_of_any_generator():
    points = np.array([[1.0, 0.0], [0.0, 2.0]])
    angle = 2 * np.pi / 5
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    images = orbit(points, lambda x: x @ turn, 5)
    assert images.shape == (5, 2, 2)
    np.testing.assert_allclose(images[3], points @ np.linalg.matrix_power(turn, 3), atol=1e-14)
    np.testing.assert_array_equal(orbit(IMAGE, lambda x: np.roll(x, 2, -1), 4), cyclic_shifts(IMAGE, 4))
    with pytest.raises(ValueError, match="order=4 applications"):
        orbit(points, lambda x: x @ turn, 4)


def test_normalized():
    images = normalized(3 + 5 * rotations(IMAGE, 4))
    np.testing.assert_allclose(images.mean(axis=(1, 2)), 0, atol=1e-15)
    np.testing.assert_allclose(np.square(images).sum(axis=(1, 2)), 1, rtol=1e-14)
    np.testing.assert_allclose(images[0], (IMAGE - IMAGE.mean()) / np.linalg.norm(IMAGE - IMAGE.mean()), atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cyclic_shifts(IMAGE, 3), "num=3 does not divide the 8 pixels along axis -1"),
        (lambda: cyclic_shifts(IMAGE, 0), "num=0"),
        (lambda: rotations(IMAGE[:4], 4), "the image is 4 × 8"),
        (lambda: rotations(IMAGE, 0), "num=0"),
        (lambda: rotations(IMAGE, 4, interpolation_order=6), "interpolation_order=6"),
        (lambda: permutations(np.arange(3), [[0, 0, 1]]), "is no permutation of 0 … 2"),
        (lambda: permutations(np.arange(3), [[1, 0]]), "is no permutation"),
        (lambda: orbit(np.ones(2), lambda x: x, 0), "order=0"),
        (lambda: normalized(np.array([[1.0, 2.0], [3.0, 3.0]])), "image 1 is constant"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
