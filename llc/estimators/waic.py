"""The widely applicable information criterion, and the singular fluctuation   (Watanabe 2009; 2010, JMLR 11).

    T_n = −(1/n) Σ_i log E[e^{−ℓ_i(w)}]     the Bayes training loss
    V_n = Σ_i Var[ℓ_i(w)]                   the functional variance, ν̂ = (β/2) V_n
    WAIC = T_n + (β/n) V_n                  over data sets, in the mean, the Bayes generalisation loss, to O(1/n²)

with expectations over the posterior at nβ = n·β, β = 1 being Bayes' own.
"""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, PyTree
from scipy.special import logsumexp
from xarray import DataTree

from llc.draws.schema import read_settings
from llc.draws.weights import weights_of
from llc.estimators.example_losses import check_origin, example_indices, finite_chains, loss_around, loss_blocks
from llc.estimators.measure import Measure, mean_of, measure
from llc.problem import Problem


class ExampleMoments(NamedTuple):
    """Series whose means are Σ_i −log E[e^{−ℓ_i}], Σ_i Var[ℓ_i] and Σ_i E[ℓ_i], in nats in total."""

    training: Float[np.ndarray, "chain draw"]
    variance: Float[np.ndarray, "chain draw"]
    gibbs: Float[np.ndarray, "chain draw"]


def waic_from(problem: Problem, params: PyTree, draws: DataTree) -> Measure:
    """WAIC = T_n + (β/n) V_n in nats per example: an estimate of the loss on new data, made from the training data.

    Its standard error is that of sampling; over data sets it has the spread of the training loss itself.

    Args:
        problem: what the draws were made with, its losses one an example.
        params: the checkpoint w* that they were made around.
        draws: as `llc.draw(..., keep_weights=True)` makes them, at nβ = n for Bayes' posterior (β = 1).

    Returns:
        The measure, with the details
        `training_loss` (T_n), `gibbs_training_loss` (E[L_n(w)]) and `gibbs_generalization_loss`
        (E[L_n(w)] + 2ν̂/n), all in nats per example;
        `functional_variance` (V_n, nats²) and `singular_fluctuation` (ν̂);
        `learning_coefficient` (λ̂ = nβ E[ΔL] at this β) and
        `predicted_excess` ((λ̂/β + (1 − 1/β) ν̂)/n, nats per example), by which theory expects the Bayes generalisation
        loss to exceed that of the best w.

    Raises:
        ValueError: the draws kept no weights, are a ladder of step sizes, have no finite chain, or are of another
            problem; or all examples have one loss (a population loss), whose variance over examples says nothing.
    """
    evaluator, kept = loss_around(problem, params), finite_chains(draws)
    weights = weights_of(kept, params)
    check_origin(evaluator, draws)
    if len(evaluator.center_losses) == 1:
        msg = (
            f"every example has the same loss {float(evaluator.center_losses[0]):.6g} at params, as with a population "
            "loss; WAIC needs losses of examples (of the zoo's entries: simulate=True)."
        )
        raise ValueError(msg)
    n, beta = problem.n, read_settings(draws)["nbeta"] / problem.n
    numbers = example_indices(problem, None)
    moments = example_moments(
        (block for _, block in loss_blocks(evaluator, weights, numbers)), kept["sample_stats"].sizes["chain"]
    )
    fluctuation = 0.5 * beta * moments.variance
    coefficient = n * beta * kept["sample_stats"]["full_loss_difference"].to_numpy().astype(np.float64)
    series = {
        "training_loss": moments.training / n,
        "functional_variance": moments.variance,
        "singular_fluctuation": fluctuation,
        "gibbs_training_loss": moments.gibbs / n,
        "gibbs_generalization_loss": (moments.gibbs + 2 * fluctuation) / n,
        "learning_coefficient": coefficient,
        "predicted_excess": (coefficient / beta + (1 - 1 / beta) * fluctuation) / n,
    }
    details = {name: mean_of(values) for name, values in series.items()}
    value = (moments.training + beta * moments.variance) / n
    return measure("WAIC", "nats per example", value, draws, details)


def example_moments(blocks: Iterable[Float[np.ndarray, "draws _"]], num_chains: int) -> ExampleMoments:
    """What draws contribute to T_n, V_n and E[L_n], from the losses of some examples at a time at all draws.

    >>> losses = np.array([[0.0], [2.0], [0.0], [2.0]])
    >>> float(example_moments([losses], num_chains=1).variance.mean())
    1.0
    """
    parts = (_moments(block.reshape(num_chains, -1, block.shape[1])) for block in blocks)
    return ExampleMoments(*reduce(np.add, parts))


def _moments(losses: Float[np.ndarray, "chain draw examples"]) -> Float[np.ndarray, "3 chain draw"]:
    """The estimates plus each draw's influence on them, less what they are off by for being made from few draws.

    With x̄ the mean of all draws, E[(x − x̄)²] falls short of Var[x], and E[−log x̄] exceeds −log E[x], by Var[x̄] and
    ½ Var[x̄]/x̄². The means of the chains tell Var[x̄].
    """
    losses = losses.astype(np.float64)
    mean = losses.mean(axis=(0, 1))
    log_mean = logsumexp(-losses, axis=(0, 1)) - np.log(losses.shape[0] * losses.shape[1])
    ratio = np.exp(-losses - log_mean)
    training = (1 - ratio - log_mean).sum(axis=2) - 0.5 * _square_error(ratio).sum()
    variance = np.square(losses - mean).sum(axis=2) + _square_error(losses).sum()
    return np.stack([training, variance, losses.sum(axis=2)])


def _square_error(values: Float[np.ndarray, "chain draw examples"]) -> Float[np.ndarray, "examples"]:
    """Var[x̄] of the mean of all chains, from their spread; 0 with one chain, which cannot know it."""
    of_chains = values.mean(axis=1)
    return of_chains.var(axis=0, ddof=1) / len(of_chains) if len(of_chains) > 1 else np.zeros(values.shape[2])
