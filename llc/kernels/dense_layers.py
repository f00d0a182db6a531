"""The dense layers of a network, found in its jaxpr: what enters each of them, and a shift of what leaves it.

A weight matrix that is used once, in z = s W h, has the gradient s h ⊗ ∂f/∂z, and a bias that is used once, in z + s b,
has s ∂f/∂z. So neither needs a Jacobian: h is read while the network runs, and ∂f/∂z is the gradient by a shift of z.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array, Float

_CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}  # names differ between versions
_ARRANGEMENTS = {"reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "convert_element_type", "copy"}


class Leaf(NamedTuple):
    """The mark of a value that holds the entries of a parameter leaf, each once and times one number, in any order."""

    position: int
    scale: Any = 1.0


class Layer(NamedTuple):
    """The mark of a value that holds the outputs of a dense layer, in any order."""

    position: int


class DenseLayers(NamedTuple):
    """The dense layers that one run met; one example has one vector of features a layer."""

    features: list[Float[Array, "_"]]
    """What multiplies ∂f/∂z in the gradient: s h of the weights, then s of the bias, as far as they are there."""
    outputs: list[jax.ShapeDtypeStruct]
    """The shape of z."""
    leaves: set[int]
    """The parameter leaves that these layers account for, and those that the network does not use."""


def run_dense_layers(
    network: ClosedJaxpr, leaves: Sequence[Array], inputs: Sequence[Array], shifts: Sequence[Array] | None = None
) -> tuple[list[Array], DenseLayers]:
    """Run a network on one example, add the shifts to the outputs of its dense layers, and read their inputs.

    A leaf counts as dense where its one use is a `dot_general` with a single vector, or an addition without repetition.
    Leaves that are shared, scanned over, convolved, or applied at several positions do not, nor does anything inside
    a function with a derivative of its own.

    Args:
        network: the jaxpr of one example, its arguments the leaves and then the inputs.
        leaves: the parameters.
        inputs: the example.
        shifts: one for each layer, of the shapes in `DenseLayers.outputs`; None for zeros.

    Returns:
        The network's outputs, and the layers it met.
    """
    uses = _uses(network.jaxpr)
    run = _Run(shifts, {i for i, leaf in enumerate(network.jaxpr.invars[: len(leaves)]) if not uses[leaf]})
    marked = [(leaf, Leaf(index)) for index, leaf in enumerate(leaves)] + [(array, None) for array in inputs]
    outputs = run.evaluate(network.jaxpr, network.consts, marked)
    return [value for value, _ in outputs], run.layers


class _Run:
    """One evaluation of a jaxpr that carries a mark, Leaf or Layer, beside each value."""

    def __init__(self, shifts: Sequence[Array] | None, unused: set[int]) -> None:
        self.shifts = shifts
        self.layers = DenseLayers([], [], unused)

    def evaluate(self, jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[tuple[Any, Any]]) -> list[tuple]:
        uses = _uses(jaxpr)
        known = dict(zip(jaxpr.constvars, ((value, None) for value in consts), strict=True))
        known |= zip(jaxpr.invars, arguments, strict=True)

        def read(atom: Any) -> tuple[Any, Any]:
            if isinstance(atom, Literal):
                return atom.val, None
            value, mark = known[atom]
            return value, mark if uses[atom] == 1 else None  # a second use would add its own part to the gradient

        for equation in jaxpr.eqns:
            known |= zip(equation.outvars, self.apply(equation, [read(a) for a in equation.invars]), strict=True)
        return [read(atom) for atom in jaxpr.outvars]

    def apply(self, equation: JaxprEqn, operands: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        if equation.primitive.name in _CALLS:
            inner = equation.params["jaxpr"]
            jaxpr, consts = (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, [])
            return self.evaluate(jaxpr, consts, operands)
        outputs = _bind(equation, [value for value, _ in operands])
        if len(outputs) > 1 or not jnp.issubdtype(outputs[0].dtype, jnp.inexact):
            return [(value, None) for value in outputs]
        return [self.mark(equation, operands, outputs[0])]

    def mark(self, equation: JaxprEqn, operands: list[tuple[Any, Any]], output: Any) -> tuple[Any, Any]:
        """The output with its mark, and with its shift if it leaves a dense layer."""
        name, (value, mark) = equation.primitive.name, operands[0]
        if name in _ARRANGEMENTS and mark is not None and output.size == value.size:
            return output, mark
        if len(operands) != 2:
            return output, None
        leaves = [position for position, (_, mark) in enumerate(operands) if isinstance(mark, Leaf)]
        if len(leaves) != 1:
            return output, None
        (position,) = leaves
        (weight, leaf), (other, mark) = operands[position], operands[1 - position]
        if name == "mul" and jnp.ndim(other) == 0:
            return output, Leaf(leaf.position, leaf.scale * other)
        if name == "div" and jnp.ndim(other) == 0 and position == 0:
            return output, Leaf(leaf.position, leaf.scale / other)
        if name in ("add", "sub") and weight.shape == output.shape:
            return self.leave_layer(leaf, jnp.ones(1, output.dtype), output, mark)
        if name == "dot_general":
            contracted, batched = equation.params["dimension_numbers"]
            one_vector = other.size == math.prod(other.shape[axis] for axis in contracted[1 - position])
            if one_vector and not batched[position]:
                return self.leave_layer(leaf, other.ravel(), output, None)
        return output, None

    def leave_layer(self, leaf: Leaf, features: Array, output: Array, layer: Layer | None) -> tuple[Array, Layer]:
        """Account for a leaf: a bias on the outputs of a layer joins it, anything else is a layer of its own."""
        features = leaf.scale * features
        self.layers.leaves.add(leaf.position)
        if layer is not None:
            self.layers.features[layer.position] = jnp.append(self.layers.features[layer.position], features)
            return output, layer
        index = len(self.layers.outputs)
        self.layers.features.append(features)
        self.layers.outputs.append(jax.ShapeDtypeStruct(output.shape, output.dtype))
        return output if self.shifts is None else output + self.shifts[index], Layer(index)


def _bind(equation: JaxprEqn, values: list[Any]) -> list[Any]:
    """The outputs of one equation."""
    bound = equation.primitive.get_bind_params(equation.params)
    functions, settings = bound if isinstance(bound, tuple) else ((), bound)  # a pair until JAX 0.9
    with equation.ctx.manager:
        outputs = equation.primitive.bind(*functions, *values, **settings)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def _uses(jaxpr: Jaxpr) -> Counter[Var]:
    """How often each variable is read, or returned."""
    atoms = [atom for equation in jaxpr.eqns for atom in equation.invars] + list(jaxpr.outvars)
    return Counter(atom for atom in atoms if isinstance(atom, Var))
