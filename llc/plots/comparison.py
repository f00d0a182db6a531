"""Do the theories agree, and did they predict what was measured?"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from llc.plots.colors import BLUE, GREEN, VERMILLION

_MARKERS = "osD^vP*X"
_TWO_SIDED = 1.96
_WIDE = 20.0  # values further apart than this are read on a logarithmic scale
_FEW_DECADES = 300.0  # which up to here has room for the numbers between powers of ten


def plot_comparison(
    over_localization: Sequence[Any], bic: float, complexity: Sequence[Any], generalization: Sequence[Any], truth: str
) -> Figure:
    """λ̂ beside the tangent's prediction and BIC's, over γ where it is known, and predictions of the loss.

    Args:
        over_localization: with `factor` (of γ), `llc`, `std_error` and `ntk`.
        bic: d/2.
        complexity: with `measure`, `value` and `error`.
        generalization: the same, in nats per example.
        truth: the measure of these that the others are held against.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    if len(over_localization) > 1:
        plot_over_localization(left, over_localization, bic)
    else:
        plot_rows(left, complexity, "λ̂", "complexity")
    plot_rows(right, generalization, truth, "nats per example")
    return figure


def plot_over_localization(axes: Axes, over_localization: Sequence[Any], bic: float) -> None:
    """λ̂ at multiples of γ, with what linearisation predicts, and d/2 above."""
    factor, llc, error, ntk = np.array([tuple(at) for at in over_localization], float).T
    if np.isfinite(ntk).any():
        axes.plot(factor, ntk, "s--", color=VERMILLION, label="NTK ½·d_eff")
    axes.errorbar(factor, llc, _TWO_SIDED * error, fmt="o-", color=BLUE, capsize=3, label="λ̂, 95 %")
    axes.axhline(bic, color="0.3", linestyle=":", label="BIC d/2")
    axes.set(xscale="log", yscale="log", xlabel="γ / γ chosen", ylabel="complexity")
    axes.legend(frameon=False)


def plot_rows(axes: Axes, rows: Sequence[Any], truth: str, unit: str) -> None:
    """Each measure with its error; what was measured as a band."""
    known = [row for row in rows if np.isfinite(row.value)][::-1]
    names, places = [row.measure for row in known], np.arange(len(known))
    values, errors = np.array([(row.value, np.nan_to_num(row.error)) for row in known]).T
    axes.errorbar(values, places, xerr=_TWO_SIDED * errors, fmt="o", color=BLUE, capsize=3)
    axes.set_yticks(places, names)
    if truth in names:
        value, error = values[names.index(truth)], errors[names.index(truth)]
        axes.axvspan(value - _TWO_SIDED * error, value + _TWO_SIDED * error, color=GREEN, alpha=0.15, linewidth=0)
        axes.axvline(value, color=GREEN, linewidth=1)
    if values.max() > _WIDE * values.min() > 0:
        axes.set_xscale("log")
        few = values.max() < _FEW_DECADES * values.min()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{unit} (band: 95 %)" if truth in names else unit)


def plot_predictions(predictions: dict[str, np.ndarray], truth: str) -> Figure:
    """Predicted against measured loss of several models, a marker a criterion.

    Args:
        predictions: by criterion, the value for each model in nats per example; the measured one among them.
        truth: its name.
    """
    figure, axes = plt.subplots(figsize=(6.5, 5), layout="constrained")
    measured = predictions[truth]
    others = {name: values for name, values in predictions.items() if name != truth and np.isfinite(values).any()}
    for i, (name, values) in enumerate(others.items()):
        axes.plot(measured, values, _MARKERS[i % len(_MARKERS)], color=f"C{i}", label=name, alpha=0.8)
    if np.isfinite(measured).any():
        ends = [np.nanmin(measured), np.nanmax(measured)]
        axes.plot(ends, ends, color="0.5", linewidth=1, label="as measured")
    axes.set(xlabel=f"{truth} (nats per example)", ylabel="predicted (nats per example)")
    axes.legend(frameon=False, fontsize="small")
    return figure
