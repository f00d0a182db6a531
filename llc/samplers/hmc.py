"""Hamiltonian Monte Carlo (Duane et al. 1987) along the force of a minibatch, with a Metropolis test on all data.

Exact whatever the batch:
    v', p' = L leapfrog steps on Û_B(v) = nβ ΔL̂_B(v) + ½‖v‖²,   one batch B a trajectory
    accepted with probability min(1, e^{H(v, p) − H(v', p')}),   H = nβ ΔL_n(v) + ½‖v‖² + ½‖p‖²

The momentum has a mass matrix M, a metric: H has ½ p·M⁻¹p in place of ½‖p‖². Where the loss is singular, stiff
directions turn as flat ones move, so that each chain has its own, measured in warm-up where it has been.

In warm-up the step adapts to the leapfrog's own error, and the trajectory's length to the batch's (`hamiltonian`).
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from llc.posterior.curvature import curvature_evaluations, largest_curvature, measured_metric, metric_evaluations
from llc.posterior.gradients import OF_ONE_BATCH, check_gradient, of_one_batch, on_all_data
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.metric import Metric, unit_metric
from llc.samplers.hamiltonian import (
    BATCH_TARGET,
    Phase,
    acceptance,
    adapted,
    check_target,
    energy,
    leapfrog,
    of_batch,
)
from llc.samplers.kernel import Kernel, start, step_size_leaf, virial

_STABILITY = 0.25  # the first step under another metric, as a part of the largest stable one, 2 / √curvature
_GROWTH = 3.0  # and at most so many times the last: curvature at a point knows nothing of that around it
_SHORTEST = 0.5  # and the trajectory's length at least
_REMEMBERED = 4  # steps of adaptation, so that the next ones count for more


class HMCState(NamedTuple):
    """A chain after a trajectory; the virial is that of the batch, where the chain stood."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    accept_prob: Float[Array, ""]
    log_step_size: Float[Array, ""]
    log_length: Float[Array, ""]
    metric: Metric | None  # None where another is about to be measured
    unpaid: Float[Array, ""]  # gradients that looks at the curvature took, counted with the next trajectory
    steps: Int[Array, ""]
    warmup_left: Int[Array, ""]
    rng_key: Array


