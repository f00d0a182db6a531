"""Underdamped Langevin dynamics by the splitting BAOA, one gradient a step (Leimkuhler & Matthews 2013).

    B  p ← p − h G^{1/2} ∇Û(v)
    A  v ← v + h/2 G^{1/2} p
    O  p ← e^{−hC} p + √(1 − e^{−2hC}) ξ,   ξ ~ N(0, I)
    A  v ← v + h/2 G^{1/2} p

Its positions are those of BAOAB, half a kick B being moved from the end of a step to the next. On a quadratic mode of
curvature k (of G^{1/2} ∇²U G^{1/2}) and gradient noise of variance N their stationary variance is exactly
(1/k)·(1 + h²N coth(hC/2) / (4 − h²k)): without noise it has no bias at all.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import step_size_leaf
from llc.samplers.langevin import StochasticGradientKernel, look
from llc.samplers.momentum import MomentumState, first_state, friction_leaf
from llc.samplers.preconditioner import adapt, preconditioner_leaf


class UnderdampedLangevin(StochasticGradientKernel):
    """Underdamped Langevin dynamics.

    Args:
        step_size: the time step h in whitened coordinates at unit mass, without unit: stable while
            h² (1 + nβ h̃_max) < 4. Against SGLD's ε it is √ε.
        gradient: "control_variate" at w*, "anchored" (refreshed every epoch), "minibatch", or "full".
        friction: C per unit of time. At 1 the energy of the flattest mode, of curvature 1, decorrelates the fastest;
            more of it damps what gradient noise heats.
        preconditioner: "identity", "rmsprop", "adam", "curvature", or d positive numbers: G, the inverse mass.

    Raises:
        ValueError: the step size is negative, the friction not positive, or a name unknown.
    """

    step_size: Array | None = eqx.field(converter=step_size_leaf, default=None)
    gradient: str = eqx.field(static=True, default="control_variate")
    friction: Array = eqx.field(converter=friction_leaf, default=1.0)
    preconditioner: Any = eqx.field(converter=preconditioner_leaf, default="identity")

    stability = "2 / √(1 + nβ·curvature)"

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> MomentumState:
        """The first state of a chain."""
        del model_kwargs
        (posterior,) = model_args
        return first_state(self, posterior, self.preconditioner, rng_key, num_warmup, init_params)

    def sample(self, state: MomentumState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> MomentumState:
        """One step."""
        del model_kwargs
        (posterior,) = model_args
        v, h = state.position, self.known_step_size()
        rng_key, batch_key, noise_key = jax.random.split(state.rng_key, 3)
        gradient, record = look(self, posterior, v, batch_key, state.anchor)
        preconditioner = adapt(state.preconditioner, self.preconditioner, gradient - v, state.warmup_left > 0)
        scale = jnp.sqrt(preconditioner.diagonal)
        p = state.momentum - h * scale * gradient
        v = v + 0.5 * h * scale * p
        spread = jnp.sqrt(-jnp.expm1(-2 * h * self.friction))
        p = jnp.exp(-h * self.friction) * p + spread * jax.random.normal(noise_key, v.shape, v.dtype)
        v = v + 0.5 * h * scale * p
        return MomentumState(v, *record, p, preconditioner, jnp.maximum(state.warmup_left - 1, 0), rng_key)
