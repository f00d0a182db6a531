"""One ReLU unit, f(x) = a·relu(b·x), with x ~ U[−1, 1]^N or U[0, 1]^N."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, regression
from llc.zoo.quadrature import cells, panels, product

Kind = Literal["zero_symmetric", "zero_positive", "active"]
KINDS = ("zero_symmetric", "zero_positive", "active")


@dataclass(frozen=True)
class ReluError:
    """f_w − f_{w*} at the Gauss–Legendre nodes of x, times the root of their weights.

    On a line these are exact; in several dimensions the nodes are the inputs' law, and λ is the same.
    """

    kind: str
    inputs: int

    def __call__(self, params: Any) -> Any:
        """The errors at all nodes, over any leading axes."""
        a, b = params["a"], params["b"]
        xp = b.__array_namespace__()
        x, mass = (xp.asarray(array, dtype=b.dtype) for array in input_nodes(self.kind, self.inputs))
        outputs = a[..., None] * xp.maximum(b @ x.T, 0.0)
        truth = xp.maximum(x[:, 0], 0.0) if self.kind == "active" else 0.0
        return (outputs - truth) * mass**0.5


def input_nodes(kind: str, inputs: int) -> tuple[Float[np.ndarray, "nodes inputs"], Float[np.ndarray, " nodes"]]:
    """Tensor Gauss–Legendre nodes of U[−1, 1]^N, or U[0, 1]^N for zero_positive; never on a kink of the truth.

    >>> x, mass = input_nodes("active", 1)
    >>> round(float(mass @ np.maximum(x[:, 0], 0) ** 2), 12) == round(1 / 6, 12)
    True
    """
    node, weight = panels(np.array([0.0 if kind == "zero_positive" else -1.0, 1.0]), 8)
    x = np.stack(np.meshgrid(*[node] * inputs, indexing="ij"), -1).reshape(-1, inputs)
    mass = np.prod(np.meshgrid(*[weight / weight.sum()] * inputs, indexing="ij"), axis=0)
    return x, mass.ravel()


def relu_network(params: PyTree[Float[Array, "..."]], inputs: Float[Array, "batch inputs"]) -> Float[Array, " batch"]:
    """f(x) = a·relu(b·x) for each example.

    >>> relu_network({"a": jax.numpy.array(2.0), "b": jax.numpy.ones(1)}, jax.numpy.array([[3.0], [-3.0]])).tolist()
    [6.0, 0.0]
    """
    return params["a"] * jax.nn.relu(inputs @ params["b"])


def relu_coefficient(kind: Kind, *, inputs: int = 1) -> tuple[Fraction, int]:
    """λ and m of f = a·relu(b·x).

    zero_symmetric, truth 0 at 0, x symmetric:  K ≍ a²|b|²,  λ = ½, m = 2 if N = 1 else 1.
    zero_positive, truth 0 at 0, x ≥ 0:  the unit is dead on a region of positive volume,  λ = 0, m = 1.
    active, a truth a_0·relu(b_0·x) ≠ 0:  only the scale moves between layers,  λ = (d − 1)/2 = N/2, m = 1.

    >>> relu_coefficient("active", inputs=3)
    (Fraction(3, 2), 1)

    Args:
        kind: the law of x and the truth.
        inputs: N.

    Raises:
        ValueError: the kind is unknown, or N is not positive.
    """
    refuse(kind not in KINDS, f"relu got kind={kind!r}; choose one of {', '.join(KINDS)}.")
    refuse(inputs < 1, f"inputs={inputs}: give a positive number.")
    if kind == "active":
        return Fraction(inputs, 2), 1
    if kind == "zero_positive":
        return Fraction(0), 1
    return Fraction(1, 2), 2 if inputs == 1 else 1


def relu(
    kind: Kind = "zero_symmetric", *, inputs: int = 1, n: int = 10_000, simulate: bool = False, rng_key: int = 0
) -> ZooEntry:
    """K = ½ E|f_w(x) − f_{w*}(x)|² at the truth 0, of `active` max(x_1, 0); simulated, y = f_{w*}(x) + noise.

    >>> relu("zero_positive")
    ZooEntry(relu(zero_positive): d=2, λ=0, m=1)

    Args:
        kind: zero_symmetric, zero_positive or active.
        inputs: N ≤ 4.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: as `relu_coefficient`, or N > 4.
    """
    coefficient = relu_coefficient(kind, inputs=inputs)
    refuse(inputs > 4, f"inputs={inputs}: K is a quadrature in at most 4.")
    b = np.zeros(inputs, np.float32)
    b[0] = kind == "active"
    params = {"a": np.array(kind == "active", np.float32), "b": b}
    least = 0.0 if kind == "zero_positive" else -1.0

    def sample_inputs(key: PRNGKeyArray, n: int) -> Float[Array, "n inputs"]:
        return jax.random.uniform(key, (n, inputs), minval=least)

    return build(
        f"relu({kind}{f', inputs={inputs}' if inputs > 1 else ''})",
        params,
        coefficient,
        "K by hand; Watanabe 2009",
        excess=HalfSquare(ReluError(kind, inputs)),
        sample=regression(relu_network, params, sample_inputs),
        quadrature=_quadrature(kind, params),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )


def _quadrature(kind: str, params: PyTree) -> Callable[[float, float], float | None] | None:
    inputs = params["b"].size
    if kind == "zero_symmetric":  # K = a²|b|²/12
        return partial(product, [(1, 1, 0.0), (inputs, 1, 0.0)], 1 / 6)
    if inputs > 1:
        return None
    if kind == "zero_positive":  # K = a²b²/6 for b > 0, else 0
        return partial(product, [(1, 1, 0.0), (1, 1, 0.0)], 1 / 3, flat_mass=0.5)
    return partial(cells, HalfSquare(ReluError(kind, 1)), params)
