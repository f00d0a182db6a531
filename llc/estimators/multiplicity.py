"""λ and m together, from how the free energy grows with nβ   (Watanabe 2009, main theorem; 2013).

    f(s) = −log E_0[exp(−s ΔL)] = λ ℓ − (m − 1) log(ℓ + a) + c + o(1),   ℓ = log s
    λ_n(s) = s E_s[ΔL] = λ − (m − 1)/(ℓ + a) + o(1)

so that λ̂ at one temperature lies below λ by about (m − 1)/log s, which no affordable s makes small.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import softmax
from xarray import DataTree

from llc.draws.schema import read_settings
from llc.estimators.measure import Measure, mean_of, measure
from llc.estimators.tempering import Mixture, mixtures, stacked

_POINTS = 8  # temperatures that f is fitted at
# a, counted from the onset: the models of the zoo have it between −1 and 7
_USUAL_SHIFT, _SHIFT_SPREAD, _SHIFTS = 3.0, 2.5, 80


class Growth(NamedTuple):
    """(λ, m − 1, c) as a linear map of f, and the errors that they have besides those of f."""

    by_free_energy: Float[np.ndarray, "3 points"]
    systematic: Float[np.ndarray, "3"]


def multiplicity_from(draws: DataTree) -> Measure:
    """λ, corrected for its multiplicity, which the details give as a real number.

    A fit of the law above to the upper half of log s, between its onset (where λ_n(s) is half of what it is in the
    end) and nβ, by generalised least squares. Its o(1) is taken to be of size λ_n s^{−1/3}, s counted from the onset.
    The constant a is hardly told from m by any data: it is averaged over, by how well it fits and by its usual size.
    Both widen the errors.

    How good that is, with 4000 independent draws up to nβ = 10⁴: on K = ½(w1 w2)² (λ = ½, m = 2), where λ̂ = 0.406,
    λ comes out as 0.51 ± 0.04 and m as 2.2 ± 0.6; on a regular model of λ = 2 as 2.04 ± 0.15 and 1.4 ± 2.3. Over
    twenty-eight models of the zoo, at nβ of 10⁴ and 10⁵, the part of the error that is not sampling stays below 2.4
    standard errors, 2.8 on a tanh network whose next pole is near; it is upwards where m = 1. A prior so wide that more
    singular points weigh more than w* gives the λ of those.

    Args:
        draws: of `ReplicaExchange`, up to an nβ well beyond the onset: a thousand times, or more.

    Returns:
        λ as a measure, with `multiplicity` (m) and `llc` (λ̂ = λ_n at the draws' nβ, not corrected) in the details.

    Raises:
        ValueError: the draws are of one temperature.
    """
    chains, highest = mixtures(draws), float(read_settings(draws)["nbeta"])
    if not chains or not all(_can_be_fitted(chain) for chain in chains):
        nothing = [np.full(len(chain.losses), np.nan) for chain in chains]
        return measure("λ", "", stacked(nothing, draws), draws, {})
    onset = float(np.mean([_onset(chain) for chain in chains]))
    growth = np.linspace((np.log(highest) - onset) / 2, np.log(highest) - onset, _POINTS)
    at = [[chain.at(float(np.exp(onset + point))) for point in growth] for chain in chains]
    series = np.array([[point.free_energy for point in chain] for chain in at]).transpose(0, 2, 1)
    llc = mean_of(highest * np.array([chain[-1].loss for chain in at]))
    fit = fit_growth(growth, series.mean(axis=(0, 1)), _covariance(series), llc.value)
    coefficient, order, _ = np.moveaxis(series @ fit.by_free_energy.T, 2, 0)
    multiplicity = mean_of(1 + order)
    multiplicity = multiplicity._replace(std_error=float(np.hypot(multiplicity.std_error, fit.systematic[1])))
    details = {"multiplicity": multiplicity, "llc": llc}
    return measure("λ", "", coefficient, draws, details, systematic_error=float(fit.systematic[0]))


def fit_growth(
    growth: Float[np.ndarray, "points"],
    free_energy: Float[np.ndarray, "points"],
    covariance: Float[np.ndarray, "points points"],
    llc: float,
) -> Growth:
    """Fit f = λ ℓ − (m − 1) log(ℓ + a) + c for each a, and average over a.

    Args:
        growth: ℓ, log s from the onset.
        free_energy: f there, in nats.
        covariance: of its errors.
        llc: λ_n at the end, the size at the onset of what the law leaves out.
    """
    remainder = llc * np.exp(-growth / 3)
    precision, maps, log_weights = np.linalg.inv(covariance + np.outer(remainder, remainder)), [], []
    shifts = np.linspace(-growth[0] / 2, _USUAL_SHIFT + 3 * _SHIFT_SPREAD, _SHIFTS)
    for shift in shifts:
        design = np.stack([growth, -np.log(growth + shift), np.ones_like(growth)], axis=1)
        maps.append(np.linalg.solve(design.T @ precision @ design, design.T @ precision))
        residual = free_energy - design @ maps[-1] @ free_energy
        log_weights.append(-(residual @ precision @ residual + ((shift - _USUAL_SHIFT) / _SHIFT_SPREAD) ** 2) / 2)
    weights = softmax(log_weights)
    by_free_energy = np.tensordot(weights, np.array(maps), 1)
    away = (np.array(maps) - by_free_energy) @ free_energy
    return Growth(by_free_energy, np.hypot(np.sqrt(weights @ away**2), by_free_energy @ remainder))


def _can_be_fitted(chain: Mixture) -> bool:
    enough = len(chain.losses) >= 2 * _POINTS
    return enough and bool(np.isfinite(chain.free_energies).all() and chain.losses.std(axis=0).all())


def _onset(chain: Mixture) -> float:
    """log s where s E_s[ΔL] comes to half of its value at the end of the ladder."""
    ladder, means = chain.nbetas[1:], (chain.nbetas * chain.losses).mean(axis=0)[1:]
    below = np.flatnonzero(means < means[-1] / 2)
    if below.size == 0:
        return float(np.log(ladder[0]))
    part = slice(below[-1], below[-1] + 2)
    return float(np.interp(means[-1] / 2, means[part], np.log(ladder[part])))


def _covariance(series: Float[np.ndarray, "chain draw points"]) -> Float[np.ndarray, "points points"]:
    """Of the means of autocorrelated series: their correlation over draws, with their own standard errors."""
    means = [mean_of(series[:, :, point]) for point in range(series.shape[2])]
    errors = np.array([mean.std_error for mean in means])
    away = (series - series.mean(axis=1, keepdims=True)).reshape(-1, series.shape[2])
    return np.corrcoef(away, rowvar=False) * np.outer(errors, errors)
