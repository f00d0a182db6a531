"""Networks computed in bfloat16, for accelerators whose matrix products are several times faster in it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from llc.problem import Problem, SupervisedLoss


@dataclass(frozen=True)
class InPrecision:
    """A function whose floating-point arguments are rounded to `dtype`, and what it gives taken back to float32."""

    function: Callable[..., Any]
    dtype: Any

    def __call__(self, *arguments: PyTree) -> PyTree:
        """The function, computed in `dtype`, forward and backward."""
        return _cast(self.function(*_cast(arguments, self.dtype)), jnp.float32)


def mixed_precision(problem: Problem, dtype: Any = jnp.bfloat16) -> Problem:
    """The same problem, its network computed in bfloat16, forward and backward.

    Weights, their moves and sums over examples stay in float32; so does the likelihood, where the problem knows it.
    Rounding the weights adds to λ̂ what that much noise costs, nβ/2 · tr(H Σ) with Σ the rounding errors' variances and
    H the loss's Hessian: compare with float32 on one checkpoint first. Of a problem that is both, the precision comes
    first, `rematerialized(mixed_precision(problem))`; the other way round the likelihood is rounded too.

    >>> import llc
    >>> problem = llc.Problem(lambda w, x: 0.5 * (x - w) ** 2, jnp.zeros(100))
    >>> mixed_precision(problem).losses(jnp.float32(1.01), problem.data[:1])  # 1.01 is 1.0078125 in bfloat16
    Array([0.5078125], dtype=float32)

    Args:
        problem: any.
        dtype: bfloat16, or another floating type.

    Raises:
        ValueError: `dtype` is not a floating type.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        msg = f"dtype={dtype}; it must be a floating type, such as jnp.bfloat16."
        raise ValueError(msg)
    loss = problem.loss_fn
    if isinstance(loss, SupervisedLoss):
        inside = replace(loss, apply_fn=InPrecision(loss.apply_fn, jnp.dtype(dtype)))
    else:
        inside = InPrecision(loss, jnp.dtype(dtype))
    return Problem(inside, problem.data, test_data=problem.test_data)


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(jnp.result_type(a), jnp.floating) else a, tree)
