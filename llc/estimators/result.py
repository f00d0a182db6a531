"""λ̂ as an object that shows itself: a line, a table, a dictionary, a picture, and the draws behind it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import norm
from xarray import DataTree

from llc.draws.schema import read_settings
from llc.estimators.diagnoses import Verdict
from llc.estimators.uncertainty import Mean

_SYMBOLS = {"localization": "γ", "nbeta": "nβ"}


@dataclass(frozen=True, repr=False)
class Estimate:
    """λ̂ with its error, what stands beside it, and the draws behind it.

    The standard error is that of sampling alone: on another data set of the same law λ̂ moves by about √(λ / (2 log n))
    (Watanabe 2013). λ̂ is the value λ_n at this nβ and γ, which tends to the learning coefficient as nβ grows.
    """

    value: float
    """λ̂, without unit: the effective number of parameters is twice it."""
    std_error: float
    """Its Monte Carlo standard error, that of the extrapolation to step size 0 included."""
    verdicts: tuple[Verdict, ...]
    """What holds of it, the worst first."""
    ess: float
    """Effective sample size; of the poorest step size, where there is a ladder."""
    rhat: float
    """Rank-normalised split R̂, the largest; NaN with one chain, which cannot know it."""
    dimension: int
    """d, the free parameters. d/2 is what λ̂ would be were all of them needed."""
    nbeta: float
    """nβ."""
    localization: dict[str, float]
    """γ of each leaf."""
    variance_estimate: Mean
    """λ̂_var = (nβ)² Var[L_n(w)], which needs no baseline and agrees with λ̂ in the asymptotic regime."""
    virial_ratio: Mean
    """E[v·∇U] / d, exactly 1 for a chain at the right temperature."""
    virial_ratio_by_leaf: dict[str, Mean]
    """The same for each leaf of the params that has free coordinates."""
    sensitivity: dict[str, Mean]
    """∂λ̂/∂log γ and ∂λ̂/∂log nβ, by the names `localization` and `nbeta`."""
    num_diverged: int
    """Chains that left for infinity, which are excluded."""
    by_step_size: dict[float, Mean]
    """λ̂ at each step size, before the extrapolation; one entry where there is no ladder."""
    draws: DataTree
    """The draws, in ArviZ's schema."""

    def interval(self, prob: float = 0.95) -> tuple[float, float]:
        """The interval that covers λ_n with this probability over repeated sampling.

        Raises:
            ValueError: the probability is not between 0 and 1.
        """
        if not 0 < prob < 1:
            msg = f"prob={prob}; it must be between 0 and 1, 0.95 for instance."
            raise ValueError(msg)
        half = float(norm.ppf(0.5 + prob / 2)) * self.std_error
        return self.value - half, self.value + half

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting, given or chosen."""
        return read_settings(self.draws)

    @property
    def converged(self) -> bool:
        """Whether sampling is not at fault."""
        return Verdict.CONVERGED in self.verdicts

    def __repr__(self) -> str:
        digits = _digits(self.std_error)
        low, high = self.interval()
        rhat = f"R̂ {self.rhat:.3f}" if np.isfinite(self.rhat) else "R̂ unknown"
        return (
            f"λ̂ = {self.value:.{digits}f} ± {self.std_error:.{digits}f} (95 %: {low:.{digits}f} to {high:.{digits}f}) "
            f"of d/2 = {self.dimension / 2:g} · ESS {self.ess:.0f} · {rhat} · {', '.join(self.verdicts)}"
        )

    def rows(self) -> list[tuple[str, str]]:
        """What the tables show, as (name, value)."""
        sensitivities = [(f"∂λ̂/∂log {_SYMBOLS[name]}", _show(mean)) for name, mean in self.sensitivity.items()]
        ladder = [(f"λ̂ at step size {size:.3g}", _show(mean)) for size, mean in self.by_step_size.items()]
        low, high = self.interval()
        settings = self.settings
        return [
            ("λ̂", _show(self)),
            ("95 % interval", f"{low:.4g} to {high:.4g}"),
            ("d/2", f"{self.dimension / 2:g}"),
            ("λ̂_var", _show(self.variance_estimate)),
            ("virial / d", _show(self.virial_ratio)),
            *sensitivities,
            *(ladder if len(ladder) > 1 else []),
            ("ESS, R̂", f"{self.ess:.0f}, {self.rhat:.4f}"),
            (
                "kernel",
                f"{settings['kernel']} · {settings['num_chains']} chains × {settings['num_draws']} draws",
            ),
            ("nβ, n", f"{self.nbeta:.5g}, {settings['n']}"),
            *(
                [("interrupted", "Ctrl-C ended the sampling; these are the draws so far")]
                if settings["interrupted"]
                else []
            ),
            *((f"verdict: {verdict}", verdict.advice) for verdict in self.verdicts),
        ]

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in self.rows()
        )
        return f"<table><caption>Local learning coefficient</caption>{cells}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, in types that JSON knows; unknown numbers are None."""
        low, high = self.interval()
        return _plain(
            {
                "llc": self.value,
                "std_error": self.std_error,
                "interval": [low, high],
                "verdicts": [str(verdict) for verdict in self.verdicts],
                "ess": self.ess,
                "rhat": self.rhat,
                "dimension": self.dimension,
                "nbeta": self.nbeta,
                "localization": self.localization,
                "variance_estimate": self.variance_estimate,
                "virial_ratio": self.virial_ratio,
                "virial_ratio_by_leaf": self.virial_ratio_by_leaf,
                "sensitivity": self.sensitivity,
                "num_diverged": self.num_diverged,
                "by_step_size": {str(size): mean for size, mean in self.by_step_size.items()},
                "settings": self.settings,
            }
        )

    def plot(self) -> Any:
        """The loss traces and the running λ̂ of each chain, as a matplotlib figure."""
        from llc.plots.chains import plot_chains

        return plot_chains(self.draws)


def _digits(error: float) -> int:
    """Decimals that show an error with two significant digits."""
    if not np.isfinite(error) or error <= 0:
        return 4
    return int(np.clip(1 - np.floor(np.log10(error)), 0, 6))


def _show(mean: Mean | Estimate) -> str:
    digits = _digits(mean.std_error)
    return f"{mean.value:.{digits}f} ± {mean.std_error:.{digits}f}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mean):
        return _plain({"value": value.value, "std_error": value.std_error})
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
