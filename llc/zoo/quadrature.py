"""Exact finite-n coefficients λ_n = s·E[K] under exp(−s K(w) − γ/2 ‖w − w*‖²), by deterministic quadrature in float64.

s = nβ. Each integral is taken in the coordinates in which it is smooth: products of Gaussians and eigenvalues in their
logarithm, where the trapezoidal rule converges geometrically; parameters that enter linearly in closed form; curves
of zeros in two or three dimensions by cells that shrink towards them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PyTree

Points = Float[np.ndarray, "..."]
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
    0.382476

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
        # Directly, not by FFT: the left tail, small but decisive for λ, must keep its relative precision.
        mass = np.convolve(mass, density / density.sum())
        log_k += low
    exponent = nbeta * np.exp(log_k + step * np.arange(mass.size))
    weight = (1 - flat_mass) * mass * np.exp(-exponent)
    return float((weight * exponent).sum() / (weight.sum() + flat_mass))


def eigenvalues(rows: int, columns: int, outputs: int, nbeta: float, gamma: float) -> float:
    """K = ½|BA|², with B integrated out: the law of the eigenvalues of AAᵀ, as a ratio of Pfaffians (de Bruijn 1955).

    Z(s) = ∫ ∏_{i<j}|x_i − x_j| ∏ w_s(x_i) dx ∝ Pf ∬ φ_j(x) φ_k(y) sgn(y − x) w_s(x) w_s(y) dx dy,
    w_s(x) = x^{(|H−M|−1)/2} e^{−γx/2} (1 + s x/γ)^{−N/2},  λ_n = −d log Z/d log s.

    >>> round(eigenvalues(1, 2, 2, nbeta=1085.736205, gamma=1.0), 5)  # M = N = 2, H = 1
    0.85981

    Args:
        rows: H, of the Gaussian matrix A.
        columns: M, of A.
        outputs: N, the rows of B.
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
        log_weight = (shape + 1) * np.log(z) - gamma * z / 2 - outputs / 2 * np.log1p(nbeta * z / gamma)
        return np.exp(log_weight), -outputs / 2 * nbeta * z / (gamma + nbeta * z)

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
    log_weights: Points, squares: Points, nbeta: float, gamma: float, *, error: Points, misfit: Points, copies: int = 1
) -> float:
    """K = ½ Σ_k (σ_k δ_k + r_k)² + ½m in the linear parameters δ ~ N(0, I/γ), σ, r and m given at nodes of all others.

    With q = γ/(γ + sσ²), a node's mass is ∏_k √q_k e^{−s(m + Σ q_k r_k²)/2} and its share of s·E[K] is
    s(m + Σ q_k² r_k²)/2 + ½Σ(1 − q_k).

    >>> one, zero = np.ones((1, 1)), np.zeros(1)
    >>> linear(zero, one, nbeta=1.0, gamma=1.0, error=zero, misfit=zero)
    0.25

    Args:
        log_weights: log of quadrature weight times prior at each node.
        squares: σ² at each node, the eigenvalues of the linear parameters' Gram matrix.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
        error: r at each node.
        misfit: m at each node, what no δ can mend.
        copies: number of independent δ that share σ (r = 0).
    """
    shrink = gamma / (gamma + nbeta * squares)
    log_mass = log_weights + copies / 2 * np.log(shrink).sum(-1) - nbeta / 2 * (misfit + (shrink * error**2).sum(-1))
    energy = copies / 2 * (1 - shrink).sum(-1) + nbeta / 2 * (misfit + ((shrink * error) ** 2).sum(-1))
    mass = np.exp(log_mass - log_mass.max())
    return float((mass * energy).sum() / mass.sum())


