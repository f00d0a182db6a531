"""Chains in turn are the chains side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.draws import draw as drawing
from llc.draws import programs
from llc.posterior.ladder import ladder_of, rungs_of

KERNELS = {
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


def traced_anew():
    """For the choice is made while a program is traced."""
    for program in (programs.begin, programs.proceed):
        program._cached.clear_cache()


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_in_turn_they_draw_what_they_draw_side_by_side(kernel, posterior, monkeypatch):
    def drawn():
        traced_anew()
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
    traced_anew()


@pytest.mark.parametrize("steps", [1e-2, [1e-2, 5e-3, 2e-2, 1e-2]])
def test_a_ladder_of_posteriors_is_each_of_them(steps, posterior, monkeypatch):
    ladder, kernel = ladder_of(posterior, [(10.0, 1.0), (50.0, 3.0)]), llc.samplers.SGLD(step_size=steps)

    def draws():
        traced_anew()
        chains = drawing.start_chains(kernel, ladder, 0, num_chains=3, num_warmup=0)
        return drawing.advance(chains, 5, keep_weights=True).draws

    side_by_side = draws()
    monkeypatch.setattr(programs, "_LARGE", 0)
    for one, other in zip(jax.tree.leaves(draws()), jax.tree.leaves(side_by_side), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    keys = jax.random.split(jax.random.key(0), (max(2, np.size(steps)), 3))
    for i, step_size in enumerate(np.broadcast_to(steps, len(keys))):
        rung, alone = rungs_of(ladder)[i * 2 // len(keys)], llc.samplers.SGLD(step_size=float(step_size))
        state = alone.init(keys[i, 1], 0, None, (rung,), {})
        for _ in range(5):
            state = alone.sample(state, (rung,), {})
        np.testing.assert_allclose(side_by_side.position[i, 1, -1], state.position, rtol=1e-3, atol=1e-5)
    traced_anew()
