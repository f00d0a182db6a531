"""Plateaus of a training run and the changes between them, from λ̂ and the loss together."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Real

from llc.estimators.show import digits, html_table, plain
from llc.trajectories.segmentation import Run, Segment, changes_between, find_segments, found_again, place_interval

_TOO_FEW = 2  # checkpoints, to tell rest from change
_SIGMAS = 2.0  # a difference within 2 standard errors has no sign

_LABELS = {  # by what the loss did, then λ̂
    (-1, 1): "complexity bought",
    (-1, 0): "better fit, same complexity",
    (-1, -1): "better fit, simpler",
    (0, 1): "complexity without gain",
    (0, 0): "undecided",
    (0, -1): "simplification",
    (1, 1): "worse fit, more complex",
    (1, 0): "worse fit, same complexity",
    (1, -1): "complexity given up",
}


class Plateau(NamedTuple):
    """Checkpoints between which neither λ̂ nor the loss moves: weighted means, that of λ̂ with its standard error."""

    first_step: float | int
    last_step: float | int
    num_checkpoints: int
    llc: float
    std_error: float
    loss: float


class Change(NamedTuple):
    """A passage from one level to another.

    The checkpoints before and after it, and those between which it took place with 95 % confidence; `probability` is
    the part of resampled runs in which it is found again; `difference` is λ̂ after less λ̂ before.
    """

    step_before: float | int
    step_after: float | int
    interval_low: float | int
    interval_high: float | int
    probability: float
    llc_before: float
    llc_after: float
    difference: float
    difference_std_error: float
    loss_before: float
    loss_after: float
    label: str


class Transitions(NamedTuple):
    """The plateaus and changes of a training run, each in order of step."""

    plateaus: tuple[Plateau, ...]
    changes: tuple[Change, ...]

    def __repr__(self) -> str:
        """All of it in one line."""
        found = ", ".join(f"{c.label} at {c.step_before} → {c.step_after} (λ̂ {_signed(c)})" for c in self.changes)
        return f"{self._counted}{': ' * bool(found)}{found}"

    def _repr_html_(self) -> str:
        """Plateaus and changes in their order, for notebooks."""
        rows = [(p.first_step, _steps(p), _described(p)) for p in self.plateaus]
        rows += [(c.step_after, f"{c.step_before} → {c.step_after}", _explained(c)) for c in self.changes]
        rows.sort(key=lambda row: (row[0], "→" not in row[1]))  # a change, then the plateau it leads to
        return html_table(self._counted, [(steps, text) for _, steps, text in rows])

    def to_dict(self) -> dict[str, Any]:
        """The same in types that JSON knows."""
        return plain({name: [row._asdict() for row in rows] for name, rows in self._asdict().items()})

    def to_dataframe(self) -> pd.DataFrame:
        """A row a change."""
        return pd.DataFrame(self.changes, columns=list(Change._fields))

    @property
    def _counted(self) -> str:
        counts = {"change": len(self.changes), "plateau": len(self.plateaus)}
        return ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())


def _signed(c: Change) -> str:
    places = digits(c.difference_std_error)
    return f"{c.difference:+.{places}f} ± {c.difference_std_error:.{places}f}"


def _steps(p: Plateau) -> str:
    return f"{p.first_step} to {p.last_step}" if p.num_checkpoints > 1 else f"{p.first_step}"


def _described(p: Plateau) -> str:
    places = digits(p.std_error)
    return f"plateau: λ̂ = {p.llc:.{places}f} ± {p.std_error:.{places}f}, loss {p.loss:.4g}"


def _explained(c: Change) -> str:
    return (
        f"<b>{c.label}</b>: λ̂ {_signed(c)}, loss {c.loss_before:.4g} → {c.loss_after:.4g} "
        f"(95 %: {c.interval_low} to {c.interval_high}; found again in {c.probability:.0%} of resampled runs)"
    )


def find_transitions(
    steps: Real[np.ndarray, "n"],
    llc: Real[np.ndarray, "n"],
    std_error: Real[np.ndarray, "n"],
    loss: Real[np.ndarray, "n"],
    *,
    difference_std_error: Real[np.ndarray, "n"] | None = None,
    smallest: float = 0.05,
) -> Transitions:
    """Where a run rests and where it changes: segments of least misfit + penalty, by PELT (Killick et al. 2012).

    A segment is a plateau, or a passage along a straight line. Its misfit is Σ (y_i − fit_i)² / σ_i² of λ̂ and of the
    loss on a logarithmic scale that ends at 1 % of its range. σ_i is the standard error of λ̂ (of the loss the usual
    difference between neighbours) and, in quadrature, half of the smallest change that counts, since a plateau wanders.
    A change costs (p + 2) log N, the modified BIC of Zhang & Siegmund (2007) in its leading term: p = 2 levels, and a
    place that is searched for. A passage costs two changes. N is the number of checkpoints, or 20 of fewer. Of runs
    that are only noise, under 5 % show a change.

    A passage moves by at least the smallest change from each checkpoint to the next, or is one or two checkpoints on
    the way between their neighbours' levels; a slower drift shows as small changes between short plateaus. The 95 %
    interval follows from the likelihood of each place of a jump (Cobb 1978), and holds all of a passage. The
    probability is from 1000 runs simulated along the fit, with a fixed seed: in what part of them a change is still
    worth its cost.

    Two checkpoints or fewer have neither.

    Args:
        steps: of the checkpoints, increasing.
        llc: λ̂ of each; where it or its error is NaN the checkpoint is left out.
        std_error: of each λ̂.
        loss: of each, in nats per example; NaN where it is not known.
        difference_std_error: of λ̂ less λ̂ at the checkpoint before. Common random numbers make it smaller than the two
            errors imply: checkpoints near one another share part of their errors. That part is then not mistaken for
            noise between them, nor averaged away on a plateau.
        smallest: the smallest change that counts, as a part of λ̂ (at least of its median over the run), and of the
            loss or its range on the logarithmic scale.

    Raises:
        ValueError: steps do not increase, an error is negative, or `smallest` is not between 0 and 1.

    >>> llc = np.array([2.0, 2.1, 1.9, 2.0, 6.1, 5.9, 6.0, 6.0])
    >>> find_transitions(np.arange(8), llc, np.full(8, 0.1), np.repeat([1.0, 0.2], 4))
    1 change, 2 plateaus: complexity bought at 3 → 4 (λ̂ +3.999 ± 0.071)
    """
    _check(steps, std_error, smallest)
    known = np.isfinite(llc) & np.isfinite(std_error)
    if known.sum() <= _TOO_FEW:
        return Transitions((), ())
    shared = 0.0 if difference_std_error is None else _shared(std_error, difference_std_error)
    steps, llc, std_error, loss = (values[known] for values in (steps, llc, std_error, loss))
    run = Run.of(llc, np.sqrt(1 - shared) * std_error, loss, smallest)
    measured, segments = _Measured(steps, std_error, loss, shared, run), find_segments(run)
    return Transitions(
        plateaus=tuple(measured.plateau(segment) for segment in segments if not segment.passing),
        changes=tuple(measured.change(left, right) for left, right in changes_between(segments)),
    )


def _check(steps: Real[np.ndarray, "n"], std_error: Real[np.ndarray, "n"], smallest: float) -> None:
    if (np.diff(steps) <= 0).any():
        msg = f"steps={steps.tolist()}; they must increase. Sort the rows by step, and keep one of each."
        raise ValueError(msg)
    if (std_error < 0).any():
        msg = f"std_error has {np.nanmin(std_error):g} in it; a standard error is not negative."
        raise ValueError(msg)
    if not 0 < smallest < 1:
        msg = f"smallest={smallest}; it must be between 0 and 1, 0.05 for changes of at least 5 %."
        raise ValueError(msg)


def _shared(std_error: Real[np.ndarray, "n"], difference_std_error: Real[np.ndarray, "n"]) -> float:
    """ρ of neighbours' errors, the median of (s₁² + s₂² − difference²) / 2 s₁ s₂."""
    product = 2 * std_error[1:] * std_error[:-1]
    excess = std_error[1:] ** 2 + std_error[:-1] ** 2 - difference_std_error[1:] ** 2
    rho = excess[product > 0] / product[product > 0]
    return float(np.clip(np.median(rho[np.isfinite(rho)]), 0, 1)) if np.isfinite(rho).any() else 0.0


