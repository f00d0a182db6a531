"""λ̂ against the settings that it may depend on, and what the kernels are worth."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llc.plots.colors import BLUE, GREEN

_LABELS = {"step_size": "step size of SGLD", "localization": "γ / γ chosen", "nbeta": "nβ / nβ chosen"}


def plot_calibration(
    sweeps: dict[str, dict[float, Any]],
    plateaus: dict[str, tuple[float, float]],
    chosen: Any,
    efficiencies: dict[str, float],
) -> Figure:
    """A panel for each sweep, the plateau shaded and the chosen λ̂ as a band; and bars of the kernels' efficiency.

    Args:
        sweeps: by setting, λ̂ (anything with `value` and `std_error`) at each of its values.
        plateaus: the range of each over which λ̂ does not move.
        chosen: λ̂ of the chosen kernel.
        efficiencies: of each kernel, in draws a gradient evaluation.
    """
    figure, axes = plt.subplots(1, len(sweeps) + 1, figsize=(3.4 * (len(sweeps) + 1), 3.4), layout="constrained")
    for ax, (name, sweep) in zip(axes, sweeps.items(), strict=False):
        plot_sweep(ax, sweep, plateaus.get(name), chosen)
        ax.set_xlabel(_LABELS[name])
    axes[0].set_ylabel("λ̂ ± standard error")
    bars, values = list(efficiencies)[::-1], np.array(list(efficiencies.values())[::-1])
    axes[-1].barh(bars, 1e6 * values, color=["0.7"] * (len(bars) - 1) + [BLUE])
    axes[-1].set_xlabel("draws a million gradient evaluations")
    if (values > 0).any():
        axes[-1].set_xscale("log")
    return figure


def plot_sweep(axes: Axes, sweep: dict[float, Any], plateau: tuple[float, float] | None, chosen: Any) -> None:
    """λ̂ over one setting."""
    settings = np.array(sorted(sweep))
    means = [sweep[setting] for setting in settings]
    if plateau is not None:
        margin = 1.15
        axes.axvspan(plateau[0] / margin, plateau[1] * margin, color=GREEN, alpha=0.15, label="plateau")
    axes.axhspan(chosen.value - chosen.std_error, chosen.value + chosen.std_error, color="0.8", label="chosen")
    values, errors = [mean.value for mean in means], [mean.std_error for mean in means]
    axes.errorbar(settings, values, errors, marker="o", color=BLUE, capsize=3, linewidth=1)
    axes.set_xscale("log")
    if max(values) > 4 * chosen.value > 0:  # a chain on its way to infinity would hide the rest
        axes.set_ylim(0, 4 * chosen.value)
    axes.legend(frameon=False, fontsize="small")
