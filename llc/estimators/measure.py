"""A number about a checkpoint with its error: what every estimator but λ̂'s own gives."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from xarray import DataTree

from llc.draws.schema import read_settings
from llc.estimators.diagnoses import Verdict
from llc.estimators.show import digits, html_table, normal_interval, plain, show
from llc.estimators.uncertainty import Mean, mean_with_error

_MIN_ESS = 100.0
_MAX_RHAT = 1.01


@dataclass(frozen=True, repr=False)
class Measure:
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

    def interval(self, prob: float | int = 0.95) -> tuple[float, float]:
        """The interval that covers the exact value with this probability over repeated sampling.

        Raises:
            ValueError: the probability is not between 0 and 1.
        """
        return normal_interval(self.value, self.std_error, prob)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting, given or chosen."""
        return read_settings(self.draws)

    @property
    def converged(self) -> bool:
        """Whether sampling is not at fault."""
        return Verdict.CONVERGED in self.verdicts

    def __repr__(self) -> str:
        places = digits(self.std_error)
        low, high = self.interval()
        rhat = f"R̂ {self.rhat:.3f}" if np.isfinite(self.rhat) else "R̂ unknown"
        return (
            f"{self.name} = {self.value:.{places}f} ± {self.std_error:.{places}f}{' ' * bool(self.unit)}{self.unit} "
            f"(95 %: {low:.{places}f} to {high:.{places}f}) · ESS {self.ess:.0f} · {rhat} · {', '.join(self.verdicts)}"
        )

    def rows(self) -> list[tuple[str, str]]:
        """What the table shows, as (name, value)."""
        low, high = self.interval()
        settings = self.settings
        return [
            (self.name, f"{show(self)} {self.unit}".rstrip()),
            ("95 % interval", f"{low:.6g} to {high:.6g}"),
            *((name.replace("_", " "), show(mean)) for name, mean in self.details.items()),
            ("ESS, R̂", f"{self.ess:.0f}, {self.rhat:.4f}"),
            ("kernel", f"{settings['kernel']} · {settings['num_chains']} chains × {settings['num_draws']} draws"),
            ("nβ, n", f"{settings['nbeta']:.5g}, {settings['n']}"),
            *(
                [("interrupted", "Ctrl-C ended the sampling; these are the draws so far")]
                if settings["interrupted"]
                else []
            ),
            *((f"verdict: {verdict}", verdict.advice) for verdict in self.verdicts),
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
        Verdict.TOO_FEW_DRAWS: len(series) > 0 and not (mean.ess >= _MIN_ESS and not mean.rhat > _MAX_RHAT),
        Verdict.ONE_CHAIN: num_chains == 1,
    }
    found = {verdict for verdict, holds in tests.items() if holds} or {Verdict.CONVERGED}
    return Measure(
        name=name,
        value=mean.value,
        std_error=float(np.hypot(mean.std_error, systematic_error)),
        unit=unit,
        verdicts=tuple(verdict for verdict in Verdict if verdict in found),
        ess=mean.ess,
        rhat=mean.rhat,
        details=details,
        draws=draws,
    )


def mean_of(series: Float[np.ndarray, "chain draw"]) -> Mean:
    """The mean with its error, unknown where no chain is left."""
    return mean_with_error(series) if series.size and np.isfinite(series).all() else Mean(*[float("nan")] * 4)
