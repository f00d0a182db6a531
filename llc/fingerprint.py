"""What a result depends on, as one hash: weights, data, loss, settings and versions."""

import dataclasses
import hashlib
import json
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from llc.data.off_device import OffDevice
from llc.problem import Problem, named_leaves

_PACKAGES = ("llcoef", "jax", "jaxlib", "numpyro")
_BLOCK = 1024  # examples read at a time where nothing but their numbers tells them from others
_LENGTH = 16  # hexadecimal digits: among a million results two share one with probability 3e-8


def of_arrays(tree: PyTree) -> str:
    """A hash of the names, types, shapes and numbers of a tree's leaves.

    >>> zeros = np.zeros(2)
    >>> [of_arrays({"w": zeros}) == of_arrays(other) for other in ({"w": zeros}, {"v": zeros}, {"w": zeros[None]})]
    [True, False, False]
    """
    digest = hashlib.sha256()
    for name, leaf in named_leaves(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def of_problem(problem: Problem, params: PyTree) -> str:
    """A hash of the data and of the loss."""
    data = of_data(problem.data), of_data(problem.test_data)
    return hashlib.sha256(f"{_program(problem, params)}{data}".encode()).hexdigest()


def of_loss(problem: Problem, params: PyTree) -> str:
    """A hash of the loss, not as it is written but as what it computes, constants included.

    Comments and names do not change it; a helper that the loss calls, or a number that it closes over, does.
    """
    return hashlib.sha256(_program(problem, params).encode()).hexdigest()


def of_data(data: PyTree) -> str:
    """A hash of the numbers of examples, or of what tells their files from others."""
    if not isinstance(data, OffDevice):
        return of_arrays(data)
    if (identity := data.identity()) is not None:
        return hashlib.sha256(identity.encode()).hexdigest()
    blocks = (np.arange(start, min(start + _BLOCK, len(data))) for start in range(0, len(data), _BLOCK))
    return combined(*(of_arrays(data.read(block)) for block in blocks))


def of_settings(settings: Any) -> str:
    """A hash of settings, with the versions and the device that draws depend on."""
    return combined(json.dumps(_spelled(settings), sort_keys=True), made_by())


def made_by() -> str:
    """The versions and the device that numbers depend on."""
    known = {name: version(name) for name in _PACKAGES} | {"device": jax.devices()[0].device_kind}
    return json.dumps(known, sort_keys=True)


def combined(*parts: str) -> str:
    """One short hash of several."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_LENGTH]


def _program(problem: Problem, params: PyTree) -> str:
    loss = jax.jit(lambda params, batch: problem.loss_fn(params, batch))
    return loss.lower(params, problem.shapes(2)).as_text()


def _spelled(value: Any) -> Any:
    """A setting in types that JSON knows, without loss: floats as their shortest exact text."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return ["key", np.asarray(jax.random.key_data(value)).tolist()]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return of_arrays(array) if array.size > 1 else [str(array.dtype), array.tolist()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _spelled(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return [type(value).__name__, fields]
    if isinstance(value, dict):
        return {str(name): _spelled(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    leaves, tree = jax.tree.flatten(value)
    return [str(tree), *map(_spelled, leaves)] if leaves != [value] else repr(value)
