"""The local learning coefficient from draws: λ̂ = nβ · E[L_n(w) − L_n(w*)]   (Watanabe 2013; Lau et al. 2023, eq. 6)."""

from typing import Any

import numpy as np
from jaxtyping import Float
from xarray import Dataset, DataTree

from llc.draws.schema import read_settings
from llc.estimators.control_variate import controlled_mean
from llc.estimators.diagnoses import Evidence, diagnose
from llc.estimators.result import Estimate
from llc.estimators.uncertainty import Mean, extrapolate, mean_with_error

_SIGNED = {"localization", "nbeta", "drift"}


def learning_coefficient(draws: DataTree) -> Estimate:
    """λ̂ = nβ E[ΔL] from the draws of `llc.draw`; a ladder of step sizes is extrapolated to 0.

    Of kernels with a test on all the data the virial is a control variate, where that helps (`control_variate`). Chains
    that are not finite are excluded and counted.

    Args:
        draws: a DataTree as `llc.draw` makes it, fresh or read from a file.

    Returns:
        The estimate; its value is NaN where no chain is left.
    """
    settings, statistics = read_settings(draws), draws["sample_stats"].to_dataset()
    names = [str(name) for name in statistics["leaf"].values]
    sizes = settings["leaf_dimensions"]
    nbeta, dimension = settings["nbeta"], settings["dimension"]
    groups = _groups(statistics)
    kept = {size: group for size, group in groups.items() if len(group["loss_difference"])}
    num_chains = statistics.sizes["chain"]
    num_diverged = num_chains * len(groups) - sum(len(group["loss_difference"]) for group in kept.values())
    series = {size: _series(group, nbeta, sizes) for size, group in kept.items()}
    means = {size: _means(values, settings) for size, values in series.items()}
    names_of_all = ("llc", "variance", "virial", "squared_distance", "localization", "nbeta", "drift")
    at_zero = {name: _extrapolated(means, name) for name in names_of_all}
    by_leaf = {
        name: _scaled(_extrapolated(means, f"virial/{i}"), 1 / size)
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
        if size
    }
    llc = at_zero["llc"]
    evidence = Evidence(
        llc,
        at_zero["drift"],
        at_zero["virial"],
        at_zero["squared_distance"],
        at_zero["localization"],
        at_zero["nbeta"],
        settings.get("gradient_term", 0.0),
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
        localization=dict(zip(names, settings["localization"], strict=True)),
        variance_estimate=at_zero["variance"],
        virial_ratio=_scaled(at_zero["virial"], 1 / dimension),
        virial_ratio_by_leaf=by_leaf,
        squared_distance_ratio=_scaled(at_zero["squared_distance"], 1 / dimension),
        sensitivity={name: at_zero[name] for name in ("localization", "nbeta")},
        num_diverged=num_diverged,
        by_step_size={size: of_size["llc"] for size, of_size in means.items()},
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


def _series(group: dict[str, np.ndarray], nbeta: float, sizes: list[int]) -> dict[str, Float[np.ndarray, "chain draw"]]:
    """What each draw contributes to each quantity, so that its mean over draws is the quantity."""
    loss, full = nbeta * group["loss_difference"], nbeta * group["full_loss_difference"]
    # where a loss on all data is dear not every draw has one
    measured = np.isfinite(full).all(axis=0)
    full, distance = full[:, measured], group["whitened_squared_distance"]
    away = _centered(full)
    half = loss.shape[1] // 2
    virials = {f"virial/{i}": group["virial"][:, :, i] for i in range(len(sizes))}
    return {
        "llc": loss,
        "variance": away**2,
        "virial": group["virial"].sum(axis=2),
        "squared_distance": distance,
        # ∂λ̂/∂log γ = −½ nβ Cov(ΔL, ‖v‖²),  ∂λ̂/∂log nβ = λ̂ − λ̂_var
        "localization": -0.5 * away * _centered(distance[:, measured]),
        "nbeta": full - away**2,
        "drift": loss if half < 4 else loss[:, -2 * half :].reshape(-1, 2, half),
        **virials,
    }


def _centered(values: Float[np.ndarray, "chain draw"]) -> Float[np.ndarray, "chain draw"]:
    return values - values.mean() if values.size else values


def _means(series: dict[str, np.ndarray], settings: dict[str, Any]) -> dict[str, Mean]:
    """Each series' mean, with its error; λ̂'s by the virial's help where the kernel is exact, and so is the virial."""
    means = {name: mean_with_error(values) for name, values in series.items() if name != "drift"}
    if settings.get("records_full_loss"):
        # over several steps a draw it hardly matters that the virial is of one earlier
        late = settings["virial_late"] if settings["thinning"] == 1 else 0
        means["llc"] = controlled_mean(series["llc"], series["virial"] - settings["dimension"], late)
    return means | {"drift": _drift(series["drift"])}


def _extrapolated(means: dict[float, dict[str, Mean]], name: str) -> Mean:
    if not means:
        return Mean(*[float("nan")] * 4)
    return extrapolate([of[name] for of in means.values()], np.array(list(means)), straight=name in _SIGNED)


def _drift(halves: np.ndarray) -> Mean:
    """How far the second half of the chains lies from the first."""
    if halves.ndim == 2:
        return Mean(0.0, 0.0, 0.0, float("nan"))
    first, second = (mean_with_error(halves[:, i]) for i in range(2))
    error = float(np.hypot(first.std_error, second.std_error))
    return Mean(second.value - first.value, error, min(first.ess, second.ess), float("nan"))


def _scaled(mean: Mean, factor: float) -> Mean:
    return mean._replace(value=mean.value * factor, std_error=mean.std_error * factor)
