"""Where a checkpoint's step comes from, and the order of a folder."""

from pathlib import Path

import numpy as np
import pytest

from llc.checkpoints import find, read_folder, save
from llc.checkpoints.checkpoint import find_step


@pytest.mark.parametrize(
    ("name", "metadata", "step"),
    [
        ("step_000100.npz", {}, 100),
        ("run2-epoch.3-step=40.ckpt", {}, 40),
        ("7.pt", {}, 7),
        ("final.npz", {}, None),
        ("run2/final.npz", {}, None),
        ("step_1.npz", {"step": 5}, 5),
        ("step_1.npz", {"step": "5"}, 5),
        ("step_1.npz", {"step": 5.0}, 5),
        ("step_1.npz", {"step": 0}, 0),
        ("step_1.npz", {"step": "last"}, 1),
        ("step_1.npz", {"step": True}, 1),
        ("step_1.npz", {"step": -3}, 1),
        ("step_1.npz", {"global_step": 9}, 9),
    ],
)
def test_the_step(name, metadata, step):
    assert find_step(Path(name), metadata) == step


def test_a_folder_is_in_order_of_step(tmp_path):
    for name, step in {
        "step_10.npz": None,
        "step_9.safetensors": None,
        "b.npz": 100,
        "z.npz": None,
        "a.npz": None,
    }.items():
        save(tmp_path / name, np.ones(1), step=step)
    (tmp_path / ".tmp-1.npz").write_bytes(b"half")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "logs_3").mkdir()
    names = ["step_9.safetensors", "step_10.npz", "b.npz", "a.npz", "z.npz"]
    assert [path.name for path in find(tmp_path)] == names
    checkpoints = read_folder(tmp_path, template=np.empty(1))
    assert [checkpoint.step for checkpoint in checkpoints] == [9, 10, 100, None, None]


def test_a_listing_loads_no_weights(tmp_path, monkeypatch):
    save(tmp_path / "a.npz", np.ones(1), step=2)
    save(tmp_path / "b.safetensors", np.ones(1), step=1)
    monkeypatch.setattr("llc.checkpoints.npz.read", None)
    monkeypatch.setattr("llc.checkpoints.safetensors.read", None)
    assert [path.name for path in find(tmp_path)] == ["b.safetensors", "a.npz"]


def test_repeated_steps_are_both_named(tmp_path):
    save(tmp_path / "a_7.npz", np.ones(1))
    save(tmp_path / "b.npz", np.ones(1), step=7)
    with pytest.raises(ValueError, match=r"a_7.npz and b.npz are both of step 7; remove or rename one"):
        find(tmp_path)


def test_a_folder_without_checkpoints(tmp_path):
    with pytest.raises(ValueError, match=r"holds no checkpoint; readable are .safetensors"):
        find(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        find(tmp_path / "none")
    path = save(tmp_path / "w.npz", np.ones(1))
    with pytest.raises(ValueError, match="is a file, not a folder"):
        find(path)
