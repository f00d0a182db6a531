"""λ̂ over training as an object that shows itself, its draws on disk."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from xarray import DataTree

from llc.draws.storage import load
from llc.estimators.diagnoses import Verdict
from llc.estimators.difference import difference
from llc.estimators.learning_coefficient import learning_coefficient
from llc.estimators.result import Estimate
from llc.estimators.show import plain, with_error
from llc.estimators.uncertainty import Mean
from llc.trajectories.measure import REFINED
from llc.trajectories.store import Store
from llc.trajectories.transitions import Transitions, find_transitions

_BOUNDS = ("ntk", "ntk_low", "ntk_high")
_OF_ONE_STEP = {"step", "loss", "test_loss", "center_loss", "gradient_term", *_BOUNDS}
_UNKNOWN = Mean(*[float("nan")] * 4)


@dataclass(frozen=True, repr=False)
class Trajectory:
    """λ̂ ± error at each step of a training run, in order.

    The standard errors are those of sampling alone. All steps had the same settings and random numbers, so that
    differences between them are mostly known better than the values: ask `difference`.
    """

    rows: tuple[dict[str, Any], ...]
    """What `to_dataframe` shows, a dictionary for each step."""
    settings: dict[str, Any]
    """Every setting, given or chosen, that all steps have in common."""
    dimension: int
    """d, the free parameters."""
    skipped: dict[str, str]
    """Checkpoints that could not be read or measured, by name with the reason."""
    pending: tuple[int, ...]
    """Steps that are still to be measured, where the run was stopped: the same call goes on with them."""
    store: Store
    """Where the draws are, a file for each step; a temporary one lasts as long as this object."""
    files: dict[int, Path]
    """The file of each step."""

    @classmethod
    def read(cls, folder: str | PathLike[str]) -> "Trajectory":
        """The trajectory that a folder holds, as far as it has come.

        Raises:
            ValueError: there is none.
        """
        folder = Path(folder)
        index = Store(folder).read_index() if folder.is_dir() else None
        if index is None:
            msg = f"{folder} holds no trajectory; make one with llc.trajectory(..., store=) or llcoef trajectory --out."
            raise ValueError(msg)
        return assembled(Store(folder), index)

    def __getitem__(self, step: int) -> Estimate:
        """The estimate at a step, with its draws.

        Raises:
            KeyError: there is no such step.
        """
        if step not in self.files:
            msg = f"step {step} is not among {', '.join(map(str, self.files))}."
            raise KeyError(msg)
        return learning_coefficient(self.draws(step))

    def draws(self, step: int) -> DataTree:
        """The draws at a step, in ArviZ's schema; under `refined` those of the weight-refined coefficients."""
        return load(self.files[step])

    def difference(self, later: int, earlier: int) -> Mean:
        """λ̂ at one step minus that at another, with the error that common random numbers leave."""
        return difference(self[later], self[earlier])

    @property
    def steps(self) -> list[int]:
        """The steps, in order."""
        return [row["step"] for row in self.rows]

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each step: λ̂, its error, losses in nats per example, verdicts, and the change since the last."""
        return pd.DataFrame(list(self.rows))

    def transitions(self, **settings: Any) -> Transitions:
        """Plateaus and change points of λ̂ together with the training loss, each labelled by what moved.

        Steps whose λ̂ lies outside [0, d/2] are left out: the posterior ran downhill there, which is no complexity.

        Args:
            settings: of `llc.trajectories.transitions.find_transitions`.
        """
        frame = self.to_dataframe()
        columns = ("step", "llc", "std_error", "loss", "difference_std_error")
        steps, llc, std_error, loss, difference_std_error = (frame[name].to_numpy(float) for name in columns)
        outside = np.array([Verdict.OUTSIDE in verdicts for verdicts in frame["verdicts"]])
        return find_transitions(
            steps,
            np.where(outside, np.nan, llc),
            std_error,
            loss,
            difference_std_error=difference_std_error,
            **settings,
        )

    def plot(self, **options: Any) -> Any:
        """λ̂ with its band over steps, losses on a second axis, transitions marked, as a matplotlib figure.

        Args:
            options: of `llc.plots.trajectory.plot_trajectory`.
        """
        from llc.plots.trajectory import plot_trajectory

        chosen = {"transitions": self.transitions(), "dimension": self.dimension} | options
        return plot_trajectory(self.to_dataframe(), **chosen)

    def __repr__(self) -> str:
        first, last = self.rows[0], self.rows[-1]
        doubtful = sum(Verdict.CONVERGED not in row["verdicts"] for row in self.rows)
        beside = f" · {doubtful} not converged" if doubtful else ""
        beside += f" · {len(self.skipped)} skipped" if self.skipped else ""
        beside += f" · {len(self.pending)} still to be measured" if self.pending else ""
        return (
            f"λ̂ over {len(self.rows)} steps, {first['step']} to {last['step']}: {_ends(first)} → {_ends(last)} "
            f"of d/2 = {self.dimension / 2:g}{beside}"
        )

    def _repr_html_(self) -> str:
        frame = self.to_dataframe()
        frame["verdicts"] = [", ".join(verdicts) for verdicts in frame["verdicts"]]
        return f"<p>{self!r}</p>{frame.to_html(index=False, float_format='{:.4g}'.format)}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, in types that JSON knows; unknown numbers are None."""
        rows = [row | {"verdicts": [str(verdict) for verdict in row["verdicts"]]} for row in self.rows]
        return plain(
            {
                "steps": rows,
                "dimension": self.dimension,
                "transitions": self.transitions().to_dict(),
                "skipped": self.skipped,
                "pending": list(self.pending),
                "settings": self.settings,
            }
        )


