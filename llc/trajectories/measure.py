"""What is measured of one checkpoint: the work that an executor's processes do."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PyTree
from xarray import DataTree

from llc.estimators.estimate import estimate
from llc.kernels.tangent import ntk_coefficient
from llc.own_truth import behavioral
from llc.problem import Problem, over_examples

_BATCH = 1024  # examples whose intermediates are held at a time
REFINED = "refined"  # the group of the weight-refined coefficients


class Task(NamedTuple):
    """What is measured of every checkpoint of a run."""

    problem: Problem
    settings: dict[str, Any]
    behavioral: bool
    masks: dict[str, Any]
    ntk: bool

    def problem_at(self, params: PyTree) -> Problem:
        """The problem that λ̂ is of: the training data, or the network at `params` itself."""
        return behavioral(self.problem, params) if self.behavioral else self.problem


def measure(task: Task, step: int, params: PyTree) -> DataTree:
    """The draws around one checkpoint; losses and bounds in the attrs, draws of refined coefficients in groups."""
    problem = task.problem_at(params)
    draws = estimate(problem, params, progress=False, **task.settings).draws
    draws.attrs |= {"step": step, "behavioral": int(task.behavioral)}
    draws.attrs["loss"] = _loss(task.problem, params, task.problem.data)
    if task.problem.test_data is not None:
        draws.attrs["test_loss"] = _loss(task.problem, params, task.problem.test_data)
    if task.ntk:
        where = {name: task.settings[name] for name in ("nbeta", "localization", "mask", "rng_key")}
        bound = ntk_coefficient(problem, params, **where)
        low, high = bound.bounds or (float("nan"), float("nan"))
        draws.attrs |= {"ntk": bound.value, "ntk_low": low, "ntk_high": high}
    for name, mask in task.masks.items():
        part = estimate(problem, params, progress=False, **task.settings | {"mask": mask}).draws
        part.attrs["name"] = name
        draws[f"{REFINED}/{name.replace('/', '.')}"] = part
    return draws


def _loss(problem: Problem, params: PyTree, data: PyTree) -> float:
    """The mean loss in nats per example, summed in float64."""
    return float(np.asarray(_losses(problem, params, data), np.float64).mean())


@eqx.filter_jit
def _losses(problem: Problem, params: PyTree, data: PyTree) -> Float[Array, "examples"]:
    return over_examples(lambda batch: problem.losses(params, batch), data, _BATCH)


class Parcel(NamedTuple):
    """A task on disk, for processes that see the same folder."""

    path: Path
    digest: str


def pack(task: Task, folder: Path) -> Parcel:
    """Write a task for other processes to read; functions of notebooks and scripts travel by value."""
    content = cloudpickle.dumps(task)
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f".task-{digest[:16]}.pickle"
    path.write_bytes(content)
    return Parcel(path, digest)


def measure_elsewhere(parcel: Parcel, step: int, params: PyTree) -> DataTree:
    """`measure` in another process, which unpacks a task once, so that nothing compiles twice in it.

    Raises:
        ValueError: the process does not see the folder of the run, or another file stands there.
    """
    return measure(_unpacked(parcel), step, params)


@lru_cache(maxsize=2)
def _unpacked(parcel: Parcel) -> Task:
    try:
        content = parcel.path.read_bytes()
    except OSError as error:
        msg = f"{parcel.path} cannot be read by a worker ({error}); give a store on a disk that all workers share."
        raise ValueError(msg) from error
    if hashlib.sha256(content).hexdigest() != parcel.digest:  # only what this run wrote is ever unpickled
        msg = f"{parcel.path} is not what this run wrote; give the run a folder of its own."
        raise ValueError(msg)
    return cloudpickle.loads(content)
