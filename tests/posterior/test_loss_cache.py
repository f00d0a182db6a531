"""Losses at w* are computed once for the same weights, loss and files, and never believed for others."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior import local_posterior
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem

X = np.linspace(-1, 1, 300, dtype=np.float32)[:, None] * np.array([1.0, 2.0], np.float32)
W = jnp.array([0.3, -0.2])


def loss(w, x):
    return jnp.square(x @ w - 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "llc" / "losses"


@pytest.fixture
def passes(monkeypatch):
    """One entry for each pass over the data that gives the losses."""
    made, compute = [], local_posterior._center_losses
    monkeypatch.setattr(local_posterior, "_center_losses", lambda posterior: made.append(1) or compute(posterior))
    return made


@pytest.fixture
def data(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return lambda: np.load(tmp_path / "x.npy", mmap_mode="r")


def losses(data, w=W, loss_fn=loss):
    return np.asarray(LocalPosterior(Problem(loss_fn, data), w).center_losses)


def test_one_pass_for_the_same_and_another_for_others(folder, passes, data):
    first = losses(data())
    np.testing.assert_array_equal(losses(data()), first)
    np.testing.assert_array_equal(losses(X), first)
    assert len(passes) == 2  # data in memory are not remembered
    assert len(list(folder.iterdir())) == 1
    losses(data(), w=W + 1e-6)
    losses(data()[:200])
    losses(data(), loss_fn=lambda w, x: 2 * loss(w, x))
    assert len(passes) == 5


def test_changed_data_are_read_again(folder, passes, data):
    first, file = losses(data()), data().filename
    status = os.stat(file)
    np.save(file, 2 * X)
    np.testing.assert_array_equal(losses(data()), np.asarray(loss(W, jnp.asarray(2 * X))))
    assert len(passes) == 2
    np.save(file, 3 * X)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # a file that hides its change
    np.testing.assert_array_equal(losses(data()), np.asarray(loss(W, jnp.asarray(3 * X))))
    assert len(passes) == 3
    assert not np.array_equal(first, losses(data()))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-40], lambda b: b[:400] + bytes([b[400] ^ 1]) + b[401:], lambda b: b""]
)
def test_a_damaged_file_is_replaced(folder, passes, data, damage):
    first = losses(data())
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(losses(data()), first)
    assert len(passes) == 2
    np.testing.assert_array_equal(losses(data()), first)
    assert len(passes) == 2


def test_a_cache_that_cannot_be_written_is_done_without(folder, passes, data):
    folder.parent.mkdir()
    folder.write_text("a file")
    np.testing.assert_array_equal(losses(data()), losses(X))


def test_what_may_be_written_to_is_not_remembered(folder, passes, data):
    file = data().filename
    for _ in range(2):
        losses(np.load(file, mmap_mode="r+"))
    assert len(passes) == 2
    assert not folder.exists()


def test_a_changed_chunk_of_zarr_is_seen(folder, passes, tmp_path):
    zarr = pytest.importorskip("zarr")
    kind = {"shape": X.shape, "chunks": (100, 2), "dtype": X.dtype, "compressors": None}  # its size will not change
    stored = zarr.create_array(tmp_path / "x.zarr", **kind)
    stored[:] = X
    for _ in range(2):
        losses(zarr.open_array(tmp_path / "x.zarr", mode="r"))
    assert len(passes) == 1
    stored[150] = 7.0  # an example that no check looks at
    assert losses(zarr.open_array(tmp_path / "x.zarr", mode="r"))[150] == loss(W, jnp.full((1, 2), 7.0))
    assert len(passes) == 2


def test_the_oldest_go_first(folder, passes, data, monkeypatch):
    monkeypatch.setattr("llc.posterior.loss_cache._ROOM", 2 * X.shape[0] * 4 + 1000)
    for shift in range(4):
        losses(data(), w=W + shift)
        for age, file in enumerate(folder.iterdir()):
            os.utime(file, ns=(0, file.stat().st_mtime_ns - 10**9 * (age + 1)))
    assert len(list(folder.iterdir())) == 2
    losses(data(), w=W + 3)  # the newest is there
    assert len(passes) == 4
