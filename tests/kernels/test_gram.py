"""Gram matrices on disk are those in memory, each block computed once."""

import sys

import numpy as np
import pytest

from llc.kernels.fully_connected import fully_connected
from llc.kernels.gram import gram_on_disk

GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.standard_normal((11, 3)).astype(np.float32), GENERATOR.standard_normal((7, 3)).astype(np.float32)


@pytest.mark.parametrize("others", [None, Y], ids=["symmetric", "rectangular"])
@pytest.mark.parametrize("block_size", [4, 100])
def test_it_is_the_gram_matrix_in_memory(tmp_path, others, block_size):
    kernel = fully_connected(2, "relu", weight_std=1.5, bias_std=0.1)
    gram = gram_on_disk(kernel.ntk, tmp_path / "gram.zarr", X, others, block_size=block_size)
    np.testing.assert_allclose(gram[:], kernel.ntk(X, others), rtol=1e-6)
    assert gram.dtype == np.float32
    if others is None:
        np.testing.assert_array_equal(np.diag(gram[:]), kernel.ntk_diagonal(X))
    assert [path.name for path in tmp_path.iterdir()] == ["gram.zarr"]


def test_each_block_once_and_from_a_mapped_file(tmp_path):
    np.save(tmp_path / "x.npy", X)
    calls = []

    def kernel(rows, columns=None):
        calls.append((len(rows), None if columns is None else len(columns)))
        return rows @ (rows if columns is None else columns).T

    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    gram = gram_on_disk(kernel, tmp_path / "gram.zarr", mapped, block_size=4)
    assert calls == [(4, None), (4, 4), (4, 3), (4, None), (4, 3), (3, None)]
    np.testing.assert_allclose(gram[:], X @ X.T, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("others", [None, Y], ids=["symmetric", "rectangular"])
def test_several_outputs_of_an_input(tmp_path, others):
    mixing = np.array([[2.0, 0.5], [0.5, 1.0]])
    kernel = lambda rows, columns=None: np.kron(rows @ (rows if columns is None else columns).T, mixing)
    gram = gram_on_disk(kernel, tmp_path / "gram.zarr", X, others, block_size=3)
    np.testing.assert_allclose(gram[:], kernel(X, others), rtol=1e-6, atol=1e-6)


def test_a_failure_leaves_nothing_under_the_name(tmp_path):
    def fails(rows, columns=None):
        if columns is not None:
            raise MemoryError
        return rows @ rows.T

    with pytest.raises(MemoryError):
        gram_on_disk(fails, tmp_path / "gram.zarr", X, block_size=4)
    assert not (tmp_path / "gram.zarr").exists()
    gram = gram_on_disk(lambda a, b=None: a @ (a if b is None else b).T, tmp_path / "gram.zarr", X, block_size=4)
    assert gram.shape == (11, 11)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="block_size=0"):
        gram_on_disk(np.dot, tmp_path / "gram.zarr", X, block_size=0)
    with pytest.raises(ValueError, match="0 x 0 inputs"):
        gram_on_disk(np.dot, tmp_path / "gram.zarr", X[:0])
    with pytest.raises(ValueError, match="exists already"):
        gram_on_disk(np.dot, tmp_path, X)


def test_zarr_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"llcoef\[zarr\]"):
        gram_on_disk(np.dot, tmp_path / "gram.zarr", X)
