"""Safetensors: arrays named by path, and strings beside them: `step`, and `metadata` as a JSON object."""

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
        strings["metadata"] = json.dumps(metadata)
    if split_dots(arrays).keys() != arrays.keys():
        strings["separator"] = "/"
    save_file(dict(arrays), path, strings or None)


def _read(path: Path, only: tuple[str, ...] | None = None) -> Contents:
    with reading(path, "safetensors file"), safe_open(path, "np") as file:
        told = dict(file.metadata() or {})
        arrays = {name: file.get_tensor(name) for name in file.keys() if only is None or name in only}  # noqa: SIM118
        separator = told.pop("separator", None)
        saved = told.pop("metadata", None)
        told |= json.loads(saved) if saved else {}
    return sort_out(path, arrays if separator == "/" else split_dots(arrays), told)
