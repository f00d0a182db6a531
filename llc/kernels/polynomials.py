"""Where gradient flow moves a homogeneous polynomial, seen in the space of functions, and which symmetries survive.

h(x, w) = Σ_k w_k c_k x₁^k x₂^{d−k} of degree d on the plane, from w = 0, on L = (1/|D|) Σ (h − f)²:

    ∂h(x)/∂t = (2/|D|) Σ_{p∈D} f(p) K(p, x),   K(p, q) = Σ_k c_k² (p₁q₁)^k (p₂q₂)^{d−k}.

In Bombieri's basis, c_k² = C(d, k), K = (p·q)^d is invariant under every rotation, and a data set that is symmetric
gives a gradient that is. The plain monomials, c_k = 1, are invariant under the symmetries of the square alone.
"""

from math import comb

import numpy as np
from jaxtyping import Array, Float, Real

BASES = ("plain", "bombieri")
_ROUNDING = 64 * np.finfo(float).eps


def polynomial_kernel(
    p: Real[Array | np.ndarray, "*batch 2"],
    q: Real[Array | np.ndarray, "points 2"],
    *,
    degree: int = 7,
    basis: str = "plain",
) -> Float[np.ndarray, "*batch points"]:
    """K(p, q), the tangent kernel of homogeneous polynomials.

    >>> polynomial_kernel(np.array([1.0, 2.0]), np.array([[3.0, 1.0]]), degree=2, basis="bombieri")
    array([25.])

    Args:
        p: points of the plane, in any arrangement.
        q: others.
        degree: d, 0 or more.
        basis: "plain" or "bombieri".

    Raises:
        ValueError: the basis is unknown or the degree negative.
    """
    return _features(p, degree, basis) @ _features(q, degree, basis).T


def gradient_field(
    points: Real[Array | np.ndarray, "points 2"],
    values: Real[Array | np.ndarray, "values"],
    at: Real[Array | np.ndarray, "*batch 2"],
    *,
    degree: int = 7,
    basis: str = "plain",
) -> Float[np.ndarray, "*batch"]:
    """∂h(x)/∂t = (2/|D|) Σ_p f(p) K(p, x) at w = 0, the direction in which the function is first learned.

    >>> square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> gradient_field(square, np.array([1.0, -1.0, 1.0, -1.0]), np.array([0.5, 0.0]), degree=2)
    array(0.25)

    Args:
        points: the data set D.
        values: f there.
        at: x, points of the plane in any arrangement, such as a grid.
        degree: d, 0 or more.
        basis: "plain" or "bombieri".

    Raises:
        ValueError: there is not one value a point, the basis is unknown, or the degree is negative.
    """
    points, values = np.asarray(points, float), np.asarray(values, float)
    if len(points) != len(values) or not len(points):
        msg = f"there are {len(points)} points and {len(values)} values; give one value a point, and at least one."
        raise ValueError(msg)
    return np.asarray(2 / len(points) * polynomial_kernel(at, points, degree=degree, basis=basis) @ values)


def symmetric_energy(
    points: Real[Array | np.ndarray, "points 2"],
    values: Real[Array | np.ndarray, "values"],
    order: int,
    *,
    degree: int = 7,
    basis: str = "plain",
) -> float:
    """The fraction of the gradient's energy on the unit circle in harmonics cos kθ, sin kθ with m | k.

    They are what the rotations by 360°/m leave as it is. It is 1 for a gradient of that symmetry; the circle tells all,
    since the field is homogeneous.

    Args:
        points: the data set D.
        values: f there.
        order: m of the group C_m.
        degree: d, 0 or more.
        basis: "plain" or "bombieri".

    Raises:
        ValueError: the gradient is zero everywhere, the order is below 1, or as of `gradient_field`.
    """
    if order < 1:
        msg = f"order={order}; a group of rotations has 1 element or more."
        raise ValueError(msg)
    around, values = _circle(degree), np.asarray(values, float)
    field = gradient_field(points, values, around, degree=degree, basis=basis)
    terms = np.abs(values) * np.abs(polynomial_kernel(around, points, degree=degree, basis=basis))
    if not np.abs(field).max() > _ROUNDING * 2 * terms.mean(axis=1).max():
        msg = f"the gradient is zero everywhere: nothing of degree {degree} is in the values; give others."
        raise ValueError(msg)
    energies = np.square(np.abs(np.fft.fft(field)))
    frequencies = np.rint(np.fft.fftfreq(len(field), 1 / len(field))).astype(int)
    return float(energies[frequencies % order == 0].sum() / energies.sum())


def operator_eigenvalues(degree: int = 7, *, basis: str = "plain") -> Float[np.ndarray, "modes"]:
    """The eigenvalues, decreasing, of f ↦ (1/2π) ∫ K(·, p) f(p) dp over the unit circle: how fast each mode is learned.

    In Bombieri's basis they belong to cos kθ and sin kθ, with k = d, d − 2, … and C(d, (d−k)/2) / 2^d each.

    >>> operator_eigenvalues(3, basis="bombieri") * 8
    array([3., 3., 1., 1.])

    Args:
        degree: d, 0 or more.
        basis: "plain" or "bombieri".

    Raises:
        ValueError: the basis is unknown or the degree negative.
    """
    features = _features(_circle(degree), degree, basis)
    return np.linalg.eigvalsh(features.T @ features / len(features))[::-1]


def _features(
    points: Real[Array | np.ndarray, "*batch 2"], degree: int, basis: str
) -> Float[np.ndarray, "*batch modes"]:
    """c_k x₁^k x₂^{d−k} for k = 0 … d."""
    if basis not in BASES or degree < 0:
        msg = f"basis={basis!r}, degree={degree}; use one of {', '.join(map(repr, BASES))}, and a degree of 0 or more."
        raise ValueError(msg)
    points, powers = np.asarray(points, float), np.arange(degree + 1)
    scales = np.sqrt([comb(degree, k) for k in powers]) if basis == "bombieri" else np.ones(degree + 1)
    return scales * points[..., :1] ** powers * points[..., 1:] ** (degree - powers)


def _circle(degree: int) -> Float[np.ndarray, "angles 2"]:
    """So many points of the unit circle that means of products of two polynomials are exact."""
    angles = 2 * np.pi * np.arange(2 * degree + 2) / (2 * degree + 2)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)
