"""Draws are a DataTree in ArviZ's schema that says how it was made, and files keep all of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import llc
from llc.draws import storage
from llc.draws.schema import read_settings
from llc.samplers import MALA, SGLD

DATA = jnp.linspace(-1, 1, 300)
CENTER = {"layers": [{"w": jnp.full((2, 3), 0.3)}], "scale": jnp.array(0.5)}
MEASURES = {
    "loss_difference",
    "virial",
    "gradient_evaluations",
    "accept_prob",
    "full_loss_difference",
    "squared_distance",
    "whitened_squared_distance",
    "potential",
    "diverging",
}


def squares(params, x):
    return 0.5 * jnp.square(x - sum(jnp.sum(jnp.tanh(leaf)) for leaf in jax.tree.leaves(params)))


PROBLEM = llc.Problem(squares, DATA)
POSTERIOR = llc.LocalPosterior(PROBLEM, CENTER, nbeta=20.0, localization=llc.Relative(2.0), batch_size=16)


@pytest.fixture(scope="module")
def ladder():
    return llc.draw(
        SGLD(step_size=[1e-2, 5e-3], gradient="minibatch"),
        POSTERIOR,
        7,
        num_chains=3,
        num_warmup=5,
        num_draws=10,
        thinning=2,
        keep_weights=True,
    )


@pytest.fixture(scope="module")
def one_leaf():
    posterior = llc.LocalPosterior(PROBLEM, jnp.array(0.5), localization=1.0)
    return llc.draw(MALA(step_size=0.1), posterior, jax.random.key(3), num_warmup=4, num_draws=10)


def test_dimensions(ladder, one_leaf):
    assert set(ladder.children) == {"sample_stats", "warmup_sample_stats", "posterior"}
    assert set(ladder.sample_stats.data_vars) == set(ladder.warmup_sample_stats.data_vars) == MEASURES
    for name, measure in ladder.sample_stats.data_vars.items():
        leaf = ("leaf",) if name == "virial" else ()
        assert measure.dims == ("step_size", "chain", "draw", *leaf)
    assert dict(ladder.sample_stats.sizes) == {"step_size": 2, "chain": 3, "draw": 10, "leaf": 2}
    assert dict(ladder.warmup_sample_stats.sizes) == {"step_size": 2, "chain": 3, "draw": 5, "leaf": 2}
    assert ladder.sample_stats.leaf.values.tolist() == ["layers/0/w", "scale"]
    np.testing.assert_allclose(ladder.sample_stats.step_size, [1e-2, 5e-3], rtol=1e-6)
    assert ladder["posterior"]["layers.0.w"].shape == (2, 3, 10, 2, 3)
    assert ladder["posterior"]["scale"].dims == ("step_size", "chain", "draw")
    assert one_leaf.sample_stats.loss_difference.dims == ("chain", "draw")
    assert set(one_leaf.children) == {"sample_stats", "warmup_sample_stats"}


def test_attributes_hold_every_setting(ladder, one_leaf):
    expected = {
        "kernel": "SGLD",
        "kernel_gradient": "minibatch",
        "nbeta": 20.0,
        "dimension": 7,
        "leaf_dimensions": [6, 1],
        "num_params": 7,
        "n": 300,
        "batch_size": 16,
        "num_chains": 3,
        "num_draws": 10,
        "num_warmup": 5,
        "thinning": 2,
        "rng_key": "7",
        "interrupted": 0,
        "device": jax.devices()[0].device_kind,
        "jax_version": jax.__version__,
        "llc_version": llc.__version__,
    }
    settings = read_settings(ladder)
    assert {name: settings[name] for name in expected} == expected
    np.testing.assert_allclose(settings["localization"], [1 / (4 * 0.09), 1 / (4 * 0.25)], rtol=1e-5)
    np.testing.assert_allclose(settings["kernel_step_size"], [1e-2, 5e-3], rtol=1e-6)
    np.testing.assert_allclose(settings["center_loss"], squares(CENTER, DATA).mean(), rtol=1e-5)
    of_one = read_settings(one_leaf)
    assert (of_one["kernel"], of_one["leaf_dimensions"], of_one["localization"]) == ("MALA", [1], [1.0])
    np.testing.assert_allclose(of_one["kernel_step_size"], 0.1, rtol=1e-6)
    assert one_leaf.attrs["rng_key"] == str(jax.random.key_data(jax.random.key(3)).tolist())


@pytest.mark.parametrize("made_by", ["ladder", "one_leaf"])
@pytest.mark.parametrize("kind", ["netcdf", "zarr", "saved.nc", "saved.zarr"])
def test_files_keep_all_of_it(made_by, kind, request, tmp_path):
    draws, path = request.getfixturevalue(made_by), tmp_path / kind
    if kind == "netcdf":
        draws.to_netcdf(path)
        with xr.open_datatree(path, engine="netcdf4") as file:
            back = file.load()
    elif kind == "zarr":
        draws.to_zarr(path, consolidated=False)
        with xr.open_datatree(path, engine="zarr", consolidated=False) as folder:
            back = folder.load()
    else:
        back = storage.load(storage.save(draws, path))
    xr.testing.assert_identical(back, draws)
    assert read_settings(back) == read_settings(draws)
    for name, measure in draws.sample_stats.data_vars.items():
        assert back.sample_stats[name].dtype == measure.dtype
