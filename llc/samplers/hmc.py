"""Hamiltonian Monte Carlo (Duane et al. 1987) along the force of a minibatch, with a Metropolis test on all data.

Exact whatever the batch:
    v', p' = L leapfrog steps on Û_B(v) = nβ ΔL̂_B(v) + ½‖v‖²,   one batch B a trajectory
    accepted with probability min(1, e^{H(v, p) − H(v', p')}),   H = nβ ΔL_n(v) + ½‖v‖² + ½‖p‖²

A batch that is drawn before the trajectory and kept along it makes a field that depends on v alone: the leapfrog on it
keeps volume and can be run backwards, so that the test on the full-data energy leaves the posterior invariant whatever
the batch (Neal 2011, §5.5, on approximations of the potential). A small batch costs acceptance, never truth.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.hamiltonian import Phase, acceptance, adapted, check_target, energy, leapfrog
from llc.samplers.kernel import Kernel, start, step_size_leaf, virial

GRADIENTS = ("control_variate", "minibatch", "full")


class HMCState(NamedTuple):
    """A chain after a trajectory; the virial is that of the batch, where the chain stood."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    accept_prob: Float[Array, ""]
    log_step_size: Float[Array, ""]
    steps: Int[Array, ""]
    warmup_left: Int[Array, ""]
    rng_key: Array


class HMC(Kernel):
    """HMC whose forces are those of one minibatch a trajectory, and whose test is on all the data.

    Args:
        step_size: the leapfrog step that adaptation starts from, in whitened coordinates.
        gradient: the force, "control_variate" (g_B(w) − g_B(w*) + ∇L_n(w*)), "minibatch", or "full".
        trajectory_length: of a trajectory, in units of the localising prior's standard deviation: a quarter of its
            period unless given.
        max_leapfrogs: steps of a trajectory at most, which shortens it where curvature asks for small ones.
        target_accept_prob: to which the step size adapts in warm-up; 0.9 with full forces, 0.35 with those of a batch,
            whose noise costs acceptance at any step size.

    Raises:
        ValueError: the step size is negative, the gradient's name unknown, there is no leapfrog, or the target is no
            probability.
    """

    step_size: Array = eqx.field(converter=step_size_leaf, default=1e-3)
    gradient: str = eqx.field(static=True, default="control_variate")
    trajectory_length: float = eqx.field(static=True, default=1.5)
    max_leapfrogs: int = eqx.field(static=True, default=128)
    target_accept_prob: float | None = eqx.field(static=True, default=None)

    records_full_loss = True

    def __check_init__(self) -> None:
        if self.gradient not in GRADIENTS:
            msg = f"gradient={self.gradient!r}; of HMC it must be one of {', '.join(GRADIENTS)}."
            raise ValueError(msg)
        if self.max_leapfrogs < 1 or not self.trajectory_length > 0:
            msg = (
                f"max_leapfrogs={self.max_leapfrogs}, trajectory_length={self.trajectory_length}; "
                "they must be at least 1, and positive."
            )
            raise ValueError(msg)
        if self.target_accept_prob is not None:
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
        counts = jnp.asarray(0, jnp.int32), jnp.asarray(num_warmup, jnp.int32)
        return HMCState(v, loss, nothing, zero, one, jnp.log(self.step_size), *counts, rng_key)

    def sample(self, state: HMCState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> HMCState:
        """One trajectory, taken or not."""
        del model_kwargs
        (posterior,) = model_args
        rng_key, batch_key, momentum_key, jitter_key, accept_key = jax.random.split(state.rng_key, 5)
        v, slope = state.position, self._slope(posterior, batch_key)
        momentum = jax.random.normal(momentum_key, v.shape, v.dtype)
        # jittered, so that no period of the motion is a multiple of a trajectory
        step_size = jnp.exp(state.log_step_size) * jax.random.uniform(jitter_key, minval=0.5)
        begin = Phase(v, momentum, slope(v), None)
        wanted = jnp.ceil(self.trajectory_length * jnp.exp(-state.log_step_size))
        num_leapfrogs = jnp.clip(wanted, 1, self.max_leapfrogs).astype(int)
        end = leapfrog(lambda v: (slope(v), None), begin, step_size, num_leapfrogs)
        loss_difference = posterior.loss_difference(end.position)
        before, after = (posterior.nbeta * loss for loss in (state.loss_difference, loss_difference))
        accept_prob = acceptance(energy(begin, before) - energy(end, after))
        taken = jax.random.uniform(accept_key) < accept_prob
        target = self.target_accept_prob or (0.9 if self._full(posterior) else 0.35)
        moved = adapted(state.log_step_size, accept_prob, target, state.steps)
        return HMCState(
            jnp.where(taken, end.position, v),
            jnp.where(taken, loss_difference, state.loss_difference),
            virial(posterior, v, begin.gradient),
            self._evaluations(posterior, num_leapfrogs).astype(v.dtype),
            accept_prob,
            jnp.where(state.warmup_left > 0, moved, state.log_step_size),
            state.steps + 1,
            jnp.maximum(state.warmup_left - 1, 0),
            rng_key,
        )

    def evaluations_per_step(self, posterior: LocalPosterior) -> int:
        """Per-example gradients that the longest trajectory costs; what one did cost is recorded with its draw."""
        return int(self._evaluations(posterior, self.max_leapfrogs))

    def _evaluations(self, posterior: LocalPosterior, num_leapfrogs: Any) -> Any:
        """The forces, a control's at w* too, and the test's loss, which costs a third of a gradient."""
        full = self._full(posterior)
        looks = num_leapfrogs + (1 if full or self.gradient == "minibatch" else 2)
        return looks * (posterior.n if full else posterior.batch_size) + posterior.n // 3

    def _full(self, posterior: LocalPosterior) -> bool:
        return self.gradient == "full" or posterior.batch_size == posterior.n

    def _slope(self, posterior: LocalPosterior, rng_key: Array) -> Any:
        """∇Û of one batch."""
        if self._full(posterior):
            return jax.grad(posterior.potential)
        indices = jax.random.randint(rng_key, (posterior.batch_size,), 0, posterior.n)
        examples = posterior.batch(indices)
        slope = jax.grad(lambda v: posterior.mean_difference(v, *examples))
        excess = jnp.zeros(posterior.dimension)
        if self.gradient == "control_variate":
            excess = slope(jnp.zeros(posterior.dimension)) - posterior.center_gradient
        return lambda v: posterior.nbeta * (slope(v) - excess) + v
