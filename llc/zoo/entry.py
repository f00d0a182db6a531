"""What every family of the zoo gives: a problem, the point it is examined at, and the exact answer there."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from llc.problem import Gaussian, Problem


@dataclass(frozen=True, eq=False, repr=False)
class ZooEntry:
    """A problem whose learning coefficient at one point is known exactly: Z(s) ~ C s^{−λ} (log s)^{m−1}.

    >>> from llc.zoo import regular
    >>> regular(dimension=3)
    ZooEntry(regular(3): d=3, λ=3/2, m=1)

    Args:
        name: the call that makes it.
        problem: its loss and data; the population excess loss is K in both modes.
        params: w*, a zero of K.
        learning_coefficient: λ at w*, exactly.
        multiplicity: m at w*.
        source: where λ and m are proved.
        quadrature: (nβ, γ) ↦ exact λ_n, where it is available.
    """

    name: str
    problem: Problem
    params: PyTree
    learning_coefficient: Fraction
    multiplicity: int
    source: str
    quadrature: Callable[[float, float], float | None] | None = None

    @property
    def dimension(self) -> int:
        """The number d of parameters; λ ≤ d/2."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    def finite_n(self, nbeta: float | int, gamma: float | int) -> float | None:
        """The exact λ_n = nβ·E[K] under exp(−nβ K(w) − γ/2 ‖w − w*‖²) on R^d; None where no quadrature reaches.

        It is None for simulated data as well, whose loss is not K but its average over one sample.

        >>> from llc.zoo import regular
        >>> regular(dimension=3).finite_n(nbeta=300.0, gamma=100.0)
        1.125

        Args:
            nbeta: nβ, the inverse temperature times the number of examples.
            gamma: γ, one for all parameters.

        Raises:
            ValueError: nβ or γ is not a positive number.
        """
        for name, value in (("nbeta", nbeta), ("gamma", gamma)):
            if not (math.isfinite(value) and value > 0):
                msg = (
                    f"finite_n got {name}={value}; it must be a positive number, for K alone is not integrable on R^d."
                )
                raise ValueError(msg)
        return None if self.quadrature is None else self.quadrature(float(nbeta), float(gamma))

    def __repr__(self) -> str:
        return f"ZooEntry({self.name}: d={self.dimension}, λ={self.learning_coefficient}, m={self.multiplicity})"


@dataclass(frozen=True)
class PopulationLoss:
    """Every example's loss is K(w): no sampling noise, so that estimates can be held against `finite_n`."""

    excess: Callable[[Any], Any]

    def __call__(self, params: PyTree, batch: Float[Array, " batch"]) -> Float[Array, " batch"]:
        """K(params), once, for every example of the batch."""
        return jnp.broadcast_to(self.excess(params), batch.shape)


@dataclass(frozen=True)
class HalfSquare:
    """K(w) = ½ |f(w)|², the last axis of f(w) being summed."""

    residual: Callable[[Any], Any]

    def __call__(self, params: PyTree) -> Any:
        """K, over any leading axes that the leaves share."""
        return (self.residual(params) ** 2).sum(-1) / 2


@dataclass(frozen=True)
class ScaledInput:
    """The regression y = f(w) x + noise, x ~ N(0, 1): K = ½ |f(w)|² where the truth is 0."""

    residual: Callable[[Any], Any]

    def __call__(self, params: PyTree, inputs: Float[Array, " batch"]) -> Float[Array, "batch outputs"]:
        """f(params) x for each example."""
        return inputs[:, None] * self.residual(params)


def build(
    name: str,
    params: PyTree,
    coefficient: tuple[Fraction, int],
    source: str,
    *,
    excess: Callable[[Any], Any],
    sample: Callable[[PRNGKeyArray, int], Problem],
    quadrature: Callable[[float, float], float | None] | None = None,
    n: int,
    simulate: bool,
    rng_key: int,
) -> ZooEntry:
    """An entry in either mode: n dummies that all lose K(w), or n examples that `sample(key, n)` draws from the truth.

    >>> import numpy as np
    >>> half_square, point = HalfSquare(lambda w: w), np.zeros(2, np.float32)
    >>> toy = build("toy", point, (Fraction(1), 1), "by hand", excess=half_square,
    ...             sample=scaled_input(half_square.residual, point), n=3, simulate=False, rng_key=0)
    >>> toy.problem.losses(point + 1, toy.problem.data).tolist()
    [1.0, 1.0, 1.0]
    """
    params = jax.tree.map(jnp.asarray, params)
    problem = sample(jax.random.key(rng_key), n) if simulate else Problem(PopulationLoss(excess), jnp.zeros(n))
    return ZooEntry(name, problem, params, *coefficient, source, None if simulate else quadrature)


def regression(
    apply_fn: Callable[[Any, Any], Any], params: PyTree, inputs: Callable[[PRNGKeyArray, int], Any]
) -> Callable[[PRNGKeyArray, int], Problem]:
    """Data of a network with the weights `params` and unit noise on its outputs: K(w) = ½ E|f_w(x) − f_{w*}(x)|².

    >>> import numpy as np
    >>> network = ScaledInput(lambda w: w)
    >>> sample = regression(network, np.zeros(2, np.float32), lambda key, n: jax.random.normal(key, (n,)))
    >>> sample(jax.random.key(0), 5).data[1].shape
    (5, 2)
    """

    def sample(key: PRNGKeyArray, n: int) -> Problem:
        key_inputs, key_noise = jax.random.split(key)
        x = inputs(key_inputs, n)
        mean = apply_fn(jax.tree.map(jnp.asarray, params), x)
        return Problem.supervised(apply_fn, Gaussian(), x, mean + jax.random.normal(key_noise, mean.shape))

    return sample


def scaled_input(residual: Callable[[Any], Any], params: PyTree) -> Callable[[PRNGKeyArray, int], Problem]:
    """Data for a bare K = ½|f(w)|² with f(w*) = 0: y = f(w) x + noise, with x and noise ~ N(0, 1).

    >>> import numpy as np
    >>> scaled_input(lambda w: w, np.zeros(2, np.float32))(jax.random.key(0), 5).n
    5
    """
    return regression(ScaledInput(residual), params, lambda key, n: jax.random.normal(key, (n,)))


def refuse(condition: bool, message: str) -> None:
    """Raise a ValueError with `message` where `condition` holds.

    >>> refuse(False, "never seen")
    """
    if condition:
        raise ValueError(message)