def orthant(excess: Callable[[Any], Any], dimension: int, degree: int, nbeta: float, gamma: float) -> float:
    """K even in each of at most three coordinates, singular on their axes only: the trapezoidal rule in log |w_i|.

    >>> round(orthant(lambda w: 0.5 * (w**2).sum(-1), 2, 1, nbeta=100.0, gamma=1.0), 5)
    0.9901

    Args:
        excess: K(w), over any leading axes.
        dimension: d, the number of coordinates.
        degree: the highest power of a coordinate in √K; it sets the step.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
    """
    axis = np.exp(np.arange(-14 - abs(math.log(nbeta / gamma)) / 2, 2, 0.3 / degree)) / math.sqrt(gamma)
    total = np.zeros(2)
    for first in axis:  # one slice at a time, to hold memory to the square of the axis
        rest = np.meshgrid(*[axis] * (dimension - 1), indexing="ij")
        w = np.stack([np.full(rest[0].shape if rest else (), first), *rest], axis=-1)
        exponent = nbeta * excess(w)
        mass = np.exp(-exponent - gamma / 2 * (w**2).sum(-1)) * w.prod(-1)
        total += mass.sum(), (mass * exponent).sum()
    return float(total[1] / total[0])


def cells(
    excess: Callable[[Any], Any],
    params: PyTree,
    nbeta: float,
    gamma: float,
    *,
    box: tuple[Points, Points] | None = None,
    order: int = 5,
) -> float | None:
    """Any K on a few coordinates: cells are halved until s·K + γ/2‖w − w*‖² varies by less than 3 nats in each.

    None where that takes more than 3·10⁷ evaluations of K.

    >>> f"{cells(lambda w: 0.5 * (w**2).sum(-1), np.zeros(2), nbeta=100.0, gamma=1.0):.6f}"
    '0.990099'

    Args:
        excess: K(params), over any leading axes that the leaves share.
        params: w*, in all at most three numbers.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
        box: lower and upper corner of the region; else R^d to five standard deviations or more, a power of two, so
            that kinks at integers from the centre fall on the edges of cells.
        order: Gauss–Legendre nodes along each axis of a cell.
    """
    leaves, tree = jax.tree.flatten(params)
    center = np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(float)
    ends, dimension = np.cumsum([leaf.size for leaf in leaves])[:-1], center.size
    reach = 2.0 ** math.ceil(math.log2(5 / math.sqrt(gamma))) if gamma else 1.0
    corner, top = box if box is not None else (center - reach, center + reach)
    splits = np.stack(np.meshgrid(*[[0.0, 0.5]] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    node, weight = panels(np.array([0.0, 1.0]), order)
    points = np.stack(np.meshgrid(*[node] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    weights = np.prod(np.meshgrid(*[weight] * dimension, indexing="ij"), axis=0).ravel()
    lower, width, total = corner[None, :], top - corner, np.zeros(2)
    evaluations = 0
    for depth in range(40):
        evaluations += lower.shape[0] * weights.size
        if evaluations > 3e7:
            return None
        unsettled = []
        for part in np.array_split(lower, max(1, lower.shape[0] * weights.size // 50_000)):
            w = part[:, None, :] + width * points
            blocks = np.split(w, ends, axis=-1)
            grids = [block.reshape(w.shape[:-1] + leaf.shape) for block, leaf in zip(blocks, leaves, strict=True)]
            exponent = nbeta * excess(jax.tree.unflatten(tree, grids))
            potential = exponent + gamma / 2 * ((w - center) ** 2).sum(-1)
            least, most = potential.min(axis=1), potential.max(axis=1)
            # A cell whose exponent doubles or more may hide a zero between its nodes, however large it looks.
            open_cells = (most - least > 3) & (2 * least - most < NEGLIGIBLE / 2) | (depth < 4)
            density = np.where(open_cells[:, None], 0.0, np.exp(-potential)) * weights * np.prod(width)
            total += density.sum(), (density * exponent).sum()
            unsettled.append(part[open_cells])
        lower = np.concatenate(unsettled)
        if not lower.size:
            break
        lower = (lower[:, None, :] + width * splits).reshape(-1, dimension)
        width = width / 2
    return float(total[1] / total[0])
