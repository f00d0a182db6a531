"""What a draw records of a chain, all at one point or over one block of steps."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import Kernel
from llc.samplers.replica_exchange import Tempered


class Observables(NamedTuple):
    """One draw: means over its `thinning` steps, then what was measured at its last position."""

    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    accept_prob: Float[Array, ""]
    full_loss_difference: Float[Array, ""]
    squared_distance: Float[Array, ""]
    whitened_squared_distance: Float[Array, ""]
    tempered: Tempered | None
    position: Float[Array, "d"] | None


def next_draw(
    kernel: Kernel,
    posterior: LocalPosterior,
    state: Any,
    thinning: Int[Array, ""],
    measured: Bool[Array, ""],
    keep_weights: bool,
) -> tuple[Any, Observables]:
    """Take `thinning` steps and record one draw of them; the loss on all data where it is measured, else NaN."""

    def step(_: Any, carry: tuple) -> tuple:
        state, totals = carry
        state = kernel.sample(state, (posterior,), {})
        return state, jax.tree.map(jnp.add, totals, _of_step(state))

    zeros = jax.tree.map(jnp.zeros_like, _of_step(state))
    state, totals = jax.lax.fori_loop(0, thinning, step, (state, zeros))
    loss_difference, virial, evaluations, accept_prob = jax.tree.map(lambda total: total / thinning, totals)
    v = state.position
    if kernel.records_full_loss:
        full = state.loss_difference
    else:
        unmeasured = jnp.full_like(loss_difference, jnp.nan)
        full = jax.lax.cond(measured, lambda: posterior.loss_difference(v), lambda: unmeasured)
    return state, Observables(
        loss_difference,
        virial,
        evaluations,
        accept_prob,
        full,
        posterior.squared_distance(v),
        jnp.vdot(v, v),
        getattr(state, "tempered", None),
        v if keep_weights else None,
    )


def _of_step(state: Any) -> tuple[Array, Array, Array, Array]:
    accept_prob = getattr(state, "accept_prob", jnp.ones_like(state.loss_difference))
    return state.loss_difference, state.virial, state.gradient_evaluations, accept_prob


def empty_buffer(one: Observables, capacity: int) -> Observables:
    """Room for the draws of one compiled call."""
    return jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), one)


def shape_of(kernel: Kernel, posterior: LocalPosterior, state: Any, keep_weights: bool) -> Observables:
    """The shapes of one draw, without arithmetic."""
    one = jnp.asarray(1)
    return eqx.filter_eval_shape(lambda: next_draw(kernel, posterior, state, one, one > 0, keep_weights)[1])
