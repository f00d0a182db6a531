"""The widely applicable Bayesian information criterion: the mean of n L_n at nβ = n / log n   (Watanabe 2013)."""

import numpy as np
from xarray import DataTree

from llc.draws.schema import read_settings
from llc.estimators.diagnoses import Verdict
from llc.estimators.learning_coefficient import learning_coefficient
from llc.estimators.measure import Measure, mean_of, measure
from llc.estimators.tempering import tempered_loss
from llc.posterior.temperature import resolve_nbeta

_ROUNDING = 1e-5  # nβ is kept in float32
_OF_COEFFICIENTS = {Verdict.NOT_A_MINIMUM, Verdict.OUTSIDE, Verdict.LOCALIZATION, Verdict.TEMPERATURE}


def wbic_from(draws: DataTree) -> Measure:
    """WBIC = E[n L_n(w)] = n L_n(w*) + λ̂ log n at nβ = n / log n, in nats.

    It estimates the free energy of all the data (nβ = n), to O(√log n).

    Args:
        draws: at nβ = n / log n, or of `ReplicaExchange` at any nβ above it.

    Returns:
        The measure; its detail `learning_coefficient` is λ̂ at that temperature.

    Raises:
        ValueError: the draws are of another temperature.
    """
    settings = read_settings(draws)
    n, nbeta = settings["n"], resolve_nbeta(None, settings["n"])
    at_center, log_n = n * settings["center_loss"], float(np.log(n))
    if "tempered_loss_difference" in draws["sample_stats"] and settings["nbeta"] >= nbeta * (1 - _ROUNDING):
        coefficient = nbeta * tempered_loss(draws, min(nbeta, settings["nbeta"]))
        details = {"learning_coefficient": mean_of(coefficient)}
        return measure("WBIC", "nats", at_center + log_n * coefficient, draws, details)
    if abs(settings["nbeta"] / nbeta - 1) > _ROUNDING:
        msg = (
            f"these draws are at nbeta={settings['nbeta']:.6g}, and WBIC is the mean at n / log n = {nbeta:.6g}; "
            "draw there (nbeta=None), or with llc.samplers.ReplicaExchange up to any nbeta above it."
        )
        raise ValueError(msg)
    estimate = learning_coefficient(draws)
    return Measure(
        name="WBIC",
        value=at_center + log_n * estimate.value,
        std_error=log_n * estimate.std_error,
        unit="nats",
        verdicts=tuple(verdict for verdict in estimate.verdicts if verdict not in _OF_COEFFICIENTS),
        ess=estimate.ess,
        rhat=estimate.rhat,
        details={"learning_coefficient": estimate.mean},
        draws=draws,
    )
