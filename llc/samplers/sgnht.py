"""The stochastic gradient Nosé–Hoover thermostat (Ding et al. 2014), in the splitting of Leimkuhler & Shang (2016).

    B  p ← p − h G^{1/2} ∇Û(v)
    A  v ← v + h/2 G^{1/2} p
    D  c ← c + h/2 (p² − 1)
    O  p ← e^{−hc} p + √(C (1 − e^{−2hc}) / c) ξ,   ξ ~ N(0, I)
    D, A  as before

The friction c of each coordinate has its own thermostat (Li, Chen, Fan & Carin 2016): a single one holds only the mean
temperature, and gradient noise differs between coordinates. Noise of variance N makes c about C + hN/2 instead of
heating. For a constant c, the stationary variance of a quadratic mode of curvature k (of G^{1/2} ∇²U G^{1/2}) is
(1/k)·(1 − h²N tanh(hc/2) / (4 − h²k)), where without a thermostat it would be about (1/k)·(1 + hN/2C). Thermostats
settle in about c units of time.

Noise that is correlated between coordinates, as that of minibatches mostly is, keeps heating stiff directions at the
expense of flat ones: thermostats then hold the virial at d while λ̂ is too high, so that the virial tests nothing here;
compare two step sizes.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from llc.posterior.gradients import Anchor
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.langevin import step_keys
from llc.samplers.momentum import MomentumKernel, MomentumState
from llc.samplers.noise import standard_normal
from llc.samplers.preconditioner import Preconditioner


class SGNHTState(NamedTuple):
    """A chain after a step: where it went, with which momentum and frictions, and what it measured where it stood."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    anchor: Anchor | None
    momentum: Float[Array, "d"]
    preconditioner: Preconditioner
    warmup_left: Int[Array, ""]
    rng_key: Array
    friction: Float[Array, "d"]


class SGNHT(MomentumKernel):
    """SGNHT.

    Args:
        step_size: the time step h in whitened coordinates at unit mass, without unit: stable while
            h² (1 + nβ h̃_max) < 4. Against SGLD's ε it is √ε.
        gradient: "control_variate" at w*, "anchored" (refreshed every epoch), "minibatch", or "full".
        friction: C per unit of time, that of the noise injected, which the thermostats meet in the absence of other.
        preconditioner: "identity", "rmsprop", "adam", "curvature", or d positive numbers: G, the inverse mass.

    Raises:
        ValueError: the step size is negative, the friction not positive, or a name unknown.
    """

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> SGNHTState:
        """The first state of a chain."""
        state: MomentumState = super().init(rng_key, num_warmup, init_params, model_args, model_kwargs)
        return SGNHTState(*state, jnp.broadcast_to(self.friction, state.position.shape))

    def sample(self, state: SGNHTState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> SGNHTState:
        """One step."""
        del model_kwargs
        (posterior,) = model_args
        v, h = state.position, self.known_step_size()
        rng_key, batch_keys, noise_key = step_keys(posterior, state.rng_key)
        push = self.push(posterior, state, batch_keys)
        p = state.momentum - h * push.force
        v = v + 0.5 * h * push.scale * p
        friction = state.friction + 0.5 * h * (jnp.square(p) - 1)
        noise = jnp.sqrt(self.friction * _decay_over(2 * h, friction)) * standard_normal(noise_key, v)
        p = jnp.exp(-h * friction) * p + noise
        friction = friction + 0.5 * h * (jnp.square(p) - 1)
        v = v + 0.5 * h * push.scale * p
        return SGNHTState(v, *push.record, p, push.preconditioner, push.warmup_left, rng_key, friction)


def _decay_over(time: Float[Array, ""], friction: Float[Array, "d"]) -> Float[Array, "d"]:
    """(1 − e^{−ct}) / c, which is t at c = 0."""
    zero = friction == 0
    return jnp.where(zero, time, -jnp.expm1(-time * friction) / jnp.where(zero, 1.0, friction))
