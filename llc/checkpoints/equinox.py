"""Equinox's .eqx: the leaves of a tree one after the other, without names, so that only a template tells them apart."""

import json
from pathlib import Path

import equinox as eqx
import ml_dtypes
import numpy as np
from jaxtyping import PyTree

from llc.checkpoints.checkpoint import Contents, reading, sort_out
from llc.problem import named_leaves


def read(path: Path, template: PyTree | None) -> Contents:
    """The contents of an .eqx file, its leaves named after the template's.

    Args:
        path: the file; a first line of JSON, where hyperparameters are customarily kept, is its metadata.
        template: the tree that was saved, or one of the same structure.

    Raises:
        ValueError: there is no template, or the file is damaged.
    """
    if template is None:
        msg = f"{path}: an .eqx file does not name its leaves; give template=, a model of the structure that was saved."
        raise ValueError(msg)
    stored = [
        (name, leaf) for name, leaf in named_leaves(template) if eqx.is_array_like(leaf) or hasattr(leaf, "dtype")
    ]
    with reading(path, "Equinox file"), path.open("rb") as file:
        metadata = json.loads(file.readline()) if file.peek(1).startswith(b"{") else {}
        arrays: dict[str, np.ndarray] = {}
        while file.peek(1):
            array = np.lib.format.read_array(file, allow_pickle=False)
            position = len(arrays)
            name, leaf = stored[position] if position < len(stored) else (f"leaf number {position + 1}", None)
            if array.dtype.kind == "V" and getattr(leaf, "dtype", None) == ml_dtypes.bfloat16:
                array = array.view(ml_dtypes.bfloat16)  # which NumPy stores as raw bytes
            arrays[name] = array
    return sort_out(path, arrays, metadata)
