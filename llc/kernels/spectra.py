"""Eigenvalues of kernels under the law of their inputs: in closed form on the domains of symmetry, and from data.

Modes too fine to be told from rounding or left out act on a regression as white noise does: their trace, `tail`, is to
be added to the ridge.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import comb
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Real

Numbers = Real[Array | np.ndarray, "..."] | Sequence[float | int]

_SYMMETRY = 1e-5  # of k(x, x): float32 kernels are symmetric to about 1e-6
_UNITS = 8  # in the last place, that a kernel's values may be off
_DOUBLINGS = 4


class Spectrum(NamedTuple):
    """The levels of a kernel: k(x, x) = Σ m_i λ_i + tail."""

    eigenvalues: Float[np.ndarray, "levels"]
    """λ_i, by degree or frequency; 0 where it is lost in rounding."""
    multiplicities: Float[np.ndarray, "levels"]
    """m_i."""
    tail: float
    """The trace of the modes that are not resolved; add it to the ridge."""


class DataSpectrum(NamedTuple):
    """What data tell of a kernel and a target: the arguments of `eigenlearning`, with `tail` for the ridge."""

    eigenvalues: Float[np.ndarray, "modes"]
    """λ_i, decreasing."""
    coefficients: Float[np.ndarray, "modes *outputs"]
    """v_i of the targets."""
    tail: float
    """The trace of the modes that are not resolved; add it to the ridge."""
    noise_variance: Float[np.ndarray, "*outputs"]
    """σ², with the energy of the targets in those modes."""


def circle_spectrum(row: Numbers) -> Spectrum:
    """λ_k = (1/M) Σ_j k(2πj/M) cos(2πjk/M) of M equispaced points of the circle, with the modes 1, √2 cos, √2 sin.

    >>> circle_spectrum([3.0, 1.0, 1.0, 1.0])
    Spectrum(eigenvalues=array([1.5, 0.5, 0.5]), multiplicities=array([1., 2., 1.]), tail=0.0)

    Args:
        row: the kernel between one point and all M, in their order, itself first.

    Raises:
        ValueError: the row is not that of a kernel of the angle, so not symmetric or not positive.
    """
    values, num_points = np.asarray(row, float), len(row)
    mirrored = np.roll(values[::-1], 1)
    if num_points == 0 or not np.abs(values - mirrored).max() <= _SYMMETRY * np.abs(values[0]):
        msg = "the row differs from its mirror image, row[j] = row[M − j]; give that of a kernel of the angle alone."
        raise ValueError(msg)
    eigenvalues = np.fft.rfft((values + mirrored) / 2).real / num_points
    bounds = np.full(len(eigenvalues), _rounding(row) * np.abs(values).mean())
    multiplicities = np.full(len(eigenvalues), 2.0)
    multiplicities[0] = 1.0
    if num_points % 2 == 0:
        multiplicities[-1] = 1.0
    return _resolved(eigenvalues, multiplicities, bounds, values[0])


def hypercube_spectrum(values_by_distance: Numbers | Sequence[Fraction]) -> Spectrum:
    """λ_k = 2^{−d} Σ_h K_h(k) κ_h on {±1}^d, the modes Π_{i∈S} x_i with |S| = k, in exact arithmetic.

    K_h(k) = Σ_j (−1)^j C(k, j) C(d−k, h−j) are Krawtchouk's polynomials (MacWilliams & Sloane 1977, §5.7). Levels below
    the rounding of the values, which many dimensions have, are left to the tail; of fractions none is.

    >>> hypercube_spectrum([1.0, 0.0, -1.0])  # x·x'/2: two modes of 1/2
    Spectrum(eigenvalues=array([0. , 0.5, 0. ]), multiplicities=array([1., 2., 1.]), tail=0.0)

    Args:
        values_by_distance: κ_h, the kernel of two corners that differ in h = 0 … d coordinates (x·x' = d − 2h).

    Raises:
        ValueError: there are fewer than two values, or they are not those of a positive kernel.
    """
    d = len(values_by_distance) - 1
    if d < 1:
        msg = f"there are {d + 1} values; give d + 1 of them, for the distances 0 to d ≥ 1."
        raise ValueError(msg)
    values = np.asarray(values_by_distance)
    rounding = Fraction(_rounding(values))
    exact = [Fraction(value if isinstance(value, int | Fraction) else float(value)) for value in values]
    eigenvalues, bounds = [], []
    for row in _krawtchouk(d):
        terms = [count * value / 2**d for count, value in zip(row, exact, strict=True)]
        eigenvalues.append(sum(terms))
        bounds.append(rounding * sum(abs(term) for term in terms))
    return _resolved(eigenvalues, [comb(d, k) for k in range(d + 1)], bounds, exact[0])


def sphere_spectrum(
    kernel_of_cosine: Callable[[Float[np.ndarray, "nodes"]], Real[Array | np.ndarray, "nodes"]],
    dimension: int,
    *,
    max_degree: int = 50,
) -> Spectrum:
    """The levels 0 … `max_degree` of k(x·x') on the unit sphere of R^d: spherical harmonics, by Funk and Hecke.

    λ_k = Γ(d/2) / (√π Γ((d−1)/2)) ∫₀^π k(cos θ) P_k(cos θ) sin^{d−2}θ dθ with Gegenbauer's polynomials P_k(1) = 1
    (cos kθ on the circle), and m_k = (2k+d−2)/k · C(k+d−3, k−1) (Müller 1966). By Clenshaw and Curtis's rule in θ,
    where kernels of ReLU networks are smooth, with nodes doubled until nothing changes.

    >>> sphere_spectrum(lambda cosine: 1 + 3 * cosine, 3, max_degree=2).eigenvalues.round(12)
    array([1., 1., 0.])

    Args:
        kernel_of_cosine: k as a function of an array of cosines, at the radius of the inputs.
        dimension: d ≥ 2, that of the space around the sphere.
        max_degree: the levels above it are left to the tail.

    Raises:
        ValueError: a dimension or degree out of its range, a kernel that is not positive, or one too uneven in the
            angle to be integrated.
    """
    if dimension < 2 or max_degree < 0:
        msg = f"dimension={dimension}, max_degree={max_degree}; the first must be 2 or more, the second 0 or more."
        raise ValueError(msg)
    at_one = np.asarray(kernel_of_cosine(np.ones(1)))
    rounding, trace = _rounding(at_one), float(at_one[0])
    num_nodes = 2 * (100 + 4 * max_degree + dimension)
    previous = np.full(max_degree + 1, np.inf)
    for doubled in range(_DOUBLINGS + 1):
        cosines, weights = _sphere_nodes(dimension, num_nodes * 2**doubled)
        values = weights * np.asarray(kernel_of_cosine(cosines), float)
        polynomials = _gegenbauer(dimension, max_degree, cosines)
        eigenvalues = polynomials @ values
        if np.abs(eigenvalues - previous).max() <= 16 * rounding * abs(trace):
            counts = [_harmonics(dimension, k) for k in range(max_degree + 1)]
            return _resolved(eigenvalues, counts, rounding * np.abs(polynomials) @ np.abs(values), trace)
        previous = eigenvalues
    msg = f"{num_nodes << _DOUBLINGS} nodes do not integrate this kernel; give one that is smoother in the angle."
    raise ValueError(msg)


def spectrum_from_data(
    gram: Real[Array | np.ndarray, "points points"],
    targets: Real[Array | np.ndarray, "targets *outputs"],
    *,
    num_resolved: int | None = None,
    noise_variance: float | int = 0.0,
) -> DataSpectrum:
    """λ_i = e_i / M and v_i = u_i·y / √M from the eigenpairs of the Gram matrix of M inputs, with what they leave out.

    A tenth of the modes can be trusted. The trace of the others is the `tail`, and the energy of the targets in them
    counts as noise. Use points other than those that will be trained on, and many more: M ≫ n.

    Args:
        gram: the kernel between the M inputs.
        targets: y there.
        num_resolved: how many modes to keep; M // 10, and at least 1, unless given.
        noise_variance: σ² of the targets, of each output; σ²/M is taken from each v_i², down to 0.

    Raises:
        ValueError: there are not M targets, `num_resolved` is not from 1 to M, or the noise is negative.
    """
    gram, targets, num_points = np.asarray(gram, float), np.asarray(targets, float), len(gram)
    kept = max(1, num_points // 10) if num_resolved is None else num_resolved
    if len(targets) != num_points:
        msg = f"there are {len(targets)} targets for a Gram matrix of {num_points} points; give one a point."
        raise ValueError(msg)
    if not 1 <= kept <= num_points or noise_variance < 0:
        msg = (
            f"num_resolved={kept}, noise_variance={noise_variance}; the first must be from 1 to M={num_points}, "
            "the second 0 or more."
        )
        raise ValueError(msg)
    eigenvalues, vectors = np.linalg.eigh(gram)
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0) / num_points, vectors[:, ::-1]
    coefficients = vectors[:, :kept].T @ targets / np.sqrt(num_points)
    energies = np.maximum(coefficients**2 - noise_variance / num_points, 0.0)
    return DataSpectrum(
        eigenvalues[:kept],
        np.sign(coefficients) * np.sqrt(energies),
        float(eigenvalues[kept:].sum()),
        np.asarray(np.maximum(np.mean(targets**2, axis=0) - energies.sum(axis=0), 0.0)),
    )


def _resolved(
    eigenvalues: Sequence[Any] | np.ndarray,
    multiplicities: Sequence[int] | np.ndarray,
    bounds: Sequence[Any] | np.ndarray,
    trace: Any,
) -> Spectrum:
    """The levels above the bounds of their errors; the trace of the others is the tail, exact where fractions are."""
    least, largest = float(min(eigenvalues)), float(max(eigenvalues))
    if not least >= -_SYMMETRY * largest:
        msg = f"an eigenvalue is {least:.3g}, the largest is {largest:.3g}; give a kernel, which has none below 0."
        raise ValueError(msg)
    kept = [value if value > bound else 0 for value, bound in zip(eigenvalues, bounds, strict=True)]
    tail = trace - sum(count * value for count, value in zip(multiplicities, kept, strict=True))
    return Spectrum(np.array(kept, float), np.array(multiplicities, float), max(0.0, float(tail)))


def _rounding(values: Any) -> float:
    """The relative error of a kernel's values: none of integers and fractions."""
    dtype = np.asarray(values).dtype
    return _UNITS * float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 0.0


def _krawtchouk(d: int) -> Iterator[list[int]]:
    """K_0(k) … K_d(k) for k = 0 … d: the coefficients of (1 − z)^k (1 + z)^{d−k}, each from the last."""
    row = [comb(d, h) for h in range(d + 1)]
    for _ in range(d + 1):
        yield row
        following = []
        for h in range(d + 1):
            following.append(row[h] - (row[h - 1] + following[h - 1] if h else 0))
        row = following


def _sphere_nodes(dimension: int, num_nodes: int) -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes"]]:
    """Cosines of polar angles, and the probability of each: Clenshaw and Curtis's rule on [0, π], of an even number."""
    places = np.arange(num_nodes + 1)
    angles = np.pi / 2 * (1 - np.cos(np.pi * places / num_nodes))
    weights = np.fft.irfft(2 / (1.0 - places[::2] ** 2), num_nodes)[places % num_nodes]
    weights[[0, -1]] /= 2
    weights *= np.sin(angles) ** (dimension - 2)
    return np.cos(angles), weights / weights.sum()


def _gegenbauer(
    dimension: int, max_degree: int, cosines: Float[np.ndarray, "nodes"]
) -> Float[np.ndarray, "degrees nodes"]:
    """P_0 … P_max of that dimension, with P_k(1) = 1."""
    rows = [np.ones_like(cosines), cosines]
    for k in range(1, max_degree):
        rows.append(((2 * k + dimension - 2) * cosines * rows[k] - k * rows[k - 1]) / (k + dimension - 2))
    return np.stack(rows[: max_degree + 1])


def _harmonics(dimension: int, degree: int) -> int:
    """How many spherical harmonics of that degree are independent."""
    return (2 * degree + dimension - 2) * comb(degree + dimension - 3, degree - 1) // degree if degree else 1
