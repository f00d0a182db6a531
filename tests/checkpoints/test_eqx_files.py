"""Equinox files: leaves without names, told apart by a template."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.checkpoints import read


def mlp(width, seed=0):
    return eqx.nn.MLP(2, 1, width, 1, key=jax.random.key(seed))


def test_a_model_comes_back(tmp_path):
    eqx.tree_serialise_leaves(tmp_path / "model_30.eqx", mlp(4))
    checkpoint = read(tmp_path / "model_30.eqx", template=mlp(4, seed=1))
    assert checkpoint.step == 30
    np.testing.assert_array_equal(checkpoint.params(np.ones(2)), mlp(4)(np.ones(2)))


def test_a_header_is_metadata(tmp_path):
    with (tmp_path / "model.eqx").open("wb") as file:
        file.write((json.dumps({"width": 4, "step": 8}) + "\n").encode())
        eqx.tree_serialise_leaves(file, mlp(4))
    checkpoint = read(tmp_path / "model.eqx", mlp(4))
    assert (checkpoint.step, checkpoint.metadata) == (8, {"width": 4})


def test_bfloat16_and_scalars(tmp_path):
    params = {"w": jnp.arange(3, dtype=jnp.bfloat16), "scale": jnp.float32(2), "on": True}
    eqx.tree_serialise_leaves(tmp_path / "w.eqx", params)
    read_back = read(tmp_path / "w.eqx", params).params
    np.testing.assert_array_equal(read_back["w"].astype(float), [0, 1, 2])
    assert read_back["scale"] == 2


@pytest.mark.parametrize(
    ("template", "match"),
    [
        (None, "give template="),
        (mlp(5), r"wrong: layers/0/bias \(float \(4,\), not float \(5,\)\)"),
        (eqx.nn.MLP(2, 1, 4, 0, key=jax.random.key(0)), "extra: leaf number 3, leaf number 4"),
        (eqx.nn.MLP(2, 1, 4, 2, key=jax.random.key(0)), "missing: layers/2/bias, layers/2/weight"),
    ],
)
def test_a_misfit_is_named(tmp_path, template, match):
    eqx.tree_serialise_leaves(tmp_path / "model.eqx", mlp(4))
    with pytest.raises(ValueError, match=match):
        read(tmp_path / "model.eqx", template)