class _Measured(NamedTuple):
    """A run with the errors of its λ̂, which on a plateau have the correlation `shared`."""

    steps: Real[np.ndarray, "n"]
    std_error: Real[np.ndarray, "n"]
    loss: Real[np.ndarray, "n"]
    shared: float
    run: Run

    def plateau(self, segment: Segment) -> Plateau:
        shares = self.run.shares(segment)
        return Plateau(
            first_step=self.step(segment.start),
            last_step=self.step(segment.stop - 1),
            num_checkpoints=segment.stop - segment.start,
            llc=self.llc(shares),
            std_error=self.error(shares),
            loss=self.mean_loss(shares),
        )

    def change(self, left: Segment, right: Segment) -> Change:
        before, after = self.run.shares(left), self.run.shares(right)
        low, high = place_interval(self.run, left, right)
        llc, loss = self.run.moved(left, right)
        difference, error = self.llc(after - before), float(np.hypot(self.error(before), self.error(after)))
        direction = (
            np.sign(loss) * (abs(loss) >= 1),
            np.sign(llc) * (abs(llc) >= 1 and abs(difference) > _SIGMAS * error),
        )
        return Change(
            step_before=self.step(left.stop - 1),
            step_after=self.step(right.start),
            interval_low=self.step(low),
            interval_high=self.step(high),
            probability=found_again(self.run, left, right),
            llc_before=self.llc(before),
            llc_after=self.llc(after),
            difference=difference,
            difference_std_error=error,
            loss_before=self.mean_loss(before),
            loss_after=self.mean_loss(after),
            label=_LABELS[direction],
        )

    def step(self, i: int) -> float | int:
        step = self.steps[i].item()
        return int(step) if step == int(step) else step

    def llc(self, shares: Float[np.ndarray, "n 2"]) -> float:
        return float(shares[:, 0] @ self.run.signal[:, 0])

    def error(self, shares: Float[np.ndarray, "n 2"]) -> float:
        """√((1 − ρ) Σ c² s² + ρ (Σ c s)²) of Σ c λ̂."""
        parts = shares[:, 0] * self.std_error
        return float(np.sqrt((1 - self.shared) * (parts**2).sum() + self.shared * parts.sum() ** 2))

    def mean_loss(self, shares: Float[np.ndarray, "n 2"]) -> float:
        """Of the checkpoints where it is known."""
        there = shares[:, 1] > 0
        return float(shares[there, 1] @ self.loss[there]) if there.any() else float("nan")
