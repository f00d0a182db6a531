"""How tightly the posterior is held around the checkpoint: one γ a leaf."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from llc.posterior.devices import to_host

_NEGLIGIBLE = 1e-24  # of the largest leaf's mean square: to be taken for a leaf of zeros


@dataclass(frozen=True)
class Relative:
    """γ_l = 1 / (radius² · mean(w*_l²)): flat directions of a leaf wander by `radius` times its root mean square.

    It needs no unit and makes λ̂ invariant under the layer rescalings of ReLU networks. A leaf of zeros takes the mean
    square of the others; where all are zero, γ = 1/radius².

    >>> Relative().resolve([jnp.array([0.1, -0.1]), jnp.zeros(3)]).round(2).tolist()
    [100.0, 100.0]
    """

    radius: float | int = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.radius) and self.radius > 0):
            msg = f"Relative(radius={self.radius}): the radius must be a positive number; 1.0 is the default."
            raise ValueError(msg)

    def resolve(self, center: PyTree) -> Float[Array, "leaves"]:
        """γ of each leaf."""
        leaves = [to_host(leaf).astype(np.float64) for leaf in jax.tree.leaves(center)]
        squares = np.array([np.square(leaf).sum() for leaf in leaves])
        sizes = np.array([leaf.size for leaf in leaves])
        mean_squares = squares / np.maximum(sizes, 1)
        nonzero = mean_squares > max(_NEGLIGIBLE * mean_squares.max(), np.finfo(np.float32).tiny)
        others = squares[nonzero].sum() / sizes[nonzero].sum() if nonzero.any() else 1.0
        mean_squares = np.where(nonzero, mean_squares, others)
        return jnp.asarray(1.0 / (self.radius**2 * mean_squares), jnp.result_type(float))


@dataclass(frozen=True)
class PerLeaf:
    """γ of each leaf as numbers, in the order of the tree: the same whatever the checkpoint.

    >>> PerLeaf((100.0, 1.0)).resolve([jnp.array([0.1, -0.1]), jnp.zeros(3)]).tolist()
    [100.0, 1.0]
    """

    values: tuple[float | int, ...]

    def __post_init__(self) -> None:
        if not all(np.isfinite(value) and value > 0 for value in self.values):
            msg = f"PerLeaf({self.values}): every γ must be a positive number (nats per squared weight)."
            raise ValueError(msg)

    def resolve(self, center: PyTree) -> Float[Array, "leaves"]:
        """γ of each leaf.

        Raises:
            ValueError: the params have another number of leaves.
        """
        leaves = len(jax.tree.leaves(center))
        if leaves != len(self.values):
            msg = f"localization holds {len(self.values)} γ for {leaves} leaves of the params; give one for each."
            raise ValueError(msg)
        return jnp.asarray(self.values, jnp.result_type(float))


Localization = float | int | Relative | PerLeaf


def scaled(localization: Localization, factor: float | int) -> Localization:
    """The same rule with every γ multiplied.

    >>> scaled(Relative(), 4.0)
    Relative(radius=0.5)
    """
    if isinstance(localization, Relative):
        return Relative(float(localization.radius) / math.sqrt(factor))
    if isinstance(localization, PerLeaf):
        return PerLeaf(tuple(value * factor for value in localization.values))
    return float(localization) * factor


def resolve_localization(localization: Localization, center: PyTree) -> Float[Array, "leaves"]:
    """γ of each leaf, from a number for all of them or a rule.

    Raises:
        ValueError: γ is not a positive number.
    """
    if isinstance(localization, Relative | PerLeaf):
        return localization.resolve(center)
    if not (np.ndim(localization) == 0 and np.isfinite(localization) and localization > 0):
        msg = (
            f"localization={localization!r}; it must be a positive number γ (nats per squared weight) or "
            "llc.Relative(radius). γ = 0 has no normalised posterior: use a small γ instead."
        )
        raise ValueError(msg)
    return jnp.full(len(jax.tree.leaves(center)), localization, jnp.result_type(float))
