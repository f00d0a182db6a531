"""Preconditioned SGLD (Li, Chen, Carlson & Carin 2016):  v ← v − ε/2 G ∇Û(v) + √(εG) ξ,  ξ ~ N(0, I), diagonal G.

G adapts in warm-up and is frozen thereafter. On a quadratic whose mode i has curvature h, along a coordinate, and
gradient noise of variance c/B, the stationary variance is exactly (1/h)·(1 + ε G (nβ)² c / 4B) / (1 − εGh/4); in
general the chain is stable while ε times the largest eigenvalue of G^{1/2} ∇²U G^{1/2} is below 4.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from llc.posterior.gradients import Anchor
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import start, step_size_leaf
from llc.samplers.langevin import StochasticGradientKernel, first_record, langevin_move, look, step_keys
from llc.samplers.preconditioner import Preconditioner, adapt, first_preconditioner, preconditioner_leaf


class PreconditionedSGLDState(NamedTuple):
    """A chain after a step: where it went, and what it measured where it stood."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    anchor: Anchor | None
    preconditioner: Preconditioner
    warmup_left: Int[Array, ""]
    rng_key: Array


class PreconditionedSGLD(StochasticGradientKernel):
    """SGLD with a diagonal preconditioner, for losses whose coordinates differ in scale.

    Args:
        step_size: ε in whitened coordinates, without unit: that of SGLD, for G = 1 where the loss is flat.
        gradient: "control_variate" at w*, "anchored" (refreshed every epoch), "minibatch", or "full".
        preconditioner: "rmsprop", "adam", "curvature", "identity", or d positive numbers, the diagonal itself.

    Raises:
        ValueError: the step size is negative, a name unknown, or the diagonal not positive.
    """

    step_size: Array | None = eqx.field(converter=step_size_leaf, default=None)
    gradient: str = eqx.field(static=True, default="control_variate")
    preconditioner: Any = eqx.field(converter=preconditioner_leaf, default="rmsprop")

    stability = "4 / (1 + nβ·curvature)"

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> PreconditionedSGLDState:
        """The first state of a chain."""
        del model_kwargs
        (posterior,) = model_args
        rng_key, start_key = jax.random.split(rng_key)
        v = start(posterior, start_key, init_params, jnp.sqrt(self.known_step_size()))
        return PreconditionedSGLDState(
            v,
            *first_record(posterior, v, self.gradient),
            first_preconditioner(posterior, self.preconditioner),
            jnp.asarray(num_warmup, jnp.int32),
            rng_key,
        )

    def sample(
        self, state: PreconditionedSGLDState, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> PreconditionedSGLDState:
        """One step."""
        del model_kwargs
        (posterior,) = model_args
        rng_key, batch_keys, noise_key = step_keys(posterior, state.rng_key)
        gradient, record = look(self, posterior, state.position, batch_keys, state.anchor)
        loss_gradient = gradient - state.position
        preconditioner = adapt(state.preconditioner, self.preconditioner, loss_gradient, state.warmup_left > 0)
        v = langevin_move(state.position, gradient, self.known_step_size(), noise_key, preconditioner.diagonal)
        return PreconditionedSGLDState(v, *record, preconditioner, jnp.maximum(state.warmup_left - 1, 0), rng_key)
