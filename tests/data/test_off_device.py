"""Data that no program holds give the numbers of data in memory, are read no more than need be, and not kept."""

import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.data import off_device as off_device_module
from llc.data.off_device import OffDevice
from llc.posterior import local_posterior
from llc.problem import over_examples
from tests.data import sources
from tests.data.sources import INPUTS, PARAMS, TARGETS, N, Source, loss

ELSEWHERE = [sources.memmap, sources.mixed, sources.in_zarr, sources.in_hdf5, sources.records]


@pytest.fixture(autouse=True)
def no_lasting_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def small_blocks(monkeypatch):
    """A full pass is made of several blocks, the last one shorter."""
    monkeypatch.setattr(local_posterior, "_BLOCK_ELEMENTS", 1500)


def off_device(data) -> OffDevice:
    held = llc.Problem(loss, data).data
    assert isinstance(held, OffDevice)
    return held


@pytest.mark.parametrize("source", ELSEWHERE)
def test_examples_are_those_in_memory(source, tmp_path):
    problem = llc.Problem(loss, source(tmp_path))
    assert problem.n == N
    for numbers in [np.array([5, 500, 5, 7]), np.arange(100, 230), np.array([[3, 2], [1, 400]])]:
        x, y = problem.take(numbers)
        np.testing.assert_array_equal(x, INPUTS[numbers])
        np.testing.assert_array_equal(y, TARGETS[numbers])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("source", [sources.memmap, sources.in_zarr])
def test_the_same_key_gives_the_same_draws(source, tmp_path):
    kernel = llc.samplers.SGLD(step_size=[0.02, 0.01])
    asked = {"kernel": kernel, "num_chains": 2, "num_warmup": 3, "num_draws": 8, "thinning": 2, "batch_size": 16}
    there, here = (
        llc.estimate(llc.Problem(loss, data), PARAMS, progress=False, **asked)
        for data in (source(tmp_path), sources.in_memory(tmp_path))
    )
    assert there.value == here.value
    assert there.std_error == here.std_error
    drawn, expected = (result.draws["sample_stats"].to_dataset() for result in (there, here))
    assert float(np.abs(expected["full_loss_difference"]).min()) > 0
    for name in expected:
        np.testing.assert_array_equal(drawn[name], expected[name], err_msg=str(name))


