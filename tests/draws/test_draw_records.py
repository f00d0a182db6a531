"""What a draw says is what its chain did: means over its steps, weights at its end, and whether it diverged."""

import numpy as np
import pytest

from llc.draws.draw import advance, collect, start_chains
from llc.samplers import MALA, SGLD

KERNELS = [SGLD(step_size=0.01), MALA(step_size=0.1)]


@pytest.mark.parametrize("kernel", KERNELS, ids=["SGLD", "MALA"])
def test_a_thinned_draw_is_the_mean_of_its_steps_and_the_last_of_them(draws_of, kernel):
    every, thinned = (draws_of(kernel, num_draws=12 // k, thinning=k).sample_stats for k in (1, 3))
    for name in ("loss_difference", "virial", "gradient_evaluations", "accept_prob"):
        steps = every[name].values
        blocks = steps.reshape(2, 4, 3, *steps.shape[2:]).mean(axis=2)
        np.testing.assert_allclose(thinned[name], blocks, rtol=1e-4, atol=1e-6)
    for name in ("full_loss_difference", "squared_distance", "whitened_squared_distance", "potential"):
        np.testing.assert_allclose(thinned[name], every[name][:, 2::3], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS, ids=["SGLD", "MALA"])
def test_the_weights_kept_have_the_loss_recorded(draws_of, posterior, data, kernel):
    draws = draws_of(kernel, thinning=2)
    w, b = (draws["posterior"][name].values.astype(float) for name in ("layers.0.w", "b"))
    x, y = np.asarray(data, float).T
    loss = lambda w, b: 0.5 * np.square(x * (w[..., :1] * w[..., 1:]) + b[..., None] - y).mean(axis=-1)
    differences = loss(w, b) - loss(np.array([0.5, -0.5]), np.array(0.1))
    distances = np.square(w - [0.5, -0.5]).sum(axis=-1) + np.square(b - 0.1)
    stats = draws.sample_stats
    np.testing.assert_allclose(stats.full_loss_difference, differences, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(stats.squared_distance, distances, rtol=1e-4)
    potential = float(posterior.nbeta) * differences + distances  # γ/2 = 1
    np.testing.assert_allclose(stats.potential, potential, rtol=1e-3, atol=1e-4)
    assert not stats.diverging.any()


def test_chains_that_leave_for_infinity_are_marked_and_stay_so(draws_of):
    calm, lost = (draws_of(SGLD(step_size=step_size), num_draws=200).sample_stats for step_size in (0.01, 50.0))
    assert not calm.diverging.any()
    assert lost.diverging.isel(draw=-1).all()
    finite = np.isfinite(lost.loss_difference) & np.isfinite(lost.full_loss_difference)
    np.testing.assert_array_equal(lost.diverging, ~finite)
    assert (lost.diverging.astype(int).diff("draw") >= 0).all()


def test_a_thinned_draw_is_not_averaged_over_steps_at_infinity(draws_of):
    stats = draws_of(SGLD(step_size=50.0), num_draws=2, thinning=200).sample_stats
    assert stats.diverging.all()
    assert not np.isfinite(stats.loss_difference).any()


def test_a_chain_that_cannot_move_stays_at_the_checkpoint(draws_of):
    stats = draws_of(SGLD(step_size=0.0)).sample_stats
    np.testing.assert_array_equal(stats.squared_distance, 0)
    np.testing.assert_allclose(stats.loss_difference, 0, atol=1e-6)


def test_chains_that_leave_all_at_once_in_their_last_step_are_marked(posterior):
    """Their steps' losses were looked at before it, and the loss on all data is as NaN as where it is not measured."""
    chains = advance(start_chains(SGLD(step_size=1e-2), posterior, 0, num_chains=2, num_warmup=0), 3)
    gone = {}
    for name in ("full_loss_difference", "whitened_squared_distance"):
        gone[name] = np.array(getattr(chains.draws, name))
        gone[name][:, :, -1] = np.nan
    marked = collect(chains._replace(draws=chains.draws._replace(**gone)), {})["sample_stats"]["diverging"]
    np.testing.assert_array_equal(marked, [[False, False, True]] * 2)


@pytest.mark.parametrize("every", [0, 1, 3])
def test_full_losses_may_be_measured_seldom_and_change_no_draw(posterior, every):
    kernel, thinning = SGLD(step_size=[1e-2, 5e-3]), 2

    def drawn(full_loss_every):
        chains = start_chains(kernel, posterior, 0, num_chains=2, num_warmup=0)
        for size in (4, 6):  # the count goes on from one call to the next
            chains = advance(chains, size, thinning=thinning, full_loss_every=full_loss_every)
        return collect(chains, {})["sample_stats"].to_dataset()

    always, seldom = drawn(1), drawn(every)
    measured = np.arange(10) % every == 0 if every else np.zeros(10, bool)
    assert (np.isfinite(seldom["full_loss_difference"]) == measured).all()
    assert (np.isfinite(seldom["potential"]) == measured).all()
    assert not seldom["diverging"].any()
    for name in always.data_vars:
        rows = measured if name in ("full_loss_difference", "potential") else slice(None)
        np.testing.assert_array_equal(seldom[name].isel(draw=rows), always[name].isel(draw=rows))
