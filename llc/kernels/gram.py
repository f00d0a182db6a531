"""Gram matrices larger than memory: computed in blocks, each written to disk once done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Shaped

from llc.draws.progress import progress_bar


def gram_on_disk(
    kernel_fn: Callable[..., Array],
    path: str | Path,
    x1: Shaped[Array | np.ndarray, "n ..."],
    x2: Shaped[Array | np.ndarray, "m ..."] | None = None,
    *,
    block_size: int = 2048,
    progress: bool = True,
) -> Any:
    """The Gram matrix of a kernel as a zarr array, never more than one block of it in memory.

    With `x2=None` the matrix is taken to be symmetric, and each pair of blocks is computed once. A kernel of C outputs,
    such as `llc.kernels.empirical_ntk`, gives C rows for each input, in the order (n, c).

    Args:
        kernel_fn: called as kernel_fn(rows, columns), and as kernel_fn(rows) for the blocks on the diagonal of a
            symmetric matrix; `kernel.ntk` for one of `llc.kernels.fully_connected`.
        path: the zarr folder to make. It has this name only once it is whole; until then it ends in `.partial`.
        x1: inputs of the rows; arrays mapped from disk are read block by block.
        x2: inputs of the columns.
        block_size: inputs on each side of a block, which is also the array's chunk.
        progress: whether work of over two seconds shows a bar.

    Returns:
        The `zarr.Array`, opened for reading; slices of it are NumPy arrays.

    Raises:
        ImportError: zarr is not installed.
        ValueError: the path exists, the block size is not positive, or there are no inputs.
    """
    try:
        import zarr
    except ImportError as error:
        msg = "Gram matrices on disk need zarr; install it by: pip install 'llcoef[zarr]'"
        raise ImportError(msg) from error
    path, columns = Path(path), x1 if x2 is None else x2
    if path.exists():
        msg = f"{path} exists already; remove it, or choose another name."
        raise ValueError(msg)
    if block_size < 1 or len(x1) == 0 or len(columns) == 0:
        msg = f"block_size={block_size} and {len(x1)} x {len(columns)} inputs; each must be at least 1."
        raise ValueError(msg)
    starts = lambda n: range(0, n, block_size)
    corners = [(i, j) for i in starts(len(x1)) for j in starts(len(columns)) if x2 is not None or i <= j]
    partial = path.with_name(path.name + ".partial")
    gram = None
    with progress_bar("Gram matrix", len(corners), progress, unit="blocks") as report:
        for i, j in corners:
            rows = np.asarray(x1[i : i + block_size])
            if x2 is None and i == j:
                block = np.asarray(kernel_fn(rows))
            else:
                block = np.asarray(kernel_fn(rows, np.asarray(columns[j : j + block_size])))
            outputs = len(block) // len(rows)
            if gram is None:
                shape = len(x1) * outputs, len(columns) * outputs
                chunk = min(block_size * outputs, shape[0]), min(block_size * outputs, shape[1])
                gram = zarr.create_array(partial, shape=shape, chunks=chunk, dtype=block.dtype, overwrite=True)
            top, left = i * outputs, j * outputs
            gram[top : top + block.shape[0], left : left + block.shape[1]] = block
            if x2 is None and i != j:
                gram[left : left + block.shape[1], top : top + block.shape[0]] = block.T
            report(1)
    partial.rename(path)
    return zarr.open_array(path, mode="r")
