"""Work handed out: to this process, or to anything with `submit(fn, *args)` whose answer has `.result()`."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from xarray import DataTree

from llc.trajectories.measure import Task, measure, measure_elsewhere, pack
from llc.trajectories.sources import Seen

_IN_FLIGHT = 32  # checkpoints whose weights are with the workers at a time
_PAUSE = 0.02  # seconds between two looks at what is done


@runtime_checkable
class Executor(Protocol):
    """`concurrent.futures` has such, and loky, Dask's `Client.get_executor()`, submitit and mpi4py."""

    def submit(self, fn: Any, /, *args: Any) -> Any:
        """Run fn(*args) somewhere; the answer has `.result()`."""
        ...


def in_turn(
    executor: Executor | None, task: Task, jobs: Sequence[Seen], folder: Path
) -> Iterator[tuple[Seen, DataTree | ValueError]]:
    """Each checkpoint's draws as they are done, or why there are none.

    Args:
        executor: None does the work here, one after the other.
        task: what to measure.
        jobs: of which checkpoints.
        folder: where the task lies meanwhile, for other processes to read.

    Raises:
        ChildProcessError: a worker died.
    """
    if executor is None:
        for job in jobs:
            yield job, _refusal_or(lambda job=job: measure(task, job.step, job.load()))
        return
    parcel = pack(task, folder)
    waiting: list[tuple[Seen, Any]] = []
    left = list(jobs)
    try:
        while left or waiting:
            while left and len(waiting) < _IN_FLIGHT:
                job = left.pop(0)
                waiting.append((job, executor.submit(measure_elsewhere, parcel, job.step, job.load())))
            done = _next_done([answer for _, answer in waiting])
            job, answer = waiting.pop(done)
            yield job, _refusal_or(answer.result)
    except (ValueError, OSError):
        raise
    except Exception as error:  # each library has an exception of its own for it
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        msg = (
            f"a worker was lost ({type(error).__name__}: {told}). What was finished is kept in {folder}; the same "
            "call goes on from there."
        )
        raise ChildProcessError(msg) from error
    finally:
        for _, answer in waiting:
            getattr(answer, "cancel", lambda: None)()
        parcel.path.unlink(missing_ok=True)


def _refusal_or(work: Any) -> DataTree | ValueError:
    try:
        return work()
    except ValueError as refusal:
        return refusal


def _next_done(answers: Sequence[Any]) -> int:
    """The place of one that is done; of the oldest, where that cannot be asked."""
    while True:
        for place, answer in enumerate(answers):
            if not hasattr(answer, "done") or answer.done():
                return place
        time.sleep(_PAUSE)
