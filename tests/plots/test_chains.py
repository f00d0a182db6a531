import matplotlib as mpl
import numpy as np
import pytest

import llc
from llc.plots.chains import plot_chains

mpl.use("Agg")


@pytest.mark.parametrize("step_size", [1e-2, [1e-2, 5e-3]])
def test_the_running_means_end_at_the_estimate(step_size):
    entry = llc.zoo.regular(2, n=100)
    posterior = llc.LocalPosterior(entry.problem, entry.params, localization=1.0)
    draws = llc.draw(llc.samplers.SGLD(step_size), posterior, num_draws=60, num_warmup=10)
    figure = plot_chains(draws)
    columns = np.atleast_1d(step_size).size
    assert len(figure.axes) == 2 * columns
    running = figure.axes[columns].lines[-1].get_ydata()
    losses = draws.sample_stats["loss_difference"]
    first = losses.isel(step_size=0) if columns > 1 else losses
    assert running[-1] == pytest.approx(float(posterior.nbeta) * float(first.mean()), rel=1e-4)
    figure.savefig("/dev/null", format="png")


def test_chains_that_all_diverged_are_drawn_without_error():
    entry = llc.zoo.regular(2, n=100)
    posterior = llc.LocalPosterior(entry.problem, entry.params, localization=1.0)
    draws = llc.draw(llc.samplers.SGLD(1e4), posterior, num_draws=60, num_warmup=10)
    plot_chains(draws).savefig("/dev/null", format="png")
