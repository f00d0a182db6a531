"""Arithmetic that a loss takes, counted from its program before anything runs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from llc.posterior.local_posterior import LocalPosterior

_LOSSES_A_GRADIENT = 3  # a derivative costs about as much as three values


def gradient_work(posterior: LocalPosterior) -> float:
    """Flops of the gradient of one example's loss, matrix products and convolutions counted in full."""
    problem = posterior.problem
    count = lambda examples: flops(problem.loss_fn, posterior.center, problem.shapes(examples))
    return _LOSSES_A_GRADIENT * max(1.0, count(3) - count(2))


def repeated_work(posterior: LocalPosterior) -> float:
    """How many times the flops that a compiler counts the loss takes: it counts what a loop repeats once."""
    given = posterior.center, posterior.problem.shapes(2)
    return flops(posterior.problem.loss_fn, *given) / flops(posterior.problem.loss_fn, *given, repeat=False)


def flops(function: Callable[..., Any], *arguments: Any, repeat: bool = True) -> float:
    """Flops of a function of arrays of these shapes; `repeat=False` counts the body of a scan once.

    >>> layers = jax.ShapeDtypeStruct((5, 2, 2), np.float32)
    >>> deep = lambda w, x: jax.lax.scan(lambda h, layer: (layer @ h, None), x, w)[0]
    >>> [flops(deep, layers, jax.ShapeDtypeStruct((2,), np.float32), repeat=repeat) for repeat in (True, False)]
    [40.0, 8.0]
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr, repeat)


def _count(program: Any, repeat: bool) -> float:
    return float(sum(_of_equation(equation, repeat) for equation in program.eqns))


def _of_equation(equation: Any, repeat: bool) -> float:
    name, parameters = equation.primitive.name, equation.params
    size = sum(getattr(v.aval, "size", 1) for v in equation.outvars)
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        return 2.0 * size * np.prod([equation.invars[0].aval.shape[axis] for axis in contracted])
    if name == "conv_general_dilated":
        kernel, channels = equation.invars[1].aval, parameters["dimension_numbers"].rhs_spec[0]
        return 2.0 * size * kernel.size / kernel.shape[channels]
    inner = [_count(program, repeat) for program in _programs(parameters)]
    if not inner:
        return float(size)
    times = parameters["length"] if name == "scan" and repeat else 1
    return times * (max(inner) if name == "cond" else sum(inner))


def _programs(parameters: dict[str, Any]) -> list[Any]:
    is_program = lambda part: hasattr(getattr(part, "jaxpr", part), "eqns")
    parts = jax.tree.leaves(list(parameters.values()), is_leaf=is_program)
    return [getattr(part, "jaxpr", part) for part in parts if is_program(part)]
