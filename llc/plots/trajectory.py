"""A training run at a look: λ̂ with its band, the loss beside it, and what changed where."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llc.plots.colors import BLUE, GREEN, IN_ORDER, MARKERS, STYLES, VERMILLION

_TWO_SIDED = 1.96
_WIDE = 20.0  # values further apart than this are read on a logarithmic scale
_ROWS = 4  # of labels above the picture; the rest would not be read
_CONVERGED, _NOT_A_MINIMUM = "converged", "not a minimum"  # verdicts


def plot_trajectory(
    frame: pd.DataFrame,
    *,
    transitions: Any = None,
    dimension: int | None = None,
    ntk: bool = False,
    log_steps: bool | None = None,
) -> Figure:
    """λ̂ over the steps with its 95 % band, and the losses on an axis of their own, logarithmic where they span much.

    Filled points are of chains that converged, hollow ones are in doubt, and crosses are no minima of the loss. Those
    of them that lie far off the rest stand as triangles on the edge.

    Args:
        frame: of `Trajectory.to_dataframe`.
        transitions: with `changes`, each with `step_before`, `step_after` and `label`; drawn as spans.
        dimension: d, for a line at BIC's d/2.
        ntk: whether to draw the bound by linearisation, from the columns ntk, ntk_low and ntk_high.
        log_steps: whether steps are on a logarithmic scale; unless said they are where they were chosen so.
    """
    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    losses = axes.twinx()
    axes.set_zorder(losses.get_zorder() + 1)  # λ̂ lies above the losses
    axes.patch.set_visible(False)
    changes = () if transitions is None else transitions.changes
    for change in changes:
        losses.axvspan(change.step_before, change.step_after, facecolor="0.9", edgecolor="white", zorder=0)
    plot_losses(losses, frame)
    _scale_losses(losses, frame)
    losses.set_ylabel("loss (nats per example)", color=VERMILLION)
    plot_coefficient(axes, frame)
    _leave_out_outliers(axes, frame)
    axes.set_ylabel("learning coefficient λ̂", color=BLUE)
    for i, name in enumerate([str(column) for column in frame if str(column).startswith("llc ")]):
        (line,) = axes.plot(frame["step"], frame[name], label=f"λ̂ of {name.removeprefix('llc ')}", linewidth=1.0)
        line.set(linestyle=STYLES[(i + 1) % len(STYLES)], color=IN_ORDER[(i + 3) % len(IN_ORDER)])
    if ntk:
        axes.plot(frame["step"], frame["ntk"], "-.", color=GREEN, linewidth=1.2, label="NTK ½·d_eff")
        axes.fill_between(frame["step"], frame["ntk_low"], frame["ntk_high"], color=GREEN, alpha=0.15, linewidth=0)
    if dimension is not None:
        _draw_half_dimension(axes, dimension)
    _scale_steps(axes, frame["step"].to_numpy(float), log_steps)
    handles = [*axes.get_legend_handles_labels()[0], *losses.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    _write_labels(figure, axes, changes)
    return figure


def plot_trajectories(frames: dict[str, pd.DataFrame], *, log_steps: bool | None = None) -> Figure:
    """Runs beside one another: λ̂ of each with its 95 % band above, training loss (solid) and test loss (dashed) below.

    Args:
        frames: by the name of the run, of `Trajectory.to_dataframe`.
        log_steps: whether steps are on a logarithmic scale; unless said they are where they were chosen so.
    """
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 7), sharex=True, layout="constrained")
    for i, (name, frame) in enumerate(frames.items()):
        color, marker = IN_ORDER[i % len(IN_ORDER)], MARKERS[i % len(MARKERS)]
        style = STYLES[i % len(STYLES)]
        plot_coefficient(above, frame, name=name, color=color, marker=marker, style=style)
        plot_losses(below, frame, color=color, marker=marker)
    _leave_out_outliers(above, pd.concat(list(frames.values())))
    _scale_losses(below, pd.concat(list(frames.values())))
    _scale_steps(
        below, np.unique(np.concatenate([frame["step"] for frame in frames.values()])).astype(float), log_steps
    )
    below.set_ylabel("loss (nats per example; test dashed)")
    above.set_ylabel("λ̂ (band: 95 %)")
    handles = sorted(above.get_legend_handles_labels()[0], key=lambda handle: handle.get_label() not in frames)
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize="small")
    return figure


def plot_coefficient(
    axes: Axes,
    frame: pd.DataFrame,
    *,
    name: str = "λ̂ (band: 95 %)",
    color: str = BLUE,
    marker: str = "o",
    style: str = "-",
) -> None:
    """λ̂ of one run with its 95 % band, and markers that tell how far to trust each point."""
    step, llc = frame["step"].to_numpy(float), frame["llc"].to_numpy(float)
    half = _TWO_SIDED * frame["std_error"].to_numpy(float)
    doubtful, saddle = ~_has(frame, _CONVERGED), _has(frame, _NOT_A_MINIMUM)
    axes.fill_between(step, llc - half, llc + half, color=color, alpha=0.2, linewidth=0)
    look = {"color": color, "marker": marker, "markersize": 5.5}
    sound = np.flatnonzero(~doubtful & ~saddle).tolist()
    axes.plot(step, llc, linestyle=style, linewidth=1.5, markevery=sound, label=name, **look)
    _mark(axes, "in doubt", step, llc, doubtful & ~saddle, **look | {"markerfacecolor": "white"})
    _mark(axes, "not a minimum", step, llc, saddle, **look | {"marker": "x", "markersize": 7, "markeredgewidth": 1.8})


def plot_losses(axes: Axes, frame: pd.DataFrame, *, color: str = VERMILLION, marker: str = "") -> None:
    """Training loss (solid) and test loss (dashed) of one run, in nats per example."""
    look = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
    axes.plot(frame["step"], frame["loss"], label="training loss", **look)
    if np.isfinite(frame["test_loss"].to_numpy(float)).any():
        axes.plot(frame["step"], frame["test_loss"], linestyle="--", label="test loss", **look)


def _has(frame: pd.DataFrame, verdict: str) -> np.ndarray:
    return np.array([verdict in verdicts for verdicts in frame["verdicts"]], bool)


def _mark(axes: Axes, label: str, x: np.ndarray, y: np.ndarray, chosen: np.ndarray, **look: Any) -> None:
    """Markers, named once in the legend."""
    named = label in axes.get_legend_handles_labels()[1]
    if chosen.any():
        axes.plot(x[chosen], y[chosen], linestyle="none", label=None if named else label, **look)


def _leave_out_outliers(axes: Axes, frame: pd.DataFrame) -> None:
    """Points in doubt or at no minimum do not press the others flat: far ones stand as triangles on the edge."""
    step, llc = frame["step"].to_numpy(float), frame["llc"].to_numpy(float)
    sound = llc[_has(frame, _CONVERGED) & ~_has(frame, _NOT_A_MINIMUM) & np.isfinite(llc)]
    if len(sound) < 2:
        return
    margin = max(2 * np.ptp(sound), np.abs(sound).max() / 2)
    near = (llc > sound.min() - margin) & (llc < sound.max() + margin)
    low, high = llc[near].min(), llc[near].max()
    if (~near & np.isfinite(llc)).any():
        room = 0.15 * (high - low) or margin
        axes.set_ylim(low - room, high + room)
        look = {"color": "0.3", "transform": axes.get_xaxis_transform(), "clip_on": False}
        _mark(axes, "off the scale, below", step, np.zeros_like(llc), llc < low, marker="v", **look)
        _mark(axes, "off the scale, above", step, np.ones_like(llc), llc > high, marker="^", **look)


def _scale_losses(axes: Axes, frame: pd.DataFrame) -> None:
    losses = frame[["loss", "test_loss"]].to_numpy(float)
    losses = losses[np.isfinite(losses)]
    if len(losses) and losses.max() > _WIDE * losses.min() > 0:
        axes.set_yscale("log")


def _scale_steps(axes: Axes, steps: np.ndarray, log_steps: bool | None) -> None:
    axes.set_xlabel("step")
    positive = steps[steps > 0]
    if log_steps is None:
        wide = len(positive) > 2 and positive[-1] > _WIDE * positive[0]
        log_steps = wide and _unevenness(np.log(positive)) < _unevenness(positive)
    if log_steps and len(positive) < len(steps):
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.4)
    elif log_steps:
        axes.set_xscale("log")


def _unevenness(places: np.ndarray) -> float:
    gaps = np.diff(places)
    return float(gaps.std() / gaps.mean())


def _draw_half_dimension(axes: Axes, dimension: int) -> None:
    low, high = axes.get_ylim()
    if dimension / 2 < high + (high - low):
        axes.axhline(dimension / 2, color="0.3", linestyle=":", label=f"d/2 = {dimension / 2:g}")
    else:  # the line would press λ̂ flat
        axes.plot([], [], color="0.3", linestyle=":", label=f"d/2 = {dimension / 2:g}, off the scale")


def _write_labels(figure: Figure, axes: Axes, changes: Any) -> None:
    """The label of each change above the picture, in the lowest row where it overlaps none."""
    figure.draw_without_rendering()
    frame, rows = axes.get_window_extent(), [[] for _ in range(_ROWS)]
    for change in changes:
        ends = axes.transData.transform([(change.step_before, 0), (change.step_after, 0)])[:, 0]
        text = axes.annotate(change.label, (0, 0), fontsize="small", ha="center")
        half = text.get_window_extent().width / 2
        text.remove()
        middle = ends.mean()
        place = np.clip(middle, frame.x0 + half, max(frame.x1 - half, frame.x0 + half))
        free = [i for i, row in enumerate(rows) if all(abs(place - x) > half + other + 8 for x, other in row)]
        if not free:
            continue
        up = free[0]
        rows[up].append((place, half))
        axes.annotate(
            change.label,
            ((middle - frame.x0) / frame.width, 1),
            ((place - middle) * 72 / figure.dpi, 7 + 14 * up),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            fontsize="small",
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            zorder=10 - up,  # a line to a higher row passes behind
        )
