"""What kernels with a momentum share: their state, its start, and friction.

Gradient noise of variance N heats them by hN/2C, where SGLD of ε = h² is heated by εN/4: they want full gradients,
large batches or more friction. On a 64-16-10 tanh network trained on digits (λ̂ = 39.5) the full gradient at h = 0.1 is
without bias; batches of 128 with the control variate give 54 at h = 0.05, and 41 with friction 8.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int

from llc.posterior.gradients import Anchor
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import start
from llc.samplers.langevin import StochasticGradientKernel, first_record
from llc.samplers.preconditioner import Preconditioner, first_preconditioner


class MomentumState(NamedTuple):
    """A chain after a step: where it went, with which momentum, and what it measured where it stood.

    The momentum is that of G^{−1/2} v, of unit mass: its law N(0, I) is the same for every preconditioner G.
    """

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    anchor: Anchor | None
    momentum: Float[Array, "d"]
    preconditioner: Preconditioner
    warmup_left: Int[Array, ""]
    rng_key: Array


def first_state(
    kernel: StochasticGradientKernel,
    posterior: LocalPosterior,
    preconditioner: str | Float[Array, "_"],
    rng_key: Array,
    num_warmup: int,
    init_params: Any,
) -> MomentumState:
    """The first state of a chain: near w*, with a momentum of the right temperature."""
    rng_key, start_key, momentum_key = jax.random.split(rng_key, 3)
    v = start(posterior, start_key, init_params, kernel.known_step_size())
    return MomentumState(
        v,
        *first_record(posterior, v, kernel.gradient),
        jax.random.normal(momentum_key, v.shape, v.dtype),
        first_preconditioner(posterior, preconditioner),
        jnp.asarray(num_warmup, jnp.int32),
        rng_key,
    )


def friction_leaf(friction: ArrayLike) -> Any:
    """A friction as an array: a leaf, so that another value does not recompile.

    Raises:
        ValueError: it is not a positive number.
    """
    if isinstance(friction, Tracer):
        return friction
    value = np.asarray(friction, dtype=float)
    if value.ndim != 0 or not (np.isfinite(value) and value > 0):
        msg = f"friction={friction}; it must be a positive number, per unit of whitened time; 1.0 is usual."
        raise ValueError(msg)
    return jnp.asarray(value, jnp.result_type(float))
