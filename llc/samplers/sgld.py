"""Stochastic gradient Langevin dynamics (Welling & Teh 2011):  v ← v − ε/2 ∇Û(v) + √ε ξ,  ξ ~ N(0, I).

On a quadratic mode of curvature h and gradient noise of variance c/B the stationary variance is exactly
(1/h)·(1 + ε (nβ)² c / 4B) / (1 − εh/4): the bias is linear in ε, and the chain is stable while εh < 4.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.posterior.gradients import Anchor, check_gradient, estimate_loss, first_anchor
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import Kernel, start, step_size_leaf, virial
from llc.samplers.langevin import langevin_move, potential_gradient


class SGLDState(NamedTuple):
    """A chain after a step: where it went, and what it measured where it stood."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    anchor: Anchor | None
    rng_key: Array


class SGLD(Kernel):
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

    records_full_loss = False

    def __check_init__(self) -> None:
        check_gradient(self.gradient)

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> SGLDState:
        """The first state of a chain."""
        del num_warmup, model_kwargs
        (posterior,) = model_args
        step_size = self._known_step_size()
        rng_key, start_key = jax.random.split(rng_key)
        v = start(posterior, start_key, init_params, jnp.sqrt(step_size))
        return SGLDState(
            v,
            jnp.zeros((), v.dtype),
            jnp.zeros(len(posterior.sizes), v.dtype),
            jnp.zeros((), v.dtype),
            first_anchor(posterior, v, self.gradient),
            rng_key,
        )

    def sample(self, state: SGLDState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> SGLDState:
        """One step."""
        del model_kwargs
        (posterior,) = model_args
        v, step_size = state.position, self._known_step_size()
        rng_key, batch_key, noise_key = jax.random.split(state.rng_key, 3)
        loss, anchor = estimate_loss(posterior, v, batch_key, self.gradient, state.anchor)
        gradient = potential_gradient(posterior, v, loss)
        return SGLDState(
            langevin_move(v, gradient, step_size, noise_key),
            loss.loss_difference,
            virial(posterior, v, gradient),
            jnp.asarray(self.evaluations_per_step(posterior), v.dtype),
            anchor,
            rng_key,
        )

    def _known_step_size(self) -> Float[Array, ""]:
        if self.step_size is None:
            msg = "SGLD() has no step_size; give one below 4 / (1 + nβ·curvature), or let llc.estimate choose it."
            raise ValueError(msg)
        return self.step_size

    def evaluations_per_step(self, posterior: LocalPosterior) -> int:
        """Per-example gradients that a step costs; an anchor's full gradient is spread over its epoch."""
        if self.gradient == "full" or posterior.batch_size == posterior.n:
            return posterior.n
        return posterior.batch_size * {"minibatch": 1, "control_variate": 2, "anchored": 3}[self.gradient]
