"""Diagonal preconditioners G, in units of the prior's curvature: G ≤ 1, and G = 1 where the loss is flat.

    rmsprop    G = 1 / (1 + √s),   s the mean of (nβ ∂L)² over about the last 100 steps of warm-up     Li et al. 2016
    adam       the same over about 1000 steps                                                     Kingma & Ba 2015
    curvature  G = 1 / (1 + nβ max(0, ∂²L)) at w*
    identity   G = 1

The mean s is of the loss's gradient alone (Hitchcock & Hoogland 2025) and corrected for its start at 0; at equilibrium
it is about nβ ∂²L, and the variance of the gradient's noise. It adapts in warm-up and is frozen thereafter: the target
is then exact without the term in ∂G/∂v that Li et al. drop. Adam's other average, of the drift, would heat a mode of
curvature k by a factor of about 1 + 5 ε k and is left out; a kernel with momentum has it at the right temperature.

As G ≤ 1, a step size that is stable without a preconditioner is stable with it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

from llc.posterior.curvature import diagonal_curvature
from llc.posterior.local_posterior import LocalPosterior

_DECAY = {"rmsprop": 0.99, "adam": 0.999}
_LEAST_WEIGHT = 1e-6  # less than that of one gradient; with none the moment is 0, and G = 1
PRECONDITIONERS = (*_DECAY, "curvature", "identity")


class Preconditioner(NamedTuple):
    """G as it was given, or where it adapts the moving sum of (nβ ∂L)² and of its weights."""

    given: Float[Array, "*chains _"] | None
    moment: Float[Array, "*chains d"] | None = None
    weight: Float[Array, "*chains"] | None = None

    @property
    def diagonal(self) -> Float[Array, "*chains _"]:
        """G of each coordinate, or one number for all of them."""
        if self.given is not None:
            return self.given
        assert self.moment is not None
        assert self.weight is not None
        weight = jnp.maximum(self.weight, _LEAST_WEIGHT)[..., None]
        return 1.0 / (1.0 + jnp.sqrt(self.moment / weight))


def preconditioner_leaf(preconditioner: str | ArrayLike | Sequence[float]) -> Any:
    """A known name, or a diagonal as an array.

    Raises:
        ValueError: the name is unknown, or the diagonal is not one of positive numbers.
    """
    if isinstance(preconditioner, Tracer) or (isinstance(preconditioner, str) and preconditioner in PRECONDITIONERS):
        return preconditioner
    allowed = f"one of {', '.join(PRECONDITIONERS)}, or an array of d positive numbers"
    if preconditioner is None or isinstance(preconditioner, str):
        msg = f"preconditioner={preconditioner!r}; it must be {allowed}."
        raise ValueError(msg)
    diagonal = np.asarray(preconditioner, dtype=float)
    if diagonal.ndim != 1 or diagonal.size == 0 or not (np.isfinite(diagonal).all() and (diagonal > 0).all()):
        came = f"of shape {list(diagonal.shape)} whose least entry is {diagonal.min(initial=np.inf):g}"
        msg = f"preconditioner is an array {came}; it must be {allowed}."
        raise ValueError(msg)
    return jnp.asarray(diagonal, jnp.result_type(float))


def first_preconditioner(posterior: LocalPosterior, preconditioner: str | Float[Array, "_"]) -> Preconditioner:
    """The preconditioner that a chain starts with.

    Raises:
        ValueError: a fixed diagonal has not as many entries as there are free parameters.
    """
    d = posterior.dimension
    if not isinstance(preconditioner, str):
        if preconditioner.shape != (d,):
            msg = f"preconditioner has {preconditioner.size} entries; give one for each of the d={d} free parameters."
            raise ValueError(msg)
        return Preconditioner(preconditioner)
    if preconditioner == "curvature":
        # a key of its own: the same for all chains, which then share the work
        return Preconditioner(1.0 / (1.0 + posterior.nbeta * diagonal_curvature(posterior, jax.random.key(0))))
    if preconditioner == "identity":
        return Preconditioner(jnp.ones(1))
    return Preconditioner(None, jnp.zeros(d), jnp.zeros(()))


def adapt(
    state: Preconditioner,
    preconditioner: str | Float[Array, "_"],
    loss_gradient: Float[Array, "d"],
    warming: Bool[Array, ""],
) -> Preconditioner:
    """Take in one more nβ ∇L; outside warm-up, nothing changes."""
    if state.moment is None or state.weight is None:
        return state
    decay = _DECAY[str(preconditioner)]
    moment = decay * state.moment + (1 - decay) * jnp.square(loss_gradient)
    moved = Preconditioner(None, moment, decay * state.weight + (1 - decay))
    return jax.tree.map(lambda new, old: jnp.where(warming, new, old), moved, state)
