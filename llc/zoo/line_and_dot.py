"""A line and a dot: K = ½((x − 1)(x² + y²)²)², zero on x = 1 and more deeply at 0 (Lau et al. 2023)."""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, scaled_input
from llc.zoo.quadrature import cells


def line_times_dot(params: Any) -> Any:
    """f(x, y) = (x − 1)(x² + y²)².

    >>> line_times_dot(np.array([2.0, 1.0]))
    array([25.])
    """
    x, y = params[..., :1], params[..., 1:]
    return (x - 1) * (x**2 + y**2) ** 2


def line_and_dot(
    at: Sequence[float | int] = (0.0, 0.0), *, n: int = 10_000, simulate: bool = False, rng_key: int = 0
) -> ZooEntry:
    """K at the dot, λ = ¼, or at a point (1, y) of the line, λ = ½; simulated, y = f(w) x + noise.

    >>> line_and_dot(), line_and_dot((1, 0))
    (ZooEntry(line_and_dot(0.0, 0.0): d=2, λ=1/4, m=1), ZooEntry(line_and_dot(1.0, 0.0): d=2, λ=1/2, m=1))

    Args:
        at: (0, 0) or (1, y).
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: K is not zero there.
    """
    point = tuple(float(w) for w in at)
    dot = point == (0.0, 0.0)
    refuse(not dot and (len(point) != 2 or point[0] != 1), f"at={point} is no zero of K; give (0, 0) or (1, y).")
    params = np.array(point, np.float32)
    return build(
        f"line_and_dot({point[0]}, {point[1]})",
        params,
        (Fraction(1, 4) if dot else Fraction(1, 2), 1),
        "Lau et al. 2023",
        excess=HalfSquare(line_times_dot),
        sample=scaled_input(line_times_dot, params),
        quadrature=partial(cells, HalfSquare(line_times_dot), params),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )
