"""What kernels on Hamiltonian trajectories share: the leapfrog, forces by a batch, and how the step adapts.

A batch that is drawn before the trajectory and kept along it makes a field that depends on v alone: the leapfrog on it
keeps volume and can be run backwards, so that a Metropolis test on the full-data energy leaves the posterior invariant
whatever the batch (Neal 2011, §5.5, on approximations of the potential). A small batch costs acceptance, never truth.

Two errors cost acceptance. The leapfrog's is the rise of the energy whose slope its forces are, and shrinks with the
step; the batch's is that of nβ ΔL_n − nβ ΔL̂_B, and shrinks with the trajectory's length.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BATCH_TARGET = 0.4  # of the acceptance that the batch's error leaves: longer trajectories are worth a few refusals
_ADAPTATION = 1.0  # of the log step size, in the first step; it decays as steps^−0.6


class Phase(NamedTuple):
    """A point of a trajectory: position, momentum, and what was looked up there, with the potential's gradient."""

    position: Float[Array, "*replicas d"]
    momentum: Float[Array, "*replicas d"]
    gradient: Float[Array, "*replicas d"]
    seen: Any


def leapfrog(
    look: Callable[[Array], tuple[Array, Any]],
    start: Phase,
    step_size: Float[Array, "..."],
    num_leapfrogs: Any,
    root: Callable[[Array], Array] = lambda v: v,
) -> Phase:
    """The leapfrog p ← p − ε/2 R∇U, v ← v + ε R p, p ← p − ε/2 R∇U; `look` gives ∇U and what else it saw.

    R = M^{−1/2} is the symmetric root of a mass matrix, and p = R p′ its momentum p′ in units in which that is N(0, I).
    It keeps volume and can be run backwards whatever field stands for ∇U, so long as that depends on v alone.
    """

    def step(_: Any, phase: Phase) -> Phase:
        momentum = phase.momentum - 0.5 * step_size * root(phase.gradient)
        position = phase.position + step_size * root(momentum)
        gradient, seen = look(position)
        return Phase(position, momentum - 0.5 * step_size * root(gradient), gradient, seen)

    return jax.lax.fori_loop(0, num_leapfrogs, step, start)


def energy(phase: Phase, loss: Float[Array, "..."]) -> Float[Array, "..."]:
    """H = s ΔL + ½‖v‖² + ½‖p‖², given s ΔL in nats."""
    return loss + 0.5 * (jnp.square(phase.position).sum(axis=-1) + jnp.square(phase.momentum).sum(axis=-1))


def adapted(
    log_step_size: Float[Array, "..."], accept_prob: Float[Array, "..."], target: float, age: Int[Array, ""]
) -> Float[Array, "..."]:
    """A step size nearer to its target acceptance (Robbins & Monro 1951)."""
    return log_step_size + _ADAPTATION * (1.0 + age) ** -0.6 * (accept_prob - target)


def acceptance(log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
    """min(1, e^x); 0 where a trajectory left for infinity."""
    # compared, since XLA on CPU may lose a NaN in `minimum` (openxla/xla#21461), and then takes every such trajectory
    return jnp.where(log_ratio < 0, jnp.exp(log_ratio), jnp.where(log_ratio >= 0, 1.0, 0.0))


def of_batch(fall: Float[Array, "..."], own_fall: Float[Array, "..."]) -> Float[Array, "..."]:
    """The acceptance that the batch's error alone leaves, of falls in energy on all data and in the batch's own.

    A trajectory that left for infinity says nothing of the batch.
    """
    return jnp.where(acceptance(own_fall) > 0, acceptance(fall - own_fall), BATCH_TARGET)


def check_target(target_accept_prob: float) -> None:
    """Refuse a target that adaptation could not reach.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 < target_accept_prob < 1:
        msg = f"target_accept_prob={target_accept_prob}; it must be between 0 and 1, 0.8 for instance."
        raise ValueError(msg)
