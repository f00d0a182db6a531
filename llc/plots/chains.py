"""What a look at the chains tells: have they settled, and do they agree?"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from xarray import Dataset, DataTree


def plot_chains(draws: DataTree) -> Figure:
    """Loss traces above, with the warm-up in grey, and the running λ̂ of each chain below.

    Args:
        draws: from `llc.draw` or `Estimate.draws`; a ladder of step sizes gets a column each.
    """
    columns = _ladder(draws["sample_stats"].to_dataset())
    warmup = _ladder(draws["warmup_sample_stats"].to_dataset()) if "warmup_sample_stats" in draws.children else None
    figure, axes = plt.subplots(
        2, len(columns), figsize=(2.5 + 3.6 * len(columns), 6), sharey="row", squeeze=False, layout="constrained"
    )
    nbeta = float(draws.attrs["nbeta"])
    for i, (title, column) in enumerate(columns):
        plot_trace(axes[0, i], column, nbeta, None if warmup is None else warmup[i][1])
        plot_running(axes[1, i], column, nbeta)
        axes[0, i].set_title(title, fontsize="medium")
    axes[0, 0].set_ylabel("nβ · (L − L*)  [nats]")
    axes[1, 0].set_ylabel("running λ̂")
    figure.suptitle(
        f"{draws.attrs['kernel']}: {draws.attrs['num_chains']} chains, nβ = {nbeta:.4g}, d = {draws.attrs['dimension']}"
    )
    return figure


def plot_trace(axes: Axes, statistics: Dataset, nbeta: float, warmup: Dataset | None) -> None:
    """nβ ΔL of each chain over its draws; warm-up to the left of 0."""
    if warmup is not None:
        losses = nbeta * warmup["loss_difference"].values
        axes.plot(np.arange(-losses.shape[1], 0), losses.T, color="0.75", linewidth=0.6)
    losses = nbeta * statistics["loss_difference"].values
    axes.plot(losses.T, linewidth=0.5, alpha=0.7)
    if np.isfinite(losses).any():
        axes.set_ylim(*_range(losses))
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_xlabel("draw (warm-up in grey)")


def plot_running(axes: Axes, statistics: Dataset, nbeta: float) -> None:
    """The mean of nβ ΔL up to each draw, of each chain, and of all."""
    losses = nbeta * statistics["loss_difference"].values
    running = losses.cumsum(axis=1) / np.arange(1, losses.shape[1] + 1)
    axes.plot(running.T, linewidth=1.0)
    finite = running[np.isfinite(running).all(axis=1)]
    if len(finite):
        mean = finite.mean(axis=0)
        axes.plot(mean, color="black", linewidth=1.8, label=f"all chains: {mean[-1]:.4g}")
        axes.legend(frameon=False)
        axes.set_ylim(*_range(finite[:, finite.shape[1] // 20 :]))
    axes.set_xlabel("draw")


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values[np.isfinite(values)], [0.001, 0.999])
    margin = 0.1 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _ladder(statistics: Dataset) -> list[tuple[str, Any]]:
    if "step_size" not in statistics.dims:
        return [("", statistics)]
    return [(f"step size {size:.3g}", statistics.sel(step_size=size)) for size in statistics["step_size"].values]
