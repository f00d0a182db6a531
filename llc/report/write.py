"""A report: one HTML file that says what was measured, shows it, and needs nothing but a browser."""

import os
from collections.abc import Mapping
from pathlib import Path

from llc.comparators.comparison import Comparison, Comparisons
from llc.draws.storage import load
from llc.estimators.calibrate import Calibration
from llc.estimators.learning_coefficient import learning_coefficient
from llc.estimators.result import Estimate
from llc.files import written_whole
from llc.report.compared import comparison_section
from llc.report.draws import estimates_section, verdicts_section
from llc.report.figures import captioned, photograph, picture
from llc.report.page import Element, element, page, pairs, section
from llc.report.run import run_sections, run_settings, verdicts_of_steps
from llc.trajectories.result import Trajectory
from llc.trajectories.store import Store

_TITLE = "Local learning coefficient"
_PICTURES = ("comparison.png", "calibration.png")
_CALIBRATION = (
    "λ̂ against the settings that it may depend on: over the shaded plateau it does not move. Right: draws that each "
    "kernel gives for a million gradient evaluations."
)


def write_report(
    path: str | os.PathLike[str],
    *,
    trajectory: Trajectory | None = None,
    estimates: Mapping[str, Estimate] | None = None,
    comparison: Comparison | Comparisons | None = None,
    calibration: Calibration | None = None,
    title: str = _TITLE,
) -> Path:
    """Write what was found as one page, whole or not at all: pictures, tables, verdicts with advice, settings.

    It loads nothing from the network, opens from disk, and prints. Tables sort by a click; pointing at the picture of a
    run reads out the numbers of a step.

    Args:
        path: of the HTML file; an old one is replaced.
        trajectory: from `llc.trajectory`, or `Trajectory.read` of a run's folder.
        estimates: from `llc.estimate`, by name.
        comparison: from `llc.compare`.
        calibration: from `llc.calibrate`.
        title: what stands above.

    Returns:
        The path.

    Raises:
        ValueError: there is nothing to report, or no file can be at the path.
    """
    path = _checked(path)
    given = _sections(trajectory, dict(estimates or {}), comparison, calibration)
    if not given:
        msg = "there is nothing to report; give a trajectory, estimates, a comparison or a calibration."
        raise ValueError(msg)
    return _write_whole(path, page(title, *given))


def report_of_run(folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """The report of what a folder holds: a trajectory, finished or not, or else draws (`*.nc`).

    Args:
        folder: of `llcoef trajectory --out`, `llcoef demo`, or with what `llcoef estimate --out` saved.
        out: the file to write; `report.html` in the folder unless given.

    Returns:
        Its path.

    Raises:
        ValueError: the folder is missing or holds neither, or no file can be at `out`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"{folder} is no folder; give the one that llcoef trajectory --out wrote, or one with draws (*.nc)."
        raise ValueError(msg)
    path = _checked(folder / "report.html" if out is None else out)
    if Store(folder).read_index() is not None:
        sections = _sections(Trajectory.read(folder), {}, None, None)
    else:
        sections = _sections_of_draws(folder)
    if pictures := [_found(folder / name) for name in _PICTURES if (folder / name).is_file()]:
        sections.append(section("Pictures", *pictures))
    return _write_whole(path, page(f"{_TITLE}: {folder.absolute().name}", *sections))


def _sections(
    trajectory: Trajectory | None,
    estimates: Mapping[str, Estimate],
    comparison: Comparison | Comparisons | None,
    calibration: Calibration | None,
) -> list[Element]:
    verdicts = {} if trajectory is None else verdicts_of_steps(trajectory)
    verdicts |= {name: estimate.verdicts for name, estimate in estimates.items()}
    return [
        *([] if trajectory is None else run_sections(trajectory)),
        *([estimates_section(estimates)] if estimates else []),
        *([] if comparison is None else [comparison_section(comparison)]),
        *([] if calibration is None else [_calibration(calibration)]),
        *([verdicts_section(verdicts)] if verdicts else []),
        *([] if trajectory is None else [run_settings(trajectory)]),
    ]


def _sections_of_draws(folder: Path) -> list[Element]:
    estimates, refused = {}, []
    for path in sorted(folder.glob("*.nc")):
        try:
            estimates[path.stem] = learning_coefficient(load(path))
        except (ValueError, KeyError) as error:  # a file of something else lacks the groups of draws
            refused.append(f"{path.name} holds no draws: {error}")
    if not estimates:
        held = "; ".join(refused) or ("files of other kinds" if any(folder.iterdir()) else "nothing")
        msg = f"{folder} holds {held}. Give a folder of llcoef trajectory --out, or one with draws (*.nc)."
        raise ValueError(msg)
    return [*(element("p", f"Left out: {why}") for why in refused), *_sections(None, estimates, None, None)]


def _calibration(calibration: Calibration) -> Element:
    figure = captioned(_CALIBRATION, picture(calibration.plot(), "calibration", _CALIBRATION))
    return section("Calibration", figure, pairs(calibration.rows()))


def _found(path: Path) -> Element:
    caption = f"{path.name}, as it was found in the folder."
    return captioned(caption, photograph(path, caption))


def _checked(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.is_dir():
        msg = f"{path} is a folder; give the file to write, {path / 'report.html'} for instance."
        raise ValueError(msg)
    if not path.absolute().parent.is_dir():
        msg = f"{path}: the folder {path.parent} does not exist; make it first."
        raise ValueError(msg)
    return path


def _write_whole(path: Path, text: str) -> Path:
    with written_whole(path) as made:
        made.write_text(text, encoding="utf-8")
    return path
