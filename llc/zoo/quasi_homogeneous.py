"""Curves with a weighted-homogeneous singularity at 0, K = ½ f(x, y)²: the node, the cusp and their like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, scaled_input
from llc.zoo.quadrature import cells


@dataclass(frozen=True)
class Curve:
    """f(x, y) = x^a + sign·y^b, homogeneous of degree lcm(a, b) for weights lcm/a and lcm/b."""

    powers: tuple[int, int]
    sign: int

    def __call__(self, params: Any) -> Any:
        """f, over any leading axes."""
        x, y = params[..., :1], params[..., 1:]
        if self.powers == (2, 2) and self.sign < 0:
            return (x - y) * (x + y)
        return x ** self.powers[0] + self.sign * y ** self.powers[1]

    @property
    def definite(self) -> bool:
        """Whether 0 is the only real zero."""
        return self.sign > 0 and not any(power % 2 for power in self.powers)


CURVES = {
    "node": Curve((2, 2), -1),
    "cusp": Curve((2, 3), -1),
    "tacnode": Curve((2, 4), -1),
    "x3_plus_y3": Curve((3, 3), 1),
    "x3_plus_y4": Curve((3, 4), 1),
    "x4_plus_y4": Curve((4, 4), 1),
}


def quasi_homogeneous_coefficient(
    weights: Sequence[int | Fraction], degree: int | Fraction, *, definite: bool = False
) -> tuple[Fraction, int]:
    """λ and m at 0 of K = f², f weighted homogeneous with 0 as its only critical point among the reals.

    λ = min(½, Σw_i/(2D)), m = 2 at a tie, if f has other real zeros (Arnold, Gusein-Zade & Varchenko; Watanabe 2009);
    Σw_i/(2D), m = 1, if it has none (K is then definite of degree 2D).

    >>> quasi_homogeneous_coefficient((1, 1), 2), quasi_homogeneous_coefficient((3, 2), 6)  # node, cusp
    ((Fraction(1, 2), 2), (Fraction(5, 12), 1))

    Args:
        weights: w_i > 0 of the coordinates.
        degree: D > 0, f(t^{w_i} x_i) = t^D f(x).
        definite: 0 is the only real zero of f.

    Raises:
        ValueError: a weight or the degree is not positive.
    """
    refuse(
        not weights or min(*weights, degree) <= 0, f"weights={tuple(weights)}, degree={degree}: give positive numbers."
    )
    ratio = sum((Fraction(w) for w in weights), Fraction(0)) / (2 * Fraction(degree))
    if definite:
        return ratio, 1
    return min(Fraction(1, 2), ratio), 2 if ratio == Fraction(1, 2) else 1


def quasi_homogeneous(kind: str = "cusp", *, n: int = 10_000, simulate: bool = False, rng_key: int = 0) -> ZooEntry:
    """K = ½ f(x, y)² at 0; simulated, y = f(w) x + noise.

    >>> quasi_homogeneous("node")
    ZooEntry(quasi_homogeneous(node): d=2, λ=1/2, m=2)

    Args:
        kind: node x² − y², cusp x² − y³, tacnode x² − y⁴, x3_plus_y3, x3_plus_y4 or x4_plus_y4.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: the kind is unknown.
    """
    refuse(kind not in CURVES, f"quasi_homogeneous got kind={kind!r}; choose one of {', '.join(CURVES)}.")
    curve, params = CURVES[kind], np.zeros(2, np.float32)
    a, b = curve.powers
    excess: Callable[[Any], Any] = HalfSquare(curve)
    return build(
        f"quasi_homogeneous({kind})",
        params,
        quasi_homogeneous_coefficient((b, a), a * b, definite=curve.definite),
        "Arnold, Gusein-Zade & Varchenko 1988; Watanabe 2009",
        excess=excess,
        sample=scaled_input(curve, params),
        quadrature=partial(cells, excess, params),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )
