"""Results survive: killed at any moment a run goes on with the same bits, and nothing stale or damaged is an answer."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import llc
from llc.draws.storage import load
from tests.trajectories.runs import SETTINGS, descent, quadratic

SCRIPT = """
import resource, sys
import llc
from tests.trajectories.runs import SETTINGS, descent, quadratic
if len(sys.argv) > 2:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
print("begins", flush=True)
llc.trajectory(quadratic(), descent(30), store=sys.argv[1], **SETTINGS)
"""


def numbers(folder, steps=30):
    run = llc.trajectory(quadratic(), descent(steps), store=folder, **SETTINGS)
    return json.dumps(run.to_dict()["steps"])


def draws_of(run):
    return {step: run.draws(step)["sample_stats"].to_dataset() for step in run.steps}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return numbers(tmp_path_factory.mktemp("whole"))


def start(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def test_killed_in_the_middle_it_ends_with_the_same_bits(tmp_path, undisturbed):
    with start(tmp_path) as process:
        while len(list(tmp_path.glob("*.nc"))) < 4:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    left = list(tmp_path.glob("*.nc"))
    assert 4 <= len(left) < 30
    before = {path: path.stat().st_mtime_ns for path in left}
    for path in left:
        load(path)  # each can be read
    partial = llc.Trajectory.read(tmp_path)
    assert len(partial.rows) == len(left)
    assert len(partial.pending) == 30 - len(left)
    assert numbers(tmp_path) == undisturbed
    assert {path: path.stat().st_mtime_ns for path in left} == before  # what was done is not done again


def test_two_processes_on_one_folder(tmp_path, undisturbed):
    with start(tmp_path) as one, start(tmp_path) as other:
        assert [one.wait(), other.wait()] == [0, 0]
    assert len(list(tmp_path.glob("*.nc"))) == 30
    assert not list(tmp_path.glob(".tmp*"))
    assert numbers(tmp_path) == undisturbed


def test_a_full_disk_stops_it_with_what_it_needs(tmp_path, undisturbed):
    """A limit on the size of files is to a process what a full disk is."""
    with start(tmp_path, 20_000) as process:
        _, errors = process.communicate()
    assert "could not be written" in errors
    assert "needs about" in errors
    assert not list(tmp_path.glob("*.nc"))
    assert numbers(tmp_path) == undisturbed
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("harm", ["cut", "emptied", "nonsense"])
def test_a_damaged_file_is_named_and_made_again(tmp_path, harm):
    whole = numbers(tmp_path, 3)
    path = sorted(tmp_path.glob("*.nc"))[1]
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "nonsense": b"x" * 5000}[harm])
    with pytest.warns(UserWarning, match=path.name):
        assert numbers(tmp_path, 3) == whole
    load(path)


def test_an_index_that_is_damaged_is_made_again(tmp_path):
    whole = numbers(tmp_path, 3)
    (tmp_path / "trajectory.json").write_text("{")
    with pytest.raises(ValueError, match="holds no trajectory; make one"):
        llc.Trajectory.read(tmp_path)
    assert numbers(tmp_path, 3) == whole


def changed_loss(w, x):
    return 0.5 * ((x - w) ** 2).sum(axis=1) * 1.0001


def closing_over(scale):
    def helper(w, x):
        return scale * ((x - w) ** 2)

    return lambda w, x: helper(w, x).sum(axis=1)


@pytest.mark.parametrize("what", ["weights", "data", "test data", "loss", "closure", "seed", "draws", "nbeta"])
def test_nothing_else_is_ever_an_answer(tmp_path, what):
    """Whatever changes, every checkpoint that it bears on is measured anew."""
    problem = {"loss_fn": closing_over(0.5)} if what == "closure" else {}
    steps, settings, wanted = descent(2), {**SETTINGS, "localization": 1.0}, 4
    llc.trajectory(quadratic(**problem), steps, store=tmp_path, **settings)
    data = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    if what == "weights":
        steps, wanted = [steps[0], (10, np.nextafter(steps[1][1], 9, dtype=np.float32))], 3
    elif what == "closure":
        problem = {"loss_fn": closing_over(0.6)}
    else:
        data[0, 0] = np.nextafter(data[0, 0], 9, dtype=np.float32)
        problem |= {
            "data": {"data": data},
            "test data": {"test_data": data[:5]},
            "loss": {"loss_fn": changed_loss},
        }.get(what, {})
        settings |= {
            "seed": {"rng_key": 1},
            "draws": {"num_draws": 201},
            "nbeta": {"nbeta": 100.0},
        }.get(what, {})
    llc.trajectory(quadratic(**problem), steps, store=tmp_path, **settings)
    assert len(list(tmp_path.glob("*.nc"))) == wanted


def test_comments_and_names_change_nothing(tmp_path):
    other = lambda params, batch: 0.5 * ((batch - params) ** 2).sum(axis=1)  # written otherwise
    llc.trajectory(quadratic(), descent(2), store=tmp_path, **SETTINGS)
    llc.trajectory(quadratic(loss_fn=other), descent(2), store=tmp_path, **SETTINGS)
    assert len(list(tmp_path.glob("*.nc"))) == 2


def test_a_run_that_grows_keeps_its_settings_and_its_results(tmp_path):
    settings = {"kernel": llc.samplers.SGLD(), "relative_error": 0.3, "progress": False, "store": tmp_path}
    short = llc.trajectory(quadratic(), descent(3), **settings)
    grown = llc.trajectory(quadratic(), descent(5), **settings)
    assert [row["llc"] for row in grown.rows[:3]] == [row["llc"] for row in short.rows]
    assert grown[40].settings["kernel_step_size"] == short[0].settings["kernel_step_size"]


def test_interrupted_it_gives_what_there_is(tmp_path, monkeypatch, undisturbed):
    from llc.trajectories import executor

    measured = executor.measure
    calls = iter(range(30))

    def stopped(*arguments):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(executor, "measure", stopped)
    run = llc.trajectory(quadratic(), descent(30), store=tmp_path, **SETTINGS)
    assert run.steps == [0, 10]
    assert len(run.pending) == 28
    assert "28 still to be measured" in repr(run)
    monkeypatch.undo()
    assert numbers(tmp_path) == undisturbed


def test_without_a_store_nothing_is_left_behind():
    run = llc.trajectory(quadratic(), descent(2), **SETTINGS)
    folder = run.store.folder
    assert draws_of(run)
    del run
    assert not folder.exists()


def test_what_killed_processes_left_is_removed_when_it_is_old(tmp_path):
    old, young, mine = tmp_path / ".tmp-llc-old", tmp_path / ".tmp-llc-young", tmp_path / "notes.txt"
    for folder in (old, young):
        folder.mkdir()
    task = tmp_path / ".task-0.pickle"
    for path in (task, mine):
        path.write_text("")
    for path in (old, task, mine):
        os.utime(path, (0, 0))
    llc.trajectory(quadratic(), descent(2), store=tmp_path, **SETTINGS)
    assert (old.exists(), task.exists(), young.exists(), mine.exists()) == (False, False, True, True)
