"""Where chains begin: further apart than the posterior would put them, so that R̂ can see whether they have met."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from llc.posterior.curvature import measured_metric, metric_evaluations
from llc.posterior.ladder import num_rungs, rung
from llc.posterior.local_posterior import LocalPosterior

_SHRINK = 0.8
_MOST_SHRINKS = 60
_LOOKS = 5  # at the metric, each where the last one led to


@eqx.filter_jit
def dispersed_starts(posterior: LocalPosterior, keys: Array) -> Float[Array, "*chains d"]:
    """Draws of N(0, M⁻¹), in whitened coordinates, M the metric where the last such draw was, the first one at w*.

    Directions that are flat one by one start at the width of the localising prior, where a chain from w* itself would
    take long to arrive. Together they may be far from flat: a draw is pulled towards w* until nβ ΔL ≤ d/2, the most
    that a posterior around a minimum has in the mean, and the metric there knows the width of them all together.

    Args:
        posterior: where chains will run; of a ladder, as many of them in each.
        keys: a JAX key for each of them.
    """

    def one(posterior: LocalPosterior, key: Array) -> Float[Array, "d"]:
        def too_high(carry: tuple[Array, Array]) -> Array:
            v, count = carry
            energy = posterior.nbeta * posterior.loss_difference(v)
            return ~(energy <= 0.5 * posterior.dimension) & (count < _MOST_SHRINKS)

        def again(i: Int[Array, ""], v: Float[Array, "d"]) -> Float[Array, "d"]:
            metric_key, noise_key = jax.random.split(jax.random.fold_in(key, i))
            metric = measured_metric(posterior, v[None], 1, metric_key)
            begin = metric.inverse_root(jax.random.normal(noise_key, v.shape, v.dtype)), jnp.asarray(0)
            return jax.lax.while_loop(too_high, lambda carry: (_SHRINK * carry[0], carry[1] + 1), begin)[0]

        return jax.lax.fori_loop(0, _LOOKS, again, jnp.zeros(posterior.dimension))

    flat = keys.reshape(-1)
    rungs = jnp.arange(flat.size) * num_rungs(posterior) // flat.size
    starts = jax.lax.map(lambda where: one(rung(posterior, where[0]), where[1]), (rungs, flat))
    return starts.reshape(*keys.shape, posterior.dimension)


def starts_evaluations(posterior: LocalPosterior) -> int:
    """Gradients of one example that a start costs, its looks at the metric, beside a few losses."""
    return _LOOKS * metric_evaluations(posterior)
