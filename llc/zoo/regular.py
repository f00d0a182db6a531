"""Regular models, K = ½|w|²: every parameter counts, λ = d/2 (Watanabe 2009)."""

from fractions import Fraction
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, regression
from llc.zoo.quadrature import flat


def identity(params: Any) -> Any:
    """f(w) = w.

    >>> identity(2.0)
    2.0
    """
    return params


def inner_product(params: Float[Array, " dim"], inputs: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
    """f_w(x) = w·x.

    >>> inner_product(jax.numpy.ones(2), jax.numpy.ones((1, 2))).tolist()
    [2.0]
    """
    return inputs @ params


def regular(dimension: int = 3, *, n: int = 10_000, simulate: bool = False, rng_key: int = 0) -> ZooEntry:
    """K = ½|w|² at 0, the linear regression y = w·x + noise with x ~ N(0, I): λ = d/2, m = 1.

    >>> regular(4).learning_coefficient
    Fraction(2, 1)

    Args:
        dimension: d.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: the dimension is not positive.
    """
    refuse(dimension < 1, f"regular(dimension={dimension}): a model needs parameters; give a dimension of 1 or more.")
    params = np.zeros(dimension, np.float32)
    return build(
        f"regular({dimension})",
        params,
        (Fraction(dimension, 2), 1),
        "Watanabe 2009",
        excess=HalfSquare(identity),
        sample=regression(inner_product, params, lambda key, n: jax.random.normal(key, (n, dimension))),
        quadrature=partial(flat, dimension),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )
