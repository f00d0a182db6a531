"""The Jacobian of a network's outputs as Kronecker products, row by row, and the kernel J₁ J₂ᵀ from them."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, Float, PyTree

from llc.kernels.dense_layers import DenseLayers, run_dense_layers


class Factor(NamedTuple):
    """A part of the Jacobian: ∂f_c(x_n)/∂w = features[n] ⊗ gradients[n, c]."""

    features: Float[Array, "n fan_in"]
    gradients: Float[Array, "n classes width"]


@functools.partial(jax.jit, static_argnames=("apply_fn", "summed"))
def jacobian_factors(
    apply_fn: Callable[[Any, Any], Any], params: PyTree, x: PyTree, *, summed: bool = False
) -> list[Factor]:
    """One factor for each dense layer, and one for each leaf outside of them, whose gradients are the Jacobian itself.

    Args:
        apply_fn: a hashable `apply_fn(params, x)`.
        params: the weights w.
        x: inputs, with a leading axis of n examples.
        summed: whether to take (1/√C) Σ_c f_c, one output, in place of the C outputs.
    """
    leaves, tree = jax.tree.flatten(params)

    def outputs(leaves: Sequence[Array], example: PyTree) -> Array:
        f = apply_alone(apply_fn, tree.unflatten(leaves), example)
        return f.sum(keepdims=True) / math.sqrt(f.size) if summed else f

    def factors(example: PyTree) -> list[Factor]:
        network, inputs = jax.make_jaxpr(outputs)(leaves, example), jax.tree.leaves(example)
        dense = _layers_found(network, leaves, inputs)
        others = {i: leaf for i, leaf in enumerate(leaves) if i not in dense.leaves}
        known = dict(enumerate(leaves))

        def shifted(shifts: list[Array], others: dict[int, Array]) -> tuple[Array, list[Array]]:
            (f,), layers = run_dense_layers(network, list((known | others).values()), inputs, shifts)
            return f, layers.features

        shifts = [jnp.zeros(z.shape, z.dtype) for z in dense.outputs]
        f, pull, features = jax.vjp(shifted, shifts, others, has_aux=True)
        by_shift, by_leaf = jax.vmap(pull)(jnp.eye(f.size, dtype=f.dtype))
        features += [jnp.ones(1, f.dtype)] * len(others)
        gradients = [gradient.reshape(f.size, -1) for gradient in [*by_shift, *by_leaf.values()]]
        return [Factor(*pair) for pair in zip(features, gradients, strict=True)]

    with jax.default_matmul_precision("highest"):
        return jax.vmap(factors)(x)


@functools.partial(jax.jit, static_argnames="trace")
def contract(left: list[Factor], right: list[Factor], *, trace: bool = False) -> Float[Array, "rows columns"]:
    """J₁ J₂ᵀ, examples outside and classes inside; with `trace`, its mean over equal classes."""
    dot = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    (n, classes, _), m = left[0].gradients.shape, len(right[0].gradients)
    total = jnp.zeros(())
    for a, b in zip(left, right, strict=True):
        inputs = dot("ni,mi->nm", a.features, b.features)
        if trace:
            total += inputs * dot("nck,mck->nm", a.gradients, b.gradients) / classes
        else:
            total += inputs[:, None, :, None] * dot("nck,mek->ncme", a.gradients, b.gradients)
    return total if trace else total.reshape(n * classes, m * classes)


@jax.jit
def squared_norms(factors: list[Factor]) -> Float[Array, "rows"]:
    """|∂f_c(x_n)/∂w|², examples outside and classes inside."""
    parts = [jnp.square(h).sum(-1)[:, None] * jnp.square(gradients).sum(-1) for h, gradients in factors]
    return jnp.stack(parts).sum(0).ravel()


def apply_alone(apply_fn: Callable[[Any, Any], Any], params: PyTree, example: PyTree) -> Float[Array, "classes"]:
    """The outputs of one example, in a batch of its own: what the others of a batch are does not matter to it."""
    return jnp.ravel(apply_fn(params, jax.tree.map(lambda a: a[None], example)))


def _layers_found(network: ClosedJaxpr, leaves: Sequence[Array], inputs: Sequence[Array]) -> DenseLayers:
    """The layers that a run would meet, without its arithmetic."""
    found = []

    def run(*arguments: Any) -> None:
        found.append(run_dense_layers(network, *arguments)[1])

    jax.eval_shape(run, leaves, inputs)
    return found[0]
