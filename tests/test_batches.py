"""Batches become files whole or not at all, hold what came, and are refused as soon as they differ."""

import json
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import llc
from llc.batches import from_batches

X = np.arange(70, dtype=np.float32).reshape(10, 7)
Y = np.arange(10)


def batches(size=4, stop=10):
    for start in range(0, stop, size):
        yield {"x": X[start : min(start + size, stop)], "y": [Y[start : min(start + size, stop)]]}


def test_what_comes_is_kept(tmp_path):
    data = from_batches(batches(), n=10, folder=tmp_path / "data")
    assert isinstance(data["x"], np.memmap)
    assert isinstance(data["y"], list)
    np.testing.assert_array_equal(data["x"], X)
    np.testing.assert_array_equal(data["y"][0], Y)
    assert data["y"][0].dtype == Y.dtype
    assert os.listdir(tmp_path) == ["data"]
    assert llc.Problem(lambda w, batch: batch["x"] @ w, data).n == 10


def test_a_second_call_reads_no_batches(tmp_path):
    def fails():
        raise AssertionError
        yield

    from_batches(batches(), n=10, folder=tmp_path / "data")
    np.testing.assert_array_equal(from_batches(fails(), n=10, folder=tmp_path / "data")["x"], X)


def test_types_that_npy_does_not_know(tmp_path):
    values = X.astype(ml_dtypes.bfloat16)
    kept = from_batches([values], n=10, folder=tmp_path / "data")
    assert kept.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(np.asarray(kept), values)
    assert llc.Problem(lambda w, x: x @ w, kept).take(np.array([3]))[0, 2] == values[3, 2]


@pytest.mark.parametrize(
    ("given", "n", "match"),
    [
        (batches(), 12, "ended after 10 examples, and n=12 were declared"),
        (batches(), 9, "over n=9 examples, at least 10"),
        ([X, X[:2], X], 22, "by 12 examples batches change their length, from 10 to 2"),
        ([X[:3], X], 13, "by 3 examples batches change their length, from 3 to 10"),
        (
            [X[:5], X[:5, :6]],
            10,
            r"holds params: float32\[6\] after 5 examples, and the first one params: float32\[7\]",
        ),
        ([X[:5], Y[:5]], 10, r"int64\[\] after 5 examples, and the first one params: float32\[7\]"),
        ([{"x": X[:5]}, {"z": X[:5]}], 10, "holds z: .* the first one x: "),
        ([(X, Y[:9])], 10, r"0: \(10, 7\), 1: \(9,\); give arrays that share"),
        ([{1: X}], 10, "dicts .with names for keys., lists and tuples"),
        ([], 10, "ended after 0 examples, and n=10"),
        ([X], 0, "n=0; declare"),
    ],
)
def test_refusals_leave_nothing(given, n, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        from_batches(given, n=n, folder=tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_an_endless_iterator_is_stopped(tmp_path):
    def endless():
        while True:
            yield X

    with pytest.raises(ValueError, match="over n=25 examples, at least 30"):
        from_batches(endless(), n=25, folder=tmp_path / "data")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    from_batches(batches(), n=10, folder=tmp_path / "data")
    with pytest.raises(ValueError, match="holds n=10 examples and n=8 were declared"):
        from_batches(batches(stop=8), n=8, folder=tmp_path / "data")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        from_batches(batches(), n=10, folder=tmp_path / "other")
    assert (tmp_path / "other" / "note").read_text() == "mine"


def test_what_a_killed_process_left_is_never_taken_for_whole(tmp_path):
    killed = """if True:
        import os, sys, numpy as np
        from llc.batches import from_batches
        def batches():
            yield np.zeros((5, 2))
            os._exit(9)
        from_batches(batches(), n=10, folder=sys.argv[1])
    """
    folder = tmp_path / "data"
    assert subprocess.run([sys.executable, "-c", killed, str(folder)]).returncode == 9
    (remains,) = tmp_path.iterdir()  # its own half, under another name
    assert not folder.exists()
    os.utime(remains, (0, 0))
    np.testing.assert_array_equal(from_batches([X], n=10, folder=folder), X)
    assert os.listdir(tmp_path) == ["data"]
    assert json.loads((folder / "batches.json").read_text())["n"] == 10


def test_grain(tmp_path):
    grain = pytest.importorskip("grain")
    loader = grain.MapDataset.source(list(zip(X, Y, strict=True))).batch(4).to_iter_dataset()
    x, y = from_batches(loader, n=10, folder=tmp_path / "data")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_a_source_of_grain_is_data_itself(tmp_path):
    grain = pytest.importorskip("grain")
    problem = llc.Problem(lambda w, batch: batch[0] @ w, grain.MapDataset.source(list(zip(X, Y, strict=True))))
    assert problem.n == 10
    np.testing.assert_array_equal(problem.take(np.array([9, 1]))[0], X[[9, 1]])


def test_torch(tmp_path):
    torch = pytest.importorskip("torch")
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    x, y = from_batches(torch.utils.data.DataLoader(dataset, batch_size=4), n=10, folder=tmp_path / "data")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    problem = llc.Problem(lambda w, batch: batch[0] @ w, dataset)  # indexed, it needs no files
    np.testing.assert_array_equal(problem.take(np.array([9, 1]))[0], X[[9, 1]])
