"""Stochastic gradient Hamiltonian Monte Carlo (Chen, Fox & Guestrin 2014, equation 13, with noise estimate B̂ = 0).

    p ← (1 − hC) p − h G^{1/2} ∇Û(v) + √(2hC) ξ,    v ← v + h G^{1/2} p,    ξ ~ N(0, I)

On a quadratic mode of curvature k (of G^{1/2} ∇²U G^{1/2}) and gradient noise of variance N the stationary variance is
exactly (1/k)·(1 + hN / 2C) / (1 − h²k / (4 − 2hC)): noise heats in the first order of h, the step in the second.
"""

from typing import Any

import jax.numpy as jnp

from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.langevin import step_keys
from llc.samplers.momentum import MomentumKernel, MomentumState
from llc.samplers.noise import standard_normal


class SGHMC(MomentumKernel):
    """SGHMC.

    Args:
        step_size: the time step h in whitened coordinates at unit mass, without unit: stable while
            h² (1 + nβ h̃_max) < 4 − 2hC. Against SGLD's ε it is √ε.
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
        v, h, friction = state.position, self.known_step_size(), self.friction
        rng_key, batch_keys, noise_key = step_keys(posterior, state.rng_key)
        push = self.push(posterior, state, batch_keys)
        noise = jnp.sqrt(2 * h * friction) * standard_normal(noise_key, v)
        p = (1 - h * friction) * state.momentum - h * push.force + noise
        v = v + h * push.scale * p
        return MomentumState(v, *push.record, p, push.preconditioner, push.warmup_left, rng_key)
