"""PyTorch's .pt, .pth and .ckpt: tensors only, by `weights_only=True`; a state_dict, alone or wrapped with its step."""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from llc.checkpoints.checkpoint import Contents, reading, sort_out

_WRAPPERS = ("state_dict", "model_state_dict", "model", "params")
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_REMEDY = "torch.save({'model': model.state_dict(), 'step': step}, path)"


def read(path: Path) -> Contents:
    """The contents of a PyTorch file; the scalars beside a wrapped state_dict are metadata.

    Batch statistics, and the second name of weights that are tied, are no weights.

    Raises:
        ImportError: PyTorch is not installed, or too old to read a file without risk.
        ValueError: the file is damaged, or holds other objects than tensors.
    """
    torch = _import_torch(path)
    state, metadata = _unwrap(_load(torch, path))
    arrays: dict[str, np.ndarray] = {}
    buffers: set[str] = set()
    seen: set[tuple[Any, ...]] = set()
    with reading(path, "PyTorch file", _REMEDY):
        for name, value in _named(state):
            if not isinstance(value, torch.Tensor):
                metadata.setdefault(name, value)
                continue
            memory = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride())
            if name.split("/")[-1] in _BUFFERS or (memory in seen and value.numel()):
                buffers.add(name)
            seen.add(memory)
            arrays[name] = _as_numpy(torch, value)
    return sort_out(path, arrays, metadata, buffers=buffers)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a PyTorch file; its weights are not loaded.

    Raises:
        ImportError: PyTorch is not installed, or too old to read a file without risk.
        ValueError: the file is damaged, or holds other objects than tensors.
    """
    return _unwrap(_load(_import_torch(path), path))[1]


def _import_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        msg = f"{path}: reading PyTorch files needs PyTorch; pip install 'llcoef[torch]'."
        raise ImportError(msg) from error
    if torch.__version__ < "2.10":  # CVE-2025-32434, CVE-2026-24747: weights_only=True could still run code
        msg = f"{path}: PyTorch {torch.__version__} cannot read files without risk; pip install -U 'torch>=2.10'."
        raise ImportError(msg)
    return torch


def _load(torch: Any, path: Path) -> Any:
    with reading(path, "PyTorch file", _REMEDY):
        try:
            # Mapped, the optimizer's state beside the weights is never read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:  # whose message advises weights_only=False
            msg = "it pickles other objects than tensors"
            raise ValueError(msg) from error


def _unwrap(loaded: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(loaded, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(loaded.get(wrapper), Mapping):
                beside = {str(name): _scalar(value) for name, value in loaded.items() if name != wrapper}
                return loaded[wrapper], {name: value for name, value in beside.items() if value is not None}
    return loaded, {}


def _scalar(value: Any) -> bool | int | float | str | None:
    if hasattr(value, "numel") and value.numel() == 1:
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else None


def _named(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    # In the file's order, unlike JAX's: of two tied weights, the first named is the parameter, as in PyTorch.
    if isinstance(tree, Mapping | list | tuple):
        for key, child in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _named(child, f"{path}/{key}".removeprefix("/").replace(".", "/"))
    else:
        yield path or "params", tree


def _as_numpy(torch: Any, tensor: Any) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:  # which NumPy, and so tensor.numpy(), does not know
        return tensor.detach().contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return np.array(tensor.numpy(force=True), order="C")
