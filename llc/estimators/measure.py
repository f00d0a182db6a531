"""A number about a checkpoint with its error: what every estimator but λ̂'s own gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from xarray import DataTree

from llc.estimators.diagnoses import Verdict, too_few, worst_first
from llc.estimators.show import Sampled, html_table, plain, show
from llc.estimators.uncertainty import Mean, mean_with_error


@dataclass(frozen=True, repr=False)
class Measure(Sampled):
    """A value with its Monte Carlo error, what stands beside it, and the draws behind it.

    The standard error is that of sampling alone: another data set of the same law has another value.
    """

    name: str
    """What it is."""
    value: float
    """The value, in `unit`."""
    std_error: float
    """Its standard error, in `unit`."""
    unit: str
    """`nats` in total, `nats per example`, or nothing for a coefficient."""
    verdicts: tuple[Verdict, ...]
    """What holds of it, the worst first."""
    ess: float
    """Effective sample size of the series that the value is the mean of."""
    rhat: float
    """Its rank-normalised split R̂; NaN with one chain, which cannot know it."""
    details: dict[str, Mean]
    """What was estimated along with it, by name."""
    draws: DataTree
    """The draws, in ArviZ's schema."""

    def __repr__(self) -> str:
        return self._line(self.name, self.unit)

    def rows(self) -> list[tuple[str, str]]:
        """What the table shows, as (name, value)."""
        low, high = self.interval()
        return [
            (self.name, f"{show(self)} {self.unit}".rstrip()),
            ("95 % interval", f"{low:.6g} to {high:.6g}"),
            *((name.replace("_", " "), show(mean)) for name, mean in self.details.items()),
            *self._rows_of_sampling(),
        ]

    def _repr_html_(self) -> str:
        return html_table(self.name, self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, in types that JSON knows; unknown numbers are None."""
        low, high = self.interval()
        return plain(
            {
                "name": self.name,
                "value": self.value,
                "std_error": self.std_error,
                "interval": [low, high],
                "unit": self.unit,
                "verdicts": [str(verdict) for verdict in self.verdicts],
                "ess": self.ess,
                "rhat": self.rhat,
                "details": self.details,
                "settings": self.settings,
            }
        )


def measure(
    name: str,
    unit: str,
    series: Float[np.ndarray, "chain draw"],
    draws: DataTree,
    details: dict[str, Mean],
    *,
    systematic_error: float = 0.0,
) -> Measure:
    """The mean of a series as a measure, judged by what sampling could have done wrong.

    Args:
        name: what it is.
        unit: its unit.
        series: what each draw of the finite chains contributes.
        draws: where the series came from, its chains that are not finite included.
        details: what was estimated along with it.
        systematic_error: what the standard error holds besides the sampling, independent of it.
    """
    mean = mean_of(series)
    num_chains = draws["sample_stats"].sizes["chain"]
    tests = {
        Verdict.DIVERGED: len(series) < num_chains,
        Verdict.TOO_FEW_DRAWS: len(series) > 0 and too_few(mean),
        Verdict.ONE_CHAIN: num_chains == 1,
    }
    return Measure(
        name=name,
        value=mean.value,
        std_error=float(np.hypot(mean.std_error, systematic_error)),
        unit=unit,
        verdicts=worst_first(verdict for verdict, holds in tests.items() if holds),
        ess=mean.ess,
        rhat=mean.rhat,
        details=details,
        draws=draws,
    )


def mean_of(series: Float[np.ndarray, "chain draw"]) -> Mean:
    """The mean with its error, unknown where no chain is left."""
    return mean_with_error(series) if series.size and np.isfinite(series).all() else Mean(*[float("nan")] * 4)
