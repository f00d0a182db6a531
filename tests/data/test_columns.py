"""Which leaves stay where they lie, and how little is read of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from llc.data.columns import Chunked, InMemory, Mapped, Records, column_of, stays
from tests.data import sources
from tests.data.sources import INPUTS, Source


@pytest.mark.parametrize(
    "leaf", [INPUTS, jnp.zeros(3), np.float32(1), 3.0, "text", None], ids=lambda leaf: type(leaf).__name__
)
def test_what_goes_to_the_device(leaf):
    assert not stays(leaf)


def test_what_stays(tmp_path):
    x, _ = sources.memmap(tmp_path)
    assert isinstance(column_of(x), Mapped)
    assert not stays(x + 1)
    assert not stays(np.asarray(x))
    assert isinstance(column_of(INPUTS), InMemory)
    assert isinstance(column_of(sources.in_zarr(tmp_path)[0]), Chunked)
    assert isinstance(column_of(Source()), Records)


def test_torch_tensors_go_to_the_device():
    torch = pytest.importorskip("torch")
    assert not stays(torch.zeros(3))


def test_zarr_is_read_by_its_chunks(tmp_path, monkeypatch):
    x, _ = sources.in_zarr(tmp_path)  # six chunks of 100
    read, store = [], type(x.store)
    get = store.get

    async def watched(self, key, *args, **kwargs):
        read.append(key)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(store, "get", watched)
    rows = np.array([3, 150, 199])
    np.testing.assert_array_equal(column_of(x).read(rows), INPUTS[rows])
    assert sorted(key for key in read if "/" in key) == ["c/0/0", "c/1/0"]


def test_bytes_in_the_other_order(tmp_path):
    np.save(tmp_path / "x.npy", INPUTS.astype(">f4"))
    column = column_of(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert column.row.dtype == np.float32


def test_identity_tells_parts_of_a_file_apart(tmp_path):
    x, _ = sources.memmap(tmp_path)
    views = [x, x[:100], x[1:101], x[:200:2], x[:100, :3], x.view(np.int32)]
    assert len({column_of(view).identity() for view in views}) == len(views)
    assert column_of(x[:100]).identity() == column_of(np.load(tmp_path / "x.npy", mmap_mode="r")[:100]).identity()
    assert column_of(np.load(tmp_path / "x.npy", mmap_mode="c")).identity() is None


def test_identity_of_hdf5(tmp_path):
    x, y = sources.in_hdf5(tmp_path)
    assert column_of(x).identity() != column_of(y).identity()
    assert "data.h5" in column_of(x).identity()
