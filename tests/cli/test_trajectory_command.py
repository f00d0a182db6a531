"""`llcoef trajectory` and `llcoef report`, as a user gives them."""

import json
import threading
import time

import numpy as np
import pytest

from llc import checkpoints

FLAGS = ("--kernel", "mala", "--step-size", "0.02", "--num-draws", "100", "--localization", "1")


def save(folder, step):
    weights = {"w": np.full(2, 0.1**step, np.float32)}
    return checkpoints.save(folder / "run" / f"step_{step}.npz", weights, step=step)


@pytest.fixture
def training(workplace):
    for step in range(3):
        save(workplace, step)
    return workplace


def test_a_run_its_picture_and_its_report(training, llcoef):
    command = ("trajectory", "problem.py", "run", "--out", "results", *FLAGS)
    status, out, _ = llcoef(*command, "--plot", "trajectory.png")
    assert status == 0
    assert out.startswith("λ̂ over 3 steps, 0 to 2: ")
    for word in ("step", "change", "loss", "verdicts"):
        assert word in out
    assert (training / "trajectory.png").read_bytes().startswith(b"\x89PNG")
    files = sorted((training / "results").glob("*.nc"))
    assert len(files) == 3
    written = [path.stat().st_mtime_ns for path in files]

    status, out, _ = llcoef(*command, "--json")
    result = json.loads(out)
    assert status == 0
    assert [row["step"] for row in result["steps"]] == [0, 1, 2]
    assert [path.stat().st_mtime_ns for path in files] == written  # answered from disk

    status, out, _ = llcoef("report", "results")
    assert status == 0
    assert out.strip().endswith("report.html")
    page = (training / "results" / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )


def test_processes_of_this_machine(training, llcoef):
    """The problem file is no module that a worker could import: it travels by value."""
    alone = llcoef("trajectory", "problem.py", "run", "--out", "one", *FLAGS, "--json")[1]
    status, out, _ = llcoef("trajectory", "problem.py", "run", "--out", "two", *FLAGS, "--json", "--workers", "2")
    assert status == 0
    assert json.loads(out)["steps"] == json.loads(alone)["steps"]


def test_a_folder_that_a_training_job_writes_into(training, llcoef):
    """One checkpoint comes half written first, and whole later; another comes late."""
    whole = save(training, 3).read_bytes()
    half = training / "run" / "step_3.npz"
    half.write_bytes(whole[:100])

    def train():
        while len(list((training / "results").glob("*.nc"))) < 3:
            time.sleep(0.1)
        half.write_bytes(whole)
        save(training, 4)

    job = threading.Thread(target=train, daemon=True)
    job.start()
    command = ("trajectory", "problem.py", "run", "--out", "results", *FLAGS, "--watch", "--idle", "8", "--json")
    status, out, err = llcoef(*command)
    assert status == 0
    assert [row["step"] for row in json.loads(out)["steps"]] == [0, 1, 2, 3, 4]
    assert "λ̂ over 3 steps, 0 to 2" in err
    assert "1 skipped" in err
    job.join()


def test_a_scheduler_that_does_not_answer(training, llcoef):
    pytest.importorskip("distributed")
    begun = time.monotonic()
    address = "tcp://127.0.0.1:9"
    status, _, err = llcoef("trajectory", "problem.py", "run", "--out", "results", "--scheduler", address)
    assert status == 2
    assert time.monotonic() - begun < 10
    assert err.count("\n") == 1
    assert f"--scheduler {address} does not answer" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("problem.py", "empty", "--out", "results"), ["empty", "holds no checkpoint"]),
        (("problem.py", "nowhere", "--out", "results"), ["nowhere", "does not exist"]),
        (("problem.py", "run", "--out", "problem.py"), ["problem.py is a file; give a folder"]),
        (("problem.py", "run", "--out", "results", "--plot", "a.txt"), ["--plot a.txt"]),
        (("problem.py", "run", "--out", "results", "--refine", "layers/*"), ["layers/*"]),
    ],
)
def test_what_the_user_can_mend_is_one_line(training, llcoef, arguments, words):
    (training / "empty").mkdir()
    status, out, err = llcoef("trajectory", *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_report_of_nothing(workplace, llcoef):
    status, _, err = llcoef("report", ".")
    assert status == 2
    assert err.count("\n") == 1
