"""Gradients of networks so deep that the intermediates of one example do not fit (Chen, Xu, Zhang & Guestrin 2016).

A loss is cut into about √m pieces, m its matrix products. The gradient keeps what passes from one piece to the next,
and computes the inside of each piece again when it gets there: memory as √m instead of m, for one more forward pass.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import Literal, Var
from jaxtyping import PyTree

from llc.problem import Likelihood, Problem

_HEAVY = frozenset({"dot_general", "conv_general_dilated", "scan", "while", "cond"})


@dataclass(frozen=True)
class Rematerialized:
    """A loss whose gradient computes again what it does not keep; equal ones share compiled programs."""

    loss_fn: Callable[[Any, Any], Any]
    apply_fn: Callable[[Any, Any], Any] | None
    likelihood: Likelihood | None

    def __call__(self, params: PyTree, batch: PyTree) -> Any:
        """The losses of a batch."""
        flat = lambda params, batch: _without_calls(self.loss_fn, params, batch)
        traced, shape = jax.make_jaxpr(flat, return_shape=True)(params, batch)
        num_params, leaves = len(jax.tree.leaves(params)), jax.tree.leaves((params, batch))
        results = _in_pieces(traced.jaxpr, traced.consts, leaves, num_params)
        return jax.tree.unflatten(jax.tree.structure(shape), results)


def rematerialized(problem: Problem) -> Problem:
    """The same problem, whose gradients hold less and take about a third longer.

    For networks of many layers, when `llc.memory` says that not even a single example's gradient fits. Layers that a
    `jax.lax.scan` runs through count as one: there put `jax.checkpoint` around the layer instead.

    >>> import jax.numpy as jnp
    >>> problem = rematerialized(Problem(lambda w, x: 0.5 * (x - w) ** 2, jnp.ones(100)))
    >>> float(jax.grad(lambda w: problem.losses(w, problem.data).mean())(0.0))
    -1.0
    """
    loss_fn = Rematerialized(problem.loss_fn, problem.apply_fn, problem.likelihood)
    return Problem(loss_fn, problem.data, test_data=problem.test_data)


def _without_calls(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function, what it calls by `jax.jit` written out."""
    traced, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    results = _written_out(traced.jaxpr, traced.consts, jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(shape), results)


def _written_out(jaxpr: Any, constants: list[Any], arguments: list[Any]) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))
    read = lambda atom: atom.val if isinstance(atom, Literal) else known[atom]
    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        if equation.primitive.name in {"jit", "pjit"}:
            inner = equation.params["jaxpr"]
            results = _written_out(inner.jaxpr, inner.consts, operands)
        else:
            one = jaxpr.replace(constvars=[], invars=_variables([equation]), outvars=equation.outvars, eqns=[equation])
            results = eval_jaxpr(one, [], *[known[v] for v in one.invars])
        known |= zip(equation.outvars, results, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _in_pieces(jaxpr: Any, constants: list[Any], arguments: list[Any], num_params: int) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))
    left, lasting = list(jaxpr.eqns), {*jaxpr.constvars, *jaxpr.invars[:num_params]}
    for piece in _pieces(jaxpr.eqns):
        left = left[len(piece) :]
        made = {v for equation in piece for v in equation.outvars}
        wanted = {*_variables(left), *(v for v in jaxpr.outvars if isinstance(v, Var))}
        given = [v for v in _variables(piece) if v not in made]
        kept = [v for equation in piece for v in equation.outvars if v in wanted]
        part = jaxpr.replace(constvars=[], invars=given, outvars=kept, eqns=piece)
        late = [v not in lasting and jnp.issubdtype(v.aval.dtype, jnp.number) for v in given]
        results = _recomputed(partial(eval_jaxpr, part, []), late)(*[known[v] for v in given])
        known |= zip(kept, results, strict=True)
    return [atom.val if isinstance(atom, Literal) else known[atom] for atom in jaxpr.outvars]


def _recomputed(part: Callable[..., list[Any]], late: list[bool]) -> Callable[..., list[Any]]:
    """A piece whose gradient keeps what it is given alone.

    XLA on a CPU drops the barrier by which `jax.checkpoint` holds the second computation back, does it all at once, and
    saves nothing. So here what the piece is given from before waits for the slope: a zero is added, made of its bits.
    """
    piece = jax.custom_vjp(part)

    def forward(*given: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return part(*given), given

    def backward(given: tuple[Any, ...], slopes: list[Any]) -> tuple[Any, ...]:
        known = [slope for slope in slopes if jnp.issubdtype(slope.dtype, jnp.floating)]
        if known:
            bits = jax.lax.bitcast_convert_type(known[0].ravel()[:1].sum().astype(jnp.float32), jnp.uint32)
            zero = bits >> 31 >> 1
            given = tuple(x + zero.astype(x.dtype) if wait else x for x, wait in zip(given, late, strict=True))
        return jax.vjp(part, *given)[1](slopes)

    piece.defvjp(forward, backward)
    return piece


def _pieces(equations: list[Any]) -> Iterator[list[Any]]:
    """Equations in pieces that make about as much each."""
    heavy = sum(equation.primitive.name in _HEAVY for equation in equations)
    count = max(2, round(math.sqrt(heavy)))
    sizes = [sum(math.prod(v.aval.shape) for v in equation.outvars) for equation in equations]
    ends = np.cumsum(sizes) * count // max(1, sum(sizes))
    for number in range(count + 1):
        piece = [equation for equation, end in zip(equations, ends, strict=True) if end == number]
        if piece:
            yield piece


def _variables(equations: list[Any]) -> list[Any]:
    """What equations read, each once."""
    return list(dict.fromkeys(v for equation in equations for v in equation.invars if isinstance(v, Var)))
