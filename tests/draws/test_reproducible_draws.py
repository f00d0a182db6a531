"""The same key gives the same draws, however they are cut into calls, out of one compiled program."""

import jax
import numpy as np
import pytest
import xarray as xr

from llc.draws import draw as module
from llc.draws import programs
from llc.draws.schema import read_settings
from llc.samplers import MALA, NUTS, SGLD

SGLDS = SGLD(step_size=0.01), SGLD(step_size=0.02)
LADDERS = SGLD(step_size=[0.01, 0.005], gradient="anchored"), SGLD(step_size=[0.02, 0.001], gradient="anchored")
MALAS = MALA(step_size=0.1), MALA(step_size=0.2)
NUTSES = NUTS(), NUTS(step_size=0.2)
PAIRS = [SGLDS, LADDERS, MALAS, NUTSES]
NAMES = ["SGLD", "ladder", "MALA", "NUTS"]


@pytest.mark.parametrize("kernels", PAIRS, ids=NAMES)
def test_the_same_key_however_cut(draws_of, kernels, monkeypatch):
    draws = draws_of(kernels[0])
    xr.testing.assert_identical(draws_of(kernels[0]), draws)
    monkeypatch.setattr(module, "_SECONDS_PER_CALL", 0.0)  # one draw a call
    xr.testing.assert_identical(draws_of(kernels[0]), draws)
    other = draws_of(kernels[0], rng_key=jax.random.key(1)).sample_stats.full_loss_difference
    assert not (other == draws.sample_stats.full_loss_difference).any()


def test_the_same_draws_out_of_smaller_buffers(draws_of, one_leaf, monkeypatch):
    settings = {"posterior": one_leaf, "num_draws": 30, "num_warmup": 10, "keep_weights": False}
    draws = draws_of(SGLDS[0], **settings)
    calls, advance = [], module.proceed
    monkeypatch.setattr(module, "proceed", lambda *args: calls.append(int(args[0][2].size)) or advance(*args))
    monkeypatch.setattr(module, "_SECONDS_PER_CALL", 1e6)
    monkeypatch.setattr(programs, "CAPACITY", 7)
    xr.testing.assert_identical(draws_of(SGLDS[0], **settings), draws)
    assert calls == [1, 7, 2, 1, 7, 7, 7, 7, 1]


def test_a_seed_is_its_key(draws_of):
    seed, key = (draws_of(SGLDS[0], rng_key=key).sample_stats for key in (5, jax.random.key(5)))
    xr.testing.assert_identical(seed.to_dataset(), key.to_dataset())


def test_more_draws_begin_with_the_fewer(draws_of):
    few, many = (draws_of(SGLDS[0], num_draws=num_draws).sample_stats.to_dataset() for num_draws in (20, 45))
    xr.testing.assert_identical(many.isel(draw=slice(20)), few)


@pytest.mark.parametrize("kernels", PAIRS, ids=NAMES)
def test_a_second_draw_traces_nothing(draws_of, make_posterior, data, center, kernels, traces):
    moved = jax.tree.map(lambda w: w + 1.0, center)
    elsewhere = make_posterior(2 * data, moved, localization=3.0, nbeta=5.0)
    elsewhere.problem.losses(center, elsewhere.problem.take(np.arange(2)))
    assert traces["product"] > 0  # the counter counts
    first = draws_of(kernels[0])
    traces.clear()
    second = draws_of(kernels[1], elsewhere, 1, num_draws=300, thinning=2)
    assert traces["product"] == 0
    assert second.sample_stats.sizes["draw"] == 300
    settings = read_settings(second)
    assert (settings["nbeta"], settings["localization"]) == (5.0, [3.0, 3.0])
    assert settings["kernel_step_size"] == np.asarray(kernels[1].step_size).tolist()
    assert float(first.sample_stats.potential[..., 0].max()) != float(second.sample_stats.potential[..., 0].max())


def test_equal_networks_share_a_program(draws_of, make_one_leaf, traces):
    one, same = make_one_leaf(), make_one_leaf()
    one.problem.losses(one.center, one.problem.take(np.arange(2)))
    assert traces["scaled"] > 0  # the counter counts
    draws = draws_of(SGLDS[0], one, num_draws=5, keep_weights=False)
    traces.clear()
    xr.testing.assert_identical(draws_of(SGLDS[0], same, num_draws=5, keep_weights=False), draws)
    assert traces["scaled"] == 0
