"""What `save` writes, `read` gives back, in both formats."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from llc.checkpoints import npz, read, save
from llc.problem import named_leaves

TREES = {
    "nested": {"layers": [{"w": np.ones((2, 3), np.float32)}, {"w": np.zeros(3)}], "scale": np.float32(2)},
    "bfloat16": {"w": jnp.arange(4, dtype=jnp.bfloat16), "b": np.ones(1, np.float16)},
    "bare": np.arange(3.0),
    "list": [np.ones(2), [np.zeros(1), np.asarray(0.5)]],
    "transposed": {"w": np.arange(6.0).reshape(2, 3).T},
    "dotted": {"layers.0.weight": np.ones(2), "layers.0.bias": np.zeros(2)},
    "awkward": {"file": np.ones(1), "allow_pickle": np.ones(2), "1": np.ones(3), "é": np.empty((0, 2))},
}


@pytest.fixture(params=[".npz", ".safetensors"])
def path(request, tmp_path):
    return tmp_path / f"weights{request.param}"


def assert_same(tree, reference):
    pairs = zip(named_leaves(tree), named_leaves(reference), strict=True)
    for (name, leaf), (reference_name, reference_leaf) in pairs:
        assert name == reference_name
        assert leaf.dtype == np.asarray(reference_leaf).dtype
        np.testing.assert_array_equal(leaf, np.asarray(reference_leaf))


@pytest.mark.parametrize("name", TREES)
def test_round_trip(path, name):
    save(path, TREES[name], step=3, metadata={"seed": 0, "tags": ["a"]})
    checkpoint = read(path)
    assert type(checkpoint.params) is (list if name == "list" else np.ndarray if name == "bare" else dict)
    assert_same(checkpoint.params, TREES[name])
    assert (checkpoint.step, checkpoint.metadata, checkpoint.path) == (3, {"seed": 0, "tags": ["a"]}, path)


def test_a_bfloat16_leaf_is_bfloat16(path):
    save(path, TREES["bfloat16"])
    assert read(path).params["w"].dtype == ml_dtypes.bfloat16


def test_integers_are_metadata(path):
    save(path, {"w": np.ones(2), "step": np.int64(12), "ids": np.arange(3)})
    checkpoint = read(path)
    assert list(checkpoint.params) == ["w"]
    assert checkpoint.step == 12
    np.testing.assert_array_equal(checkpoint.metadata["ids"], np.arange(3))


def test_the_same_checkpoint_is_the_same_bytes(path):
    assert save(path, TREES["nested"]).read_bytes() == save(path, TREES["nested"]).read_bytes()


def test_a_failed_write_leaves_the_old_file_alone(path, monkeypatch):
    save(path, np.ones(2))
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(path, np.zeros(2))
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    np.testing.assert_array_equal(read(path).params, np.ones(2))


@pytest.mark.parametrize(
    ("params", "metadata", "match"),
    [
        ({"w": "text"}, None, "'w' is str; give arrays of floats"),
        ({"w": np.ones(1, complex)}, None, "'w' is complex128"),
        ({"w": np.arange(3)}, None, "no floating-point numbers"),
        ({}, None, "no floating-point numbers"),
        ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, None, "'a/b' has the name of another leaf"),
        ({npz.RESERVED[0]: np.ones(1)}, None, "rename it"),
        (np.ones(1), {"when": object()}, "cannot be written as JSON"),
    ],
)
def test_refuses_what_it_could_not_read_back(path, params, metadata, match):
    with pytest.raises(ValueError, match=match):
        save(path, params, metadata=metadata)


def test_refuses_another_ending(tmp_path):
    with pytest.raises(ValueError, match=r"cannot write '.pkl' files; name it .safetensors or .npz"):
        save(tmp_path / "weights.pkl", np.ones(1))
