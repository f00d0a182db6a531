"""The empirical neural tangent kernel of any network, Θ = J Jᵀ with J = ∂f/∂w at its own weights (Jacot et al. 2018).

Dense layers never form J: their part of it is a Kronecker product, row by row, of what enters a layer and the gradients
by what leaves it, and their part of Θ an elementwise product of two small Gram matrices.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from llc.kernels.jacobian import apply_alone, contract, jacobian_factors, squared_norms
from llc.problem import named_leaves

Apply = Callable[[Any, Any], Any]
KINDS = ("full", "trace", "pseudo")
_BLOCK_BYTES = 256 * 2**20
_NUM_COMPARED = 8


def empirical_ntk(
    apply_fn: Apply, params: PyTree, x1: PyTree, x2: PyTree | None = None, *, kind: str = "full"
) -> Float[Array, "rows columns"]:
    """Θ[n,m,c,e] = Σ_p ∂f_c(x_n)/∂w_p ∂f_e(x_m)/∂w_p, the kernel of the network linearised at `params`.

    A dense layer z = W h + b costs two matrix products, (h_n·h_m + 1) Σ_k ∂f_c(x_n)/∂z_k ∂f_e(x_m)/∂z_k: any leaf that
    is used once, on a single vector, also transposed or scaled, and its bias. Other leaves are contracted as Jacobians.
    What would not fit in 256 MiB goes in blocks of examples. Compiled once for a function and shapes.

    >>> import jax.numpy as jnp
    >>> empirical_ntk(lambda w, x: x @ w, jnp.zeros((2, 1)), jnp.array([[1.0, 2.0], [0.0, 1.0]])).tolist()
    [[5.0, 2.0], [2.0, 1.0]]

    Args:
        apply_fn: a hashable `apply_fn(params, x)` that gives the outputs of a batch, each from its own example alone.
        params: the weights w.
        x1: inputs, a pytree of arrays with a leading axis of n examples.
        x2: likewise of m; None for x1 once more.
        kind: "full", the nC × mC matrix, examples outside and classes inside (all axes of an output after the first
            are classes; C = 1 if there is none); "trace", its mean over equal classes, (1/C) Σ_c Θ[n,m,c,c], n × m, of
            the right trace (times C) but the wrong rank; "pseudo", the kernel of (1/√C) Σ_c f_c, n × m.

    Raises:
        ValueError: the kind is unknown, inputs do not match, params are not floating-point, or an example's outputs
            depend on the others of its batch (batch normalisation in training).
    """
    if kind not in KINDS:
        msg = f"kind={kind!r} is unknown; use one of {', '.join(map(repr, KINDS))}."
        raise ValueError(msg)
    params, summed = _checked(apply_fn, params, x1, x2), kind == "pseudo"
    size = _footprint(apply_fn, params, x1, summed).block_size
    rows = []
    for i, block in enumerate(_blocks(x1, size)):
        left = jacobian_factors(apply_fn, params, block, summed=summed)
        row = []
        for j, other in enumerate(_blocks(x1 if x2 is None else x2, size)):
            if x2 is None and j < i:
                row.append(rows[j][i].T)
                continue
            own = x2 is None and j == i
            right = left if own else jacobian_factors(apply_fn, params, other, summed=summed)
            row.append(contract(left, right, trace=kind == "trace"))
        rows.append(row)
    return rows[0][0] if len(rows) == len(rows[0]) == 1 else jnp.block(rows)


def ntk_diagonal(apply_fn: Apply, params: PyTree, x: PyTree) -> Float[Array, "rows"]:
    """Θ[n,n,c,c] = |∂f_c(x_n)/∂w|², the diagonal of `empirical_ntk`; its sum is the trace.

    >>> import jax.numpy as jnp
    >>> ntk_diagonal(lambda w, x: x @ w, jnp.zeros((2, 1)), jnp.array([[1.0, 2.0], [0.0, 1.0]])).tolist()
    [5.0, 1.0]

    Args:
        apply_fn: as for `empirical_ntk`.
        params: the weights w.
        x: inputs, with a leading axis of n examples.

    Raises:
        ValueError: as `empirical_ntk`.
    """
    params = _checked(apply_fn, params, x, None)
    size = _footprint(apply_fn, params, x).block_size
    return jnp.concatenate([squared_norms(jacobian_factors(apply_fn, params, block)) for block in _blocks(x, size)])


def ntk_vector_product(
    apply_fn: Apply, params: PyTree, vector: Float[Array | np.ndarray, "_"], x1: PyTree, x2: PyTree | None = None
) -> Float[Array, "rows"]:
    """Θ v = J₁ (J₂ᵀ v), by one backward and one forward derivative over blocks of examples: for what does not fit.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0]])
    >>> ntk_vector_product(lambda w, x: x @ w, jnp.zeros((2, 1)), jnp.array([1.0, -1.0]), x).tolist()
    [3.0, 1.0]

    Args:
        apply_fn: as for `empirical_ntk`.
        params: the weights w.
        vector: v, of length mC, in the order of the columns of `empirical_ntk`.
        x1: inputs, with a leading axis of n examples.
        x2: likewise of m; None for x1 once more.

    Raises:
        ValueError: as `empirical_ntk`, or the vector is not of length mC.
    """
    params = _checked(apply_fn, params, x1, x2)
    x2 = x1 if x2 is None else x2
    footprint = _footprint(apply_fn, params, x1)
    columns = _length(x2) * footprint.classes
    if len(vector) != columns:
        msg = f"the vector is of length {len(vector)}; Θ has {columns} columns here: {footprint.classes} an example."
        raise ValueError(msg)
    return _product(apply_fn, params, jnp.asarray(vector), x1, x2, size=footprint.product_size)


@functools.partial(jax.jit, static_argnames=("apply_fn", "size"))
def _product(
    apply_fn: Apply, params: PyTree, vector: Array, x1: PyTree, x2: PyTree, *, size: int
) -> Float[Array, "rows"]:
    def outputs(params: PyTree, x: PyTree) -> Array:
        # kept for the way back are the examples alone; each block runs once more
        one = jax.checkpoint(lambda example: apply_alone(apply_fn, params, example))
        return jax.lax.map(one, x, batch_size=min(size, _length(x))).ravel()

    with jax.default_matmul_precision("highest"):
        f, pull = jax.vjp(lambda params: outputs(params, x2), params)
        return jax.jvp(lambda params: outputs(params, x1), (params,), pull(vector.astype(f.dtype)))[1]


class _Footprint(NamedTuple):
    """What one example needs, and how many of them go together."""

    classes: int
    block_size: int
    product_size: int


def _footprint(apply_fn: Apply, params: PyTree, x: PyTree, summed: bool = False) -> _Footprint:
    structs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params), _structs(x, 1)
    leaves, tree = jax.tree.flatten(structs)
    return _measure_example(apply_fn, tree, tuple(leaves), summed)


@functools.lru_cache(maxsize=64)
def _measure_example(apply_fn: Apply, tree: Any, leaves: tuple[jax.ShapeDtypeStruct, ...], summed: bool) -> _Footprint:
    params, example = tree.unflatten(leaves)
    network, outputs = jax.make_jaxpr(apply_fn, return_shape=True)(params, example)
    shape = getattr(outputs, "shape", ())
    if shape[:1] != (1,) or not jnp.issubdtype(outputs.dtype, jnp.floating):
        came = f"{outputs.dtype}{list(shape)}" if hasattr(outputs, "dtype") else type(outputs).__name__
        msg = (
            f"apply_fn gave {came} for a batch of one example; it must take batches of any length, and give one "
            "floating-point array whose leading axis counts the examples."
        )
        raise ValueError(msg)
    activations = _bytes(v.aval for equation in network.jaxpr.eqns for v in equation.outvars)
    factors = _bytes(
        jax.tree.leaves(jax.eval_shape(functools.partial(jacobian_factors, apply_fn, summed=summed), params, example))
    )
    backward = 1 if summed else outputs.size
    by_matrix = int((_BLOCK_BYTES / (2 * outputs.dtype.itemsize)) ** 0.5) // backward
    by_example = _BLOCK_BYTES // (backward * activations + factors)
    return _Footprint(outputs.size, max(1, min(by_matrix, by_example)), max(1, _BLOCK_BYTES // (2 * activations)))


def _bytes(arrays: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in arrays)


def _checked(apply_fn: Apply, params: PyTree, x1: PyTree, x2: PyTree | None) -> PyTree:
    """The params as arrays, once they and the inputs are in order."""
    params = jax.tree.map(jnp.asarray, params)
    for path, leaf in named_leaves(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            msg = f"params leaf {path!r} is {leaf.dtype}; every leaf must be floating-point. Close over the others."
            raise ValueError(msg)
    for name, x in (("x1", x1),) if x2 is None else (("x1", x1), ("x2", x2)):
        lengths = {path: np.shape(leaf)[0] if np.ndim(leaf) else None for path, leaf in named_leaves(x)}
        if len(set(lengths.values())) != 1 or set(lengths.values()) & {None, 0}:
            came = ", ".join(f"{path}: {'a scalar' if n is None else n}" for path, n in lengths.items())
            msg = f"the arrays of {name} have leading axes ({came}); they need one of the same length n ≥ 1."
            raise ValueError(msg)
    if x2 is not None and _structs(x1, 1) != _structs(x2, 1):
        msg = (
            f"examples of x1 are {_structs(x1, 1)}, of x2 {_structs(x2, 1)}; give inputs of the same shapes and dtypes."
        )
        raise ValueError(msg)
    _check_independence(apply_fn, params, next(_blocks(x1, _NUM_COMPARED)))
    return params


def _check_independence(apply_fn: Apply, params: PyTree, x: PyTree) -> None:
    """Refuse a network whose outputs for the first examples differ when each of them comes alone."""
    _footprint(apply_fn, params, x)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, x))):
        return
    largest, difference = (float(value) for value in _dependence(apply_fn, params, x))
    if difference > largest * jnp.finfo(jnp.result_type(*jax.tree.leaves(params))).eps ** 0.5:
        msg = (
            f"apply_fn's outputs of an example depend on the others of its batch: up to {largest:.3g} in size, they "
            f"differ by {difference:.3g} when it comes alone. The kernel needs each example for itself; put batch "
            "normalisation and the like into evaluation mode."
        )
        raise ValueError(msg)


@functools.partial(jax.jit, static_argnames="apply_fn")
def _dependence(apply_fn: Apply, params: PyTree, x: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The largest output, and the largest difference that the other examples of a batch make."""
    with jax.default_matmul_precision("highest"):
        alone = jax.vmap(lambda example: apply_alone(apply_fn, params, example))(x)
        together = apply_fn(params, x).reshape(alone.shape)
    return jnp.abs(alone).max(), jnp.abs(alone - together).max()


def _structs(x: PyTree, length: int) -> PyTree:
    """Shapes and dtypes of a batch of so many examples."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((length, *np.shape(a)[1:]), jnp.result_type(a)), x)


def _blocks(x: PyTree, size: int) -> Iterator[PyTree]:
    for start in range(0, _length(x), size):
        yield jax.tree.map(lambda a, start=start: a[start : start + size], x)


def _length(x: PyTree) -> int:
    return len(jax.tree.leaves(x)[0])
