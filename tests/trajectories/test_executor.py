"""Other processes do the work: the same numbers, and a death among them costs nothing that was done."""

import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import llc
from tests.trajectories.runs import SETTINGS, descent, quadratic

STEPS = 6


@pytest.fixture(scope="module")
def here():
    return [row["llc"] for row in llc.trajectory(quadratic(), descent(STEPS), **SETTINGS).rows]


def values(run):
    return [row["llc"] for row in run.rows]


def test_spawned_processes_with_a_loss_that_only_travels_by_value(tmp_path, here):
    scale = 0.5
    problem = quadratic(loss_fn=lambda w, x: scale * ((x - w) ** 2).sum(axis=1))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        run = llc.trajectory(problem, descent(STEPS), store=tmp_path, executor=executor, **SETTINGS)
    assert values(run) == here
    assert not list(tmp_path.glob(".task*"))


def test_loky(here):
    loky = pytest.importorskip("loky")
    executor = loky.get_reusable_executor(max_workers=1)
    try:
        assert values(llc.trajectory(quadratic(), descent(STEPS), executor=executor, **SETTINGS)) == here
    finally:
        executor.shutdown(wait=True, kill_workers=True)


class Bare:
    """The least that an executor must be: `submit`, and an answer with `result` alone."""

    def submit(self, fn, /, *arguments):
        class Answer:
            def result(self):
                return fn(*arguments)

        return Answer()


def test_whatever_has_submit(here):
    assert values(llc.trajectory(quadratic(), descent(STEPS), executor=Bare(), **SETTINGS)) == here


def die_once(marker):
    def loss(w, x):
        import pathlib

        flag = pathlib.Path(marker)
        if flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.5 * ((x - w) ** 2).sum(axis=1)

    return loss


def test_a_worker_that_dies_is_told_and_costs_nothing(tmp_path, here):
    marker, store = tmp_path / "die", tmp_path / "run"
    problem = quadratic(loss_fn=die_once(str(marker)))
    settings = {"store": store, **SETTINGS}
    llc.trajectory(problem, descent(STEPS)[:2], **settings)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        executor.submit(time.sleep, 0).result()
        executor.submit(marker.touch).result()
        survey_is_over = descent(STEPS)
        with pytest.raises(ChildProcessError, match="a worker was lost"):
            _trajectory_that_dies(problem, survey_is_over, executor, marker, settings)
    assert len(list(store.glob("*.nc"))) == 2
    assert values(llc.trajectory(problem, descent(STEPS), **settings)) == here


def _trajectory_that_dies(problem, steps, executor, marker, settings):
    """The parent too calls the loss, before it hands out any work: the marker is for the worker."""
    marker.unlink()

    class Marking:
        def submit(self, fn, /, *arguments):
            marker.touch()
            return executor.submit(fn, *arguments)

    llc.trajectory(problem, steps, executor=Marking(), **settings)


def test_workers_that_cannot_see_the_store(tmp_path):
    class Elsewhere(Bare):
        def submit(self, fn, parcel, /, *arguments):
            return super().submit(fn, parcel._replace(path=tmp_path / "no" / parcel.path.name), *arguments)

    with pytest.raises(ValueError, match="give a store on a disk that all workers share"):
        llc.trajectory(quadratic(), descent(2), executor=Elsewhere(), **SETTINGS)


def test_a_task_that_another_wrote_is_never_unpickled(tmp_path):
    class Forged(Bare):
        def submit(self, fn, parcel, /, *arguments):
            parcel.path.write_bytes(b"cos\nsystem\n(S'touch forged'\ntR.")
            return super().submit(fn, parcel, *arguments)

    with pytest.raises(ValueError, match="is not what this run wrote"):
        llc.trajectory(
            quadratic(loss_fn=lambda w, x: 0.5 * ((x - w) ** 2).sum(1)), descent(2), executor=Forged(), **SETTINGS
        )


def test_threads_are_executors_too(here):
    with ThreadPoolExecutor(2) as executor:
        assert values(llc.trajectory(quadratic(), descent(STEPS), executor=executor, **SETTINGS)) == here


def test_a_dask_cluster_whose_worker_is_killed(tmp_path, here):
    """Two worker processes; one is killed when results begin to come; the scheduler gives its work to the other."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victims = list(client.run(os.getpid).values())

        class Killing:
            submitted = 0

            def submit(self, fn, /, *arguments):
                answer = client.get_executor(pure=False).submit(fn, *arguments)
                self.submitted += 1
                if self.submitted == STEPS:
                    os.kill(victims[0], signal.SIGKILL)
                return answer

        run = llc.trajectory(quadratic(), descent(STEPS), store=tmp_path, executor=Killing(), **SETTINGS)
    assert values(run) == here
    assert not run.skipped
    assert np.isfinite(values(run)).all()
