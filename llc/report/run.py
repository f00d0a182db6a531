"""The parts of a report that are about a training run."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from llc.estimators.diagnoses import Verdict, worst_first
from llc.estimators.show import with_error
from llc.report.draws import estimate_fold, settings_tables, verdict_cell
from llc.report.figures import add_steps, picture
from llc.report.page import Cell, Content, Element, element, number, section, table
from llc.trajectories.result import Trajectory
from llc.trajectories.transitions import Transitions

_MOST = 8  # steps that have their chains shown
_FEWEST = 3  # steps, for which a scale of steps can be chosen
_FOUND_AGAIN = "“Found again” is the part of runs, resampled within the errors, that have the change too."
_OF_STEPS = (
    "Errors are standard errors of the sampling. “Change” is against the step before: the random numbers are the same "
    "at every step, so that it is mostly known better than the values. Losses are in nats per example."
)


def run_sections(trajectory: Trajectory) -> list[Element]:
    """What was measured in a sentence, the picture, transitions, steps, chains."""
    rows = _rows(trajectory)
    chosen, found = steps_with_chains(rows), trajectory.transitions()
    return [
        element("p", _sentence(trajectory, rows), class_="lead"),
        *_caveats(trajectory, rows),
        _figure(trajectory, rows, found),
        _transitions(found),
        section("Steps", _steps(rows, chosen), element("p", _OF_STEPS, class_="soft")),
        section("Chains", _left_out(rows, chosen), *(_chains(trajectory, step) for step in chosen)),
    ]


def run_settings(trajectory: Trajectory) -> Element:
    """What all steps had in common."""
    return section("Settings", *settings_tables(trajectory.settings))


def verdicts_of_steps(trajectory: Trajectory) -> dict[str, tuple[Verdict, ...]]:
    """By step."""
    return {f"step {row['step']}": row["verdicts"] for row in _rows(trajectory)}


def steps_with_chains(rows: Sequence[dict[str, Any]]) -> list[int]:
    """The first, the middle and the last step, those where sampling is at fault, and some that are doubtful otherwise.

    There is room for eight: the worst faults go first, and what is doubtful otherwise is evenly spread.

    >>> rows = [{"step": step, "verdicts": (Verdict.CONVERGED,)} for step in range(11)]
    >>> rows[6]["verdicts"] = (Verdict.DRIFTING,)
    >>> steps_with_chains(rows)
    [0, 5, 6, 10]
    """
    order, places = list(Verdict), range(len(rows))
    verdicts = [row["verdicts"] for row in rows]
    usual = {0, len(rows) // 2, len(rows) - 1}
    faulty = [place for place in places if Verdict.CONVERGED not in verdicts[place] and place not in usual]
    faulty.sort(key=lambda place: order.index(verdicts[place][0]))
    doubtful = [place for place in places if len(verdicts[place]) > 1 and place not in {*usual, *faulty}]
    room = max(0, min(_MOST - len(usual) - len(faulty), len(doubtful)))
    spaced = [doubtful[round(place)] for place in np.linspace(0, len(doubtful) - 1, room)]
    return [rows[place]["step"] for place in sorted([*usual, *faulty, *spaced][:_MOST])]


def _sentence(trajectory: Trajectory, rows: Sequence[dict[str, Any]]) -> str:
    first, last = rows[0], rows[-1]
    where = f"at step {first['step']}" if len(rows) == 1 else f"at {len(rows)} steps of a training run"
    course = (
        _shown(last)
        if len(rows) == 1
        else (f"{_shown(first)} at step {first['step']}, {_shown(last)} at step {last['step']}")
    )
    return (
        f"The local learning coefficient λ̂ was measured {where}, of a network with d = {trajectory.dimension} free "
        f"parameters: {course}, where d/2 = {trajectory.dimension / 2:g} would be all of them."
    )


def _caveats(trajectory: Trajectory, rows: Sequence[dict[str, Any]]) -> list[Element]:
    faults = sum(Verdict.CONVERGED not in row["verdicts"] for row in rows)
    away = sum(Verdict.NOT_A_MINIMUM in row["verdicts"] for row in rows)
    told = [f"The sampling is at fault at {faults} of {len(rows)} steps."] if faults else []
    told += [f"At {away} of {len(rows)} steps the network is at no minimum of the loss."] if away else []
    told += ["What that means stands under Verdicts."] if told else []
    told += [f"{len(trajectory.pending)} checkpoints are still to be measured."] if trajectory.pending else []
    return [
        *([element("p", " ".join(told))] if told else []),
        *(element("p", f"Skipped: {name}: {reason}", class_="soft") for name, reason in trajectory.skipped.items()),
    ]


def _figure(trajectory: Trajectory, rows: Sequence[dict[str, Any]], found: Transitions) -> Element:
    options = {"transitions": found, "ntk": "ntk" in rows[0]}
    texts = {row["step"]: _told(row) for row in rows}
    alt = f"λ̂ and loss over {len(rows)} steps; the numbers are in the table of steps"
    drawn = trajectory.plot(**options)
    logarithmic = drawn.axes[0].get_xscale() != "linear"
    pictures = [picture(drawn, "run", alt)]
    add_steps(pictures[0], drawn, texts)
    content = pictures
    if len(rows) >= _FEWEST:
        other = trajectory.plot(**options, log_steps=not logarithmic)
        pictures.append(picture(other, "run-again", alt))
        add_steps(pictures[1], other, texts)
        pictures[1].set("hidden", "")
        content = [*pictures, element("button", "linear / logarithmic steps", type="button", hidden="")]
    readout = element("p", "Point at a step, in the picture or in the table, for its numbers.", class_="readout soft")
    caption = (
        "λ̂ with its 95 % band, on the left axis: twice λ̂ is the number of parameters that the network effectively "
        "uses. Losses in nats per example, on the right axis."
    )
    return element("figure", *content, readout, element("figcaption", caption))


def _transitions(found: Transitions) -> Element:
    if not found.changes:
        return section("Transitions", element("p", "λ̂ and the loss show no change beyond their errors."))
    changes = [
        [
            Cell(change.label, change.label),
            number(change.step_before, f"{change.step_before} → {change.step_after}"),
            number(change.interval_low, f"{change.interval_low} to {change.interval_high}"),
            number(change.probability, f"{100 * change.probability:.0f} %"),
            number(change.difference, with_error(change.difference, change.difference_std_error)),
            number(change.loss_before, f"{change.loss_before:.4g} → {change.loss_after:.4g}"),
        ]
        for change in found.changes
    ]
    plateaus = [
        [
            number(plateau.first_step, f"{plateau.first_step} to {plateau.last_step}"),
            number(plateau.num_checkpoints),
            number(plateau.llc, with_error(plateau.llc, plateau.std_error)),
            number(plateau.loss),
        ]
        for plateau in found.plateaus
    ]
    head = ["what moved", "steps", "95 % interval", "found again", "λ̂ moved by", "loss"]
    parts = [
        table(head, changes),
        element("p", _FOUND_AGAIN, class_="soft"),
    ]
    if plateaus:
        parts += [element("h3", "Plateaus between them"), table(["steps", "checkpoints", "λ̂", "loss"], plateaus)]
    return section("Transitions", *parts)


def _steps(rows: Sequence[dict[str, Any]], linked: Sequence[int]) -> Element:
    refined = [name.removeprefix("llc ") for name in rows[0] if name.startswith("llc ")]
    tested, predicted = any(math.isfinite(row["test_loss"]) for row in rows), "ntk" in rows[0]
    head = ["step", "λ̂", "change", "loss", *(["test loss"] if tested else [])]
    head += [*(f"λ̂ of {name}" for name in refined), *(["NTK"] if predicted else []), "ESS", "R̂", "verdicts"]
    cells = [
        [
            Cell(_linked(row["step"], linked), row["step"], numeric=True),
            _measured(row, "llc", "std_error"),
            _measured(row, "difference", "difference_std_error"),
            number(row["loss"]),
            *([number(row["test_loss"])] if tested else []),
            *(_measured(row, f"llc {name}", f"std_error {name}") for name in refined),
            *([number(row["ntk"], _bounds(row))] if predicted else []),
            number(row["ess"], f"{row['ess']:.0f}"),
            number(row["rhat"], f"{row['rhat']:.3f}"),
            verdict_cell(row["verdicts"]),
        ]
        for row in rows
    ]
    return table(head, cells, steps=[row["step"] for row in rows])


def _linked(step: int, linked: Sequence[int]) -> Content:
    return element("a", f"{step}", href=f"#step-{step}") if step in linked else f"{step}"


def _left_out(rows: Sequence[dict[str, Any]], chosen: Sequence[int]) -> Element:
    if len(chosen) == len(rows):
        return element("p", f"All {len(rows)} steps are shown.")
    text = (
        f"{len(chosen)} of {len(rows)} steps are shown: the first, the middle and the last, then doubtful ones, those "
        "where sampling is at fault first. For the others: llc.Trajectory.read(folder)[step].plot()."
    )
    return element("p", text)


def _chains(trajectory: Trajectory, step: int) -> Element:
    return estimate_fold(f"step {step}", f"step-{step}", trajectory[step])


def _measured(row: dict[str, Any], value: str, error: str) -> Cell:
    return number(row[value], _pair(row, value, error))


def _pair(row: dict[str, Any], value: str, error: str) -> str:
    return with_error(float(row[value]), float(row[error]))


def _shown(row: dict[str, Any]) -> str:
    return f"λ̂ = {_pair(row, 'llc', 'std_error')}" if math.isfinite(row["llc"]) else "λ̂ unknown"


def _bounds(row: dict[str, Any]) -> str:
    return f"{row['ntk']:.4g} ({row['ntk_low']:.4g} to {row['ntk_high']:.4g})"


def _told(row: dict[str, Any]) -> str:
    test = f", test loss {row['test_loss']:.4g}" if math.isfinite(row["test_loss"]) else ""
    return f"step {row['step']}: {_shown(row)} · loss {row['loss']:.4g}{test} · {', '.join(row['verdicts'])}"


def _rows(trajectory: Trajectory) -> list[dict[str, Any]]:
    """The steps in order, their verdicts the worst first."""
    rows = [{str(name): value for name, value in row.items()} for row in trajectory.to_dataframe().to_dict("records")]
    return [row | {"verdicts": worst_first(map(Verdict, row["verdicts"]))} for row in rows]
