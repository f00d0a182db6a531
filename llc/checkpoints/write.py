"""Params to a file, written whole or not at all."""

import json
import operator
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex

import ml_dtypes
import numpy as np
from jaxtyping import PyTree

from llc.checkpoints import npz, safetensors
from llc.checkpoints.tree import is_floating
from llc.files import written_whole
from llc.problem import named_leaves

_WRITERS = {".npz": npz.write, ".safetensors": safetensors.write}


def save(
    path: str | PathLike[str],
    params: PyTree,
    *,
    step: SupportsIndex | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write params, each leaf under its path, so that `read` gives them back; a reader never sees half a file.

    Dicts with string keys and lists come back as they are; tuples, dataclasses and modules need a template.

    >>> import tempfile, llc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(f"{folder}/last.npz", [np.ones(2), np.zeros(1)], step=7, metadata={"seed": 0})
    ...     checkpoint = llc.checkpoints.read(path)
    >>> checkpoint.step, checkpoint.params, checkpoint.metadata
    (7, [array([1., 1.]), array([0.])], {'seed': 0})

    Args:
        path: ends in .safetensors or .npz; folders on the way are made.
        params: a pytree of arrays.
        step: the step of training.
        metadata: what JSON can hold.

    Returns:
        The path written.

    Raises:
        ValueError: the path ends otherwise, or params or metadata hold what the file cannot.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        msg = f"{path}: cannot write {path.suffix!r} files; name it .safetensors or .npz."
        raise ValueError(msg)
    arrays = _arrays(path, params)
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        msg = f"{path}: metadata cannot be written as JSON ({error}); use strings, numbers, lists and dicts."
        raise ValueError(msg) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as made:
        _WRITERS[path.suffix.lower()](made, arrays, None if step is None else operator.index(step), metadata or {})
    return path


def _arrays(path: Path, params: PyTree) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, leaf in named_leaves(params):
        try:
            array = np.asarray(leaf, order="C")
        except TypeError:  # typed PRNG keys
            array = np.asarray(None)
        if array.dtype.kind not in "fiub" and array.dtype != ml_dtypes.bfloat16:
            msg = (
                f"{path}: params leaf {name!r} is {getattr(leaf, 'dtype', type(leaf).__name__)}; give arrays of floats."
            )
            raise ValueError(msg)
        if name in arrays or name in npz.RESERVED:
            msg = f"{path}: params leaf {name!r} has the name of another leaf or of metadata; rename it."
            raise ValueError(msg)
        arrays[name] = array
    if not any(is_floating(array) and array.size for array in arrays.values()):
        msg = f"{path}: params hold no floating-point numbers; give a pytree of arrays of floats."
        raise ValueError(msg)
    return arrays
