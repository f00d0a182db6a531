"""Damaged, foreign and unusable files get one clear line that names the file."""

import pickle

import equinox as eqx
import numpy as np
import pytest

from llc.checkpoints import read, save

PARAMS = {"w": np.linspace(0, 1, 500), "b": np.ones(3)}
NPZ, SAFETENSORS, EQX, PT = ".npz", ".safetensors", ".eqx", ".pt"


def write(path, params):
    if path.suffix == PT:
        torch = pytest.importorskip("torch")
        torch.save({name: torch.tensor(array) for name, array in params.items()}, path)
    elif path.suffix == EQX:
        eqx.tree_serialise_leaves(path, params)
    elif path.suffix == SAFETENSORS:
        from safetensors.numpy import save_file

        save_file(params, path)
    else:
        np.savez(path, **params)
    return path


def assert_refused(path, match, template=None):
    with pytest.raises(ValueError, match=match) as caught:
        read(path, template)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [1, 9, 100, 1000, -200, -1])
@pytest.mark.parametrize("suffix", [NPZ, SAFETENSORS, EQX, PT])
def test_truncated(tmp_path, suffix, kept):
    path = write(tmp_path / f"w{suffix}", PARAMS)
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(path, "not a readable .*copy it again if it was cut short", PARAMS)


@pytest.mark.parametrize("suffix", [NPZ, SAFETENSORS, EQX, PT])
def test_empty_or_noise(tmp_path, suffix):
    path = write(tmp_path / f"w{suffix}", PARAMS)
    path.write_bytes(b"")
    assert_refused(path, "is empty", PARAMS)
    path.write_bytes(np.random.default_rng(0).bytes(1000))
    assert_refused(path, "not a readable", PARAMS)


@pytest.mark.parametrize("suffix", [NPZ, SAFETENSORS, EQX, PT])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path, suffix, value):
    path = write(tmp_path / f"w{suffix}", {**PARAMS, "b": np.array([1, value, 1])})
    assert_refused(path, "leaf 'b' holds NaN or infinity; give a checkpoint from before", PARAMS)


@pytest.mark.parametrize("suffix", [NPZ, SAFETENSORS, PT])
def test_integers_only(tmp_path, suffix):
    path = write(tmp_path / f"w{suffix}", {"w": np.arange(3)})
    assert_refused(path, r"no floating-point weights \(int64\)")


def test_a_flipped_bit(tmp_path):
    path = save(tmp_path / "w.npz", PARAMS)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(PARAMS["w"].tobytes()) + 80] ^= 1
    path.write_bytes(damaged)
    assert_refused(path, "CRC")


def test_leaves_that_are_no_weights(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, w=np.ones(2, complex))
    assert_refused(path, r"'w' is complex128 \(complex\); save it as float32")
    np.savez(path, w=np.ones(2, "V2"))
    assert_refused(path, r"'w' is \|V2 \(raw bytes, perhaps bfloat16")
    np.savez(path, w=np.array([1, None]))
    assert_refused(path, "Object arrays cannot be loaded")
    np.savez(path, **{"a": np.ones(1), "a/b": np.ones(1)})
    assert_refused(path, "'a/b' names a leaf where another path has one")


def test_a_path_that_is_no_checkpoint(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(PARAMS))
    assert_refused(tmp_path / "w.pkl", r"unknown kind '.pkl'; readable are .safetensors, .npz, .*orbax folders")
    assert_refused(tmp_path / "none.npz", "does not exist")
    assert_refused(tmp_path, "is a folder")
