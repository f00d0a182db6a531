"""λ̂ as an object that shows itself: a line, a table, a dictionary, a picture, and the draws behind it."""

from dataclasses import dataclass
from typing import Any

from xarray import DataTree

from llc.estimators.diagnoses import Verdict
from llc.estimators.show import Sampled, html_table, plain, show
from llc.estimators.uncertainty import Mean

_SYMBOLS = {"localization": "γ", "nbeta": "nβ"}


@dataclass(frozen=True, repr=False)
class Estimate(Sampled):
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
    """λ̂_var = (nβ)² Var[L_n(w)], which needs no baseline and agrees with λ̂ in the asymptotic regime.

    It is made of the draws whose loss on all data was measured: of every draw, or where that costs more than all else,
    of every `settings["full_loss_every"]`-th, or NaN of none.
    """
    virial_ratio: Mean
    """E[v·∇U] / d, exactly 1 for a chain at the right temperature."""
    virial_ratio_by_leaf: dict[str, Mean]
    """The same for each leaf of the params that has free coordinates."""
    squared_distance_ratio: Mean
    """E‖v‖² / d, 1 of the localising prior; its R̂ tells whether chains agree on how far flat directions go."""
    sensitivity: dict[str, Mean]
    """∂λ̂/∂log γ and ∂λ̂/∂log nβ, by the names `localization` and `nbeta`; of the same draws as λ̂_var."""
    num_diverged: int
    """Chains that left for infinity, which are excluded."""
    by_step_size: dict[float, Mean]
    """λ̂ at each step size, before the extrapolation; one entry where there is no ladder."""
    draws: DataTree
    """The draws, in ArviZ's schema."""

    @property
    def finest_draws(self) -> DataTree:
        """The draws; of a ladder those of the smallest step size, which is the nearest to none."""
        return self.draws.isel(step_size=-1, missing_dims="ignore")

    def __repr__(self) -> str:
        return self._line("λ̂", "", f" of d/2 = {self.dimension / 2:g}")

    def rows(self) -> list[tuple[str, str]]:
        """What the tables show, as (name, value)."""
        sensitivities = [(f"∂λ̂/∂log {_SYMBOLS[name]}", show(mean)) for name, mean in self.sensitivity.items()]
        ladder = [(f"λ̂ at step size {size:.3g}", show(mean)) for size, mean in self.by_step_size.items()]
        low, high = self.interval()
        return [
            ("λ̂", show(self)),
            ("95 % interval", f"{low:.4g} to {high:.4g}"),
            ("d/2", f"{self.dimension / 2:g}"),
            ("λ̂_var", show(self.variance_estimate)),
            ("virial / d", show(self.virial_ratio)),
            ("‖v‖² / d", f"{show(self.squared_distance_ratio)} · R̂ {self.squared_distance_ratio.rhat:.3f}"),
            *sensitivities,
            *(ladder if len(ladder) > 1 else []),
            *self._rows_of_sampling(),
        ]

    def _repr_html_(self) -> str:
        return html_table("Local learning coefficient", self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, in types that JSON knows; unknown numbers are None."""
        low, high = self.interval()
        return plain(
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
                "squared_distance_ratio": self.squared_distance_ratio,
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
