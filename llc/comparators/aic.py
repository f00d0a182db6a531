"""Akaike's information criterion   (Akaike 1974)."""

from llc.comparators import bic
from llc.comparators.measurements import Measurements
from llc.comparators.row import Result, row


@row("AIC", "a regular model at its maximum of likelihood, n far above d")
def generalization(at: Measurements) -> Result:
    """L_n(w*) + d/n, in nats per example."""
    return Result(at.training_loss + at.posterior.dimension / at.n, verdict=bic.complexity(at).verdict)
