"""Data that stays where it lies: files and sources of records, read a batch at a time while programs run.

A compiled program asks the host for the examples it needs, for all chains in one call. Where it walks through the data
block by block, or tells which batch it will want next, a thread reads that while this one is computed.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, Shaped

from llc.data.columns import Column, column_of, stays

_Key = tuple[tuple[int, ...], bytes]


@jax.tree_util.register_static
class OffDevice:
    """Examples that no program holds: a tree of columns with one leading axis of length n, itself without leaves.

    It is known by its identity, so that programs compiled for one are not used for another.
    """

    def __init__(self, data: PyTree) -> None:
        self.columns: PyTree[Column] = jax.tree.map(column_of, data)
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._latest: tuple[_Key, PyTree] | None = None  # a batch is often asked for twice, as by a control variate
        self._ahead: dict[_Key, Future] = {}
        self._first = -1  # of the block before

    def __len__(self) -> int:
        return jax.tree.leaves(self.columns)[0].shape[0]

    def __repr__(self) -> str:
        return f"OffDevice({len(self)} examples of {[str(struct) for struct in jax.tree.leaves(self.shapes())]})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any]]:
        return _unpickled, (self.columns,)

    def shapes(self, *batch: int) -> PyTree[jax.ShapeDtypeStruct]:
        """What examples look like, without reading any."""
        return jax.tree.map(lambda c: jax.tree.map(lambda row: _struct(batch, row), c.row), self.columns)

    def take(
        self, indices: Int[Array | np.ndarray, "..."], following: Int[Array, "..."] | None = None
    ) -> PyTree[Shaped[Array, "..."]]:
        """The examples of these numbers, also under `jit` and `vmap`, but without derivatives.

        Those that will be asked for next, where they are known, begin to be read.
        """
        shapes, asked = self.shapes(*indices.shape), (indices,) if following is None else (indices, following)
        return jax.pure_callback(self._answer, shapes, *asked, vmap_method="broadcast_all")

    def read(self, indices: Int[np.ndarray, "..."]) -> PyTree[Shaped[np.ndarray, "..."]]:
        """The examples of these numbers, on the host; every row is read once."""
        rows, places = np.unique(indices, return_inverse=True)
        consecutive = rows[-1] - rows[0] == rows.size - 1
        wanted = slice(int(rows[0]), int(rows[-1]) + 1) if consecutive else rows
        in_order = np.array_equal(places.ravel(), np.arange(rows.size))

        def placed(values: np.ndarray, row: jax.ShapeDtypeStruct) -> np.ndarray:
            if values.shape != (rows.size, *row.shape):
                msg = f"examples {wanted} have shape {values.shape}, and the first one {row.shape}; all must have one."
                raise ValueError(msg)
            values = values if in_order else values[places.ravel()]
            return values.reshape(*indices.shape, *row.shape).astype(_struct((), row).dtype, copy=False)

        return jax.tree.map(lambda c: jax.tree.map(placed, c.read(wanted), c.row), self.columns)

    def identity(self) -> str | None:
        """What tells these data from others without reading them: files, their times and shapes; None if unknown."""
        known = [column.identity() for column in jax.tree.leaves(self.columns)]
        return None if None in known else f"{jax.tree.structure(self.columns)} {known}"

    def _answer(self, indices: Array, following: Array | None = None) -> PyTree[Shaped[np.ndarray, "..."]]:
        numbers = np.asarray(indices)
        key = _key(numbers)
        with self._lock:
            if self._latest is not None and self._latest[0] == key:
                return self._latest[1]
            waiting = self._ahead.pop(key, None)
            if following is not None:
                self._begin_to_read(np.asarray(following))
        values = self._read_alone(numbers) if waiting is None else waiting.result()
        with self._lock:
            self._latest = (key, values)
            if numbers.ndim == 1 and np.array_equal(numbers, np.arange(numbers[0], numbers[0] + numbers.size)):
                self._read_next_block(numbers)
        return values

    def _read_next_block(self, block: Int[np.ndarray, "block"]) -> None:
        """Begin to read the block that follows, backwards where the last one lay behind, as derivatives go."""
        first, size = int(block[0]), block.size
        start = first - size if first < self._first else first + size
        stop, self._first = min(start + size, len(self)), first
        self._ahead = {}
        if 0 <= start < stop:
            self._begin_to_read(np.arange(start, stop, dtype=block.dtype))

    def _begin_to_read(self, numbers: Int[np.ndarray, "..."]) -> None:
        """In place of what is being read ahead already."""
        self._ahead = {_key(numbers): _reader().submit(self._read_alone, numbers)}

    def _read_alone(self, numbers: Int[np.ndarray, "..."]) -> PyTree[Shaped[np.ndarray, "..."]]:
        """One reading at a time: a user's source of records need not know of threads."""
        with self._reading:
            return self.read(numbers)


def placed(data: PyTree) -> PyTree:
    """Data on the device; or none of them, where a leaf is one that `stays`."""
    if isinstance(data, OffDevice):
        return data
    return OffDevice(data) if any(map(stays, jax.tree.leaves(data))) else jax.tree.map(jnp.asarray, data)


def whole(examples: PyTree) -> PyTree:
    """A tree of examples with those in it that are off the device read, all of them."""
    is_off = lambda part: isinstance(part, OffDevice)
    return jax.tree.map(lambda p: p.take(jnp.arange(len(p))) if is_off(p) else p, examples, is_leaf=is_off)


@cache
def _reader() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "llc-reader")


def _key(indices: Int[np.ndarray, "..."]) -> _Key:
    return indices.shape, indices.tobytes()


def _struct(batch: tuple[int, ...], row: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """As `jnp.asarray` would make them: of single precision unless x64 is on."""
    return jax.ShapeDtypeStruct((*batch, *row.shape), jax.dtypes.canonicalize_dtype(row.dtype))


def _unpickled(columns: PyTree) -> OffDevice:
    data = OffDevice(())
    data.columns = columns
    return data
