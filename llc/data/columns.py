"""One leaf of data that stays where it lies, by kind: how its rows are read, and what tells it from others."""

import hashlib
import json
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PyTree, Shaped

_RESIDENT = 2**24  # bytes of a mapped file that may pile up in memory
_FAULT = 2**21  # bytes that Linux may map around one that is touched: the largest page its cache of files holds

Rows = slice | Int[np.ndarray, "rows"]


class Column(ABC):
    """n rows; `row` is the shape and type of one, or a tree of them."""

    shape: tuple[int, ...]
    row: PyTree[jax.ShapeDtypeStruct]

    @property
    def ndim(self) -> int:
        """Axes, that of the examples among them."""
        return len(self.shape)

    @abstractmethod
    def read(self, rows: Rows) -> PyTree[Shaped[np.ndarray, "..."]]:
        """Some rows, given in rising order."""

    @abstractmethod
    def identity(self) -> str | None:
        """What tells this column from others without reading it; None if nothing does."""


def stays(leaf: Any) -> bool:
    """Whether a leaf is left where it lies: memory-mapped, chunked (zarr, HDF5), or a source of records.

    >>> stays(np.zeros(3)), stays(range(3))
    (False, True)
    """
    if isinstance(leaf, np.memmap):
        return _mapping(leaf) is not None  # not what was computed from one
    if isinstance(leaf, np.ndarray | np.generic | jax.Array | str | bytes) or not hasattr(leaf, "__getitem__"):
        return False
    return hasattr(leaf, "chunks") or not hasattr(leaf, "__array__")


def column_of(leaf: Any) -> Column:
    """The column that a leaf of data is; plain arrays are kept in memory."""
    if not stays(leaf):
        return InMemory(np.asarray(leaf))
    if isinstance(leaf, np.memmap):
        return Mapped(leaf)
    return Chunked(leaf) if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else Records(leaf)


class InMemory(Column):
    """A plain array beside columns that are not."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape = array, tuple(array.shape)
        self.row = jax.ShapeDtypeStruct(self.shape[1:], np.dtype(array.dtype).newbyteorder("="))

    def read(self, rows: Rows) -> Shaped[np.ndarray, "..."]:
        """Some rows."""
        return self.array[rows]

    def identity(self) -> str | None:
        """A hash of the numbers."""
        return f"{self._kind} {hashlib.sha256(np.ascontiguousarray(self.array).tobytes()).hexdigest()}"

    @property
    def _kind(self) -> str:
        return f"{type(self).__name__} {self.array.dtype} {self.shape}"


class Mapped(InMemory):
    """`np.memmap`. What was read is let go of, so that the process does not grow to the size of the file."""

    def __init__(self, array: np.memmap) -> None:
        super().__init__(array)
        self._touched = 0

    def read(self, rows: Rows) -> Shaped[np.ndarray, "..."]:
        """Some rows, copied."""
        if isinstance(rows, slice):
            values = np.array(self.array[rows], subok=False)
            self._let_go_after(values.nbytes)
            return values
        values = np.empty((len(rows), *self.shape[1:]), self.array.dtype)
        touched = max(_FAULT, values.nbytes // max(len(rows), 1))  # by a row that lies alone
        at_once = max(1, _RESIDENT // touched)
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            values[start : start + at_once] = self.array[some]
            self._let_go_after(len(some) * touched)
        return values

    def _let_go_after(self, touched: int) -> None:
        """Unmap the pages that pile up; those of mode "c" may hold what is in no file."""
        self._touched += touched
        if self._touched >= _RESIDENT and self.array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
            _mapping(self.array).madvise(mmap.MADV_DONTNEED)
            self._touched = 0

    def identity(self) -> str | None:
        """The file, its time, and where in it the numbers lie; None where they may be written to."""
        if self.array.mode != "r" or self.array.filename is None:
            return None
        return f"{self._kind} {_of_file(self.array.filename)} {self._offset} {self.array.strides}"

    @property
    def _offset(self) -> int:
        """Of the first number in the file; a view's own `offset` is that of its base."""
        whole = np.frombuffer(_mapping(self.array), np.uint8)
        begin = self.array.offset - self.array.offset % mmap.ALLOCATIONGRANULARITY
        return begin + self.array.ctypes.data - whole.ctypes.data

    def __reduce__(self) -> tuple[Callable[..., Any], tuple]:
        array = self.array
        if array.mode == "c" or array.filename is None or not array.flags.c_contiguous:
            return column_of, (np.array(array, subok=False),)
        return _mapped_again, (str(array.filename), array.dtype, self._offset, array.shape)


class Chunked(InMemory):
    """What is indexed like an array: zarr, HDF5, dask."""

    def read(self, rows: Rows) -> Shaped[np.ndarray, "..."]:
        """Some rows, by the chunks that hold them."""
        by_row = getattr(self.array, "oindex", self.array)  # zarr's own brackets take pairs of coordinates
        return np.asarray(self.array[rows] if isinstance(rows, slice) else by_row[rows])

    def identity(self) -> str | None:
        """Of zarr in a folder and of HDF5 opened for reading, the files and their times; None of others."""
        root = getattr(getattr(self.array, "store", None), "root", None)
        if root is not None and hasattr(self.array, "metadata"):
            folder = Path(root) / self.array.path
            metadata = json.dumps(self.array.metadata.to_dict(), sort_keys=True, default=str)
            return f"{self._kind} {metadata} {_of_folder(folder)}" if folder.is_dir() else None
        file = getattr(self.array, "file", None)
        if file is None or getattr(file, "mode", None) != "r" or self.array.is_virtual or self.array.external:
            return None
        return f"{self._kind} {_of_file(file.filename)} {self.array.name}"


class Records(Column):
    """A source with `len` and `[number]`, as of Grain or PyTorch; a record may be a tree."""

    def __init__(self, source: Any) -> None:
        self.source, self.shape = source, (len(source),)
        first = jax.tree.map(np.asarray, source[0]) if len(source) else np.zeros(0)
        self.row = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype.newbyteorder("=")), first)

    def read(self, rows: Rows) -> PyTree[Shaped[np.ndarray, "..."]]:
        """Some records, one after the other."""
        numbers = range(rows.start, rows.stop) if isinstance(rows, slice) else rows.tolist()
        records = [self.source[number] for number in numbers]
        return jax.tree.map(lambda *values: np.stack([np.asarray(value) for value in values]), *records)

    def identity(self) -> str | None:
        """None: a source may be anything."""
        return None


def _mapping(array: np.memmap) -> Any:
    return getattr(array, "_mmap", None)


def _mapped_again(path: str, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> Column:
    return column_of(np.memmap(path, dtype, "r", offset, shape))


def _of_file(path: str | os.PathLike[str]) -> str:
    status = os.stat(path)
    return f"{os.path.realpath(path)} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _of_folder(folder: Path) -> str:
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns};".encode())
    return digest.hexdigest()
