"""What a kernel regression makes of a transformation that it never saw: errors at the points of an orbit left out.

Two classes, of labels +1 and −1, each the orbit of one example under a cyclic group of N elements (Perin & Deny 2024).
The kernel must respect the group, K(gx, gx') = K(x, x'); then its blocks are circulant and Fourier diagonalises them.
An error is ε = 1 − yŷ: below 1 the point left out is told right, above 1 wrong. Orbits lie in Gram matrices one after
the other: A, gA, g²A, …, B, gB, …
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real, Shaped

Row = Real[Array | np.ndarray, "_"] | Sequence[float | int]
Gram = Real[Array | np.ndarray, "_ _"]

_DEVIATION = 1e-4  # float32 kernels of exact orbits are off by about 1e-6


class OrbitError(NamedTuple):
    """Errors ε at one point left out of each orbit."""

    a: float
    b: float


class OrbitRows(NamedTuple):
    """The first rows of the blocks of a Gram matrix of two orbits."""

    aa: Float[np.ndarray, "N"]
    """K(A, gʲA)."""
    bb: Float[np.ndarray, "N"]
    """K(B, gʲB)."""
    ab: Float[np.ndarray, "N"]
    """K(A, gʲB)."""
    deviation: float
    """‖K − K̄‖ / ‖K‖ in the Frobenius norm, K̄ the mean over the group: 0 where the kernel respects it."""


class CirculantRow(NamedTuple):
    """The first row of the circulant matrix nearest to the kernel on two orbits taken in turn, A then B."""

    row: Float[np.ndarray, "2N"]
    """K(A, ·) there."""
    deviation: float
    """‖K − K̄‖ / ‖K‖ in the Frobenius norm: 0 where B lies half a step from A, in all that the kernel sees."""


def spectral_error(first_row: Row, *, ridge: float | int = 0.0) -> float:
    """ε = λ_N⁻¹ / mean_f λ_f⁻¹: one point left out of two orbits that together are one orbit of 2N points.

    The spectral error of Perin & Deny (2024): the last reciprocal frequency over the average of all, λ_f the Fourier
    coefficients of the row. λ_N is N/2 times the squared distance of the classes' means in the kernel's space.

    >>> spectral_error([1.0, 0.0, 0.0, 0.0])  # nothing in common with any other point: ŷ = 0
    1.0

    Args:
        first_row: the kernel between one point and all 2N, A and B in turn, itself first.
        ridge: δ of K + δ·I, not scaled; each λ_f becomes λ_f + δ.

    Raises:
        ValueError: the row is not one of a symmetric circulant matrix of even size, or the matrix is singular.
    """
    return float(missing_errors(first_row, [0], ridge=ridge)[0])


def missing_errors(
    first_row: Row, missing: Sequence[int] | Int[Array | np.ndarray, "_"], *, ridge: float | int = 0.0
) -> Float[np.ndarray, "missing"]:
    """1 − yŷ at each of several points left out together: y_S λ_N⁻¹ (G_SS)⁻¹ y_S, G the inverse of the Gram matrix.

    >>> missing_errors([2.0, 0.0, 1.0, 0.0, 1.0, 0.0], [0, 2])  # of A's three points, two
    array([0.5, 0.5])

    Args:
        first_row: as of `spectral_error`.
        missing: which of the 2N points are left out; the even ones are A's.
        ridge: δ of K + δ·I.

    Raises:
        ValueError: as of `spectral_error`; or a missing point is not there, or is named twice.
    """
    row, points = np.asarray(first_row, float), np.asarray(missing)
    mirrored = np.roll(row[::-1], 1)
    if len(row) < 2 or len(row) % 2:
        msg = f"the row has {len(row)} values; two orbits of N points have 2N, an even number."
        raise ValueError(msg)
    if not np.linalg.norm(row - mirrored) <= _DEVIATION * np.linalg.norm(row):
        deviation = np.linalg.norm(row - mirrored) / np.linalg.norm(row)
        msg = (
            f"the row differs from its mirror image, row[j] = row[2N − j], by {deviation:.2g} of its norm, so the "
            "matrix is not a symmetric circulant; use orbit_error, or circulant_row for the mean over the group."
        )
        raise ValueError(msg)
    if len(set(points.tolist())) < len(points) or not np.all((points >= 0) & (points < len(row))):
        msg = f"missing={points.tolist()}; name each point once, from 0 to {len(row) - 1}."
        raise ValueError(msg)
    eigenvalues = np.fft.fft((row + mirrored) / 2).real + ridge
    _check_positive(eigenvalues.min(), eigenvalues.max(), len(row))
    inverse = np.fft.ifft(1 / eigenvalues).real
    labels = (-1.0) ** points
    block = inverse[(points[:, None] - points) % len(row)]
    return labels * np.linalg.solve(block, labels) / eigenvalues[len(row) // 2]


def orbit_error(row_aa: Row, row_bb: Row, row_ab: Row, *, ridge: float | int = 0.0) -> OrbitError:
    """(ε_A, ε_B), exactly, of two orbits wherever they lie: one point of A left out, and one point of B.

    With the N-point Fourier coefficients a, b, c of the rows, δ added to a and b, and D = a b − |c|²,
    ε_A = [(b₀ + c₀)/D₀] / mean_f(b_f/D_f) and ε_B = [(a₀ + c₀)/D₀] / mean_f(a_f/D_f). It is Perin & Deny's spectral
    error where B is half a step from A, and theirs only to some tenths elsewhere.

    >>> orbit_error([2.0, 1.0], [2.0, 1.0], [0.0, 0.0])
    OrbitError(a=0.5, b=0.5)

    Args:
        row_aa: K(A, gʲA), j = 0 … N − 1.
        row_bb: K(B, gʲB).
        row_ab: K(A, gʲB), of any phase.
        ridge: δ of K + δ·I, not scaled.

    Raises:
        ValueError: rows of different lengths, or the Gram matrix of the two orbits is singular.
    """
    rows = [np.asarray(row, float) for row in (row_aa, row_bb, row_ab)]
    if not len(rows[0]) == len(rows[1]) == len(rows[2]) > 0:
        msg = (
            f"the rows have {', '.join(str(len(row)) for row in rows)} values; give one value of each an element of g."
        )
        raise ValueError(msg)
    a, b = np.fft.fft(rows[0]).real + ridge, np.fft.fft(rows[1]).real + ridge
    c = np.fft.fft(rows[2])
    middle, radius = (a + b) / 2, np.hypot((a - b) / 2, np.abs(c))  # eigenvalues of the 2 × 2 blocks: middle ± radius
    _check_positive((middle - radius).min(), (middle + radius).max(), 2 * len(a))
    determinant = a * b - np.abs(c) ** 2
    common = [(b[0] + c[0].real) / determinant[0], (a[0] + c[0].real) / determinant[0]]
    return OrbitError(float(common[0] / np.mean(b / determinant)), float(common[1] / np.mean(a / determinant)))


def orbit_rows(gram: Gram, *, tolerance: float = _DEVIATION) -> OrbitRows:
    """The rows of `orbit_error`, each the mean over its block's wrapped diagonals, which is that over the group.

    Args:
        gram: the kernel on two orbits of N points, A's then B's.
        tolerance: the largest relative deviation from circulant blocks that is let through; `np.inf` for any.

    Raises:
        ValueError: the matrix deviates by more, so the data are no orbits or the kernel does not respect the group.
    """
    gram = np.asarray(gram, float)
    n = _order(gram)
    aa, bb, ab = (_wrapped_mean(block) for block in (gram[:n, :n], gram[n:, n:], gram[:n, n:]))
    nearest = np.block([[_circulant(aa), _circulant(ab)], [_circulant(ab).T, _circulant(bb)]])
    return OrbitRows(aa, bb, ab, _deviation(gram, nearest, tolerance))


def circulant_row(gram: Gram, *, tolerance: float = _DEVIATION) -> CirculantRow:
    """The row of `spectral_error`: the mean over the wrapped diagonals of the matrix with A and B taken in turn.

    Args:
        gram: the kernel on two orbits of N points, A's then B's.
        tolerance: the largest relative deviation from circulant that is let through; `np.inf` averages any matrix, as
            Perin & Deny (2024) do, at the price of an error that `orbit_error` does not have.

    Raises:
        ValueError: the matrix deviates by more.
    """
    gram = np.asarray(gram, float)
    n = _order(gram)
    in_turn = np.arange(2 * n).reshape(2, n).T.ravel()
    interleaved = gram[np.ix_(in_turn, in_turn)]
    row = _wrapped_mean(interleaved)
    return CirculantRow(row, _deviation(interleaved, _circulant(row), tolerance))


def pairwise_errors(
    gram: Gram, order: int, *, ridge: float | int = 0.0, tolerance: float = _DEVIATION
) -> Float[np.ndarray, "orbits orbits"]:
    """ε[s, t]: the error at a point left out of orbit s when it is told from orbit t alone; NaN on the diagonal.

    Args:
        gram: the kernel on all orbits, one after the other.
        order: N, the points of each.
        ridge: δ of each pair's K + δ·I.
        tolerance: as of `orbit_rows`.

    Raises:
        ValueError: the matrix holds no whole number of orbits, or a pair is refused by `orbit_rows` or `orbit_error`.
    """
    gram = np.asarray(gram, float)
    if order < 1 or len(gram) % order or gram.shape[0] != gram.shape[1]:
        msg = (
            f"the Gram matrix is {gram.shape[0]} × {gram.shape[1]}, which are no whole orbits of order={order} points."
        )
        raise ValueError(msg)
    num_orbits = len(gram) // order
    members = np.arange(len(gram)).reshape(num_orbits, order)
    errors = np.full((num_orbits, num_orbits), np.nan)
    for s in range(num_orbits):
        for t in range(s):
            both = np.concatenate([members[s], members[t]])
            rows = orbit_rows(gram[np.ix_(both, both)], tolerance=tolerance)
            errors[s, t], errors[t, s] = orbit_error(rows.aa, rows.bb, rows.ab, ridge=ridge)
    return errors


def class_errors(
    errors: Float[np.ndarray, "orbits orbits"], classes: Shaped[Array | np.ndarray, "orbits"] | Sequence[int | str]
) -> Float[np.ndarray, "classes classes"]:
    """The mean over all pairs of seeds, one of each class: Perin & Deny's error of several seeds; NaN on the diagonal.

    >>> errors = np.array([[np.nan, 0.25, 1.5], [0.5, np.nan, 2.0], [3.0, 4.0, np.nan]])
    >>> class_errors(errors, ["four", "nine", "nine"])
    array([[  nan, 0.875],
           [1.75 ,   nan]])

    Args:
        errors: of `pairwise_errors`.
        classes: the class of each orbit; the means come in their sorted order.
    """
    labels = np.asarray(classes)
    names = np.unique(labels)
    means = np.full((len(names), len(names)), np.nan)
    for i, left_out in enumerate(names):
        for j, other in enumerate(names):
            if i != j:
                means[i, j] = errors[np.ix_(labels == left_out, labels == other)].mean()
    return means


def one_versus_one(
    errors: Float[np.ndarray, "orbits orbits"], classes: Shaped[Array | np.ndarray, "orbits"] | Sequence[int | str]
) -> Bool[np.ndarray, "orbits"]:
    """Whether the point left out of each orbit is told right from every other class, by the mean error over its seeds.

    >>> errors = np.array([[np.nan, 0.25, 1.5], [0.5, np.nan, 2.0], [3.0, 4.0, np.nan]])
    >>> one_versus_one(errors, ["four", "nine", "nine"])
    array([ True,  True, False])

    Args:
        errors: of `pairwise_errors`.
        classes: the class of each orbit.
    """
    labels = np.asarray(classes)
    names = np.unique(labels)
    means = np.stack([errors[:, labels == name].mean(axis=1) for name in names], axis=1)
    return np.all((means < 1) | (labels[:, None] == names), axis=1)


def _order(gram: Float[np.ndarray, "_ _"]) -> int:
    if gram.shape[0] != gram.shape[1] or len(gram) < 2 or len(gram) % 2:
        msg = f"the Gram matrix is {gram.shape[0]} × {gram.shape[1]}; two orbits of N points have one of 2N × 2N."
        raise ValueError(msg)
    return len(gram) // 2


def _wrapped_mean(block: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N"]:
    places = np.arange(len(block))
    return np.array([block[places, (places + j) % len(block)].mean() for j in places])


def _circulant(row: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N N"]:
    places = np.arange(len(row))
    return row[(places - places[:, None]) % len(row)]


def _deviation(gram: Float[np.ndarray, "m m"], nearest: Float[np.ndarray, "m m"], tolerance: float) -> float:
    """‖K − K̄‖ / ‖K‖, unless it is beyond the tolerance."""
    distance, size = np.linalg.norm(gram - nearest), np.linalg.norm(gram)
    if not distance <= tolerance * size:
        msg = (
            f"the Gram matrix deviates from circulant by {distance / size:.2g} of its norm, tolerance={tolerance:g}: "
            "the data are no orbits of a cyclic group, or the kernel does not respect it. Use leave_one_out, which "
            "needs no symmetry, or raise the tolerance to average over the group."
        )
        raise ValueError(msg)
    return float(distance / size) if size > 0 else 0.0


def _check_positive(least: float, largest: float, size: int) -> None:
    if not least > size * np.finfo(float).eps * largest:
        condition = f"condition number {largest / least:.2g}" if least > 0 else f"an eigenvalue of {least:.2g}"
        msg = (
            f"the Gram matrix of the orbits is singular to rounding ({condition}, λ_max = {largest:.2g}); give a ridge."
        )
        raise ValueError(msg)
