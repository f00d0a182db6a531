"""Stochastic gradient Langevin dynamics (Welling & Teh 2011):  v ← v − ε/2 ∇Û(v) + √ε ξ,  ξ ~ N(0, I).

On a quadratic mode of curvature h and gradient noise of variance c/B the stationary variance is exactly
(1/h)·(1 + ε (nβ)² c / 4B) / (1 − εh/4): the bias is linear in ε, and the chain is stable while εh < 4.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.posterior.gradients import Anchor
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import start, step_size_leaf
from llc.samplers.langevin import StochasticGradientKernel, first_record, langevin_move, look, step_keys


class SGLDState(NamedTuple):
    """A chain after a step: where it went, and what it measured where it stood."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    anchor: Anchor | None
    rng_key: Array


class SGLD(StochasticGradientKernel):
    """SGLD with a choice of gradient estimator.

    Args:
        step_size: ε in whitened coordinates, without unit; the customary ε of a single γ is step_size/γ. A list is a
            ladder, run side by side. None leaves the choice to `llc.estimate`.
        gradient: "control_variate" at w*, "anchored" (refreshed every epoch), "minibatch", or "full".

    Raises:
        ValueError: the step size is negative or the gradient's name unknown.
    """

    step_size: Array | None = eqx.field(converter=step_size_leaf, default=None)
    gradient: str = eqx.field(static=True, default="control_variate")

    stability = "4 / (1 + nβ·curvature)"

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> SGLDState:
        """The first state of a chain."""
        del num_warmup, model_kwargs
        (posterior,) = model_args
        rng_key, start_key = jax.random.split(rng_key)
        v = start(posterior, start_key, init_params, jnp.sqrt(self.known_step_size()))
        return SGLDState(v, *first_record(posterior, v, self.gradient), rng_key)

    def sample(self, state: SGLDState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> SGLDState:
        """One step."""
        del model_kwargs
        (posterior,) = model_args
        rng_key, batch_keys, noise_key = step_keys(posterior, state.rng_key)
        gradient, record = look(self, posterior, state.position, batch_keys, state.anchor)
        v = langevin_move(state.position, gradient, self.known_step_size(), noise_key)
        return SGLDState(v, *record, rng_key)
