"""A path in, a checkpoint out; a folder in, its checkpoints out by step."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxtyping import PyTree

from llc.checkpoints import equinox, npz, orbax, safetensors, torch
from llc.checkpoints.checkpoint import Checkpoint, Contents, assemble, find_step

_READERS: Mapping[str, ModuleType] = {
    ".safetensors": safetensors,
    ".npz": npz,
    ".eqx": equinox,
    ".pt": torch,
    ".pth": torch,
    ".ckpt": torch,
}
_READABLE = f"{', '.join(_READERS)} and orbax folders"


def read(path: str | PathLike[str], template: PyTree | None = None) -> Checkpoint:
    """The checkpoint that a file or orbax folder holds; no code in it is run.

    Keys name leaves by path, `layers/0/w` or `layers.0.w`; levels keyed 0 … k−1 become lists. Integers are no weights:
    they go to the metadata.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/step_000100.npz", **{"layers/0/w": np.ones(2), "layers/1/w": np.zeros(1)})
    ...     checkpoint = read(f"{folder}/step_000100.npz")
    >>> checkpoint.step, checkpoint.params
    (100, {'layers': [{'w': array([1., 1.])}, {'w': array([0.])}]})

    Args:
        path: a .safetensors, .npz, .eqx, .pt, .pth or .ckpt file, or an orbax folder.
        template: a tree whose structure (tuples, dataclasses, modules) and shapes the params shall have; leaves are
            matched by path. Without it, params are dicts and lists. An .eqx file needs it.

    Raises:
        ImportError: PyTorch or orbax is needed and not installed.
        ValueError: the file is missing, empty, damaged or of an unknown kind, its weights are not finite, there are
            none, or they do not fit the template.
    """
    path = Path(path)
    return assemble(path, _contents(path, template), template)


def find(folder: str | PathLike[str], *, damaged: dict[Path, str] | None = None) -> list[Path]:
    """The checkpoints in a folder by step, those without a step last and by name; weights are not loaded.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (1000, 20, 3):
    ...         np.savez(f"{folder}/step_{step}.npz", w=np.ones(2))
    ...     [path.name for path in find(folder)]
    ['step_3.npz', 'step_20.npz', 'step_1000.npz']

    Args:
        folder: holds readable files or orbax folders; other files, and hidden ones, are passed over.
        damaged: where given, files whose step cannot be read are put here with the reason, and passed over.

    Raises:
        ImportError: PyTorch is needed and not installed.
        ValueError: there is no such folder, no checkpoint in it, a damaged one, or two of the same step.
    """
    folder = Path(folder)
    if not folder.is_dir():
        came = (
            "is a file, not a folder; read it with read(path)" if folder.exists() else "does not exist; check the path"
        )
        msg = f"{folder}: {came}."
        raise ValueError(msg)
    children = [folder] if orbax.is_checkpoint(folder) else folder.iterdir()
    paths = sorted((path for path in children if _is_checkpoint(path)), key=lambda path: path.name)
    if not paths:
        msg = f"{folder}: holds no checkpoint; readable are {_READABLE}."
        raise ValueError(msg)
    steps: dict[int, Path] = {}
    without: list[Path] = []
    for path in paths:
        try:
            step = _step(path)
        except ValueError as error:
            if damaged is None:
                raise
            damaged[path] = str(error)
            continue
        if step is None:
            without.append(path)
        elif steps.setdefault(step, path) != path:
            msg = f"{folder}: {steps[step].name} and {path.name} are both of step {step}; remove or rename one."
            raise ValueError(msg)
    return [steps[step] for step in sorted(steps)] + without


def read_folder(path: str | PathLike[str], template: PyTree | None = None) -> list[Checkpoint]:
    """The checkpoints of a folder by step, all in memory; `find` and `read` give them one at a time.

    Args:
        path: as for `find`.
        template: as for `read`.

    Raises:
        ImportError: PyTorch or orbax is needed and not installed.
        ValueError: as `find` and `read` do.
    """
    return [read(checkpoint, template) for checkpoint in find(path)]


def _contents(path: Path, template: PyTree | None) -> Contents:
    if orbax.is_checkpoint(path):
        return orbax.read(path)
    reader = _reader(path)
    return reader.read(path, template) if reader is equinox else reader.read(path)


def _step(path: Path) -> int | None:
    metadata: dict[str, Any] = {}
    if not orbax.is_checkpoint(path) and path.suffix.lower() != ".eqx":
        metadata = _reader(path).read_metadata(path)
    return find_step(path, metadata)


def _is_checkpoint(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return orbax.is_checkpoint(path) or (path.is_file() and path.suffix.lower() in _READERS)


def _reader(path: Path) -> ModuleType:
    if not path.exists():
        problem = "does not exist; check the path"
    elif path.is_dir():
        problem = "is a folder, but no orbax checkpoint; give one of the checkpoints in it, or use read_folder"
    elif path.suffix.lower() not in _READERS:
        problem = f"of unknown kind {path.suffix!r}; readable are {_READABLE}"
    elif path.stat().st_size == 0:
        problem = "is empty (0 bytes); save or copy it again"
    else:
        return _READERS[path.suffix.lower()]
    msg = f"{path}: {problem}."
    raise ValueError(msg)
