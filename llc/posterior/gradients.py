"""Estimators of ∇L_n and of ΔL from a minibatch, each the value and gradient of one surrogate loss.

    full             ΔL_n(v)
    minibatch        ΔL_B(v)                                                     paired: ℓ_i(w) − ℓ_i(w*)
    control_variate  ΔL_B(v) − v·(∇L_B(0) − ∇L_n(0))                             Baker, Fearnhead, Fox & Nemeth 2019
    anchored         ΔL_B(v) − ΔL_B(a) − (v − a)·(∇L_B(a) − ∇L_n(a)) + ΔL_n(a)   SVRG-LD, Dubey et al. 2016

A surrogate's mean over batches is ΔL_n(v) exactly, and so is its gradient's: the control that quiets the gradient
quiets the recorded loss difference too.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from llc.posterior.local_posterior import LocalPosterior

GRADIENTS = ("control_variate", "anchored", "minibatch", "full")
OF_ONE_BATCH = ("control_variate", "minibatch", "full")  # those that depend on v alone, once the batch is drawn


class LossEstimate(NamedTuple):
    """ΔL (nats per example) and its gradient in v."""

    loss_difference: Float[Array, ""]
    gradient: Float[Array, "d"]


class Anchor(NamedTuple):
    """Where the anchored control variate was last taken: v_a, ΔL_n and ∇L_n there, and the steps since."""

    position: Float[Array, "d"]
    estimate: LossEstimate
    age: Int[Array, ""]


def check_gradient(gradient: str, allowed: Sequence[str] = GRADIENTS) -> None:
    """Refuse an unknown name, or one of no use to a kernel.

    Raises:
        ValueError: naming those of use.
    """
    if gradient not in allowed:
        msg = f"gradient={gradient!r}; it must be one of {', '.join(allowed)} here."
        raise ValueError(msg)


def on_all_data(posterior: LocalPosterior, gradient: str) -> bool:
    """Whether these gradients are those of all the data."""
    return gradient == "full" or posterior.batch_size == posterior.n


def first_anchor(posterior: LocalPosterior, v: Float[Array, "d"], gradient: str) -> Anchor | None:
    """The anchor a chain starts with: at w*, where everything is cached, and due at once."""
    if gradient != "anchored":
        return None
    at_center = LossEstimate(jnp.zeros((), v.dtype), posterior.center_gradient)
    return Anchor(jnp.zeros_like(v), at_center, jnp.asarray(posterior.steps_per_epoch))


def full_estimate(posterior: LocalPosterior, v: Float[Array, "d"]) -> LossEstimate:
    """ΔL_n and ∇L_n over all the data."""
    return LossEstimate(*jax.value_and_grad(posterior.loss_difference)(v))


def estimate_loss(
    posterior: LocalPosterior,
    v: Float[Array, "d"],
    batch_keys: tuple[Array, ...],
    gradient: str,
    anchor: Anchor | None,
) -> tuple[LossEstimate, Anchor | None]:
    """ΔL and its gradient at v from a minibatch drawn after v, so that both are unbiased given v.

    A second key is that of the next minibatch, which is read meanwhile.
    """
    if on_all_data(posterior, gradient):
        return full_estimate(posterior, v), anchor
    batch = [jax.random.randint(key, (posterior.batch_size,), 0, posterior.n) for key in batch_keys]
    on_batch = jax.value_and_grad(posterior.batch_loss_difference)
    value, slope = on_batch(v, *batch)
    if gradient == "minibatch":
        return LossEstimate(value, slope), anchor
    if gradient == "control_variate":
        # a zero made of the first gradient: what the second holds waits until what the first held is free
        center = jnp.zeros_like(v) + 0.0 * slope[0]
        excess = jax.grad(posterior.batch_loss_difference)(center, *batch) - posterior.center_gradient
        return LossEstimate(value - jnp.vdot(v, excess), slope - excess), anchor
    assert anchor is not None
    anchor = refresh(posterior, anchor, v)
    there, anchor_slope = on_batch(anchor.position, *batch)
    excess = anchor_slope - anchor.estimate.gradient
    shift = anchor.estimate.loss_difference - there - jnp.vdot(v - anchor.position, excess)
    return LossEstimate(value + shift, slope - excess), anchor._replace(age=anchor.age + 1)


def of_one_batch(
    posterior: LocalPosterior, rng_key: Array, gradient: str
) -> Callable[[Float[Array, "d"]], Float[Array, ""]]:
    """v ↦ a surrogate of ΔL by one batch, drawn now and kept wherever it is looked at; on all data ΔL itself."""
    if on_all_data(posterior, gradient):
        return posterior.loss_difference
    indices = jax.random.randint(rng_key, (posterior.batch_size,), 0, posterior.n)
    examples, center = posterior.batch(indices), jnp.zeros(posterior.dimension)
    of_batch = lambda v: posterior.mean_difference(v, *examples)
    if gradient == "minibatch":
        return of_batch
    excess = jax.grad(of_batch)(center) - posterior.center_gradient
    return lambda v: of_batch(v) - jnp.vdot(excess, v)


def refresh(posterior: LocalPosterior, anchor: Anchor, v: Float[Array, "d"]) -> Anchor:
    """Move the anchor to v where it is an epoch old."""
    arrays, static = eqx.partition(posterior, eqx.is_array)

    def move(operands: tuple[LocalPosterior, Anchor, Float[Array, "d"]]) -> Anchor:
        arrays, anchor, v = operands
        return Anchor(v, full_estimate(eqx.combine(arrays, static), v), jnp.zeros_like(anchor.age))

    return _cond_together(
        anchor.age >= posterior.steps_per_epoch, move, lambda operands: operands[1], (arrays, anchor, v)
    )


def _cond_together(due: Bool[Array, ""], act: Callable, keep: Callable, operands: Any) -> Any:
    """`lax.cond` for chains that step together, so that theirs are due together.

    Under `vmap` a plain condition becomes a choice between both branches, and pays the full gradient at every step.
    """

    @jax.custom_batching.custom_vmap
    def run(due: Array, operands: Any) -> Any:
        return jax.lax.cond(due, act, keep, operands)

    @run.def_vmap
    def _(axis_size: int, batched: list, due: Array, operands: Any) -> tuple[Any, Any]:
        axes = (jax.tree.map(lambda flag: 0 if flag else None, batched[1]),)
        each = lambda branch: jax.vmap(branch, in_axes=axes, axis_size=axis_size)
        out = _cond_together(jnp.any(due), each(act), each(keep), operands)
        return out, jax.tree.map(lambda _: True, out)

    return run(due, operands)
