"""Orbax folders: trees, training states and the steps of a CheckpointManager."""

import shutil

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from llc.checkpoints import find, read, read_folder

ocp = pytest.importorskip("orbax.checkpoint")

PARAMS = {"layers": [{"w": jnp.ones((2, 3))}, {"w": jnp.zeros(3, jnp.bfloat16)}], "scale": jnp.float32(2)}


@pytest.fixture
def saved(tmp_path):
    def save(name, tree):
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / name, tree)
        return tmp_path / name

    return save


def test_a_tree_comes_back(saved):
    checkpoint = read(saved("ckpt_12", PARAMS))
    assert checkpoint.step == 12
    np.testing.assert_array_equal(checkpoint.params["layers"][0]["w"], np.ones((2, 3)))
    assert checkpoint.params["layers"][1]["w"].dtype == ml_dtypes.bfloat16
    assert checkpoint.params["scale"].shape == ()


def test_a_training_state_gives_its_params(saved):
    state = {"params": PARAMS, "opt_state": ({"mu": jnp.ones(3)},), "step": 7}
    checkpoint = read(saved("final", state), template=PARAMS)
    assert checkpoint.step == 7
    assert checkpoint.params.keys() == PARAMS.keys()


def test_the_steps_of_a_manager(tmp_path):
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        for step in (10, 2):
            manager.save(step, args=ocp.args.StandardSave({"w": jnp.full(2, step, float)}), force=True)
        manager.wait_until_finished()
    shutil.copytree(tmp_path / "run" / "2", tmp_path / "run" / "3.orbax-checkpoint-tmp-1")
    assert [path.name for path in find(tmp_path / "run")] == ["2", "10"]
    assert [float(checkpoint.params["w"][0]) for checkpoint in read_folder(tmp_path / "run")] == [2, 10]


@pytest.mark.parametrize("part", ["_METADATA", "manifest.ocdbt", "d"])
def test_a_damaged_folder_is_named(saved, part):
    path = saved(
        "ckpt_1", {"w": jnp.ones(3)}
    )  # of several leaves, orbax leaves the later reads' errors to its event loop
    shutil.rmtree(path / part) if part == "d" else (path / part).write_bytes(b"\x00")
    with pytest.raises(ValueError, match=r"ckpt_1: not a readable orbax checkpoint \(") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_of_several_trees_the_params_are_read(tmp_path):
    args = {"opt": ocp.args.StandardSave({"mu": jnp.ones(3)}), "extra": ocp.args.JsonSave({"a": 1})}
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        manager.save(1, args=ocp.args.Composite(params=ocp.args.StandardSave({"w": jnp.ones(2)}), **args))
        manager.wait_until_finished()
    assert read(tmp_path / "run" / "1").params.keys() == {"w"}
    (tmp_path / "run" / "1" / "params").rename(tmp_path / "run" / "1" / "network")
    with pytest.raises(ValueError, match="holds network, opt; give the path of the one that holds the weights"):
        read(tmp_path / "run" / "1")
    assert read(tmp_path / "run" / "1" / "network").params.keys() == {"w"}
