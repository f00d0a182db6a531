"""An iterator of batches as data: written once into memory-mapped files, which any example can then be read from."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import jax
import numpy as np
from jaxtyping import PyTree, Shaped

from llc.draws.progress import progress_bar
from llc.files import remove_remains
from llc.problem import named_leaves

_INDEX = "batches.json"
_TEMPORARY = ".tmp-batches-"


def from_batches(
    batches: Iterable[PyTree], *, n: int, folder: str | os.PathLike[str], progress: bool = True
) -> PyTree[Shaped[np.memmap, "n ..."]]:
    """Data for `llc.Problem` out of batches that come one after the other, such as a data loader's.

    Sampling asks for examples in any order, again and again, which an iterator cannot give. So its batches are written
    into a folder, whole or not at all. If the folder holds them already they are not asked for again.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "data"
    >>> from_batches(iter([{"x": np.zeros((2, 3))}, {"x": np.ones((1, 3))}]), n=3, folder=folder)["x"].shape
    (3, 3)

    Args:
        batches: trees (dicts, lists, tuples) of arrays whose leading axis is that of the examples: NumPy's, JAX's or
            PyTorch's. All are alike; only the last may be shorter.
        n: the number of examples that they hold together.
        folder: where they are kept; it is made, and must be empty or hold batches that were written before.
        progress: show a bar on standard error once it takes longer than two seconds.

    Returns:
        The tree of a batch, with memory-mapped arrays of n examples.

    Raises:
        ValueError: the batches end early, or hold over n examples, or differ; the folder holds another number of
            examples, or other files.
        OSError: the folder cannot be written.
    """
    if n < 1:
        msg = f"n={n}; declare how many examples the batches hold together."
        raise ValueError(msg)
    folder = Path(folder)
    if not _is_written(folder, n):
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_remains(folder.parent, f"{_TEMPORARY}*")
        temporary = folder.parent / f"{_TEMPORARY}{uuid4().hex}"
        temporary.mkdir()
        try:
            _write(batches, n, temporary, progress)
            if not _is_written(folder, n):  # another process may have been faster
                os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    index = json.loads((folder / _INDEX).read_text())
    return _tree(index["tree"], lambda number: _mapped(folder / f"{number}.npy", index["dtypes"][number]))


def _is_written(folder: Path, n: int) -> bool:
    """Whether a folder holds n examples.

    Raises:
        ValueError: it holds another number of them, or other files.
    """
    if not folder.exists():
        return False
    if (folder / _INDEX).is_file():
        held = json.loads((folder / _INDEX).read_text())["n"]
        if held != n:
            msg = f"{folder} holds n={held} examples and n={n} were declared; remove it, or give another folder."
            raise ValueError(msg)
        return True
    if not folder.is_dir() or any(folder.iterdir()):
        msg = f"{folder} holds something else; give a folder of its own for the batches, it is made if need be."
        raise ValueError(msg)
    return False


def _write(batches: Iterable[PyTree], n: int, folder: Path, progress: bool) -> None:
    files: list[BinaryIO] = []
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(progress_bar("writing batches", n, progress, unit="examples"))
        for batch, size in _checked(batches, n):
            leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(batch)]
            if not files:
                files = [stack.enter_context((folder / f"{i}.npy").open("wb")) for i in range(len(leaves))]
                for file, leaf in zip(files, leaves, strict=True):
                    kind = {"descr": np.lib.format.dtype_to_descr(leaf.dtype), "fortran_order": False}
                    np.lib.format.write_array_header_2_0(file, kind | {"shape": (n, *leaf.shape[1:])})
                index = {"n": n, "tree": _skeleton(batch), "dtypes": [str(leaf.dtype) for leaf in leaves]}
                (folder / _INDEX).write_text(json.dumps(index))
            for file, leaf in zip(files, leaves, strict=True):
                file.write(leaf.tobytes())
            report(size)


def _checked(batches: Iterable[PyTree], n: int) -> Iterator[tuple[PyTree, int]]:
    """Batches with their lengths, refused as soon as they differ or do not come to n."""
    first, length, last, done = "", 0, 0, 0
    for batch in batches:
        kind, size = _described(batch)
        first, length, last = first or kind, length or size, last or size
        if kind != first:
            msg = f"a batch holds {kind} after {done} examples, and the first one {first}; all must be alike."
            raise ValueError(msg)
        if last != length or size > length:
            odd = size if last == length else last
            msg = (
                f"by {done} examples batches change their length, from {length} to {odd}; only the last may be shorter."
            )
            raise ValueError(msg)
        if done + size > n:
            msg = f"the batches hold over n={n} examples, at least {done + size}; declare how many there are."
            raise ValueError(msg)
        yield batch, size
        done, last = done + size, size
    if done < n:
        msg = f"the batches ended after {done} examples, and n={n} were declared; declare n={done}, or give the rest."
        raise ValueError(msg)


def _described(batch: PyTree) -> tuple[str, int]:
    """The names, types and shapes of a batch's leaves but for its length; and that."""
    leaves = [(name, np.asarray(leaf)) for name, leaf in named_leaves(batch)]
    lengths = {leaf.shape[0] if leaf.ndim else 0 for _, leaf in leaves}
    if len(lengths) != 1 or 0 in lengths:
        came = ", ".join(f"{name}: {leaf.shape}" for name, leaf in leaves) or "no arrays"
        msg = f"a batch holds {came}; give arrays that share a leading axis of examples, at least one."
        raise ValueError(msg)
    kinds = ", ".join(f"{name}: {leaf.dtype}{list(leaf.shape[1:])}" for name, leaf in leaves)
    return kinds, lengths.pop()


def _skeleton(tree: PyTree) -> Any:
    """A tree as JSON knows it, with the numbers of its leaves."""
    numbers = iter(range(len(jax.tree.leaves(tree))))
    return _spelled(jax.tree.map(lambda _: next(numbers), tree))


def _spelled(node: Any) -> Any:
    if isinstance(node, dict) and all(isinstance(key, str) for key in node):
        return {"dict": {key: _spelled(value) for key, value in node.items()}}
    if type(node) in (list, tuple):
        return {type(node).__name__: [_spelled(value) for value in node]}
    if isinstance(node, int):
        return node
    msg = f"a batch holds a {type(node).__name__}; give dicts (with names for keys), lists and tuples of arrays."
    raise ValueError(msg)


def _tree(spelled: Any, leaf: Callable[[int], Any]) -> PyTree:
    """The inverse of `_spelled`."""
    if isinstance(spelled, int):
        return leaf(spelled)
    ((kind, inner),) = spelled.items()
    if kind == "dict":
        return {key: _tree(value, leaf) for key, value in inner.items()}
    parts = [_tree(value, leaf) for value in inner]
    return tuple(parts) if kind == "tuple" else parts


def _mapped(path: Path, dtype: str) -> np.memmap:
    """A file's array; of a type that .npy does not know, such as bfloat16, by its bytes."""
    array = np.load(path, mmap_mode="r")
    return array if array.dtype == np.dtype(dtype) else array.view(np.dtype(dtype))
