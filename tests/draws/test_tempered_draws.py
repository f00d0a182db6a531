"""Draws of replica exchange hold all its temperatures; and so far as they hold those, they are like any other's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from llc.draws import draw as module
from llc.draws import storage
from llc.draws.schema import read_settings
from llc.samplers import HMC, ReplicaExchange

EXCHANGE = ReplicaExchange(num_replicas=4, num_leapfrogs=3)
KERNELS = {"ReplicaExchange": EXCHANGE, "HMC": HMC(step_size=0.1, max_leapfrogs=4)}
TEMPERED = {
    "tempered_loss_difference": ("temperature", 4),
    "tempered_nbeta": ("temperature", 4),
    "tempered_accept_prob": ("temperature", 4),
    "tempered_swap_prob": ("exchange", 3),
}
# the exchange of 4 replicas, drawn with 40 steps of warm-up; the first round of the ladder ends after 16
SETTINGS = {"num_warmup": 20, "num_draws": 12, "thinning": 2, "keep_weights": False}


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request):
    return KERNELS[request.param]


@pytest.fixture(scope="module")
def draws(draws_of):
    return draws_of(EXCHANGE, **SETTINGS)


def test_every_temperature_is_labelled(draws, draws_of):
    for group in (draws.sample_stats, draws.warmup_sample_stats):
        for name, (dimension, size) in TEMPERED.items():
            assert group[name].dims == ("chain", "draw", dimension)
            assert group.sizes[dimension] == size
    of_one_temperature = draws_of(KERNELS["HMC"], **SETTINGS).sample_stats
    assert set(draws.sample_stats.data_vars) - set(of_one_temperature.data_vars) == set(TEMPERED)
    settings = read_settings(draws)
    assert (settings["kernel"], settings["kernel_num_replicas"], settings["num_warmup"]) == ("ReplicaExchange", 4, 20)


def test_the_ladder_goes_from_the_prior_to_the_target_and_moves_in_warmup_only(draws, posterior):
    warmup, kept = (group.tempered_nbeta.values for group in (draws.warmup_sample_stats, draws.sample_stats))
    for ladders in (warmup, kept):
        np.testing.assert_array_equal(ladders[..., 0], 0)
        np.testing.assert_array_equal(ladders[..., -1], posterior.nbeta)
        assert (np.diff(ladders) > 0).all()
    # moved after 16 steps, which are 8 draws, and not again before 0.6 of 40
    np.testing.assert_array_equal(warmup[:, 1:7], warmup[:, :6])
    assert (warmup[:, 7, 1:3] != warmup[:, 6, 1:3]).all()
    np.testing.assert_array_equal(kept, np.broadcast_to(warmup[:, 7:8], kept.shape))


def test_the_last_temperature_is_the_target(draws):
    stats = draws.sample_stats
    np.testing.assert_array_equal(stats.tempered_loss_difference[..., -1], stats.full_loss_difference)
    assert (stats.tempered_loss_difference[..., 0] != stats.full_loss_difference).all()
    # of the last of two steps, when loss and acceptance are means of both
    np.testing.assert_allclose(stats.tempered_accept_prob[..., 0], 1, rtol=1e-6)
    for name in ("tempered_accept_prob", "tempered_swap_prob"):
        assert ((stats[name] >= 0) & (stats[name] <= 1)).all()
        assert stats[name][..., -1].std() > 0.01


@pytest.mark.parametrize("name", ["draws.nc", "draws.zarr"])
def test_files_keep_all_of_it(draws, tmp_path, name):
    back = storage.load(storage.save(draws, tmp_path / name))
    xr.testing.assert_identical(back, draws)
    assert read_settings(back) == read_settings(draws)
    for group in ("sample_stats", "warmup_sample_stats"):
        for name in TEMPERED:
            assert back[group][name].dtype == draws[group][name].dtype


def test_the_same_key_however_cut(draws_of, kernel, monkeypatch):
    draws = draws_of(kernel, **SETTINGS)
    xr.testing.assert_identical(draws_of(kernel, **SETTINGS), draws)
    monkeypatch.setattr(module, "_SECONDS_PER_CALL", 0.0)  # one draw a call
    xr.testing.assert_identical(draws_of(kernel, **SETTINGS), draws)
    other = draws_of(kernel, rng_key=1, **SETTINGS).sample_stats.full_loss_difference
    assert not (other == draws.sample_stats.full_loss_difference).any()


def test_chains_continue_where_they_were_in_the_same_program(kernel, posterior, traces):
    begin = lambda: module.start_chains(kernel, posterior, 0, num_chains=2, num_warmup=40)
    whole = module.advance(begin(), 55)
    first = module.advance(begin(), 12)  # in warm-up, saved and read again
    saved = jax.tree.map(lambda leaf: leaf if is_key(leaf) else jnp.asarray(np.asarray(leaf)), first.states)
    traces.clear()
    continued = module.advance(first._replace(states=saved), 43)
    assert traces["product"] == 0
    for leaf, reference in zip(jax.tree.leaves(continued), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(*(jax.random.key_data(x) if is_key(x) else x for x in (leaf, reference)))


def is_key(leaf):
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def test_one_program_for_other_posteriors_and_step_sizes(draws_of, make_posterior, data, center, kernel, traces):
    moved = jax.tree.map(lambda w: w + 1.0, center)
    elsewhere = make_posterior(2 * data, moved, localization=3.0, nbeta=5.0)
    elsewhere.problem.losses(center, elsewhere.problem.take(np.arange(2)))
    assert traces["product"] > 0  # the counter counts
    first = draws_of(kernel, **SETTINGS)
    traces.clear()
    smaller = type(kernel)(**{**vars(kernel), "step_size": kernel.step_size / 2})
    second = draws_of(smaller, elsewhere, 1, **{**SETTINGS, "num_warmup": 40, "num_draws": 150, "thinning": 1})
    assert traces["product"] == 0
    assert second.sample_stats.sizes["draw"] == 150
    assert float(first.sample_stats.potential.max()) != float(second.sample_stats.potential.max())
    if "tempered_nbeta" in second.sample_stats:
        np.testing.assert_array_equal(second.sample_stats.tempered_nbeta[..., -1], 5.0)
