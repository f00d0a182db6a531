"""Losses at w* on disk: a pass over data that are larger than memory is made once for each checkpoint.

A file is named after all that the losses depend on: weights, loss, the files of the data with their times, versions and
device. What it holds is compared with a few losses computed anew before it is believed.
"""

import contextlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PyTree

from llc import fingerprint
from llc.cache import cache_folder
from llc.data.off_device import OffDevice
from llc.files import remove_remains, written_whole
from llc.problem import Problem

_CHECKED = 16  # losses that are computed anew
_ROUNDING = 1e-3  # by which losses differ between a batch and all the data, relative to the largest
_ROOM = 2**31  # bytes; the oldest files go first


def known_losses(problem: Problem, center: PyTree, compute: Callable[[], Array]) -> Float[Array | np.ndarray, "n"]:
    """The losses at w*, from disk where they are there, else computed, and kept if the data have files."""
    identity = problem.data.identity() if isinstance(problem.data, OffDevice) else None
    if identity is None:
        return compute()
    parts = identity, fingerprint.of_arrays(center), fingerprint.of_loss(problem, center), fingerprint.made_by()
    path = cache_folder("losses") / f"{fingerprint.combined(*parts)}.npz"
    kept = _read(path)
    if kept is not None and _believable(kept, problem, center):
        return kept
    losses = compute()
    with contextlib.suppress(OSError):  # a full disk, or one that cannot be written, costs the next run a pass
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as made:
            np.savez(made, losses=np.asarray(losses))
        _sweep(path)
    return losses


def _believable(kept: Float[np.ndarray, "_"], problem: Problem, center: PyTree) -> bool:
    if kept.shape != (problem.n,):
        return False
    some = np.linspace(0, problem.n - 1, min(problem.n, _CHECKED)).astype(int)
    anew = np.asarray(losses_anew(problem, center, problem.take(some)))
    return kept.dtype == anew.dtype and np.allclose(kept[some], anew, rtol=0, atol=_ROUNDING * np.abs(anew).max())


@eqx.filter_jit  # one program, not one for each operation of the loss
def losses_anew(problem: Problem, params: PyTree, examples: PyTree) -> Float[Array, "batch"]:
    """The losses of a few examples in a batch of their own."""
    return problem.losses(params, examples)


def _read(path: Path) -> np.ndarray | None:
    """What a file holds; None if there is none, or not what was written."""
    try:
        with path.open("rb") as file, np.load(file) as content:
            losses = content["losses"]  # its checksum is that of the archive
            os.utime(path)  # the least used go first
            return losses
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _sweep(newest: Path) -> None:
    remove_remains(newest.parent, ".tmp-*")
    files = sorted(newest.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in [newest, *(path for path in files if path != newest)]:
        total += path.stat().st_size
        if total > _ROOM and path != newest:
            path.unlink(missing_ok=True)
