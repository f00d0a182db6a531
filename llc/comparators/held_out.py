"""The measured truth: losses on data that neither training nor sampling saw."""

import numpy as np
from scipy.special import logsumexp

from llc.comparators.measurements import Measurements
from llc.comparators.row import Result, row


@row("training loss", "none; it says nothing of new data")
def training(at: Measurements) -> Result:
    """L_n(w*), in nats per example."""
    return Result(at.training_loss, verdict="measured")


@row("measured on held-out data", "test data of the same law; the error is over test examples")
def generalization(at: Measurements) -> Result:
    """The mean of ℓ at w* over the test data, in nats per example."""
    return _mean(at.test_losses)


@row("measured, Bayes predictive", "as above, of the predictive density averaged over the draws at nβ = n")
def bayes(at: Measurements) -> Result:
    """The mean of −log E_w[p(x|w)] over the test data, in nats per example: what WAIC and λ/n predict."""
    losses = at.test_losses_of_draws
    return _mean(np.log(len(losses)) - logsumexp(-losses, axis=0))


def _mean(losses: np.ndarray) -> Result:
    return Result(losses.mean(), losses.std(ddof=1) / np.sqrt(len(losses)), f"measured on {len(losses)} examples")
