"""NumPy's .npz: arrays named by path.

Beside them, each only where it is needed: `__step__`, an integer; `__metadata__`, a JSON object; `__dtypes__`, a JSON
object from path to `bfloat16`, which NumPy stores as raw bytes; `__separator__`, "/", where dots belong to the names.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from llc.checkpoints.checkpoint import Contents, reading, sort_out
from llc.checkpoints.tree import split_dots

RESERVED = ("__step__", "__metadata__", "__dtypes__", "__separator__")


def read(path: Path) -> Contents:
    """The contents of an .npz file.

    Raises:
        ValueError: the file is damaged, or holds pickled objects.
    """
    return sort_out(path, *_read(path))


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of an .npz file; its weights are not loaded.

    Raises:
        ValueError: the file is damaged, or holds pickled objects.
    """
    return sort_out(path, *_read(path, only=(*RESERVED, "step"))).metadata


def write(path: Path, arrays: Mapping[str, np.ndarray], step: int | None, metadata: Mapping[str, Any]) -> None:
    """Write arrays with their step and metadata; the same input gives the same bytes."""
    raw = {name: "bfloat16" for name, array in arrays.items() if array.dtype == ml_dtypes.bfloat16}
    entries = dict(arrays)
    if step is not None:
        entries["__step__"] = np.asarray(step)
    if metadata:
        entries["__metadata__"] = np.asarray(json.dumps(metadata))
    if raw:
        entries["__dtypes__"] = np.asarray(json.dumps(raw))
    if split_dots(arrays).keys() != arrays.keys():
        entries["__separator__"] = np.asarray("/")
    with zipfile.ZipFile(path, "x") as archive:  # np.savez cannot name an array "file"
        for name, array in entries.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _read(path: Path, only: tuple[str, ...] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays: dict[str, np.ndarray] = {}
    with reading(path, "npz archive"), zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            name = entry.removesuffix(".npy")
            if only is None or name in only:
                with archive.open(entry) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
                    file.read()  # zipfile compares the checksum at the end
        step, metadata, dtypes, separator = (arrays.pop(name, None) for name in RESERVED)
        for name, dtype in json.loads(str(dtypes)).items() if dtypes is not None else ():
            if name in arrays and dtype == "bfloat16":
                arrays[name] = arrays[name].view(ml_dtypes.bfloat16)
        told = {} if metadata is None else dict(json.loads(str(metadata)))
        told |= {} if step is None else {"step": step.item()}
    return (split_dots(arrays) if separator is None else arrays), told
