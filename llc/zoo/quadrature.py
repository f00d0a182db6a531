"""Exact finite-n coefficients λ_n = s·E[K] under exp(−s K(w) − γ/2 ‖w − w*‖²), by deterministic quadrature in float64.

s = nβ. Each integral is taken in the coordinates in which it is smooth: products of Gaussians and eigenvalues in their
logarithm, where the trapezoidal rule converges geometrically; parameters that enter linearly in closed form; curves
of zeros in two or three dimensions by cells that shrink towards them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

Points = Shaped[np.ndarray, "..."]
REACH = 6.5  # standard deviations of the Gaussian factor that are integrated; beyond lies 1e-10 of it
NEGLIGIBLE = 40.0  # nats below the peak at which a density is dropped


def flat(dimension: int, nbeta: float, gamma: float) -> float:
    """K = ½|w|² in d dimensions: λ_n = (d/2) s/(s + γ).

    >>> flat(3, nbeta=1.0, gamma=1.0)
    0.75
    """
    return dimension / 2 * nbeta / (nbeta + gamma)


def product(
    factors: Sequence[tuple[int, int, float]], coefficient: float, nbeta: float, gamma: float, *, flat_mass: float = 0.0
) -> float:
    """K = ½c ∏_i |v_i|^{2k_i} with independent v_i ~ N(μ_i e_1, I/γ): the law of log K is a convolution.

    >>> round(product([(1, 1, 0.0), (1, 1, 0.0)], 1.0, nbeta=1085.736205, gamma=1.0), 6)  # ½(w1 w2)²
    0.368...

    Args:
        factors: (number of coordinates, exponent k, mean μ) of each v_i; μ ≠ 0 needs a single coordinate.
        coefficient: c.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
        flat_mass: probability of a separate region on which K = 0.
    """
    step = min([0.1] + [0.3 * power / (abs(mean) * math.sqrt(gamma)) for _, power, mean in factors if mean])
    log_k, mass = math.log(coefficient / 2), np.ones(1)
    for dof, power, mean in factors:
        # Below `low` no factor's K matters: its mass is e^{−40} of the mass where s K ~ 1.
        low = -2 * power / dof * NEGLIGIBLE - abs(math.log(nbeta)) - power * abs(math.log(gamma))
        high = 2 * power * math.log(abs(mean) + (REACH + math.sqrt(dof)) / math.sqrt(gamma))
        grid = low + step * np.arange(math.ceil((high - low) / step) + 1)
        radius = np.exp(grid / (2 * power))
        tails = [-gamma / 2 * (radius - sign * mean) ** 2 for sign in ((1, -1) if mean else (1,))]
        density = np.exp(dof * grid / (2 * power)) * np.sum(np.exp(tails), axis=0)
        mass = _convolve(mass, density / density.sum())
        log_k += low
    exponent = nbeta * np.exp(log_k + step * np.arange(mass.size))
    weight = (1 - flat_mass) * mass * np.exp(-exponent)
    return float((weight * exponent).sum() / (weight.sum() + flat_mass))


def _convolve(a: Points, b: Points) -> Points:
    # Direct rather than by FFT: the far left tail, small and decisive for λ, must keep its relative precision.
    return np.convolve(a, b)


def eigenvalues(rows: int, columns: int, power: float, nbeta: float, gamma: float) -> float:
    """K = ½|BA|², with B integrated out: the law of the eigenvalues of AAᵀ, as a ratio of Pfaffians (de Bruijn 1955).

    Z(s) = ∫ ∏_{i<j}|x_i − x_j| ∏ w_s(x_i) dx ∝ Pf ∬ φ_j(x) φ_k(y) sgn(y − x) w_s(x) w_s(y) dx dy,
    w_s(x) = x^{(|H−M|−1)/2} e^{−γx/2} (1 + s x/γ)^{−N/2},  λ_n = −d log Z/d log s.

    >>> round(eigenvalues(1, 2, 2, nbeta=1085.736205, gamma=1.0), 5)  # M = N = 2, H = 1
    0.85981

    Args:
        rows: H, of the Gaussian matrix A.
        columns: M, of A.
        power: N, the rows of B.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
    """
    size, shape = min(rows, columns), (abs(rows - columns) - 1) / 2
    smallest = -NEGLIGIBLE / (shape + 1) - math.log(gamma) - abs(math.log(nbeta / gamma))
    grid = np.arange(smallest, math.log((REACH**2 + 4 * (rows + columns)) / gamma), 0.1)
    # x on the trapezoid in log x, y = x e^{−v} below it, so that the sign never jumps inside a cell.
    gap, gap_weight = panels(np.concatenate([[0.0], 2.0 ** np.arange(-2, 7) * NEGLIGIBLE / 64 / (shape + 1)]), 12)
    x = np.exp(grid)[:, None]
    y = x * np.exp(-gap)

    def density(z: Points) -> tuple[Points, Points]:
        log_weight = (shape + 1) * np.log(z) - gamma * z / 2 - power / 2 * np.log1p(nbeta * z / gamma)
        return np.exp(log_weight), -power / 2 * nbeta * z / (gamma + nbeta * z)

    (weight_x, slope_x), (weight_y, slope_y) = density(x), density(y)
    pair = gap_weight * weight_x * weight_y
    powers = np.arange(size)[:, None, None] * 1.0
    high, low = (x / x.max()) ** powers, (y / x.max()) ** powers
    even = size + size % 2
    skew = np.zeros((2, even, even))
    for k, measure in enumerate((pair, pair * (slope_x + slope_y))):
        moments = np.einsum("jab,kab->jk", low * measure, np.broadcast_to(high, low.shape), optimize=True)
        skew[k, :size, :size] = moments - moments.T
        if size % 2:
            border = (high * weight_x * (slope_x if k else 1.0)).sum(axis=(1, 2))
            skew[k, :size, -1], skew[k, -1, :size] = border, -border
    scale = 1 / np.sqrt(np.abs(skew[0]).max(axis=1))
    matrix, change = skew * scale[:, None] * scale
    return float(-np.trace(np.linalg.solve(matrix, change)) / 2)


def panels(edges: Points, order: int) -> tuple[Points, Points]:
    """Nodes and weights of Gauss–Legendre quadrature on each interval between consecutive edges.

    >>> nodes, weights = panels(np.array([0.0, 1.0, 3.0]), 4)
    >>> round(float(weights @ nodes**2), 12)
    9.0
    """
    nodes, weights = np.polynomial.legendre.leggauss(order)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (nodes + 1)).ravel(), (half * weights).ravel()


def linear(
    log_weights: Points,
    gram: Points,
    cross: Points | None,
    square: Points | None,
    nbeta: float,
    gamma: float,
    *,
    copies: int = 1,
) -> float:
    """K = ½(δᵀG δ + 2hᵀδ + c) in the linear parameters δ ~ N(0, I/γ), G, h and c given at nodes of all the others.

    With P = γI + sG, a node's mass is e^{−½sc + ½s²hᵀP⁻¹h} |P/γ|^{−½} and its share of s·E[K]
    ½tr(sP⁻¹G) + ½sc − s²hᵀP⁻¹h + ½s³hᵀP⁻¹GP⁻¹h.

    >>> one = np.ones((1, 1, 1))
    >>> linear(np.zeros(1), one, None, None, nbeta=1.0, gamma=1.0)
    0.25

    Args:
        log_weights: log of quadrature weight times prior at each node.
        gram: G at each node.
        cross: h at each node; None is 0.
        square: c at each node; None is 0.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
        copies: number of independent δ that share G (h = c = 0).
    """
    size = gram.shape[-1]
    precision = gamma * np.eye(size) + nbeta * gram
    inverse = np.linalg.inv(precision)
    log_mass = log_weights - copies / 2 * (np.linalg.slogdet(precision)[1] - size * math.log(gamma))
    energy = copies / 2 * (size - gamma * np.trace(inverse, axis1=-2, axis2=-1))
    if cross is not None and square is not None:
        mean = nbeta * np.einsum("nij,nj->ni", inverse, cross)
        along, curved = (mean * cross).sum(-1), np.einsum("ni,nij,nj->n", mean, gram, mean)
        log_mass = log_mass - nbeta / 2 * (square - along)
        energy = energy + nbeta * (square / 2 - along + curved / 2)
    mass = np.exp(log_mass - log_mass.max())
    return float((mass * energy).sum() / mass.sum())


def cells(
    excess: Callable[[Any], Any],
    center: Points,
    nbeta: float,
    gamma: float,
    *,
    box: tuple[Points, Points] | None = None,
    order: int = 6,
) -> float:
    """Any K on a few coordinates: cells are halved until s·K + γ/2‖w − w*‖² varies by less than 3 nats in each.

    >>> round(cells(lambda w: 0.5 * (w**2).sum(-1), np.zeros(2), nbeta=100.0, gamma=1.0), 6)
    0.990099

    Args:
        excess: K(w), vectorised over all axes but the last.
        center: w*.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
        box: lower and upper corner of the region; else all of R^d. Powers of two round an integer centre keep kinks at
            integers on the edges of cells.
        order: Gauss–Legendre nodes along each axis of a cell.
    """
    dimension = center.size
    reach = 2.0 ** math.ceil(math.log2(REACH / math.sqrt(gamma))) if gamma else 1.0
    corner, top = box if box is not None else (center - reach, center + reach)
    splits = np.stack(np.meshgrid(*[[0.0, 0.5]] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    node, weight = panels(np.array([0.0, 1.0]), order)
    points = np.stack(np.meshgrid(*[node] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    weights = np.prod(np.meshgrid(*[weight] * dimension, indexing="ij"), axis=0).ravel()
    lower, width, total = corner[None, :], top - corner, np.zeros(2)
    for depth in range(40):
        unsettled = []
        for part in np.array_split(lower, max(1, lower.shape[0] * weights.size // 500_000)):
            w = part[:, None, :] + width * points
            exponent = nbeta * excess(w)
            potential = exponent + gamma / 2 * ((w - center) ** 2).sum(-1)
            least, most = potential.min(axis=1), potential.max(axis=1)
            # A cell whose exponent doubles or more may hide a zero between its nodes, however large it looks.
            open_cells = (most - least > 3) & (2 * least - most < NEGLIGIBLE) | (depth < 4)
            density = np.where(open_cells[:, None], 0.0, np.exp(-potential)) * weights * np.prod(width)
            total += density.sum(), (density * exponent).sum()
            unsettled.append(part[open_cells])
        lower = np.concatenate(unsettled)
        if not lower.size:
            break
        lower = (lower[:, None, :] + width * splits).reshape(-1, dimension)
        width = width / 2
    return float(total[1] / total[0])
