"""A checkpoint, and how what a reader found in a file becomes one."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from llc.checkpoints.tree import fill, is_floating, nest
from llc.problem import named_leaves


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a network at a step of its training.

    >>> Checkpoint(100, {"w": np.zeros(2)}, path=Path("step_100.npz")).step
    100

    Args:
        step: the metadata's step, else the last number in the file's name, else None.
        params: a tree of NumPy arrays.
        metadata: all else the file told: what was saved with it, and the arrays that are no weights (integers, and
            PyTorch's batch statistics) by their paths.
        path: where it came from; None if it was made in memory.
    """

    step: int | None
    params: PyTree = field(repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    path: Path | None = None


class Contents(NamedTuple):
    """What a reader found in a file: arrays by path, those that are no weights apart, and metadata with the latter."""

    weights: dict[str, np.ndarray]
    others: dict[str, np.ndarray]
    metadata: dict[str, Any]


def sort_out(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any], *, buffers: Collection[str] = ()
) -> Contents:
    """Part the weights of a file from its counters and buffers.

    Args:
        path: the file.
        arrays: all its arrays by path.
        metadata: what else it told.
        buffers: paths of floating-point arrays that are no weights.

    Raises:
        ValueError: an array is of complex numbers, or raw bytes of an unknown kind.
    """
    weights = {name: array for name, array in arrays.items() if is_floating(array) and name not in buffers}
    others = {name: array for name, array in arrays.items() if name not in weights}
    for name, array in others.items():
        if not is_floating(array) and array.dtype.kind in "cV":
            came = "complex" if array.dtype.kind == "c" else "raw bytes, perhaps bfloat16 that lost its name"
            msg = f"{path}: leaf {name!r} is {array.dtype} ({came}); save it as float32, or with llc.checkpoints.save."
            raise ValueError(msg)
    told = {name: array if array.ndim else array.item() for name, array in others.items()}
    return Contents(weights, others, told | dict(metadata))


def assemble(path: Path, contents: Contents, template: PyTree | None = None) -> Checkpoint:
    """Make a checkpoint of what a file holds.

    Args:
        path: the file.
        contents: what its reader found.
        template: a tree whose structure and shapes the params shall have; None gives dicts and lists.

    Raises:
        ValueError: the leaves do not fit the template, are not finite, or there are none.
    """
    try:
        params = nest(contents.weights) if template is None else fill(template, contents.weights, contents.others)
    except ValueError as error:
        msg = f"{path}: {error}."
        raise ValueError(msg) from error
    floating = [(name, leaf) for name, leaf in named_leaves(params) if is_floating(leaf)]
    if sum(np.size(leaf) for _, leaf in floating) == 0:
        came = ", ".join(sorted({str(array.dtype) for array in contents.others.values()})) or "no arrays"
        msg = f"{path}: no floating-point weights ({came}); save the network's weights, as floats."
        raise ValueError(msg)
    for name, leaf in floating:
        if not np.isfinite(leaf).all():
            msg = f"{path}: leaf {name!r} holds NaN or infinity; give a checkpoint from before the run diverged."
            raise ValueError(msg)
    metadata = {name: value for name, value in contents.metadata.items() if name != "step"}
    return Checkpoint(find_step(path, contents.metadata), params, metadata, path)


def find_step(path: Path, metadata: Mapping[str, Any]) -> int | None:
    """The metadata's `step` (or Lightning's `global_step`), else the last number in the file's name, else None.

    >>> find_step(Path("run2/step_000100.npz"), {}), find_step(Path("final.npz"), {"step": "7"})
    (100, 7)
    """
    for value in (metadata.get("step"), metadata.get("global_step")):
        if re.fullmatch(r"\d{1,18}(\.0)?", str(value)):
            return int(str(value).removesuffix(".0"))
    numbers = re.findall(r"\d+", path.name if path.is_dir() else path.stem)
    return int(numbers[-1]) if numbers else None


@contextmanager
def reading(path: Path, kind: str, remedy: str = "write it with llc.checkpoints.save") -> Iterator[None]:
    """Turn whatever a parser raises on a damaged or foreign file into one clear line.

    Args:
        path: the file.
        kind: what it should be.
        remedy: how to make one that is.

    Raises:
        ValueError: the file could not be parsed.
    """
    try:
        yield
    except Exception as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(".")
        msg = (
            f"{path}: not a readable {kind} ({told}); copy it again if it was cut short, "
            f"or {remedy} (pickled objects are never read)."
        )
        raise ValueError(msg) from error
