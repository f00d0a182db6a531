"""Normal crossings and sums of monomials, whose λ is a linear programme in exact rationals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, scaled_input
from llc.zoo.linear_programme import minimise
from llc.zoo.quadrature import orthant, product


@dataclass(frozen=True)
class Monomials:
    """f_j(w) = √c_j ∏_i w_i^{α_ji}, so that ½|f|² = ½ Σ_j c_j w^{2α_j}.

    >>> Monomials(((1, 2),), (1.0,))(np.array([3.0, 2.0]))
    array([12.])
    """

    exponents: tuple[tuple[int, ...], ...]
    coefficients: tuple[float, ...]

    def __call__(self, params: Any) -> Any:
        """f, over any leading axes."""
        terms = [
            math.sqrt(c) * math.prod(params[..., i] ** power for i, power in enumerate(alpha) if power)
            for alpha, c in zip(self.exponents, self.coefficients, strict=True)
        ]
        return params.__array_namespace__().stack(terms, axis=-1)


def monomial_coefficient(
    exponents: Sequence[int], *, at: Sequence[float | int] | None = None, prior_exponents: Sequence[int] | None = None
) -> tuple[Fraction, int]:
    """λ and m of K = ∏ w_i^{2k_i} under the prior ∏ |w_i|^{h_i}, at a zero w* of K.

    λ = min (h_i + 1)/(2 k_i) over the i with w*_i = 0 (the other factors are units), m = how many attain it
    (Watanabe 2009).

    >>> monomial_coefficient((1, 2)), monomial_coefficient((1, 2), at=(0, 1))
    ((Fraction(1, 4), 1), (Fraction(1, 2), 1))

    Args:
        exponents: k_i ≥ 1.
        at: w*; the origin unless said.
        prior_exponents: h_i ≥ 0; none unless said.

    Raises:
        ValueError: an exponent is out of range, the lengths differ, or K(w*) > 0.
    """
    at = (0.0,) * len(exponents) if at is None else at
    prior = (0,) * len(exponents) if prior_exponents is None else prior_exponents
    lengths = (len(exponents), len(at), len(prior))
    refuse(len(set(lengths)) > 1, f"{lengths} exponents, coordinates and prior exponents: give as many of each.")
    refuse(not exponents or min(exponents) < 1, f"exponents={tuple(exponents)} must be positive integers.")
    refuse(min(prior) < 0, f"prior_exponents={tuple(prior)} must not be negative.")
    refuse(all(at), f"at={tuple(at)} is no zero of K; set at least one coordinate to 0.")
    ratios = [Fraction(h + 1, 2 * k) for k, h, w in zip(exponents, prior, at, strict=True) if w == 0]
    return min(ratios), ratios.count(min(ratios))


def monomial(
    exponents: Sequence[int] = (1, 1),
    *,
    at: Sequence[float | int] | None = None,
    n: int = 10_000,
    simulate: bool = False,
    rng_key: int = 0,
) -> ZooEntry:
    """K = ½ ∏ w_i^{2k_i} at a point of its zero set; simulated, y = (∏ w_i^{k_i}) x + noise.

    >>> monomial((1, 1, 1))
    ZooEntry(monomial(1, 1, 1): d=3, λ=1/2, m=3)

    Args:
        exponents: k_i ≥ 1.
        at: w*; the origin unless said.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: as `monomial_coefficient`.
    """
    coefficient = monomial_coefficient(exponents, at=at)
    place = (0.0,) * len(exponents) if at is None else tuple(float(w) for w in at)
    params, residual = np.array(place, np.float32), Monomials((tuple(exponents),), (1.0,))
    return build(
        f"monomial({', '.join(map(str, exponents))})" + ("" if at is None else f" at {tuple(at)}"),
        params,
        coefficient,
        "Watanabe 2009",
        excess=HalfSquare(residual),
        sample=scaled_input(residual, params),
        quadrature=partial(product, [(1, k, w) for k, w in zip(exponents, place, strict=True)], 1.0),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )


def monomial_sum_coefficient(
    exponents: Sequence[Sequence[int]], *, prior_exponents: Sequence[int] | None = None
) -> tuple[Fraction, int]:
    """λ and m at 0 of K = Σ_j c_j w^{2α_j}, c_j > 0, under the prior ∏ |w_i|^{h_i}.

    λ = min{Σ (1 + h_i) v_i : v ≥ 0, ⟨v, 2α_j⟩ ≥ 1 for all j}, m = 1 + dim of the optimal face (Howald 2001; Lin 2017).
    Terms in disjoint variables add: λ = λ_1 + λ_2, m = m_1 + m_2 − 1.

    >>> monomial_sum_coefficient(((1, 0), (0, 2)))  # x² + y⁴
    (Fraction(3, 4), 1)

    Args:
        exponents: α_j, a row a term.
        prior_exponents: h_i ≥ 0; none unless said.

    Raises:
        ValueError: the rows differ in length, are zero or negative, or the prior does not fit them.
    """
    widths = {len(alpha) for alpha in exponents}
    refuse(len(widths) != 1, f"exponents={exponents}: every term needs one exponent for each variable.")
    refuse(
        any(min(alpha) < 0 or max(alpha) == 0 for alpha in exponents),
        f"exponents={exponents}: every term needs exponents ≥ 0, not all of them 0.",
    )
    dimension = widths.pop()
    cost = [Fraction(1 + h) for h in (prior_exponents or (0,) * dimension)]
    refuse(len(cost) != dimension or min(cost) < 1, f"prior_exponents={prior_exponents}: give {dimension} numbers ≥ 0.")
    least, face = minimise(cost, [[Fraction(2 * k) for k in alpha] for alpha in exponents])
    return least, 1 + face


def monomial_sum(
    exponents: Sequence[Sequence[int]] = ((1, 1, 0), (0, 0, 1)),
    *,
    coefficients: Sequence[float | int] | None = None,
    n: int = 10_000,
    simulate: bool = False,
    rng_key: int = 0,
) -> ZooEntry:
    """K = ½ Σ_j c_j w^{2α_j} at 0; simulated, a regression with one output √c_j w^{α_j} x for each term.

    >>> monomial_sum(((1, 0), (0, 2)))  # ½(x² + y⁴)
    ZooEntry(monomial_sum((1, 0), (0, 2)): d=2, λ=3/4, m=1)

    Args:
        exponents: α_j, a row a term.
        coefficients: c_j > 0; ones unless said.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: as `monomial_sum_coefficient`, or a coefficient is not positive or missing.
    """
    coefficient = monomial_sum_coefficient(exponents)
    scales = tuple(float(c) for c in coefficients or (1.0,) * len(exponents))
    refuse(
        len(scales) != len(exponents) or min(scales) <= 0, f"coefficients={scales}: give a number > 0 for each term."
    )
    residual = Monomials(tuple(tuple(alpha) for alpha in exponents), scales)
    params = np.zeros(len(exponents[0]), np.float32)
    return build(
        f"monomial_sum({', '.join(str(tuple(alpha)) for alpha in exponents)})",
        params,
        coefficient,
        "Howald 2001; Lin 2017",
        excess=HalfSquare(residual),
        sample=scaled_input(residual, params),
        quadrature=_sum_quadrature(residual),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )


def _sum_quadrature(residual: Monomials) -> Callable[[float, float], float] | None:
    alphas = residual.exponents
    dimension, degree = len(alphas[0]), max(map(max, alphas))
    if all(sum(power > 0 for power in column) <= 1 for column in zip(*alphas, strict=True)):
        terms = [
            partial(product, [(1, power, 0.0) for power in alpha if power], c)
            for alpha, c in zip(alphas, residual.coefficients, strict=True)
        ]
        return lambda nbeta, gamma: math.fsum(term(nbeta, gamma) for term in terms)
    return partial(orthant, HalfSquare(residual), dimension, degree) if dimension <= 3 else None