@pytest.mark.usefixtures("small_blocks")
def test_full_losses_and_gradients_are_those_in_memory(tmp_path):
    here, there = (
        llc.LocalPosterior(llc.Problem(loss, data), PARAMS)
        for data in (sources.in_memory(tmp_path), sources.memmap(tmp_path))
    )
    assert 1 < N // there.block_size < N
    np.testing.assert_array_equal(there.center_losses, here.center_losses)
    np.testing.assert_array_equal(there.center_gradient, here.center_gradient)
    vs = jax.random.normal(jax.random.key(1), (3, here.dimension))  # three chains
    both = lambda posterior: jax.jit(jax.vmap(jax.value_and_grad(posterior.loss_difference)))(vs)
    for mine, expected in zip(both(there), both(here), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_blocks_of_files_need_not_stay_in_a_processors_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(local_posterior, "_CACHED_ELEMENTS", 1)
    monkeypatch.setattr(local_posterior, "_CACHED_EXAMPLES", 50)
    sizes = [
        llc.LocalPosterior(llc.Problem(loss, source(tmp_path)), PARAMS).block_size
        for source in (sources.in_memory, sources.memmap)
    ]
    assert sizes == [50, N]


def test_all_chains_are_answered_at_once_and_nothing_twice(tmp_path, monkeypatch):
    data, asked = off_device(sources.memmap(tmp_path)), []
    read = OffDevice.read
    monkeypatch.setattr(OffDevice, "read", lambda self, numbers: asked.append(numbers.shape) or read(self, numbers))
    numbers = jnp.asarray([[1, 2], [9, 4], [3, 3]])
    x, _ = jax.jit(jax.vmap(data.take))(numbers)
    again, _ = jax.jit(jax.vmap(lambda i: data.take(i)))(numbers)
    np.testing.assert_array_equal(x, INPUTS[numbers])
    np.testing.assert_array_equal(again, x)
    assert asked == [(3, 2)]


def test_blocks_are_read_ahead(tmp_path, monkeypatch):
    data, readers = off_device(sources.memmap(tmp_path)), []
    read = OffDevice.read

    def watched(self, numbers):
        readers.append((int(numbers[0]), "llc-reader" in threading.current_thread().name))
        return read(self, numbers)

    monkeypatch.setattr(OffDevice, "read", watched)
    size = 100
    ups, downs = range(0, N, size), range(N // size * size - size, -1, -size)
    for start in [*ups, *downs]:
        block = np.arange(start, min(start + size, N))
        np.testing.assert_array_equal(data.take(block)[0], INPUTS[block])
    direct = [start for start, ahead in readers if not ahead]
    assert direct == [0, 400]  # where the walk begins, and where it turns
    assert sorted(start for start, _ in readers) == sorted([*ups, *downs])


@pytest.mark.parametrize("kernel", ["SGLD", "PreconditionedSGLD", "SGHMC", "SGNHT", "UnderdampedLangevin"])
def test_the_next_minibatch_is_read_while_a_step_is_computed(tmp_path, monkeypatch, kernel):
    posterior, readers = llc.LocalPosterior(llc.Problem(loss, sources.memmap(tmp_path)), PARAMS, batch_size=16), []
    read, alone = OffDevice.read, threading.Lock()

    def watched(self, numbers):
        readers.append((numbers.shape, "llc-reader" in threading.current_thread().name))
        assert alone.acquire(blocking=False)  # a source of records need not know of threads
        time.sleep(0.01)
        values = read(self, numbers)
        alone.release()
        return values

    kernel = getattr(llc.samplers, kernel)(step_size=1e-4)
    monkeypatch.setattr(OffDevice, "read", watched)
    llc.draw(kernel, posterior, num_chains=3, num_warmup=0, num_draws=1, thinning=30, progress=False)
    off_device_module._reader().submit(int).result()  # what had begun has ended
    batches = [ahead for shape, ahead in readers if shape == (1, 3, 16)]
    assert batches.count(False) == 1  # the first
    assert batches.count(True) == 30  # the others, and that of the step to come


def test_over_examples_is_the_same(tmp_path):
    data = off_device(sources.memmap(tmp_path))
    losses = lambda data: over_examples(lambda batch: loss(PARAMS, batch), data, 100)
    np.testing.assert_array_equal(losses(data), losses((jnp.asarray(INPUTS), jnp.asarray(TARGETS))))


@pytest.mark.parametrize("view", [slice(None), slice(7, 400)])
def test_a_file_travels_by_its_name(view, tmp_path):
    data = off_device(tuple(array[view] for array in sources.memmap(tmp_path)))
    packed = pickle.dumps(data)
    assert len(packed) < INPUTS.nbytes / 2
    numbers = np.array([3, 200])
    np.testing.assert_array_equal(pickle.loads(packed).read(numbers)[0], INPUTS[view][numbers])
    assert pickle.loads(packed).identity() == data.identity()


def test_leaves_of_other_lengths_are_refused(tmp_path):
    x, y = sources.memmap(tmp_path)
    with pytest.raises(ValueError, match=r"0: 503, 1: 500"):
        llc.Problem(loss, (x, y[:500]))


def test_records_of_other_shapes_are_refused():
    ragged = Source([np.zeros(6), np.zeros(5), np.zeros(5)], np.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(2, 5\), and the first one \(6,\)"):
        off_device(ragged).read(np.array([1, 2]))


def test_what_needs_all_data_says_so(tmp_path):
    network = lambda params, x: jnp.tanh(x @ params["a"]) @ params["b"]
    problem = llc.Problem.supervised(network, llc.Gaussian(), *sources.memmap(tmp_path))
    for ask in (llc.kernels.ntk_coefficient, llc.behavioral):
        with pytest.raises(ValueError, match=r"needs the data in memory, .* give a problem of np.asarray of some"):
            ask(problem, PARAMS)


SCRIPT = """
import sys, numpy as np, llc
from llc.posterior import local_posterior
local_posterior._BLOCK_ELEMENTS = 2**22  # of 16 MiB, and about five of them are held
path, n = sys.argv[1:]
data = np.memmap(path, np.float32, "r", shape=(int(n), 1000))
loss = lambda w, x: 0.5 * (x[:, :10] * w - 1).sum(1) ** 2
draw = lambda data: llc.draw(
    llc.samplers.SGLD(step_size=1e-3), llc.LocalPosterior(llc.Problem(loss, data), np.ones(10, np.float32)),
    num_chains=2, num_warmup=1, num_draws=2, progress=False)
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
draw(np.asarray(data[:2000]))
before = peak()
draw(data)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux' /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    def grown(n):
        path = tmp_path / f"{n}"
        with path.open("wb") as file:
            file.truncate(4000 * n)
        command = [sys.executable, "-c", SCRIPT, str(path), str(n)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert grown(100_000) < grown(40_000) + 60  # MiB, of 229 that the file is larger by
