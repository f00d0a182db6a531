import json

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import llc
from llc.plots.chains import crowding, plot_chains, plot_ranks, rank_band

mpl.use("Agg")

PARTS = np.linspace(0, 1, 400)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def draws_of(step_size, **settings):
    entry = llc.zoo.regular(2, n=100)
    posterior = llc.LocalPosterior(entry.problem, entry.params, localization=1.0)
    return llc.draw(llc.samplers.SGLD(step_size), posterior, **{"num_draws": 60, "num_warmup": 10, **settings})


def autoregressive(rng, correlation, num_chains=4, num_draws=500):
    chains = rng.normal(size=(num_chains, num_draws))
    for t in range(1, num_draws):
        chains[:, t] = correlation * chains[:, t - 1] + np.sqrt(1 - correlation**2) * chains[:, t]
    return chains


@pytest.mark.parametrize("step_size", [1e-2, [1e-2, 5e-3]])
def test_the_running_means_end_at_the_estimate(step_size):
    draws = draws_of(step_size)
    figure = plot_chains(draws)
    columns = np.atleast_1d(step_size).size
    assert len(figure.axes) == 3 * columns
    running = figure.axes[2 * columns].lines[-1].get_ydata()
    losses = draws.sample_stats["loss_difference"]
    first = losses.isel(step_size=0) if columns > 1 else losses
    assert running[-1] == pytest.approx(draws.attrs["nbeta"] * float(first.mean()), rel=1e-4)
    figure.savefig("/dev/null", format="png")


@pytest.mark.parametrize("settings", [{"step_size": 1e4}, {"step_size": 0.0}, {"step_size": 1e-2, "num_chains": 1}])
def test_what_has_no_ranks_is_drawn_and_says_why(settings):
    figure = plot_chains(draws_of(**settings))
    figure.savefig("/dev/null", format="png")
    assert [text.get_text() for text in figure.axes[1].texts] == ["needs two chains that move"]
    assert not figure.legends


def test_long_traces_stay_light(tmp_path):
    losses = np.random.default_rng(0).exponential(size=(4, 20_000))
    statistics = xr.Dataset({"loss_difference": (("chain", "draw"), losses)})
    draws = xr.DataTree.from_dict({"/sample_stats": statistics})
    draws.attrs = {"kernel": "NUTS", "num_chains": 4, "nbeta": 10.0, "dimension": 2, "localization": json.dumps([1.0])}
    plot_chains(draws).savefig(tmp_path / "chains.svg")
    assert (tmp_path / "chains.svg").stat().st_size < 400_000


def test_a_diverged_chain_has_no_rank_and_the_others_keep_their_names():
    losses = np.random.default_rng(0).normal(size=(3, 100))
    losses[1, 50:] = np.nan
    _, axes = plt.subplots()
    plot_ranks(axes, xr.Dataset({"loss_difference": (("chain", "draw"), losses)}))
    assert axes.get_legend_handles_labels()[1] == ["settled chains stay here (95 %)", "chain 1", "chain 3"]


def test_crowding_is_what_counting_gives():
    losses = np.random.default_rng(0).normal(size=(3, 50))
    ranks = (losses[None, None] <= losses[..., None, None]).mean(axis=(2, 3))  # of each among all
    counted = (ranks[..., None] <= PARTS).mean(axis=1) - PARTS
    np.testing.assert_allclose(crowding(losses, PARTS), counted, atol=1e-12)
    np.testing.assert_allclose(crowding(losses, PARTS).sum(axis=0), 0, atol=0.5 / 50 * 3)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("num_chains", [2, 6])
def test_settled_chains_stay_in_the_band(correlation, num_chains):
    rng, runs = np.random.default_rng(0), 200
    inside = 0
    for _ in range(runs):
        chains = autoregressive(rng, correlation, num_chains)
        inside += np.abs(crowding(chains, PARTS)).max() <= rank_band(chains)
    assert inside / runs >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / runs)
    assert inside < runs or correlation > 0, "the band is no band if nothing ever leaves it"


def test_a_chain_of_its_own_leaves_the_band():
    rng = np.random.default_rng(0)
    lower, wider = (autoregressive(rng, 0.5) for _ in range(2))
    lower[0] -= 1.0
    wider[0] *= 3.0
    for chains in (lower, wider):
        assert np.abs(crowding(chains, PARTS)[0]).max() > rank_band(chains)
    assert crowding(lower, PARTS)[0].min() > -0.02  # rises above 0
    first, last = crowding(wider, PARTS)[0][[100, 300]]
    assert first > 0.05
    assert last < -0.05
