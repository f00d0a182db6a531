"""The steps that Langevin kernels share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.posterior.gradients import LossEstimate
from llc.posterior.local_posterior import LocalPosterior


def potential_gradient(posterior: LocalPosterior, v: Float[Array, "d"], loss: LossEstimate) -> Float[Array, "d"]:
    """∇U = nβ ∇L + v."""
    return posterior.nbeta * loss.gradient + v


def langevin_move(
    v: Float[Array, "d"], gradient: Float[Array, "d"], step_size: Float[Array, ""], rng_key: Array
) -> Float[Array, "d"]:
    """v − ε/2 ∇U + √ε ξ."""
    return v - 0.5 * step_size * gradient + jnp.sqrt(step_size) * jax.random.normal(rng_key, v.shape, v.dtype)
