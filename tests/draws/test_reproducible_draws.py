"""The same key gives the same draws, however they are cut into calls, out of one compiled program."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import llc
from llc.draws import draw as module
from llc.draws.schema import read_settings
from llc.samplers import MALA, NUTS, SGLD

DATA = jax.random.normal(jax.random.key(0), (200, 2))
CENTER = {"a": jnp.array([0.5, -0.5]), "b": jnp.array(0.1)}
KERNELS = [SGLD(step_size=0.01), SGLD(step_size=[0.01, 0.005], gradient="anchored"), MALA(step_size=0.1), NUTS()]
traces = collections.Counter()


def regression(params, x):
    traces.update(["loss"])
    return 0.5 * jnp.square(jnp.tanh(x[:, 0] * params["a"][0]) * params["a"][1] + params["b"] - x[:, 1])


def make_posterior(data=DATA, center=CENTER, **settings):
    return llc.LocalPosterior(
        llc.Problem(regression, data), center, **{"localization": 1.0, "batch_size": 16, **settings}
    )


POSTERIOR = make_posterior()


def draws_of(kernel, key=0, num_draws=30, posterior=POSTERIOR, **settings):
    return llc.draw(kernel, posterior, key, num_warmup=10, num_draws=num_draws, num_chains=2, **settings)


@pytest.mark.parametrize("kernel", KERNELS, ids=["SGLD", "ladder", "MALA", "NUTS"])
def test_the_same_key_however_cut(kernel, monkeypatch):
    draws = draws_of(kernel)
    xr.testing.assert_identical(draws_of(kernel), draws)
    monkeypatch.setattr(module, "_SECONDS_PER_CALL", 0.0)  # one draw a call
    xr.testing.assert_identical(draws_of(kernel), draws)
    other = draws_of(kernel, jax.random.key(1)).sample_stats.full_loss_difference
    assert not (other == draws.sample_stats.full_loss_difference).any()


def test_the_same_draws_out_of_smaller_buffers(monkeypatch):
    draws = draws_of(KERNELS[0])
    calls = []
    advance = module._advance
    monkeypatch.setattr(module, "_advance", lambda *args: calls.append(int(args[3])) or advance(*args))
    monkeypatch.setattr(module, "_SECONDS_PER_CALL", 100.0)
    monkeypatch.setattr(module, "_CAPACITY", 7)
    xr.testing.assert_identical(draws_of(KERNELS[0]), draws)
    assert calls == [1, 7, 2, 1, 7, 7, 7, 7, 1]


def test_a_seed_is_its_key():
    seed, key = (draws_of(KERNELS[0], key).sample_stats for key in (5, jax.random.key(5)))
    xr.testing.assert_identical(seed.to_dataset(), key.to_dataset())


def test_more_draws_begin_with_the_fewer():
    few, many = (draws_of(KERNELS[0], num_draws=num_draws).sample_stats.to_dataset() for num_draws in (20, 45))
    xr.testing.assert_identical(many.isel(draw=slice(20)), few)


@pytest.mark.parametrize(
    ("kernel", "other"),
    [
        (KERNELS[0], SGLD(step_size=0.02)),
        (KERNELS[1], SGLD(step_size=[0.02, 0.001], gradient="anchored")),
        (KERNELS[2], MALA(step_size=0.2)),
        (KERNELS[3], NUTS(step_size=0.2)),
    ],
    ids=["SGLD", "ladder", "MALA", "NUTS"],
)
def test_a_second_draw_traces_nothing(kernel, other):
    moved = jax.tree.map(lambda w: w + 1.0, CENTER)
    traces.clear()
    elsewhere = make_posterior(2 * DATA, moved, localization=3.0, nbeta=5.0)
    assert traces["loss"] > 0  # the counter counts
    first = draws_of(kernel)
    traces.clear()
    second = draws_of(other, 1, 300, elsewhere, thinning=2)
    assert traces["loss"] == 0
    assert second.sample_stats.sizes["draw"] == 300
    made_with = read_settings(second)
    assert (made_with["nbeta"], made_with["localization"]) == (5.0, [3.0, 3.0])
    assert made_with["kernel_step_size"] == np.asarray(other.step_size).tolist()
    assert float(first.sample_stats.potential[..., 0].max()) != float(second.sample_stats.potential[..., 0].max())


def test_equal_networks_share_a_program():
    def network(params, inputs):
        traces.update(["network"])
        return inputs * params

    def posterior(scale):
        problem = llc.Problem.supervised(network, llc.Gaussian(scale), DATA[:, 0], DATA[:, 1])
        return llc.LocalPosterior(problem, jnp.array(0.5))

    problems = [posterior(0.5), posterior(0.5)]
    traces.clear()
    llc.draw(KERNELS[0], problems[0], num_warmup=0, num_draws=5)
    assert traces["network"] > 0
    traces.clear()
    llc.draw(KERNELS[0], problems[1], num_warmup=0, num_draws=5)
    assert traces["network"] == 0
