"""Three-layer perceptrons f(x) = Σ_h a_h tanh(b_h x) with no bias and nothing to learn (Aoyagi & Watanabe 2006)."""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import factorial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, regression
from llc.zoo.quadrature import REACH, linear, panels

NODES, WEIGHTS = panels(np.array([-1.0, 1.0]), 32)


@dataclass(frozen=True)
class TanhOutputs:
    """f at the Gauss–Legendre nodes of x ~ U[−1, 1] times the root of their weights: |f|² = E|f_w(x)|²."""

    def __call__(self, params: Any) -> Any:
        """The outputs at all nodes as one vector, over any leading axes."""
        a, b = params["a"], params["b"]
        xp = b.__array_namespace__()
        hidden = xp.tanh(b[..., None] * xp.asarray(NODES, dtype=b.dtype))
        outputs = a @ hidden * xp.asarray(np.sqrt(WEIGHTS / 2), dtype=b.dtype)
        return outputs.reshape(*outputs.shape[:-2], -1)


def tanh_network(params: PyTree[Float[Array, "..."]], inputs: Float[Array, " batch"]) -> Float[Array, "batch outputs"]:
    """f(x) = Σ_h a_h tanh(b_h x) for each example.

    >>> tanh_network({"a": jnp.ones((1, 1)), "b": jnp.zeros(1)}, jnp.ones(1)).tolist()
    [[0.0]]
    """
    return jnp.tanh(inputs[:, None] * params["b"]) @ params["a"].T


def tanh_coefficient(hidden: int, outputs: int = 1) -> tuple[Fraction, int]:
    """λ and m at the truth 0 with H units and M outputs, from singularities of Vandermonde type.

    λ = (Mk(k + 1) + H)/(4k + 2) with k = max{i ≥ 0 : H ≥ M i²}; m = 2 where H = M k² (Aoyagi & Watanabe 2006;
    Aoyagi 2010). One output: (H + k² + k)/(4k + 2), k = ⌊√H⌋.

    >>> [tanh_coefficient(hidden)[0] for hidden in (1, 2, 3, 4)]
    [Fraction(1, 2), Fraction(2, 3), Fraction(5, 6), Fraction(1, 1)]

    Args:
        hidden: H.
        outputs: M.

    Raises:
        ValueError: either is not positive.
    """
    refuse(min(hidden, outputs) < 1, f"hidden={hidden}, outputs={outputs}: give a positive number of each.")
    k = 0
    while hidden >= outputs * (k + 1) ** 2:
        k += 1
    return Fraction(outputs * k * (k + 1) + hidden, 2 * (1 + 2 * k)), 2 if hidden == outputs * k**2 else 1


def tanh(hidden: int = 1, outputs: int = 1, *, n: int = 10_000, simulate: bool = False, rng_key: int = 0) -> ZooEntry:
    """A perceptron of H units at 0 with K = ½ E|f_w(x)|², x ~ U[−1, 1]; simulated, y = noise.

    >>> tanh(2)
    ZooEntry(tanh(2): d=4, λ=2/3, m=1)

    Args:
        hidden: H units.
        outputs: M.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: as `tanh_coefficient`.
    """
    coefficient = tanh_coefficient(hidden, outputs)
    params = {"a": np.zeros((outputs, hidden), np.float32), "b": np.zeros(hidden, np.float32)}
    return build(
        f"tanh({hidden}{f', outputs={outputs}' if outputs > 1 else ''})",
        params,
        coefficient,
        "Aoyagi & Watanabe 2006; Aoyagi 2010",
        excess=HalfSquare(TanhOutputs()),
        sample=regression(tanh_network, params, lambda key, n: jax.random.uniform(key, (n,), minval=-1.0)),
        quadrature=partial(tanh_finite_n, hidden, outputs) if hidden <= 3 else None,
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )


def tanh_finite_n(hidden: int, outputs: int, nbeta: float, gamma: float) -> float:
    """λ_n: the a_h in closed form, the b_h on a grid in log b_h; their signs and order do not matter.

    >>> round(tanh_finite_n(1, 1, nbeta=1085.736205, gamma=1.0), 5)
    0.37087

    Args:
        hidden: H ≤ 3.
        outputs: M.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
    """
    step, tail = (0.05, 14) if hidden < 3 else (0.1, 9)
    b = np.exp(np.arange(-tail - abs(np.log(nbeta / gamma)) / 2, np.log(REACH), step)) / np.sqrt(gamma)
    features = np.tanh(b[:, None] * NODES) * np.sqrt(WEIGHTS / 2)
    gram, log_weight = features @ features.T, np.log(b) - gamma / 2 * b**2
    index = np.indices([b.size] * hidden).reshape(hidden, -1).T
    index = index[(np.diff(index, axis=1) >= 0).all(axis=1)]
    ties = (np.diff(index, axis=1) == 0).sum(axis=1)  # of H ≤ 3: none, a pair, or all three
    orders = factorial(hidden) / np.array([1, 2, 6])[ties]
    log_weights = log_weight[index].sum(axis=1) + np.log(orders)
    squares = np.maximum(np.linalg.eigvalsh(gram[index[:, :, None], index[:, None, :]]), 0.0)
    nothing = np.zeros(1)
    return linear(log_weights, squares, nbeta, gamma, error=nothing, misfit=nothing, copies=outputs)
