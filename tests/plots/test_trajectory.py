"""What the picture of a run shows, and that its words do not lie over one another."""

from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from llc.plots.trajectory import plot_trajectories, plot_trajectory

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def run_of(steps, llc, *, loss=None, verdicts=None, test_loss=np.nan):
    n = len(steps)
    loss = np.linspace(2.0, 1.0, n) if loss is None else np.array(loss)
    columns = {"step": steps, "llc": llc, "std_error": np.full(n, 0.5), "loss": loss, "test_loss": test_loss}
    return pd.DataFrame(columns | {"verdicts": verdicts or [("converged",)] * n})


def change(before, after, label="complexity bought"):
    return SimpleNamespace(step_before=before, step_after=after, label=label)


def named(axes):
    return dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))


def texts(figure):
    figure.draw_without_rendering()
    return [text for text in figure.axes[0].texts if text.get_text()]


def test_the_band_is_95_percent_and_the_markers_tell_verdicts():
    verdicts = [("not a minimum", "converged"), ("too few draws",), ("converged",), ("converged",)]
    frame = run_of([0, 10, 20, 30], [3.0, 4.0, 5.0, 6.0], verdicts=verdicts)
    figure = plot_trajectory(frame)
    axes, losses = figure.axes
    lines = named(axes)
    assert lines["λ̂ (band: 95 %)"].get_ydata().tolist() == [3, 4, 5, 6]
    assert lines["λ̂ (band: 95 %)"].get_markevery() == [2, 3]
    assert (lines["not a minimum"].get_xdata(), lines["not a minimum"].get_marker()) == ([0], "x")
    assert (lines["in doubt"].get_xdata(), lines["in doubt"].get_markerfacecolor()) == ([10], "white")
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(3 - 1.96 * 0.5)
    assert band[:, 1].max() == pytest.approx(6 + 1.96 * 0.5)
    assert set(named(losses)) == {"training loss"}
    figure.savefig("/dev/null", format="png")


def test_losses_are_told_apart_without_colour_and_logarithmic_where_wide():
    frame = run_of([1, 2, 3], [1.0, 2.0, 3.0], loss=[2.0, 1.0, 0.05], test_loss=[2.0, 1.0, 0.5])
    losses = plot_trajectory(frame).axes[1]
    assert (named(losses)["training loss"].get_linestyle(), named(losses)["test loss"].get_linestyle()) == ("-", "--")
    assert losses.get_yscale() == "log"
    for values in ([2.0, 1.0, 0.2], [2.0, 1.0, 0.0], [2.0, 1.0, -1.0]):
        assert plot_trajectory(run_of([1, 2, 3], [1.0, 2.0, 3.0], loss=values)).axes[1].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("steps", "scale"),
    [
        (np.arange(0, 1000, 50), "linear"),
        (np.arange(1, 60), "linear"),
        (2 ** np.arange(10), "log"),
        (np.r_[0, 2 ** np.arange(10)], "symlog"),
        ([7], "linear"),
        ([0], "linear"),
    ],
)
def test_steps_are_logarithmic_where_they_were_chosen_so(steps, scale):
    frame = run_of(steps, np.ones(len(steps)))
    assert plot_trajectory(frame).axes[0].get_xscale() == scale
    assert plot_trajectory(frame, log_steps=False).axes[0].get_xscale() == "linear"


def test_what_is_no_minimum_does_not_press_the_rest_flat():
    verdicts = [("not a minimum", "converged")] + [("converged",)] * 4
    axes = plot_trajectory(run_of([0, 1, 2, 3, 4], [-900.0, 5.0, 6.0, 7.0, 8.0], verdicts=verdicts)).axes[0]
    assert axes.get_ylim() == pytest.approx((5 - 0.15 * 3, 8 + 0.15 * 3))
    assert named(axes)["off the scale, below"].get_xdata() == [0]
    # but a sound value always has its place
    axes = plot_trajectory(run_of([0, 1, 2, 3, 4], [-900.0, 5.0, 6.0, 7.0, 8.0])).axes[0]
    assert axes.get_ylim()[0] < -900


def test_bounds_and_refined_coefficients():
    frame = run_of([1, 2, 3], [4.0, 5.0, 6.0])
    frame = frame.assign(ntk=[6.0, 7, 8], ntk_low=[5.0, 6, 7], ntk_high=[7.0, 8, 9], **{"llc layers/0": [1.0, 2, 3]})
    axes = plot_trajectory(frame, dimension=20, ntk=True).axes[0]
    lines = named(axes)
    assert lines["d/2 = 10"].get_ydata() == [10, 10]
    assert lines["λ̂ of layers/0"].get_ydata().tolist() == [1, 2, 3]
    assert lines["NTK ½·d_eff"].get_ydata().tolist() == [6, 7, 8]
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines.values()}) == len(lines)
    far = plot_trajectory(frame, dimension=5000).axes[0]
    assert far.get_ylim()[1] < 10
    assert "d/2 = 2500, off the scale" in named(far)


def test_changes_are_spans_with_their_labels_apart():
    steps = np.arange(0, 1001, 20)
    places = [(0, 20), (20, 60), (80, 100), (500, 520), (540, 560), (980, 1000)]
    changes = SimpleNamespace(changes=[change(*place) for place in places])
    figure = plot_trajectory(run_of(steps, np.ones(len(steps))), transitions=changes)
    spans = [patch.get_x() for patch in figure.axes[1].patches]
    assert spans == [place[0] for place in places]
    labels = texts(figure)
    assert len(labels) == len(places)
    boxes = [label.get_bbox_patch().get_window_extent() for label in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame, page = figure.axes[0].get_window_extent(), figure.bbox
    for box in boxes:
        assert box.y0 >= frame.y1
        assert frame.x0 - 2 <= box.x0 < box.x1 <= frame.x1 + 2
        assert box.y1 <= page.y1
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_tightbbox())


def test_labels_for_which_there_is_no_room_are_left_out_and_their_spans_are_not():
    steps = np.arange(0, 201)
    changes = SimpleNamespace(changes=[change(i, i + 1) for i in range(0, 200, 4)])
    figure = plot_trajectory(run_of(steps, np.ones(len(steps))), transitions=changes)
    boxes = [label.get_bbox_patch().get_window_extent() for label in texts(figure)]
    assert 10 < len(boxes) < 50
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(figure.axes[1].patches) == 50


def test_nothing_known_of_a_step():
    frame = run_of([1, 2, 3], [np.nan, 5.0, np.nan], loss=[np.nan] * 3, verdicts=[("chains diverged",)] * 3)
    frame["std_error"] = np.nan
    plot_trajectory(frame, dimension=20).savefig("/dev/null", format="png")


def test_runs_side_by_side_differ_in_more_than_colour():
    runs = {name: run_of([1, 2, 3], [i + 1.0, i + 2, i + 3], test_loss=2.0) for i, name in enumerate("abc")}
    runs["c"]["verdicts"] = [("not a minimum",), ("converged",), ("converged",)]
    figure = plot_trajectories(runs)
    above, below = figure.axes
    lines = named(above)
    assert len({(lines[name].get_marker(), lines[name].get_linestyle()) for name in runs}) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c", "not a minimum"]
    assert [line.get_linestyle() for line in below.lines] == ["-", "--"] * 3
    figure.savefig("/dev/null", format="png")
