"""Orbax's folders, and the steps of its CheckpointManager, read as NumPy arrays whatever devices they were saved on."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from llc.checkpoints.checkpoint import Contents, find_step, reading, sort_out
from llc.problem import named_leaves


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a finished orbax checkpoint."""
    return path.is_dir() and "orbax-checkpoint-tmp" not in path.name and bool(_items(path))


def read(path: Path) -> Contents:
    """The contents of an orbax folder; of a training state, its `params`, the scalars beside them being metadata.

    Raises:
        ImportError: orbax is not installed.
        ValueError: the folder is damaged, or holds several trees.
    """
    items = {item.name: item for item in _items(path)}
    if len(items) > 1 and not items.keys() & {"default", "params"}:
        msg = f"{path}: holds {', '.join(sorted(items))}; give the path of the one that holds the weights."
        raise ValueError(msg)
    item = items.get("default") or items.get("params") or next(iter(items.values()))
    tree = _restore(path, item)
    metadata: dict[str, Any] = {}
    if isinstance(tree, dict) and len(tree) > 1 and isinstance(tree.get("params"), dict | list):
        beside = {name: np.asarray(leaf) for name, leaf in named_leaves({**tree, "params": None})}
        metadata = {name: leaf.item() for name, leaf in beside.items() if leaf.ndim == 0}
        tree = tree["params"]
    if find_step(path, {}) is not None:
        metadata.pop("step", None)  # the folder's name is what its manager, and a listing, goes by
    return sort_out(path, {name: np.asarray(leaf) for name, leaf in named_leaves(tree)}, metadata)


def _items(path: Path) -> list[Path]:
    # A tree's folder has _METADATA; a step's has its trees in folders, one of them called default if it has no name.
    if (path / "_METADATA").exists():
        return [path]
    if not (path / "_CHECKPOINT_METADATA").exists() and not (path / "default" / "_METADATA").exists():
        return []
    return sorted(child.parent for child in path.glob("*/_METADATA"))


def _restore(path: Path, item: Path) -> Any:
    try:
        import orbax.checkpoint as ocp
        from etils import epath
    except ImportError as error:
        msg = f"{path}: reading orbax folders needs orbax; pip install 'llcoef[orbax]'."
        raise ImportError(msg) from error
    handler, folder = ocp.PyTreeCheckpointHandler(), epath.Path(item.resolve())
    with reading(path, "orbax checkpoint"):
        has_shape = lambda leaf: hasattr(leaf, "shape")
        as_numpy = lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray if has_shape(leaf) else None)
        restore_args = jax.tree.map(as_numpy, handler.metadata(folder).tree, is_leaf=has_shape)
        return handler.restore(folder, args=ocp.args.PyTreeRestore(restore_args=restore_args))
