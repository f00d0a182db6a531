"""Passes over all the examples in blocks, which hold the intermediates of one block at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from llc.data.off_device import OffDevice


def over_blocks(
    step: Callable[[Any, PyTree], tuple[Any, Any]], carry: Any, examples: PyTree, size: int
) -> tuple[Any, Any]:
    """`lax.scan` over blocks of so many examples and what is left; what the steps gave, joined along the examples.

    Data off the device are read a block at a time. Steps are checkpointed, reading included: a derivative holds the
    intermediates of one block.
    """
    leaves, tree = jax.tree.flatten(examples, is_leaf=lambda part: isinstance(part, OffDevice))
    n = len(leaves[0])
    count = n // size

    @jax.checkpoint
    def on_block(carry: Any, block: list) -> tuple[Any, Any]:
        parts = [leaf.take(b) if isinstance(leaf, OffDevice) else b for leaf, b in zip(leaves, block, strict=True)]
        return step(carry, jax.tree.unflatten(tree, parts))

    rows = [jnp.arange(n) if isinstance(leaf, OffDevice) else leaf for leaf in leaves]
    blocks = [a[: count * size].reshape(count, size, *a.shape[1:]) for a in rows]
    carry, given = jax.lax.scan(on_block, carry, blocks)
    given = jax.tree.map(lambda a: a.reshape(count * size, *a.shape[2:]), given)
    if n % size == 0:
        return carry, given
    carry, rest = on_block(carry, [a[count * size :] for a in rows])
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), given, rest)
