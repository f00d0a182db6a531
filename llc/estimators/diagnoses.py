"""What a user must know before believing a number: one enumeration of verdicts."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from llc.estimators.uncertainty import Mean

_SIGMAS = 4.0  # departures within 4 standard errors are noise
_MIN_ESS = 100.0
_MAX_RHAT = 1.01
FAR_RHAT = 1.1  # of chains that have not met


class Verdict(StrEnum):
    """A verdict on an estimate, the worst first; several may hold."""

    DIVERGED = "chains diverged"
    NOT_A_MINIMUM = "not a minimum"
    STEP_SIZE = "step size too large"
    DRIFTING = "drifting"
    TOO_FEW_DRAWS = "too few draws"
    ONE_CHAIN = "one chain"
    OUTSIDE = "outside [0, d/2]"
    LOCALIZATION = "localization dominates"
    TEMPERATURE = "temperature not asymptotic"
    CONVERGED = "converged"

    @property
    def advice(self) -> str:
        """What the verdict says, and what to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Verdict.DIVERGED: "Some chains left for infinity and are excluded; use a smaller step size.",
    Verdict.NOT_A_MINIMUM: (
        "The loss falls below its value at the checkpoint, or its gradient there is not negligible: the estimate is "
        "biased down, even below 0. Train longer, or read it as a lower bound."
    ),
    Verdict.STEP_SIZE: (
        "The virial E[v·∇U] exceeds d, or λ̂ is not linear in the step size: the chain is hotter than its target. "
        "Use a smaller step size, or the control-variate gradient."
    ),
    Verdict.DRIFTING: "The chain still moves away from where it began. Use more warm-up.",
    Verdict.TOO_FEW_DRAWS: (
        "ESS is below 100 or R̂ above 1.01, or R̂ of ‖v‖², which knows flat directions that the loss hides, above 1.1: "
        "the error bar itself is not known well. Draw more."
    ),
    Verdict.ONE_CHAIN: "With one chain, R̂ and what other chains would have found cannot be known. Use at least 4.",
    Verdict.OUTSIDE: "The value lies outside [0, d/2], where no learning coefficient lies. Look at the other verdicts.",
    Verdict.LOCALIZATION: (
        "∂λ̂/∂log γ is over 10 % of λ̂: the value speaks of the localisation too. Quote γ with it, or raise nβ."
    ),
    Verdict.TEMPERATURE: (
        "λ̂ and λ̂_var disagree: λ̂ still moves with log nβ. Quote nβ with it; it is the value at this n, not the limit."
    ),
    Verdict.CONVERGED: "The chains agree, have enough draws, and sample the right temperature.",
}

SAMPLING_FAULTS = {
    Verdict.DIVERGED,
    Verdict.STEP_SIZE,
    Verdict.DRIFTING,
    Verdict.TOO_FEW_DRAWS,
    Verdict.ONE_CHAIN,
}


class Evidence(NamedTuple):
    """What the verdicts are judged by; complexities in nats, in total."""

    llc: Mean
    drift: Mean
    virial: Mean
    squared_distance: Mean
    log_localization: Mean
    log_nbeta: Mean
    gradient_term: float
    dimension: int
    num_chains: int
    num_diverged: int
    frozen: bool


def diagnose(evidence: Evidence) -> tuple[Verdict, ...]:
    """The verdicts that hold, the worst first."""
    return worst_first(verdict for verdict, holds in _tests(evidence).items() if holds)


def worst_first(found: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Verdicts in their order; `converged` stands where sampling is not at fault.

    >>> [str(verdict) for verdict in worst_first({Verdict.OUTSIDE})]
    ['outside [0, d/2]', 'converged']
    """
    found = set(found)
    if not found & SAMPLING_FAULTS:
        found.add(Verdict.CONVERGED)
    return tuple(verdict for verdict in Verdict if verdict in found)


def too_few(mean: Mean) -> bool:
    """Whether there are too few draws to know the error bar itself."""
    return not mean.ess >= _MIN_ESS or mean.rhat > _MAX_RHAT


def _tests(e: Evidence) -> dict[Verdict, bool]:
    value, error, d = e.llc.value, e.llc.std_error, e.dimension
    if not np.isfinite(value):
        return {Verdict.DIVERGED: e.num_diverged > 0, Verdict.TOO_FEW_DRAWS: e.num_diverged == 0}
    off, margin = e.virial.value - d, _SIGMAS * np.nan_to_num(error)  # of too few draws there is no error bar
    # a slow mode's square that is small by chance seems known well: a Gaussian mode's share has the variance 2
    virial_error = max(e.virial.std_error, np.sqrt(2 * d / max(e.virial.ess, 1.0)))
    virial_off = abs(off) > _SIGMAS * virial_error and abs(off) > 0.05 * d
    return {
        Verdict.DIVERGED: e.num_diverged > 0,
        # the term is below 0 where the loss bends down along its gradient, as near a saddle; and a value that lies
        # beyond d/2, or far below 0, is no measure of what is negligible
        Verdict.NOT_A_MINIMUM: value < -_SIGMAS * error or abs(e.gradient_term) > 0.1 * min(abs(value), d / 2),
        Verdict.STEP_SIZE: (virial_off and off > 0) or e.llc.misfit < 0.001,
        Verdict.DRIFTING: (virial_off and off < 0) or abs(e.drift.value) > _SIGMAS * e.drift.std_error,
        Verdict.TOO_FEW_DRAWS: e.frozen or too_few(e.llc) or e.squared_distance.rhat > FAR_RHAT,
        Verdict.ONE_CHAIN: e.num_chains == 1,
        Verdict.OUTSIDE: -value > margin or value - d / 2 > margin,
        Verdict.LOCALIZATION: _beyond(e.log_localization, 0.1 * abs(value)),
        Verdict.TEMPERATURE: _beyond(e.log_nbeta, 0.1 * abs(value)),
    }


def _beyond(mean: Mean, bound: float) -> bool:
    return abs(mean.value) - _SIGMAS * mean.std_error > bound
