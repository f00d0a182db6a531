"""How results show themselves: numbers with as many digits as their error allows, tables, and JSON."""

from collections.abc import Sequence
from functools import cached_property
from statistics import NormalDist
from typing import Any, Protocol, runtime_checkable

import numpy as np
from xarray import DataTree

from llc.draws.schema import read_settings
from llc.estimators.diagnoses import Verdict
from llc.estimators.uncertainty import Mean


@runtime_checkable
class Uncertain(Protocol):
    """Anything with a value and its standard error."""

    @property
    def value(self) -> float:
        """The value."""
        ...

    @property
    def std_error(self) -> float:
        """Its standard error."""
        ...


class Sampled:
    """What every number from draws has, once it has a value, its error, verdicts and the draws."""

    value: float
    std_error: float
    verdicts: tuple[Verdict, ...]
    ess: float
    rhat: float
    draws: DataTree

    def interval(self, prob: float | int = 0.95) -> tuple[float, float]:
        """The interval that covers the exact value with this probability over repeated sampling.

        Raises:
            ValueError: the probability is not between 0 and 1.
        """
        if not 0 < prob < 1:
            msg = f"prob={prob}; it must be between 0 and 1, 0.95 for instance."
            raise ValueError(msg)
        half = NormalDist().inv_cdf(0.5 + prob / 2) * self.std_error
        return self.value - half, self.value + half

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting, given or chosen."""
        return read_settings(self.draws)

    @property
    def converged(self) -> bool:
        """Whether sampling is not at fault."""
        return Verdict.CONVERGED in self.verdicts

    @property
    def mean(self) -> Mean:
        """The value with its error, effective sample size and R̂."""
        return Mean(self.value, self.std_error, self.ess, self.rhat)

    def _line(self, name: str, unit: str, beside: str = "") -> str:
        """All of it in one line."""
        places = digits(self.std_error)
        low, high = self.interval()
        rhat = f"R̂ {self.rhat:.3f}" if np.isfinite(self.rhat) else "R̂ unknown"
        return (
            f"{name} = {self.value:.{places}f} ± {self.std_error:.{places}f}{' ' * bool(unit)}{unit} "
            f"(95 %: {low:.{places}f} to {high:.{places}f}){beside} · ESS {self.ess:.0f} · {rhat} · "
            f"{', '.join(self.verdicts)}"
        )

    def _rows_of_sampling(self) -> list[tuple[str, str]]:
        """How it was sampled, and what holds of it, for a table."""
        settings = self.settings
        return [
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


def digits(error: float) -> int:
    """Decimals that show an error with two significant digits.

    >>> digits(0.0123), digits(12.3), digits(0.0)
    (3, 0, 4)
    """
    if not np.isfinite(error) or error <= 0:
        return 4
    return int(np.clip(1 - np.floor(np.log10(error)), 0, 6))


def show(mean: Uncertain) -> str:
    """A value with its error.

    >>> show(Mean(1.23456, 0.0123, 400.0, 1.0))
    '1.235 ± 0.012'
    """
    return with_error(mean.value, mean.std_error)


def with_error(value: float, std_error: float) -> str:
    """The same of two numbers."""
    places = digits(std_error)
    return f"{value:.{places}f} ± {std_error:.{places}f}"


def html_table(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as a table for notebooks."""
    cells = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table><caption>{caption}</caption>{cells}</table>"


def plain(value: Any) -> Any:
    """The same in types that JSON knows; unknown numbers are None."""
    if isinstance(value, Mean):
        return plain({"value": value.value, "std_error": value.std_error})
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
