"""What is no training run is refused before any sampling, in a sentence that names it."""

import numpy as np
import pytest

import llc
from tests.trajectories.runs import SETTINGS, descent, quadratic


def refused(checkpoints, match, **changed):
    with pytest.raises(ValueError, match=match) as caught:
        llc.trajectory(quadratic(), checkpoints, **SETTINGS | changed)
    return str(caught.value)


def test_an_empty_folder(tmp_path):
    refused(tmp_path, "holds no checkpoint; readable are")


def test_nothing_at_all():
    refused([], "holds no checkpoint; give a folder")


def test_a_missing_folder(tmp_path):
    refused(tmp_path / "none", "does not exist")


def test_mixed_architectures():
    refused(
        [(0, np.ones(2)), (1, np.ones(3))], r"step 0 and step 1 are of different networks: params is \(2,\).*\(3,\)"
    )


def test_another_network_than_the_problems():
    refused([(0, {"v": np.ones(2)})], "step 0: loss_fn.params, data. failed")


def test_a_step_that_repeats(tmp_path):
    refused([(1, np.ones(2)), (1, np.zeros(2))], "both of step 1")
    llc.checkpoints.save(tmp_path / "a_1.npz", np.ones(2))
    llc.checkpoints.save(tmp_path / "b_1.npz", np.ones(2))
    refused(tmp_path, "both of step 1")


def test_a_checkpoint_without_a_step(tmp_path):
    llc.checkpoints.save(tmp_path / "last.npz", np.ones(2))
    refused(tmp_path, "last.npz has no step; name it like")


@pytest.mark.parametrize("checkpoints", [3, [np.ones(2)], [("1", np.ones(2))], {1.5: np.ones(2)}])
def test_what_is_no_checkpoint(checkpoints):
    refused(checkpoints, "checkpoints (is|holds) a")


def test_a_store_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("mine")
    refused(descent(), "run is a file; give a folder", store=tmp_path / "run")


def test_a_pattern_that_matches_nothing():
    refused(descent(), "layers", refine=["layers/*"])


def test_a_half_written_checkpoint_is_passed_over_and_named(tmp_path):
    for step, params in descent(3):
        llc.checkpoints.save(tmp_path / f"step_{step}.npz", params, step=step)
    whole = (tmp_path / "step_20.npz").read_bytes()
    (tmp_path / "step_30.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "step_40.safetensors").write_bytes(b"")
    run = llc.trajectory(quadratic(), tmp_path, **SETTINGS)
    assert run.steps == [0, 10, 20]
    assert [name[-11:] for name in sorted(run.skipped)] == ["step_30.npz", "safetensors"]
    assert "2 skipped" in repr(run)


def test_only_half_written_checkpoints(tmp_path):
    (tmp_path / "step_30.npz").write_bytes(b"PK")
    refused(tmp_path, "step_30.npz: not a readable npz")


def test_a_loss_that_is_nan_at_one_step_costs_that_step_alone():
    steps = [*descent(3), (15, np.full(2, 1e30, np.float32))]
    run = llc.trajectory(quadratic(), steps, **SETTINGS)
    assert run.steps == [0, 10, 20]
    assert "NaN or infinite" in run.skipped["step 15"]
