"""What a look at the chains tells: have they settled, and do they agree?"""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from arviz_stats.base.array import array_stats
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import kolmogi
from scipy.stats import rankdata
from xarray import Dataset, DataTree

from llc.plots.colors import IN_ORDER, STYLES

_POINTS = 200  # of a curve, as many as can be seen
_MANY = 8  # chains, that a legend does not name
_OUTSIDE = 0.05  # probability that some settled chain leaves the band


def plot_chains(draws: DataTree) -> Figure:
    """Loss traces, with the warm-up in grey; ranks; and the running λ̂ of each chain, from above.

    Args:
        draws: from `llc.draw` or `Estimate.draws`; a ladder of step sizes gets a column each.
    """
    columns = _ladder(draws["sample_stats"].to_dataset())
    warmup = _ladder(draws["warmup_sample_stats"].to_dataset()) if "warmup_sample_stats" in draws.children else None
    figure, axes = plt.subplots(
        3, len(columns), figsize=(2.5 + 3.6 * len(columns), 7.5), sharey="row", squeeze=False, layout="constrained"
    )
    nbeta = float(draws.attrs["nbeta"])
    for i, (title, column) in enumerate(columns):
        plot_trace(axes[0, i], column, nbeta, None if warmup is None else warmup[i][1])
        plot_ranks(axes[1, i], column)
        plot_running(axes[2, i], column, nbeta)
        axes[0, i].set_title(title, fontsize="medium")
    axes[0, 0].set_ylabel("nβ · (L − L*)  [nats]")
    axes[1, 0].set_ylabel("draws below rank − expected")
    axes[2, 0].set_ylabel("running λ̂")
    if handles := axes[1, 0].get_legend_handles_labels()[0]:
        figure.legend(handles=handles, frameon=False, fontsize="small", ncols=5, loc="outside lower center")
    figure.suptitle(
        f"{draws.attrs['kernel']}: {draws.attrs['num_chains']} chains, nβ = {nbeta:.4g}, d = {draws.attrs['dimension']}"
    )
    return figure


def plot_trace(axes: Axes, statistics: Dataset, nbeta: float, warmup: Dataset | None) -> None:
    """nβ ΔL of each chain over its draws; warm-up to the left of 0."""
    if warmup is not None:
        losses = nbeta * warmup["loss_difference"].values
        axes.plot(np.arange(-losses.shape[1], 0), losses.T, color="0.75", linewidth=0.6, rasterized=True)
    losses = nbeta * statistics["loss_difference"].values
    for i, chain in enumerate(losses):  # as curves they would fill megabytes
        axes.plot(chain, color=_color(i), linewidth=0.5, alpha=0.7, rasterized=True)
    if np.isfinite(losses).any():
        axes.set_ylim(*_range(losses))
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_xlabel("draw (warm-up in grey)")


def plot_ranks(axes: Axes, statistics: Dataset) -> None:
    """By how much the draws of each chain crowd below a rank among all draws; settled chains stay in the grey band.

    A chain whose losses are too low rises above 0; one that spreads too widely goes up, then down. Ranks by
    Vehtari et al. (2021, section 4.2), drawn as differences of distribution functions, as by Säilynoja, Bürkner &
    Vehtari (2022).
    """
    losses = statistics["loss_difference"].values
    kept = np.flatnonzero(np.isfinite(losses).all(axis=1))
    losses = losses[kept]
    axes.set_xlabel("rank of the loss among all draws [%]")
    if len(losses) < 2 or losses.shape[1] < 4 or np.ptp(losses) == 0:
        axes.text(0.5, 0.5, "needs two chains that move", transform=axes.transAxes, ha="center", color="0.4")
        return
    parts, half = np.linspace(0, 1, _POINTS), min(rank_band(losses), 1.0)
    axes.axhspan(-half, half, color="0.88", label="settled chains stay here (95 %)")
    axes.axhline(0, color="0.4", linewidth=0.8)
    for i, chain in zip(kept.tolist(), crowding(losses, parts), strict=True):
        label = f"chain {i + 1}" if len(kept) <= _MANY else None
        axes.plot(parts, chain, color=_color(i), linestyle=_style(i), linewidth=1.2, label=label)
    axes.xaxis.set_major_formatter(lambda part, _: f"{100 * part:.0f}")
    axes.margins(x=0, y=0.15)


def crowding(
    losses: Float[np.ndarray, "chain draw"], parts: Float[np.ndarray, "points"]
) -> Float[np.ndarray, "chain points"]:
    """The part of each chain's draws among the lowest u of all, minus u.

    >>> crowding(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.0, 0.5, 1.0])).tolist()
    [[0.0, 0.5, 0.0], [0.0, -0.5, 0.0]]
    """
    ranks = np.sort(rankdata(losses).reshape(losses.shape) / losses.size, axis=1)
    below = np.stack([np.searchsorted(chain, parts, side="right") for chain in ranks])
    return below / losses.shape[1] - parts


def rank_band(losses: Float[np.ndarray, "chain draw"]) -> float:
    """Half the width of a band that all chains of the same law keep to with at least 95 % probability.

    Kolmogorov's quantile at 0.05 / M for each of M chains, by their mean effective sample size at the median. A chain
    differs from the pool that it is a part of by √(1 − 1/M) of its own scatter.
    """
    # of each alone: that of all together falls where they disagree, which would hide just what is looked for
    ess = [
        array_stats.ess(chain[None], chain_axis=0, draw_axis=1, method="median") for chain in losses.astype(np.float64)
    ]
    return float(kolmogi(_OUTSIDE / len(losses))) * math.sqrt((len(losses) - 1) / np.sum(ess))


def plot_running(axes: Axes, statistics: Dataset, nbeta: float) -> None:
    """The mean of nβ ΔL up to each draw, of each chain, and of all."""
    losses = nbeta * statistics["loss_difference"].values
    running = losses.cumsum(axis=1) / np.arange(1, losses.shape[1] + 1)
    shown = np.unique(np.linspace(0, losses.shape[1] - 1, _POINTS).astype(int))
    for i, chain in enumerate(running):
        axes.plot(shown, chain[shown], color=_color(i), linestyle=_style(i), linewidth=1.0)
    finite = running[np.isfinite(running).all(axis=1)]
    if len(finite):
        mean = finite.mean(axis=0)
        axes.plot(shown, mean[shown], color="black", linewidth=1.8, label=f"all chains: {mean[-1]:.4g}")
        axes.legend(frameon=False)
        axes.set_ylim(*_range(finite[:, finite.shape[1] // 20 :]))
    axes.set_xlabel("draw")


def _color(chain: int) -> str:
    return IN_ORDER[chain % len(IN_ORDER)]


def _style(chain: int) -> str:
    return STYLES[chain % len(STYLES)]


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values[np.isfinite(values)], [0.001, 0.999])
    margin = 0.1 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _ladder(statistics: Dataset) -> list[tuple[str, Any]]:
    if "step_size" not in statistics.dims:
        return [("", statistics)]
    return [(f"step size {size:.3g}", statistics.sel(step_size=size)) for size in statistics["step_size"].values]
