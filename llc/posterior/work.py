"""Arithmetic and intermediates of a loss, counted from its program before anything runs."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from llc.problem import Problem

_LOSSES_A_GRADIENT = 3  # a derivative costs about as much as three values


def gradient_work(problem: Problem, params: PyTree) -> float:
    """Flops of the gradient of one example's loss."""
    return _LOSSES_A_GRADIENT * _of_one_more(_arithmetic, problem, params)


def repeated_work(problem: Problem, params: PyTree) -> float:
    """How many times the flops that a compiler counts a loss takes: it counts once what a loop repeats."""
    program = _loss(problem, params, 2)
    return _total(_arithmetic, program, True) / max(1.0, _total(_arithmetic, program, False))


def intermediates(problem: Problem, params: PyTree) -> int:
    """Elements that one more example adds to the arrays of its loss."""
    return int(_of_one_more(_sizes, problem, params))


def _of_one_more(count: Callable[[Any], float], problem: Problem, params: PyTree) -> float:
    two, three = (_total(count, _loss(problem, params, examples), True) for examples in (2, 3))
    return max(1.0, three - two)


def _loss(problem: Problem, params: PyTree, examples: int) -> Any:
    """The program of the losses of so many examples."""
    leaves, tree = jax.tree.flatten((params, problem.shapes(examples)))
    return _traced(problem.loss_fn, tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves))


@lru_cache(maxsize=128)
def _traced(loss_fn: Callable[[Any, Any], Any], tree: Any, shapes: tuple[tuple[tuple[int, ...], Any], ...]) -> Any:
    given = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    return jax.make_jaxpr(loss_fn)(*given).jaxpr


def flops(function: Callable[..., Any], *arguments: Any, repeat: bool = True) -> float:
    """Flops of a function of arrays of these shapes; `repeat=False` counts the body of a scan once.

    >>> layers = jax.ShapeDtypeStruct((5, 2, 2), np.float32)
    >>> deep = lambda w, x: jax.lax.scan(lambda h, layer: (layer @ h, None), x, w)[0]
    >>> [flops(deep, layers, jax.ShapeDtypeStruct((2,), np.float32), repeat=repeat) for repeat in (True, False)]
    [40.0, 8.0]
    """
    return _total(_arithmetic, jax.make_jaxpr(function)(*arguments).jaxpr, repeat)


def programs(equation: Any) -> list[Any]:
    """What an equation of a traced program calls, loops over or chooses from."""
    is_program = lambda part: hasattr(getattr(part, "jaxpr", part), "eqns")
    parts = jax.tree.leaves(list(equation.params.values()), is_leaf=is_program)
    return [getattr(part, "jaxpr", part) for part in parts if is_program(part)]


def _total(of_equation: Callable[[Any], float], program: Any, repeat: bool) -> float:
    """The sum over the equations of a program and of what they call."""
    total = 0.0
    for equation in program.eqns:
        inner = [_total(of_equation, called, repeat) for called in programs(equation)]
        times = equation.params["length"] if equation.primitive.name == "scan" and repeat else 1
        combined = max if equation.primitive.name == "cond" else sum
        total += times * combined(inner) if inner else of_equation(equation)
    return total


def _sizes(equation: Any) -> float:
    return float(sum(getattr(v.aval, "size", 0) for v in equation.outvars))


def _arithmetic(equation: Any) -> float:
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2 * _sizes(equation) * float(np.prod([equation.invars[0].aval.shape[axis] for axis in contracted]))
    if equation.primitive.name == "conv_general_dilated":
        kernel, channels = equation.invars[1].aval, equation.params["dimension_numbers"].rhs_spec[0]
        return 2 * _sizes(equation) * kernel.size / kernel.shape[channels]
    return _sizes(equation)
