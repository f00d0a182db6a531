"""Checkpoints in whatever form they come, looked at once: their steps, their weights' hashes, and whether they fit."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from llc import fingerprint
from llc.checkpoints import Checkpoint, find, read, save
from llc.problem import named_leaves


@dataclass(frozen=True, eq=False)
class Source:
    """One checkpoint, in memory or on disk."""

    name: str
    step: int | None = None
    params: PyTree | None = None
    path: Path | None = None
    template: PyTree | None = None

    def load(self) -> Checkpoint:
        """The checkpoint.

        Raises:
            ValueError: its file cannot be read.
        """
        if self.path is None:
            return Checkpoint(self.step, self.params)
        checkpoint = read(self.path, self.template)
        return checkpoint if self.step is None else replace(checkpoint, step=self.step)


class Seen(NamedTuple):
    """A checkpoint that was read once: its step, the hash of its weights, the shapes of its leaves."""

    step: int
    digest: str
    shapes: dict[str, tuple[int, ...]]
    source: Source

    def load(self) -> PyTree:
        """The params.

        Raises:
            ValueError: the file cannot be read, or holds other weights than when it was first read.
        """
        params = self.source.load().params
        if fingerprint.of_arrays(params) != self.digest:
            msg = f"{self.source.name} changed while it was being used; run again, when nothing writes to it."
            raise ValueError(msg)
        return params


class Survey(NamedTuple):
    """The checkpoints by step, and those that could not be read, by name with the reason."""

    seen: list[Seen]
    skipped: dict[str, str]


_known: dict[tuple, tuple[int | None, str, dict[str, tuple[int, ...]]]] = {}  # files of which nothing changed since


def survey(checkpoints: Any, template: PyTree | None, scratch: Path) -> Survey:
    """Read every checkpoint once, one at a time.

    Args:
        checkpoints: a folder, an Orbax manager, a mapping from steps to params, or any iterable of paths,
            `llc.checkpoints.Checkpoint`, or pairs (step, params).
        template: a tree like the params, as for `llc.checkpoints.read`.
        scratch: where to keep those of an iterator, which come but once.

    Raises:
        ValueError: there is no readable one, one has no step, two have the same, or two are of different networks.
    """
    sources, skipped = _sources(checkpoints, template, scratch)
    seen: dict[int, Seen] = {}
    for source in sources:
        try:
            step, digest, shapes = _look(source)
        except ValueError as error:
            skipped[source.name] = str(error)
            continue
        if step is None:
            msg = f"{source.name} has no step; name it like step_000100.npz, or save it with its step."
            raise ValueError(msg)
        if step in seen:
            msg = f"{seen[step].source.name} and {source.name} are both of step {step}; remove or rename one."
            raise ValueError(msg)
        seen[step] = Seen(step, digest, shapes, source)
    if not seen:
        reasons = "; ".join(skipped.values())
        msg = reasons or f"{checkpoints!r} holds no checkpoint; give a folder of them, or pairs (step, params)."
        raise ValueError(msg)
    ordered = [seen[step] for step in sorted(seen)]
    for other in ordered[1:]:
        _check_same_network(ordered[0], other)
    return Survey(ordered, skipped)


def _sources(checkpoints: Any, template: PyTree | None, scratch: Path) -> tuple[list[Source], dict[str, str]]:
    if hasattr(checkpoints, "all_steps") and hasattr(checkpoints, "directory"):  # an Orbax CheckpointManager
        checkpoints = str(checkpoints.directory)
    if isinstance(checkpoints, str | PathLike):
        damaged: dict[Path, str] = {}
        paths = find(checkpoints, damaged=damaged)
        skipped = {str(path): reason for path, reason in damaged.items()}
        return [Source(str(path), path=path, template=template) for path in paths], skipped
    if isinstance(checkpoints, Mapping):
        checkpoints = list(checkpoints.items())
    if not isinstance(checkpoints, Iterable):
        msg = (
            f"checkpoints is a {type(checkpoints).__name__}; it must be a folder, an Orbax manager, or an iterable of "
            "paths, llc.checkpoints.Checkpoint or pairs (step, params)."
        )
        raise ValueError(msg)
    once = isinstance(checkpoints, Iterator)
    sources = (_source(item, template) for item in checkpoints)
    return [_kept(source, scratch) if once else source for source in sources], {}


def _source(item: Any, template: PyTree | None) -> Source:
    if isinstance(item, str | PathLike):
        return Source(str(item), path=Path(item), template=template)
    if isinstance(item, Checkpoint):
        return Source(str(item.path or f"checkpoint of step {item.step}"), item.step, item.params)
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], int | np.integer):
        return Source(f"step {item[0]}", int(item[0]), item[1])
    msg = (
        f"checkpoints holds a {type(item).__name__}; each must be a path, an llc.checkpoints.Checkpoint, or a pair "
        "(step, params) with an integer step."
    )
    raise ValueError(msg)


def _kept(source: Source, scratch: Path) -> Source:
    """The same on disk, so that no more than one is in memory."""
    if source.path is not None or source.step is None:
        return source
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype), source.params)
    path = save(scratch / f"step_{source.step}.npz", source.params, step=source.step)
    return Source(source.name, source.step, path=path, template=like)


def _look(source: Source) -> tuple[int | None, str, dict[str, tuple[int, ...]]]:
    stat = None if source.path is None or not source.path.exists() else source.path.stat()
    at = None if stat is None else (str(source.path), stat.st_mtime_ns, stat.st_size, stat.st_ino)
    if at in _known:
        return _known[at]
    checkpoint = source.load()
    shapes = {name: np.shape(leaf) for name, leaf in named_leaves(checkpoint.params)}
    looked = checkpoint.step, fingerprint.of_arrays(checkpoint.params), shapes
    if at is not None:
        _known[at] = looked
    return looked


def _check_same_network(first: Seen, other: Seen) -> None:
    for name in first.shapes | other.shapes:
        shapes = [seen.shapes.get(name, "nothing") for seen in (first, other)]
        if shapes[0] != shapes[1]:
            msg = (
                f"{first.source.name} and {other.source.name} are of different networks: {name} is {shapes[0]} in one "
                f"and {shapes[1]} in the other; give the checkpoints of one training run."
            )
            raise ValueError(msg)
