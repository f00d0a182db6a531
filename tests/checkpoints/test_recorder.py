"""Checkpoints during training: at the steps promised, such that the readers read them."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import llc
from llc.checkpoints import Recorder, find, read


def saved(recorder, stop):
    return [step for step in range(stop) if recorder.maybe_save(step, {"w": np.zeros(1)})]


def test_log_spacing(tmp_path):
    steps = saved(Recorder(tmp_path, per_decade=5), 1001)
    assert steps == sorted({0, *(round(10 ** (k / 5)) for k in range(16))})
    assert [read(path).step for path in find(tmp_path)] == steps


def test_linear_spacing(tmp_path):
    assert saved(Recorder(tmp_path, "linear", every=25), 101) == [0, 25, 50, 75, 100]


def test_what_is_due_depends_on_the_step_alone(tmp_path):
    whole, later = Recorder(tmp_path, per_decade=7), Recorder(tmp_path, per_decade=7)
    assert [step for step in range(500, 3000) if whole.due(step)] == [
        s for s in range(3000) if s >= 500 and later.due(s)
    ]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_in_a_loop_of_optax(tmp_path, suffix):
    optimizer, recorder = optax.sgd(0.1), Recorder(tmp_path, "linear", every=2, suffix=suffix)
    params = {"layers": [{"w": jnp.ones(2)}]}
    state = optimizer.init(params)
    for step in range(5):
        recorder.maybe_save(jnp.asarray(step), params, metadata={"loss": 1.0})
        updates, state = optimizer.update(params, state)
        params = optax.apply_updates(params, updates)
    checkpoints = [read(path) for path in find(tmp_path)]
    assert [checkpoint.step for checkpoint in checkpoints] == [0, 2, 4]
    assert checkpoints[1].params["layers"][0]["w"] == pytest.approx(0.81 * np.ones(2))
    assert checkpoints[1].metadata == {"loss": 1.0}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"spacing": "sqrt"}, "spacing='sqrt'; it must be one of log, linear"),
        ({"per_decade": 0}, "per_decade=0"),
        ({"every": -1}, "every=-1"),
        ({"suffix": ".pt"}, "suffix='.pt'"),
    ],
)
def test_what_is_refused(tmp_path, arguments, match):
    with pytest.raises(ValueError, match=match):
        llc.Recorder(tmp_path, **arguments)
