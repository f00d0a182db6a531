"""The Bayes free energy, and what its growth with nβ says of the learning coefficient.

    F = −log ∫ exp(−nβ L_n(w)) φ(w) dw = nβ L_n(w*) + ∫_0^{nβ} E_s[ΔL] ds,   φ = N(w*, Γ⁻¹)

in nats, the reference measure φ being the localising prior (Friel & Pettitt 2008 for the second form).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp
from xarray import DataTree

from llc.draws.schema import read_settings
from llc.estimators.diagnoses import SAMPLING_FAULTS, worst_first
from llc.estimators.measure import Measure, mean_of, measure
from llc.estimators.result import Estimate
from llc.estimators.tempering import mixtures, on_ladder, read_ladders, stacked, tempered_free_energy
from llc.estimators.uncertainty import Mean


def free_energy_from(draws: DataTree) -> Measure:
    """F in nats, from draws at all temperatures between the localising prior and nβ.

    The value integrates the reweighted E_s[ΔL] exactly (`tempering`), which from the same draws errs less than
    quadrature along the ladder. That quadrature stands beside it as a check.

    Args:
        draws: of `ReplicaExchange`. At nβ = n, F is the negative log marginal likelihood of the data.

    Returns:
        The measure; its details are `above_center` (F − nβ L_n(w*)), `thermodynamic_integration` (F by quadrature, see
        `integrate`) and `discretization` (how far that lies from the value, with the error of this difference).

    Raises:
        ValueError: the draws are of one temperature.
    """
    settings = read_settings(draws)
    series = tempered_free_energy(draws, settings["nbeta"])
    integrals = stacked([integrate(*chain) for chain in zip(*read_ladders(draws), strict=True)], draws)
    at_center = settings["nbeta"] * settings["center_loss"]
    details = {
        "above_center": mean_of(series),
        "thermodynamic_integration": mean_of(at_center + integrals),
        "discretization": mean_of(integrals - series),
    }
    return measure("free energy", "nats", at_center + series, draws, details)


def slope_from(draws: DataTree, nbeta_low: float | int, nbeta_high: float | int) -> Measure:
    """λ̂ = (E_1[nL_n] − E_2[nL_n]) / (1/β_1 − 1/β_2), which needs no baseline (Watanabe 2013, Corollary 3).

    Args:
        draws: of `ReplicaExchange`.
        nbeta_low: nβ_1.
        nbeta_high: nβ_2, above it and at most the draws' own.

    Raises:
        ValueError: the draws are of one temperature, or the two are out of order or off their ladder.
    """
    low, high = on_ladder("nbeta_low", nbeta_low, draws), on_ladder("nbeta_high", nbeta_high, draws)
    if not low < high:
        msg = f"nbeta_low={nbeta_low} is not below nbeta_high={nbeta_high}; exchange them, or choose others."
        raise ValueError(msg)
    chains = mixtures(draws)
    losses = {nbeta: stacked([chain.at(nbeta).loss for chain in chains], draws) for nbeta in (low, high)}
    details = {f"llc at nbeta {nbeta:.6g}": mean_of(nbeta * loss) for nbeta, loss in losses.items()}
    return measure("λ̂_slope", "", (losses[low] - losses[high]) / (1 / low - 1 / high), draws, details)


def integrate(
    nbetas: Float[np.ndarray, "temperature"], losses: Float[np.ndarray, "draw temperature"]
) -> Float[np.ndarray, "draw"]:
    """∫_0^{nβ} E_s[ΔL] ds along a ladder, a value a draw: the trapezoidal rule in u = log s, corrected at its ends.

    ∫ g du ≈ Σ h (g_k + g_{k+1})/2 − h² (g'_{k+1} − g'_k)/12 with g = s E_s, g' = s E_s − s² Var_s (Friel, Hurn & Wyse
    2014). Up to s_1 the integral is −log E_0[exp(−s_1 ΔL)], finite where E_0[ΔL] is not.
    """
    ladder = nbetas[1:]
    by_value, by_slope = _quadrature(ladder)
    energy = ladder * losses[:, 1:]
    slope = energy - (energy - energy.mean(axis=0)) ** 2
    log_likelihood = -nbetas[1] * losses[:, 0]
    first = float(logsumexp(log_likelihood) - np.log(len(losses)))
    return 1 - first - np.exp(log_likelihood - first) + energy @ by_value + slope @ by_slope


def integrate_coefficients(
    estimates: Sequence[Estimate], prior_losses: Float[np.ndarray, "draw"], center_loss: float
) -> Measure:
    """F in nats from independent estimates of λ̂(s) = s E_s[ΔL] at rising temperatures s, as `integrate` does it.

    Args:
        estimates: at rising nβ, the last at that of F; their slopes are ∂λ̂/∂log nβ.
        prior_losses: ΔL at independent draws of the localising prior, which must hardly feel the first of the nβ.
        center_loss: L_n(w*), in nats per example.

    Returns:
        The measure, its errors those of the estimates; ESS and R̂ are the poorest among them.
    """
    ladder = np.array([estimate.nbeta for estimate in estimates])
    likelihood = np.exp(-ladder[0] * prior_losses)
    value, variance = -np.log(likelihood.mean()), np.var(likelihood) / likelihood.mean() ** 2 / len(likelihood)
    for estimate, of_value, of_slope in zip(estimates, *_quadrature(ladder), strict=True):
        slope = estimate.sensitivity["nbeta"]
        if np.isnan(slope.value):  # no losses on all data were affordable: the plain rule
            slope = Mean(0.0, 0.0, np.nan, np.nan)
        value += of_value * estimate.value + of_slope * slope.value
        # both come from the same draws, so that their errors may add up
        variance += (of_value * estimate.std_error + abs(of_slope) * slope.std_error) ** 2
    draws = DataTree.from_dict({f"nbeta_{estimate.nbeta:.6g}": estimate.draws for estimate in estimates})
    draws.attrs = dict(estimates[-1].draws.attrs)
    error, ess, rhat = float(np.sqrt(variance)), min(e.ess for e in estimates), max(e.rhat for e in estimates)
    faults = {verdict for estimate in estimates for verdict in estimate.verdicts} & SAMPLING_FAULTS
    return Measure(
        name="free energy",
        value=float(ladder[-1] * center_loss + value),
        std_error=error,
        unit="nats",
        verdicts=worst_first(faults),
        ess=ess,
        rhat=rhat,
        details={"above_center": Mean(float(value), error, ess, rhat)},
        draws=draws,
    )


def _quadrature(
    ladder: Float[np.ndarray, "temperature"],
) -> tuple[Float[np.ndarray, "temperature"], Float[np.ndarray, "temperature"]]:
    """Weights of g and of dg/d(log s) in the corrected trapezoidal rule over log s."""
    step = np.diff(np.log(ladder))
    right, left = np.append(step, 0.0), np.append(0.0, step)
    return (right + left) / 2, (right**2 - left**2) / 12
