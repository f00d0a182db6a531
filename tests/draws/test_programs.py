"""Chains in turn are the chains side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.draws import programs

KERNELS = {
    "one step size": llc.samplers.SGLD(step_size=1e-2),
    "a ladder": llc.samplers.SGLD(step_size=[1e-2, 5e-3]),
    "anchored": llc.samplers.SGLD(step_size=1e-2, gradient="anchored"),
    "adapting": llc.samplers.PreconditionedSGLD(step_size=1e-2),
    "exact": llc.samplers.HMC(0.1),
}


@pytest.fixture(scope="module")
def posterior():
    keys = jax.random.split(jax.random.key(0), 2)
    x, w = jax.random.normal(keys[0], (300, 3)), jax.random.normal(keys[1], (3, 2))
    problem = llc.Problem.supervised(lambda w, x: jnp.tanh(x @ w), llc.Gaussian(1.0), x, jnp.tanh(x @ w))
    return llc.LocalPosterior(problem, w, localization=1.0, batch_size=32)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_in_turn_they_draw_what_they_draw_side_by_side(kernel, posterior, monkeypatch):
    def drawn():
        jax.clear_caches()  # the choice is made while a program is traced
        settings = {"num_chains": 3, "num_warmup": 2, "num_draws": 5, "thinning": 2, "keep_weights": True}
        return llc.draw(kernel, posterior, progress=False, **settings)

    side_by_side = drawn()
    lengths, scan = [], jax.lax.scan

    def recorded(turn, carry, xs=None, **settings):
        lengths.append(np.shape(xs))
        return scan(turn, carry, xs, **settings)

    monkeypatch.setattr(programs, "_LARGE", 0)
    monkeypatch.setattr(jax.lax, "scan", recorded)
    in_turn = drawn()
    assert (3 * np.size(kernel.step_size),) in lengths
    for group in ("sample_stats", "posterior"):
        assert in_turn[group].sizes == side_by_side[group].sizes
        for name, values in in_turn[group].data_vars.items():
            np.testing.assert_allclose(values, side_by_side[group][name], rtol=1e-3, atol=1e-5, err_msg=str(name))
    jax.clear_caches()