class HMC(Kernel):
    """HMC whose forces are those of one minibatch a trajectory, and whose test is on all the data.

    Args:
        step_size: the leapfrog step that adaptation starts from, in whitened coordinates; `llc.estimate` measures a
            metric, and starts from a quarter of the largest step that is stable in it.
        gradient: the force, "control_variate" (g_B(w) − g_B(w*) + ∇L_n(w*)), "minibatch", or "full".
        trajectory_length: of the longest trajectory, in units of the localising prior's standard deviation (with a
            metric, of the posterior's): a quarter of its period unless given. It adapts to what the batch's noise
            allows.
        max_leapfrogs: steps of a trajectory at most, which shortens it where curvature asks for small ones.
        target_accept_prob: to which the step size adapts in warm-up, of trajectories whose forces were exact.

    Raises:
        ValueError: the step size is negative, the gradient's name unknown, there is no leapfrog, or the target is no
            probability.
    """

    step_size: Array = eqx.field(converter=step_size_leaf, default=1e-3)
    gradient: str = eqx.field(static=True, default="control_variate")
    trajectory_length: float = eqx.field(static=True, default=1.5)
    max_leapfrogs: int = eqx.field(static=True, default=128)
    target_accept_prob: float = eqx.field(static=True, default=0.9)

    records_full_loss = True
    virial_late = 1

    def __check_init__(self) -> None:
        check_gradient(self.gradient, OF_ONE_BATCH)
        if self.max_leapfrogs < 1 or not self.trajectory_length > 0:
            msg = (
                f"max_leapfrogs={self.max_leapfrogs}, trajectory_length={self.trajectory_length}; "
                "they must be at least 1, and positive."
            )
            raise ValueError(msg)
        check_target(self.target_accept_prob)

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> HMCState:
        """The first state of a chain."""
        del model_kwargs
        (posterior,) = model_args
        rng_key, start_key = jax.random.split(rng_key)
        v = start(posterior, start_key, init_params, self.step_size)
        zero, one = jnp.zeros((), v.dtype), jnp.ones((), v.dtype)
        loss, nothing = posterior.loss_difference(v), jnp.zeros(len(posterior.sizes), v.dtype)
        sizes = jnp.log(self.step_size), jnp.log(self.trajectory_length * one)
        counts = jnp.asarray(0, jnp.int32), jnp.asarray(num_warmup, jnp.int32)
        return HMCState(v, loss, nothing, zero, one, *sizes, unit_metric(posterior), zero, *counts, rng_key)

    def with_metric(
        self, state: HMCState, posterior: LocalPosterior, past: Float[Array, "past d"], num_past: Int[Array, ""]
    ) -> HMCState:
        """The chain in the metric of the first so many places where it has been, and its adaptation begun anew."""
        rng_key, metric_key, curvature_key = jax.random.split(state.rng_key, 3)
        metric = measured_metric(posterior, past, num_past, metric_key)
        curvature = largest_curvature(posterior, state.position[None], curvature_key, metric)[0]
        log_step_size = jnp.log(2 * _STABILITY / jnp.sqrt(curvature))
        grown = jnp.where(state.steps > 0, state.log_step_size + math.log(_GROWTH), log_step_size)
        return state._replace(
            log_step_size=jnp.minimum(log_step_size, grown),
            log_length=jnp.maximum(state.log_length, math.log(min(_SHORTEST, self.trajectory_length))),
            metric=metric,
            unpaid=state.unpaid + self.evaluations_per_look(posterior),
            steps=jnp.minimum(state.steps, _REMEMBERED),
            rng_key=rng_key,
        )

    def sample(self, state: HMCState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> HMCState:
        """One trajectory, taken or not."""
        del model_kwargs
        (posterior,) = model_args
        assert state.metric is not None
        rng_key, batch_key, momentum_key, jitter_key, accept_key = jax.random.split(state.rng_key, 5)
        v, field = state.position, self._field(posterior, batch_key)
        momentum = jax.random.normal(momentum_key, v.shape, v.dtype)
        # jittered, so that no period of the motion is a multiple of a trajectory
        step_size = jnp.exp(state.log_step_size) * jax.random.uniform(jitter_key, minval=0.5)
        num_leapfrogs = jnp.round(jnp.exp(state.log_length - state.log_step_size))
        num_leapfrogs = jnp.clip(num_leapfrogs, 1, self.max_leapfrogs).astype(int)
        begin = Phase(v, momentum, *field(v))
        end = leapfrog(field, begin, step_size, num_leapfrogs, state.metric.inverse_root)
        loss_difference = posterior.loss_difference(end.position)
        before, after = (posterior.nbeta * loss for loss in (state.loss_difference, loss_difference))
        fall, own_fall = energy(begin, before) - energy(end, after), energy(begin, begin.seen) - energy(end, end.seen)
        accept_prob, own = acceptance(fall), acceptance(own_fall)
        taken = jax.random.uniform(accept_key) < accept_prob
        step_to = adapted(state.log_step_size, own, self.target_accept_prob, state.steps)
        length = jnp.minimum(state.log_length, state.log_step_size + math.log(self.max_leapfrogs))
        length_to = adapted(length, of_batch(fall, own_fall), BATCH_TARGET, state.steps)
        adapting = state.warmup_left > 0
        return HMCState(
            jnp.where(taken, end.position, v),
            jnp.where(taken, loss_difference, state.loss_difference),
            virial(posterior, v, begin.gradient),
            self._evaluations(posterior, num_leapfrogs) + state.unpaid,
            accept_prob,
            jnp.where(adapting, step_to, state.log_step_size),
            jnp.where(adapting, jnp.minimum(length_to, math.log(self.trajectory_length)), state.log_length),
            state.metric,
            jnp.zeros_like(state.unpaid),
            state.steps + 1,
            jnp.maximum(state.warmup_left - 1, 0),
            rng_key,
        )

    def evaluations_per_step(self, posterior: LocalPosterior) -> int:
        """Per-example gradients that the longest trajectory costs; what one did cost is recorded with its draw."""
        return int(self._evaluations(posterior, self.max_leapfrogs))

    def evaluations_per_look(self, posterior: LocalPosterior) -> int:
        """Per-example gradients that a metric costs, and the step size that suits it."""
        return metric_evaluations(posterior) + curvature_evaluations(posterior)

    def _evaluations(self, posterior: LocalPosterior, num_leapfrogs: Any) -> Any:
        """The forces, a control's at w* too, and the test's loss, which costs a third of a gradient."""
        full = on_all_data(posterior, self.gradient)
        looks = num_leapfrogs + (1 if full or self.gradient == "minibatch" else 2)
        return looks * (posterior.n if full else posterior.batch_size) + posterior.n // 3

    def _field(self, posterior: LocalPosterior, rng_key: Array) -> Any:
        """v ↦ ∇Û_B(v) and nβ ΔL̂_B(v), of one batch."""
        loss = of_one_batch(posterior, rng_key, self.gradient)

        def look(v: Float[Array, "d"]) -> tuple[Float[Array, "d"], Float[Array, ""]]:
            energy, slope = jax.value_and_grad(lambda v: posterior.nbeta * loss(v))(v)
            return slope + v, energy

        return look
