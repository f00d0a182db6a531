"""Safetensors: arrays named by path.

Beside them, in the file's metadata of strings and each only where it is needed: `step`; `__metadata__`, a JSON object;
`__separator__`, "/", where dots belong to the names.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from llc.checkpoints.checkpoint import Contents, reading, sort_out
from llc.checkpoints.tree import split_dots


def read(path: Path) -> Contents:
    """The contents of a .safetensors file.

    Raises:
        ValueError: the file is damaged.
    """
    return _read(path)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a .safetensors file; its weights are not loaded.

    Raises:
        ValueError: the file is damaged.
    """
    return _read(path, only=("step",)).metadata


def write(path: Path, arrays: Mapping[str, np.ndarray], step: int | None, metadata: Mapping[str, Any]) -> None:
    """Write arrays with their step and metadata."""
    strings = {} if step is None else {"step": str(step)}
    if metadata:
        strings["__metadata__"] = json.dumps(metadata)
    if split_dots(arrays).keys() != arrays.keys():
        strings["__separator__"] = "/"
    save_file(dict(arrays), path, strings or None)


def _read(path: Path, only: tuple[str, ...] | None = None) -> Contents:
    with reading(path, "safetensors file"), safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys() if only is None or name in only}  # noqa: SIM118
        told = dict(file.metadata() or {})
        separator = told.pop("__separator__", None)
        told |= json.loads(told.pop("__metadata__", "{}"))
    return sort_out(path, split_dots(arrays) if separator is None else arrays, told)
