"""Deep linear networks f(x) = W_L ⋯ W_1 x (Aoyagi 2024), at their most degenerate optima."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import combinations
from math import prod
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, regression
from llc.zoo.quadrature import eigenvalues, flat, product


@dataclass(frozen=True)
class ProductError:
    """f(W) = W_L ⋯ W_1 − [[I_r, 0], [0, 0]], as one vector."""

    rank: int

    def __call__(self, params: Sequence[Any]) -> Any:
        """f, over any leading axes."""
        total = params[0]
        for layer in params[1:]:
            total = layer @ total
        target = np.zeros(total.shape[-2:], np.float32)
        target[range(self.rank), range(self.rank)] = 1
        return (total - target).reshape(*total.shape[:-2], -1)


def linear_network(
    params: Sequence[Float[Array, "_ _"]], inputs: Float[Array, "batch inputs"]
) -> Float[Array, "batch outputs"]:
    """f(x) = W_L ⋯ W_1 x for each example.

    >>> linear_network([jax.numpy.eye(2), 3 * jax.numpy.ones((1, 2))], jax.numpy.ones((1, 2))).tolist()
    [[6.0]]
    """
    for layer in params:
        inputs = inputs @ layer.T
    return inputs


def deep_linear_coefficient(widths: Sequence[int], rank: int = 0) -> tuple[Fraction, int]:
    """λ and m of K = ½|W_L ⋯ W_1 − W_0|² for a truth of rank r, over widths H_0, …, H_L.

    With M_s = H_s − r, Σ the ℓ + 1 smallest of them for which max_Σ M < min_rest M, ℓ·max_Σ M ≤ Σ_Σ M < ℓ·min_rest M,
    S = Σ_Σ M, a = S − (⌈S/ℓ⌉ − 1) ℓ (Aoyagi 2024, Neural Computation):
    λ = ½(r(H_0 + H_L) − r²) + a(ℓ − a)/(4ℓ) − (ℓ − 1)S²/(4ℓ) + ½ Σ_{i<j∈Σ} M_i M_j,  m = a(ℓ − a) + 1.

    >>> deep_linear_coefficient((4, 4, 4, 4), rank=2)
    (Fraction(15, 2), 3)

    Args:
        widths: H_0 (inputs), hidden widths, H_L (outputs).
        rank: r, of the true product.

    Raises:
        ValueError: there is no layer, a width is not positive, or the rank exceeds the least width.
    """
    refuse(len(widths) < 2 or min(widths) < 1, f"widths={tuple(widths)}: give two or more positive widths.")
    refuse(not 0 <= rank <= min(widths), f"rank={rank} is not between 0 and the least width, {min(widths)}.")
    spare = sorted(width - rank for width in widths)
    chosen = _active(spare)
    layers, total = len(chosen) - 1, sum(chosen)
    a = total - (-(-total // layers) - 1) * layers
    aligned = Fraction(rank * (widths[0] + widths[-1]) - rank**2, 2)
    pairs = Fraction(sum(x * y for x, y in combinations(chosen, 2)), 2)
    correction = Fraction(a * (layers - a), 4 * layers) - Fraction((layers - 1) * total**2, 4 * layers)
    return aligned + correction + pairs, a * (layers - a) + 1


def _active(spare: Sequence[int]) -> Sequence[int]:
    """The widths in Σ: a prefix of the sorted ones, which is unique."""
    for size in range(2, len(spare) + 1):
        layers, total, rest = size - 1, sum(spare[:size]), spare[size:]
        splits_tie = bool(rest) and rest[0] == spare[size - 1]
        if not splits_tie and total >= layers * spare[size - 1] and (not rest or total < layers * rest[0]):
            return spare[:size]
    msg = f"no active set among the widths {spare}; this contradicts Aoyagi (2024), please report it."
    raise RuntimeError(msg)


def deep_linear(
    widths: Sequence[int] = (2, 2, 2, 2),
    rank: int = 0,
    *,
    n: int = 10_000,
    simulate: bool = False,
    rng_key: int = 0,
) -> ZooEntry:
    """K = ½|W_L ⋯ W_1 − W_0|² where every layer is [[I_r, 0], [0, 0]]; simulated, x ~ N(0, I) and unit noise.

    The layers all have the rank of their product. Other optima of the same network may have a larger λ; any rotation
    of the hidden units of this one has the same.

    >>> deep_linear((4, 4, 4, 4), rank=2)
    ZooEntry(deep_linear(4, 4, 4, 4, rank=2): d=48, λ=15/2, m=3)

    Args:
        widths: H_0 (inputs), hidden widths, H_L (outputs).
        rank: r, of the true product.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: as `deep_linear_coefficient`.
    """
    coefficient = deep_linear_coefficient(widths, rank)
    params = [partial_identity(*shape, range(rank)) for shape in zip(widths[1:], widths[:-1], strict=True)]
    return build(
        f"deep_linear({', '.join(map(str, widths))}{f', rank={rank}' if rank else ''})",
        params,
        coefficient,
        "Aoyagi 2024",
        excess=HalfSquare(ProductError(rank)),
        sample=regression(linear_network, params, lambda key, n: jax.random.normal(key, (n, widths[0]))),
        quadrature=None if rank else zero_product_quadrature(widths),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )


def partial_identity(rows: int, columns: int, ones: Sequence[int]) -> Float[np.ndarray, "rows columns"]:
    """The matrix of zeros with ones at the named places of its diagonal.

    >>> partial_identity(2, 3, [0]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    matrix = np.zeros((rows, columns), np.float32)
    matrix[list(ones), list(ones)] = 1
    return matrix


def zero_product_quadrature(widths: Sequence[int]) -> Callable[[float, float], float] | None:
    """λ_n of K = ½|W_L ⋯ W_1|² at 0: for one layer, two (least width ≤ 6), or any number with a width of 1 among them.

    A width of 1 splits the product into chains, and K into a product of independent χ², one a layer.

    >>> zero_product_quadrature((2, 2, 2, 2)) is None
    True
    """
    if len(widths) == 2:
        return partial(flat, prod(widths))
    if len(widths) == 3:
        columns, outputs = sorted((widths[0], widths[2]))
        # Beyond six eigenvalues the Pfaffian's moments are too ill-conditioned for float64.
        return partial(eigenvalues, widths[1], columns, outputs) if min(widths) <= 6 else None
    if min(widths) > 1:
        return None
    around = list(widths)
    around.remove(1)
    return partial(product, [(width, 1, 0.0) for width in around], 1.0)
