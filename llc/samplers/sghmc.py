"""Stochastic gradient Hamiltonian Monte Carlo (Chen, Fox & Guestrin 2014, equation 13, with noise estimate B̂ = 0).

    p ← (1 − hC) p − h G^{1/2} ∇Û(v) + √(2hC) ξ,    v ← v + h G^{1/2} p,    ξ ~ N(0, I)

On a quadratic mode of curvature k (of G^{1/2} ∇²U G^{1/2}) and gradient noise of variance N the stationary variance is
exactly (1/k)·(1 + hN / 2C) / (1 − h²k / (4 − 2hC)): noise heats in the first order of h, the step in the second.
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


class SGHMC(StochasticGradientKernel):
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
        v, h, friction = state.position, self.known_step_size(), self.friction
        rng_key, batch_key, noise_key = jax.random.split(state.rng_key, 3)
        gradient, record = look(self, posterior, v, batch_key, state.anchor)
        preconditioner = adapt(state.preconditioner, self.preconditioner, gradient - v, state.warmup_left > 0)
        scale = jnp.sqrt(preconditioner.diagonal)
        noise = jnp.sqrt(2 * h * friction) * jax.random.normal(noise_key, v.shape, v.dtype)
        p = (1 - h * friction) * state.momentum - h * scale * gradient + noise
        v = v + h * scale * p
        return MomentumState(v, *record, p, preconditioner, jnp.maximum(state.warmup_left - 1, 0), rng_key)
