"""Many devices, in processes of their own: a test's own process has one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds, after which a process that waits for another is ended


def start(*arguments):
    command = [sys.executable, "-m", "tests.draws.on_devices", *map(str, arguments)]
    devices = {"one": 8, "several": 4}[arguments[0]]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
    }
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answers(*running):
    """What each process says last, all of them ended however one of them fares."""
    try:
        said = [process.communicate(timeout=PATIENCE) for process in running]
    finally:
        for process in running:
            process.kill()
    for process, (_, errors) in zip(running, said, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(out.strip().splitlines()[-1]) for out, _ in said]


@pytest.fixture(scope="module")
def draws():
    return answers(start("one", "draws"))[0]


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("saved")
    return answers(*(start("several", number, port, folder) for number in range(2))), folder


def assert_the_same(ours, alone):
    """To what rounding leaves: the first draws, and λ̂ against its own error."""
    first = np.array(alone["first"])
    np.testing.assert_allclose(np.array(ours["first"])[:, : first.shape[1]], first, atol=1e-5 * np.abs(first).max())
    assert abs(ours["value"] - alone["value"]) < 0.01 * alone["std_error"]


@pytest.mark.parametrize("mesh", ["8 chain", "4 chain 2 data", "8 data"])
def test_draws_are_those_of_one_device(draws, mesh):
    assert_the_same(draws[mesh], draws["one device"])
    sizes = json.loads(draws[mesh]["mesh"])
    assert " ".join(f"{size} {axis}" for axis, size in sizes.items()) == mesh
    assert draws["one device"]["mesh"] is None


def test_chains_on_many_devices_are_handed_what_lies_off_them(draws):
    assert_the_same(draws["off the devices"], draws["one device"])
    assert draws["off the devices"]["mesh"] is not None


def test_sharded_parameters_have_the_same_coefficient(draws):
    """Noise falls on other coordinates, so that draws are others; the first differ, and λ̂ within the errors."""
    ours, alone = draws["2 chain 4 model"], draws["one device"]
    assert ours["first"] != alone["first"]
    assert abs(ours["value"] - alone["value"]) < 4 * np.hypot(ours["std_error"], alone["std_error"])


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("chain", ["num_chains=6", "8 devices", "'chain'", "of 8 would fit", "axis of 1, 2, 3, 6"]),
        ("n", ["n=100", "8 devices", "'data'", "96 or 104", "axis of 1, 2, 4, 5"]),
        ("batch", ["batch_size=20", "8 devices", "'data'", "16 or 24"]),
        ("axis", ["'modle' of 2", "neither", "no parameter"]),
        ("params", ["'b1'", "'model'", "the mesh has data"]),
        ("off", ['"data" axis', "in memory", "480 examples", "np.asarray"]),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(draws, what, words):
    for word in words:
        assert word in draws["refusals"][what]


def test_what_the_compiler_makes_of_it():
    said = answers(start("one", "programs"))[0]
    # a block takes rows of every device, and a batch's rows are added up: examples are never gathered
    assert said["all-gathers of numbers"] == [[], []]
    assert all(said["all-reduces"])
    np.testing.assert_allclose(said["by blocks"][0], said["by blocks"][1], rtol=1e-5)
    assert all(said["kept"])
    assert said["twice"] < 1e-6
    # v is spread too: no device ever holds all of its coordinates
    assert said["whole vectors"] == 0


def test_estimates_by_default_settings():
    said = answers(start("one", "estimates"))[0]
    for name in ("default", "ladder"):
        ours, alone = said[f"{name} mesh"], said[f"{name} one"]
        assert abs(ours["value"] - alone["value"]) < 4 * np.hypot(ours["std_error"], alone["std_error"])


@pytest.mark.parametrize("data", ["in full", "global"])
def test_two_processes_draw_what_one_device_does(draws, processes, data):
    said, _ = processes
    assert said[0][data] == said[1][data]
    assert said[0]["processes"] == 2
    alone = draws["one device"]
    if data == "in full":
        assert_the_same(said[0][data], alone)
    else:
        np.testing.assert_allclose(said[0][data]["first"], alone["first"], atol=1e-5 * np.abs(alone["first"]).max())


def test_the_first_process_saves(processes):
    _, folder = processes
    assert [path.name for path in folder.iterdir()] == ["0.nc"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("weights", ["weights is", "on process 0", "on process 1"]),
        ("n", ["n is 480 on process 0, 440 on process 1"]),
        ("settings", ["num_chains is 4 on process 0, 5 on process 1"]),
        ("key", ["rng_key is 0 on process 0, 1 on process 1"]),
    ],
)
def test_processes_that_disagree_are_all_told(processes, what, words):
    first, second = (answer["refusals"][what] for answer in processes[0])
    assert first == second
    for word in words:
        assert word in first
