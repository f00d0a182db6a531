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

import jax.numpy as jnp

from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.langevin import step_keys
from llc.samplers.momentum import MomentumKernel, MomentumState
from llc.samplers.noise import standard_normal


class UnderdampedLangevin(MomentumKernel):
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

    def sample(self, state: MomentumState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> MomentumState:
        """One step."""
        del model_kwargs
        (posterior,) = model_args
        v, h = state.position, self.known_step_size()
        rng_key, batch_keys, noise_key = step_keys(posterior, state.rng_key)
        push = self.push(posterior, state, batch_keys)
        p = state.momentum - h * push.force
        v = v + 0.5 * h * push.scale * p
        spread = jnp.sqrt(-jnp.expm1(-2 * h * self.friction))
        p = jnp.exp(-h * self.friction) * p + spread * standard_normal(noise_key, v)
        v = v + 0.5 * h * push.scale * p
        return MomentumState(v, *push.record, p, push.preconditioner, push.warmup_left, rng_key)