def assembled(store: Store, index: dict[str, Any]) -> Trajectory:
    """The trajectory of what an index lists and a store holds, read one file at a time.

    Raises:
        ValueError: none of the files is there.
    """
    rows: list[dict[str, Any]] = []
    files: dict[int, Path] = {}
    pending: list[int] = []
    before, settings, dimension = None, {}, 0
    for step, key in index["steps"]:
        draws = store.load(step, key)
        if draws is None:
            pending.append(step)
            continue
        estimate = learning_coefficient(draws)
        rows.append(_row(step, estimate, before))
        files[step], before = store.path(step, key), estimate
        settings, dimension = estimate.settings, estimate.dimension
    if not rows:
        reasons = "; ".join(index["skipped"].values()) or "give the call that made it again"
        msg = f"{store.folder}: no checkpoint has been measured yet; {reasons}."
        raise ValueError(msg)
    common = {name: value for name, value in settings.items() if name not in _OF_ONE_STEP}
    return Trajectory(tuple(rows), common, dimension, index["skipped"], tuple(pending), store, files)


def _row(step: int, estimate: Estimate, before: Estimate | None) -> dict[str, Any]:
    told = estimate.settings
    change = _UNKNOWN if before is None else difference(estimate, before)
    row = {
        "step": step,
        "llc": estimate.value,
        "std_error": estimate.std_error,
        "loss": told["loss"],
        "test_loss": told.get("test_loss", float("nan")),
        "verdicts": estimate.verdicts,
        "difference": change.value,
        "difference_std_error": change.std_error,
        "ess": estimate.ess,
        "rhat": estimate.rhat,
    }
    row |= {name: told[name] for name in _BOUNDS if name in told}
    for part in estimate.draws.children.get(REFINED, DataTree()).children.values():
        refined = learning_coefficient(part)
        name = part.attrs["name"]
        row |= {f"llc {name}": refined.value, f"std_error {name}": refined.std_error}
    return row


def _ends(row: dict[str, Any]) -> str:
    return with_error(row["llc"], row["std_error"])
