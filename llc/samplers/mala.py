"""The Metropolis-adjusted Langevin algorithm (Roberts & Tweedie 1996), on full-data gradients: exact at any step size.

v' = v − ε/2 ∇U(v) + √ε ξ,   accepted with probability min(1, e^{U(v) − U(v')} q(v | v') / q(v' | v))
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.posterior.gradients import LossEstimate, full_estimate
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.hamiltonian import acceptance
from llc.samplers.kernel import Kernel, start, step_size_leaf, virial
from llc.samplers.langevin import langevin_move, potential_gradient


class MALAState(NamedTuple):
    """A chain after a step: where it stands, what it measures there, and how likely its proposal was accepted."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    accept_prob: Float[Array, ""]
    gradient: Float[Array, "d"]
    rng_key: Array


class MALA(Kernel):
    """MALA.

    Args:
        step_size: ε in whitened coordinates, without unit; a list is a ladder.

    Raises:
        ValueError: the step size is negative.
    """

    step_size: Array = eqx.field(converter=step_size_leaf)

    records_full_loss = True

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> MALAState:
        """The first state of a chain."""
        del num_warmup, model_kwargs
        (posterior,) = model_args
        rng_key, start_key = jax.random.split(rng_key)
        v = start(posterior, start_key, init_params, jnp.sqrt(self.step_size))
        return _state(posterior, v, full_estimate(posterior, v), jnp.ones((), v.dtype), rng_key)

    def sample(self, state: MALAState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> MALAState:
        """One proposal, taken or not."""
        del model_kwargs
        (posterior,) = model_args
        step_size = self.step_size
        rng_key, noise_key, accept_key = jax.random.split(state.rng_key, 3)
        v = langevin_move(state.position, state.gradient, step_size, noise_key)
        proposal = _state(posterior, v, full_estimate(posterior, v), state.accept_prob, rng_key)
        log_ratio = _log_flow(posterior, proposal, state, step_size) - _log_flow(posterior, state, proposal, step_size)
        # where nothing moves the ratio is 0/0; a proposal that is not finite is never taken
        accept_prob = jnp.where(step_size > 0, acceptance(log_ratio), 1.0)
        taken = jax.random.uniform(accept_key) < accept_prob
        kept = state._replace(rng_key=rng_key)
        return jax.tree.map(lambda a, b: jnp.where(taken, a, b), proposal, kept)._replace(accept_prob=accept_prob)

    def evaluations_per_step(self, posterior: LocalPosterior) -> int:
        """Per-example gradients that a step costs."""
        return posterior.n


def _state(
    posterior: LocalPosterior, v: Float[Array, "d"], loss: LossEstimate, accept_prob: Array, rng_key: Array
) -> MALAState:
    gradient = potential_gradient(posterior, v, loss)
    evaluations = jnp.asarray(posterior.n, v.dtype)
    return MALAState(
        v, loss.loss_difference, virial(posterior, v, gradient), evaluations, accept_prob, gradient, rng_key
    )


def _log_flow(posterior: LocalPosterior, here: MALAState, there: MALAState, step_size: Float[Array, ""]) -> Array:
    """log of π(here) q(there | here), up to a constant."""
    potential = posterior.nbeta * here.loss_difference + 0.5 * jnp.vdot(here.position, here.position)
    miss = there.position - here.position + 0.5 * step_size * here.gradient
    return -potential - jnp.vdot(miss, miss) / (2 * step_size)
