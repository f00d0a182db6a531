"""A circle of optima: K = ½(x² + y² − ¼)² is Morse–Bott, one half for the one direction off the circle."""

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from llc.zoo.entry import HalfSquare, ZooEntry, build, scaled_input
from llc.zoo.quadrature import cells


def off_circle(params: Any) -> Any:
    """f(x, y) = x² + y² − ¼.

    >>> off_circle(np.array([0.5, 1.0]))
    array([1.])
    """
    x, y = params[..., :1], params[..., 1:]
    return (x - 0.5) * (x + 0.5) + y**2


def circle(*, n: int = 10_000, simulate: bool = False, rng_key: int = 0) -> ZooEntry:
    """K = ½(x² + y² − ¼)² at (½, 0): λ = codimension/2 = ½, m = 1; simulated, y = f(w) x + noise.

    >>> circle()
    ZooEntry(circle(): d=2, λ=1/2, m=1)

    Args:
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.
    """
    params = np.array([0.5, 0.0], np.float32)
    return build(
        "circle()",
        params,
        (Fraction(1, 2), 1),
        "Morse–Bott: codimension/2",
        excess=HalfSquare(off_circle),
        sample=scaled_input(off_circle, params),
        quadrature=partial(cells, HalfSquare(off_circle), params),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )
