"""The compiled programs of sampling, which serve every checkpoint of the same shapes: begin, measure, proceed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from llc.draws.observables import Observables, empty_buffer, next_draw, shape_of
from llc.posterior.ladder import num_rungs, tempered, tempering
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.hmc import HMC, HMCState
from llc.samplers.kernel import Kernel, with_step_size

PAST = 16  # places of a chain that are remembered for its metric
CAPACITY = 128  # draws that one compiled call can hold
_CAPACITY_ELEMENTS = 2**26  # and the weights among them
_LARGE = 100_000  # coordinates, from which chains gain nothing side by side


class Plan(NamedTuple):
    """Draws of one compiled call: how many, the number of the first, steps a draw, and draws a full-data loss."""

    size: Int[Array, ""]
    first: Int[Array, ""]
    thinning: Int[Array, ""]
    full_loss_every: Int[Array, ""]


@eqx.filter_jit
def begin(
    kernel: Kernel,
    posterior: LocalPosterior,
    keys: Array,
    starts: Float[Array, "ladder chain d"] | None,
    num_warmup: int,
) -> Any:
    """The first states of chains, with leading axes (ladder, chain)."""

    def one(
        kernel: Kernel, posterior: LocalPosterior, _: None, key: Array, start: Float[Array, "d"] | None = None
    ) -> tuple[None, Any]:
        params = None if start is None else posterior.params(start)
        return None, kernel.init(key, num_warmup, params, (posterior,), {})

    _, states = _over_ladder(one, kernel, posterior)(None, keys, *() if starts is None else (starts,))
    return posterior.layout.constrain_chains(states)


@eqx.filter_jit(donate="all-except-first")
def proceed(
    given: tuple[Kernel, LocalPosterior, Plan],
    states: Any,
    capacity: int,
    keep_weights: bool,
) -> tuple[Any, Observables]:
    """`size` draws of every chain into buffers of length `capacity`: the plan is traced, and never recompiles.

    The new states lie where the old ones did.
    """
    kernel, posterior, plan = given

    def one(kernel: Kernel, posterior: LocalPosterior, state: Any) -> tuple[Any, Observables]:
        def body(i: Array, carry: tuple) -> tuple:
            state, buffer = carry
            measured = (plan.full_loss_every > 0) & ((plan.first + i) % jnp.maximum(plan.full_loss_every, 1) == 0)
            state, observed = next_draw(kernel, posterior, state, plan.thinning, measured, keep_weights)
            return state, jax.tree.map(lambda room, value: room.at[i].set(value), buffer, observed)

        buffer = empty_buffer(shape_of(kernel, posterior, state, keep_weights), capacity)
        return jax.lax.fori_loop(0, plan.size, body, (state, buffer))

    return posterior.layout.constrain_chains(_over_ladder(one, kernel, posterior)(states))


def no_past(states: Any) -> Float[Array, "ladder chain past d"]:
    """Room for the places where chains will have been."""
    *chains, dimension = states.position.shape
    return jnp.zeros((*chains, PAST, dimension), states.position.dtype)


@eqx.filter_jit(donate="all-except-first")
def remeasure(
    given: tuple[HMC, LocalPosterior, Int[Array, ""]], states: Any, past: Float[Array, "ladder chain past d"]
) -> tuple[Any, Float[Array, "ladder chain past d"]]:
    """Every chain in a metric of its own, that of its latest `num_past` places; and these, the last one first."""
    kernel, posterior, num_past = given

    def one(
        kernel: HMC, posterior: LocalPosterior, _: None, state: HMCState, past: Float[Array, "past d"]
    ) -> tuple[None, Any]:
        past = jnp.roll(past, 1, axis=0).at[0].set(state.position)
        return None, (kernel.with_metric(state, posterior, past, num_past), past)

    _, made = _over_ladder(one, kernel, posterior)(None, states, past)
    return posterior.layout.constrain_chains(made)


def capacity_of(states: Any, posterior: LocalPosterior, keep_weights: bool) -> int:
    """Draws that one compiled call has room for."""
    if not keep_weights:
        return CAPACITY
    chains = int(np.prod(states.position.shape[:2]))
    return max(1, min(CAPACITY, _CAPACITY_ELEMENTS // (chains * posterior.dimension)))


def ladder_size(kernel: Kernel, posterior: LocalPosterior) -> int:
    """Pairs of a step size and a posterior, each with chains of its own."""
    return max(np.size(kernel.step_size), num_rungs(posterior))


def _over_ladder(f: Callable[..., Any], kernel: Kernel, posterior: LocalPosterior) -> Callable[..., Any]:
    """Map f(kernel, posterior, state, ...) → (state, made) over (ladder, chain).

    The ladder is of step sizes, of posteriors, of both where the step sizes of each posterior follow one another, or of
    one where there is one of both.

    Large chains run one after the other on a CPU: each fills the machine, and they need the room of one to work in.
    There the new states are written over the old ones.
    """
    size, rungs = ladder_size(kernel, posterior), num_rungs(posterior)
    settings = kernel.step_size, tempering(posterior)
    axes = (0 if np.ndim(kernel.step_size) else None, 0 if rungs > 1 else None)
    if 1 < rungs < size:
        settings = settings[0], jax.tree.map(lambda leaf: jnp.repeat(leaf, size // rungs, axis=0), settings[1])

    def one(settings: tuple[Any, Any], args: tuple) -> Any:
        step_size, at = settings
        return f(with_step_size(kernel, step_size), tempered(posterior, at), *args)

    if posterior.dimension < _LARGE or posterior.layout.mesh is not None or jax.default_backend() != "cpu":
        each = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(axes, 0))
        return lambda *args: each(settings, args)

    def in_turn(*args: Any) -> Any:
        num_chains = jax.tree.leaves(args)[0].shape[1]
        states, *given = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), args)

        def turn(states: Any, i: Array) -> tuple[Any, Any]:
            at = lambda tree, i: jax.tree.map(lambda leaf: leaf[i], tree)
            of_ladder = zip(settings, axes, strict=True)
            here = tuple(same if axis is None else at(same, i // num_chains) for same, axis in of_ladder)
            state, made = one(here, tuple(at((states, *given), i)))
            return jax.tree.map(lambda room, leaf: room.at[i].set(leaf), states, state), made

        results = jax.lax.scan(turn, states, jnp.arange(size * num_chains))
        return jax.tree.map(lambda leaf: leaf.reshape(size, num_chains, *leaf.shape[1:]), results)

    return in_turn
