"""Draws are a DataTree in ArviZ's schema that says how it was made, and files keep all of it."""

import jax
import numpy as np
import pytest
import xarray as xr

import llc
from llc.draws import storage
from llc.draws.schema import read_settings
from llc.samplers import SGLD

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


@pytest.fixture(scope="module")
def ladder(draws_of, make_posterior):
    kernel = SGLD(step_size=[0.01, 0.005], gradient="anchored")
    posterior = make_posterior(nbeta=20.0, localization=llc.Relative(2.0))
    return draws_of(kernel, posterior, 7, num_warmup=5, num_draws=10, thinning=2)


@pytest.fixture(scope="module")
def single(draws_of, one_leaf):
    return draws_of(SGLD(step_size=0.01), one_leaf, jax.random.key(3), keep_weights=False)


def test_dimensions(ladder, single):
    assert set(ladder.children) == {"sample_stats", "warmup_sample_stats", "posterior"}
    assert set(ladder.sample_stats.data_vars) == set(ladder.warmup_sample_stats.data_vars) == MEASURES
    for name, measure in ladder.sample_stats.data_vars.items():
        leaf = ("leaf",) if name == "virial" else ()
        assert measure.dims == ("step_size", "chain", "draw", *leaf)
    assert dict(ladder.sample_stats.sizes) == {"step_size": 2, "chain": 2, "draw": 10, "leaf": 2}
    assert dict(ladder.warmup_sample_stats.sizes) == {"step_size": 2, "chain": 2, "draw": 5, "leaf": 2}
    assert ladder.sample_stats.leaf.values.tolist() == ["b", "layers/0/w"]
    np.testing.assert_allclose(ladder.sample_stats.step_size, [0.01, 0.005], rtol=1e-6)
    assert ladder["posterior"]["layers.0.w"].shape == (2, 2, 10, 2)
    assert ladder["posterior"]["b"].dims == ("step_size", "chain", "draw")
    assert single.sample_stats.loss_difference.dims == ("chain", "draw")
    assert set(single.children) == {"sample_stats"}


def test_attributes_hold_every_setting(ladder, single, data, center, posterior):
    expected = {
        "kernel": "SGLD",
        "kernel_gradient": "anchored",
        "nbeta": 20.0,
        "dimension": 3,
        "leaf_dimensions": [1, 2],
        "num_params": 3,
        "n": 100,
        "batch_size": 16,
        "num_chains": 2,
        "num_draws": 10,
        "num_warmup": 5,
        "thinning": 2,
        "rng_key": "7",
        "interrupted": 0,
        "device": jax.devices()[0].device_kind,
        "jax_version": jax.__version__,
        "llc_version": llc.__version__,
    }
    settings, of_one = read_settings(ladder), read_settings(single)
    assert {name: settings[name] for name in expected} == expected
    np.testing.assert_allclose(settings["localization"], [1 / (4 * 0.01), 1 / (4 * 0.25)], rtol=1e-5)
    np.testing.assert_allclose(settings["kernel_step_size"], [0.01, 0.005], rtol=1e-6)
    np.testing.assert_allclose(settings["center_loss"], posterior.problem.losses(center, data).mean(), rtol=1e-5)
    assert (of_one["leaf_dimensions"], of_one["localization"], of_one["num_warmup"]) == ([1], [4.0], 0)
    np.testing.assert_allclose(of_one["kernel_step_size"], 0.01, rtol=1e-6)
    assert single.attrs["rng_key"] == str(jax.random.key_data(jax.random.key(3)).tolist())


@pytest.mark.parametrize("made_by", ["ladder", "single"])
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
