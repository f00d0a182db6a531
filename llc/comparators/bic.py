"""The Bayesian information criterion: every parameter counts for half a log n   (Schwarz 1978)."""

import numpy as np

from llc.comparators.measurements import Measurements
from llc.comparators.row import Result, row
from llc.estimators.diagnoses import Verdict

_REGULAR = "a regular model: one best parameter, where the Fisher information is not singular"


@row("BIC d/2", f"{_REGULAR}; then λ = d/2, and never more")
def complexity(at: Measurements) -> Result:
    """d/2."""
    half, estimate = at.posterior.dimension / 2, at.estimate
    if Verdict.NOT_A_MINIMUM in estimate.verdicts:
        return Result(half, verdict=f"λ̂ is {estimate.value / half:.1%} of it, but w* is not a minimum")
    if estimate.value + 4 * estimate.std_error < half:
        return Result(half, verdict=f"not regular here: λ̂ is {estimate.value / half:.1%} of it")
    return Result(half, verdict="λ̂ does not contradict it")


@row("BIC", f"{_REGULAR}; terms of order 1 are left out")
def free_energy(at: Measurements) -> Result:
    """n L_n(w*) + (d/2) log n, in nats."""
    return Result(at.n * at.training_loss + at.posterior.dimension / 2 * np.log(at.n), verdict=complexity(at).verdict)


@row("BIC / n", f"{_REGULAR}; a code length an example, which is no prediction of the loss on new data")
def generalization(at: Measurements) -> Result:
    """L_n(w*) + (d/2) log n / n, in nats per example."""
    return Result(free_energy(at).value / at.n, verdict=complexity(at).verdict)
