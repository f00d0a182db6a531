"""Passes over all the examples in blocks, which hold the intermediates of one block at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def over_blocks(
    step: Callable[[Any, PyTree], tuple[Any, Any]], carry: Any, examples: PyTree, size: int
) -> tuple[Any, Any]:
    """`lax.scan` over blocks of so many examples and what is left; what the steps gave, joined along the examples."""
    n = jax.tree.leaves(examples)[0].shape[0]
    count = n // size
    blocks = jax.tree.map(lambda a: a[: count * size].reshape(count, size, *a.shape[1:]), examples)
    carry, given = jax.lax.scan(step, carry, blocks)
    given = jax.tree.map(lambda a: a.reshape(count * size, *a.shape[2:]), given)
    if n % size == 0:
        return carry, given
    carry, rest = step(carry, jax.tree.map(lambda a: a[count * size :], examples))
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), given, rest)
