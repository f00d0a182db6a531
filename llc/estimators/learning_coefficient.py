"""The local learning coefficient from draws:  λ̂ = nβ · E[L_n(w) − L_n(w*)]   (Watanabe 2013; Lau et al. 2023, eq. 6)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import norm
from xarray import DataTree, Dataset

from llc.estimators.diagnoses import Evidence, Verdict, diagnose
from llc.estimators.uncertainty import Mean, extrapolate, mean_with_error


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
    """λ̂_var = (nβ)² Var[L_n(w)], which needs no baseline and agrees with λ̂ where the asymptotic regime is reached."""
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
        return dict(self.draws.attrs)

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
        return [
            ("λ̂", _show(self)),
            ("95 % interval", f"{low:.4g} to {high:.4g}"),
            ("d/2", f"{self.dimension / 2:g}"),
            ("λ̂_var", _show(self.variance_estimate)),
            ("virial / d", _show(self.virial_ratio)),
            *sensitivities,
            *(ladder if len(ladder) > 1 else []),
            ("ESS, R̂", f"{self.ess:.0f}, {self.rhat:.4f}"),
            ("kernel", f"{self.settings['kernel']} · {self.settings['num_chains']} chains × {self.settings['num_draws']} draws"),
            ("nβ, n", f"{self.nbeta:.5g}, {self.settings['n']}"),
            *((f"verdict: {verdict}", verdict.advice) for verdict in self.verdicts),
        ]

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in self.rows())
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
        from llc.plots.chains import plot_chains  # noqa: PLC0415, matplotlib is loaded only where it is wanted

        return plot_chains(self.draws)


def learning_coefficient(draws: DataTree) -> Estimate:
    """λ̂ = nβ E[ΔL] from the draws of `llc.draw`; a ladder of step sizes is extrapolated to 0.

    Chains that are not finite are excluded and counted.

    Args:
        draws: a DataTree as `llc.draw` makes it, fresh or read from a file.

    Returns:
        The estimate; its value is NaN where no chain is left.
    """
    attrs, statistics = draws.attrs, draws["sample_stats"].to_dataset()
    names = [str(name) for name in statistics["leaf"].values]
    sizes = np.asarray(attrs["leaf_dimensions"]).reshape(-1)
    nbeta, dimension = float(attrs["nbeta"]), int(attrs["dimension"])
    groups = _groups(statistics)
    kept = {size: group for size, group in groups.items() if len(group["loss_difference"])}
    num_chains = statistics.sizes["chain"]
    num_diverged = num_chains * len(groups) - sum(len(group["loss_difference"]) for group in kept.values())
    series = {size: _series(group, nbeta, sizes) for size, group in kept.items()}
    at_zero = {name: _extrapolated(series, name) for name in ("llc", "variance", "virial", "localization", "nbeta", "drift")}
    by_leaf = {
        name: _scaled(_extrapolated(series, f"virial/{i}"), 1 / size)
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
        if size
    }
    llc = at_zero["llc"]
    evidence = Evidence(
        llc,
        at_zero["drift"],
        at_zero["virial"],
        at_zero["localization"],
        at_zero["nbeta"],
        float(attrs.get("gradient_term", 0.0)),
        dimension,
        num_chains,
        num_diverged,
        llc.std_error == 0.0,
    )
    return Estimate(
        value=llc.value,
        std_error=llc.std_error,
        verdicts=diagnose(evidence),
        ess=llc.ess,
        rhat=llc.rhat,
        dimension=dimension,
        nbeta=nbeta,
        localization=dict(zip(names, np.asarray(attrs["localization"]).reshape(-1).tolist(), strict=True)),
        variance_estimate=at_zero["variance"],
        virial_ratio=_scaled(at_zero["virial"], 1 / dimension),
        virial_ratio_by_leaf=by_leaf,
        sensitivity={name: at_zero[name] for name in ("localization", "nbeta")},
        num_diverged=num_diverged,
        by_step_size={size: mean_with_error(values["llc"]) for size, values in series.items()},
        draws=draws,
    )


def _groups(statistics: Dataset) -> dict[float, dict[str, np.ndarray]]:
    """The finite chains of each step size, as arrays (chain, draw, ...)."""
    ladder = "step_size" in statistics.dims
    sizes = statistics["step_size"].values.tolist() if ladder else [float("nan")]
    groups = {}
    for i, size in enumerate(sizes):
        group = statistics.isel(step_size=i) if ladder else statistics
        finite = ~group["diverging"].values.astype(bool).any(axis=1)
        groups[size] = {str(name): group[name].values[finite].astype(np.float64) for name in group.data_vars}
    return groups


def _series(
    group: dict[str, np.ndarray], nbeta: float, sizes: np.ndarray
) -> dict[str, Float[np.ndarray, "chain draw"]]:
    """What each draw contributes to each quantity, so that its mean over draws is the quantity."""
    loss, full = nbeta * group["loss_difference"], nbeta * group["full_loss_difference"]
    away = full - full.mean()
    spread = group["whitened_squared_distance"]
    half = loss.shape[1] // 2
    virials = {f"virial/{i}": group["virial"][:, :, i] for i in range(len(sizes))}
    return {
        "llc": loss,
        "variance": away**2,
        "virial": group["virial"].sum(axis=2),
        # ∂λ̂/∂log γ = −½ nβ Cov(ΔL, ‖v‖²),  ∂λ̂/∂log nβ = λ̂ − λ̂_var
        "localization": -0.5 * away * (spread - spread.mean()),
        "nbeta": full - away**2,
        "drift": loss if half < 4 else loss[:, -2 * half :].reshape(-1, 2, half),
        **virials,
    }


def _extrapolated(series: dict[float, dict[str, np.ndarray]], name: str) -> Mean:
    if not series:
        return Mean(*[float("nan")] * 4)
    of = _drift if name == "drift" else mean_with_error
    return extrapolate([of(values[name]) for values in series.values()], np.array(list(series)))


def _drift(halves: np.ndarray) -> Mean:
    """How far the second half of the chains lies from the first."""
    if halves.ndim == 2:
        return Mean(0.0, 0.0, 0.0, float("nan"))
    first, second = (mean_with_error(halves[:, i]) for i in range(2))
    error = float(np.hypot(first.std_error, second.std_error))
    return Mean(second.value - first.value, error, min(first.ess, second.ess), float("nan"))


def _scaled(mean: Mean, factor: float) -> Mean:
    return mean._replace(value=mean.value * factor, std_error=mean.std_error * factor)


_SYMBOLS = {"localization": "γ", "nbeta": "nβ"}


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
