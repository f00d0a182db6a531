"""Where chains begin: further apart than the posterior would put them, so that R̂ can see whether they have met."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.posterior.curvature import diagonal_curvature
from llc.posterior.local_posterior import LocalPosterior

_SHRINK = 0.8
_NEAR = 1 / 16  # of E‖v‖² under the prior
_MOST_SHRINKS = 60


@eqx.filter_jit
def dispersed_starts(posterior: LocalPosterior, keys: Array, highest: Float[Array, ""]) -> Float[Array, "*chains d"]:
    """Draws of N(0, 1/(1 + nβ h_i)) on the diagonal h of the Hessian at w*, in whitened coordinates.

    Coordinates that are flat one by one start at the width of the localising prior, where a chain from w* itself would
    take long to arrive. Together they may be far from flat: a draw is pulled towards w* until nβ ΔL ≤ d/2, the most
    that a posterior around a minimum has in the mean, or `highest` within a quarter of the prior's width: beyond that
    chains might fall into other minima.

    Args:
        posterior: where chains will run.
        keys: a JAX key for each of them.
        highest: in nats.
    """
    # the same one for all chains: it is a scale, not a draw
    curvature = diagonal_curvature(posterior, jax.random.key(0))
    scale = 1 / jnp.sqrt(1.0 + posterior.nbeta * curvature)
    usual = 0.5 * posterior.dimension

    def one(key: Array) -> Float[Array, "d"]:
        v = scale * jax.random.normal(key, (posterior.dimension,))

        def too_high(carry: tuple[Array, Array]) -> Array:
            v, count = carry
            loss, near = posterior.nbeta * posterior.loss_difference(v), jnp.vdot(v, v) <= _NEAR * posterior.dimension
            return ~((loss <= usual) | near & (loss <= highest)) & (count < _MOST_SHRINKS)

        return jax.lax.while_loop(too_high, lambda carry: (_SHRINK * carry[0], carry[1] + 1), (v, jnp.asarray(0)))[0]

    flat = keys.reshape(-1)
    return jax.lax.map(one, flat).reshape(*keys.shape, posterior.dimension)
